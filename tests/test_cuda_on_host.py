"""The tests of the operators again, run by the CUDA kernels' own source on the host: no GPU is needed.

What the kernels must not do ends such a process: touch memory outside of a tensor (every tensor lies between two pages
that no one may touch), leave a barrier that others wait at. What a missing barrier would let happen shows where the
threads of a block run against their order.
"""

import os
import subprocess
import sys

import cuda_on_host
import on_host
import pytest
import torch

# What runs little of the kernels' loops, and a layout whose memory the guarded allocator cannot give.
LEFT_OUT = ("gradcheck", "vmap", "jacobians", "transforms", "second_derivative", "mkldnn", "opcheck", "threads")

RUNS = {
    # As on a GPU with one multiprocessor; tensors end at a guard.
    "one multiprocessor": (
        1,
        True,
        False,
        [
            "shapes",
            "layouts",
            "nonfinite",
            "gradients",
            "errors",
            "family_kernels",
            "add_pointwise_norm",
            "out",
            "quantized",
        ],
        1500,
    ),
    # More blocks, of fewer rows; tensors begin at a guard, and threads run against their order.
    "seven multiprocessors": (7, False, True, ["shapes", "layouts", "family_kernels", "add_pointwise_norm"], 1000),
}


@pytest.mark.parametrize(("processors", "guard_ends", "reversed", "files", "least"), RUNS.values(), ids=RUNS)
def test_operators(processors, guard_ends, reversed, files, least):
    on_host.run_tests(files, LEFT_OUT, cuda_on_host.environment(processors, guard_ends, reversed), least)


@pytest.mark.parametrize("guard_ends", [True, False])
def test_guards_are_there(guard_ends):
    program = (
        "import torch, derf, cuda_on_host, ctypes; cuda_on_host.install_if_asked(); x = torch.zeros(1000);"
        f"print('made', flush=True); ctypes.memset(x.data_ptr() {'+ 4000' if guard_ends else '- 1'}, 1, 1)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | cuda_on_host.environment(1, guard_ends, False) | {"PYTHONPATH": os.path.dirname(__file__)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.stdout == "made\n" and run.returncode < 0, run.stderr


def test_quotients():
    """Divisors and dividends below 2^31, those round powers of two and multiples of the divisor among them."""
    round_powers = [2**k + d for k in range(31) for d in (-1, 0, 1)]
    divisors = sorted({*round_powers, 3, 7, 768, 1152, 2**31 - 1} - {0} | set(range(1, 130)))
    for divisor in divisors:
        multiples = divisor * torch.cat([torch.arange(100), torch.randint(0, max(1, 2**31 // divisor), (100,))])
        dividends = torch.cat([multiples - 1, multiples, multiples + 1, torch.tensor(round_powers), torch.tensor([0])])
        dividends = dividends[(dividends >= 0) & (dividends < 2**31)]
        found = cuda_on_host.library().quotients(dividends, divisor)
        assert torch.equal(found, dividends // divisor), divisor
