"""Devices without kernels: the layers run there by PyTorch's own operators, with one warning; or not, if so asked.

tests/device_on_host/ is such a device. It is one process's for good, so each test has a process of its own.
"""

import os
import subprocess
import sys
import textwrap

import on_host
import pytest

START = """
import sys, warnings, torch, derf, on_host
torch.ops.load_library(on_host.library("device_on_host"))
class Module:  # what torch looks for of a device in Python
    _lazy_init = staticmethod(lambda: None)
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = staticmethod(lambda seed: None)
    is_available = is_initialized = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
torch.utils.rename_privateuse1_backend("elsewhere")
torch._register_device_module("elsewhere", Module)
here = torch.device("elsewhere:0")
torch.manual_seed(0)
def there(*tensors):
    return [t.detach().to(here).requires_grad_(t.requires_grad) for t in tensors]
def close(found, expected):
    torch.testing.assert_close(found.cpu(), expected)
"""
# Autograd's thread of such a device does not outlive the interpreter in peace.
END = "\nfor stream in (sys.stdout, sys.stderr):\n    stream.flush()\nimport os\nos._exit(0)\n"


@pytest.fixture(scope="module", autouse=True)
def device():
    on_host.build("device_on_host")


def run(program, **environment):
    """What a process prints on both streams, once it has ended well."""
    ran = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(program) + END],
        env=os.environ | {"PYTHONPATH": os.path.dirname(__file__)} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    return ran.stdout + ran.stderr


def test_forward_and_backward():
    run("""
        x = torch.randn(3, 5, 16, requires_grad=True)
        layers = derf.Derf(16), derf.DyT(16), derf.PointwiseNorm(16, "logsign", per_channel=True, clip=0.7)
        for layer in layers:
            expected = layer(x)
            gradient = torch.randn_like(expected)
            wanted = torch.autograd.grad(expected, [x, *layer.parameters()], gradient)
            (x_there,) = there(x)
            moved = layer.to(here)
            found = moved(x_there)
            assert found.device.type == "elsewhere"
            close(found.detach(), expected.detach())
            gradients = torch.autograd.grad(found, [x_there, *moved.parameters()], gradient.to(here))
            for a, b in zip(gradients, wanted):
                close(a, b)
    """)


def test_the_other_operators():
    run("""
        x, residual = torch.randn(2, 3, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)
        x, gate, alpha = torch.randn(3, 8, requires_grad=True), torch.randn(8, requires_grad=True), torch.ones(1)
        results = derf.functional.add_pointwise_norm(x, residual, alpha, gate=gate)
        wanted = torch.autograd.grad(sum(r.sum() for r in results), [x, residual, gate])
        moved = there(x, residual, alpha, gate)
        found = derf.functional.add_pointwise_norm(*moved[:3], gate=moved[3])
        for a, b in zip(found, results):
            close(a.detach(), b.detach())
        of = moved[0], moved[1], moved[3]
        for a, b in zip(torch.autograd.grad(sum(r.sum() for r in found), of), wanted):
            close(a, b)
        with torch.no_grad():
            out = torch.empty_like(moved[0])
            assert derf.derf(moved[0], moved[2], moved[2], out=out) is out
            close(out, derf.derf(x, alpha, alpha))
            scale = torch.full((1,), 1 / 127)
            expected = derf.functional.quantized_pointwise_norm(x, scale, alpha, dtype=torch.int8)
            q = derf.functional.quantized_pointwise_norm(moved[0], scale.to(here), moved[2], dtype=torch.int8)
            assert (q.cpu().int() - expected.int()).abs().max() <= 1
    """)


def test_transforms():
    run("""
        x, alpha = torch.randn(4, 6), torch.full((1,), 0.7)
        x_there, alpha_there = there(x, alpha)
        f = lambda x, a: derf.derf(x, a, a).sum()
        close(torch.func.grad(f)(x_there, alpha_there), torch.func.grad(f)(x, alpha))
        per_row = torch.func.vmap(torch.func.grad(f, 1), (0, None))
        close(per_row(x_there, alpha_there), per_row(x, alpha))
    """)


def test_half_precision_and_layouts():
    run("""
        x = torch.randn(2, 16, 4, 5).to(memory_format=torch.channels_last).bfloat16()
        layer = derf.Derf(16, channel_dim=1)
        with torch.no_grad():
            expected = layer(x)
            found = layer.to(here)(x.to(here))
        close(found, expected)
    """)


def test_one_warning():
    said = run("""
        layer, x = derf.Derf(4).to(here), torch.zeros(2, 4, device=here)
        for _ in range(3):
            layer(x).sum().backward()
    """)
    assert said.count("derf: there is no kernel for elsewhere:0: PyTorch's own operators compute the layers") == 1
    assert "DERF_STRICT=1 makes this an error" in said


def test_strict():
    said = run(
        """
        try:
            derf.Derf(4).to(here)(torch.zeros(2, 4, device=here))
        except NotImplementedError as error:
            print(error)
        """,
        DERF_STRICT="1",
    )
    assert "derf: there is no kernel for input's device, elsewhere:0, and DERF_STRICT=1 allows nothing else" in said


def test_an_unknown_value_of_strict_after_the_import():
    said = run(
        """
        import os
        os.environ["DERF_STRICT"] = "yes"
        try:
            derf.Derf(4).to(here)(torch.zeros(2, 4, device=here))
        except ValueError as error:
            print(error)
        """
    )
    assert "derf: the environment variable DERF_STRICT must be 0 or 1, but is yes" in said


def test_errors_are_those_of_the_kernels():
    said = run("""
        try:
            derf.derf(torch.zeros(2, 4, device=here), torch.ones(1), torch.ones(1))
        except RuntimeError as error:
            print(error)
    """)
    assert "derf: alpha must be on the device of input, elsewhere:0, but is on cpu" in said
