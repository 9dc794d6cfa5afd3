"""The tests of the operators again, run by the machine code of the NEON kernels in an emulator.

A kernel that writes near a tensor but outside of it is found. (The functions alone: test_numerics.py.)
"""

import subprocess

import neon_emulated
import on_host
import pytest
import torch

pytestmark = pytest.mark.skipif(bool(neon_emulated.WHY_NOT), reason=neon_emulated.WHY_NOT)

# What runs little of the kernels' loops, what is long, and in test_numerics.py what other targets run.
LEFT_OUT = ("gradcheck", "vmap", "jacobians", "transforms", "second_derivative", "two_to_the_31", "million")
LEFT_OUT += ("a_small_batch", "test_value", "test_slope", "odd_counts", "refuses", "instruction_set", "programs")

RUNS = {
    "as called": (False, ["shapes", "layouts", "nonfinite", "gradients", "parameter_gradients", "numerics"], 750),
    "as for large tensors": (True, ["layouts", "add_pointwise_norm", "out", "quantized"], 1000),
}


@pytest.mark.parametrize(("stream", "files", "least"), RUNS.values(), ids=RUNS)
def test_operators(stream, files, least):
    on_host.run_tests(files, LEFT_OUT, neon_emulated.environment(stream), least)


def test_all_kernels_without_pytorch():
    # Every layout, type and tail, with memory around all results that must not change: driver.cpp.
    on_host.build("neon_emulated")
    run = subprocess.run([neon_emulated.EMULATOR, neon_emulated.program("driver")], capture_output=True, text=True)
    assert run.returncode == 0 and "kernels: neon" in run.stdout, run.stdout[-4000:]


def test_the_kernels_are_there(monkeypatch):
    u = torch.linspace(-3, 3, 1001)
    value, _, _ = neon_emulated.library().evaluate(u, torch.float32)
    torch.testing.assert_close(value, torch.erf(u))
    emulator = torch.ops.derf_neon_emulated.emulator
    assert emulator.poll() is None and neon_emulated.EMULATOR in emulator.args
