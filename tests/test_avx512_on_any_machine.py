"""The tests of the operators again, run by the AVX-512 kernels' own source where the processor lacks AVX-512.

What compilers make of that source for such a processor is not tried: instruction for instruction it is what the source
says. A kernel that touches memory outside of a tensor ends its process, as one does that takes an address for aligned
which is not. (The functions alone: test_numerics.py.)
"""

import os
import subprocess
import sys

import avx512_on_host
import on_host
import pytest

pytestmark = pytest.mark.skipif(bool(avx512_on_host.WHY_NOT), reason=avx512_on_host.WHY_NOT)

# What runs little of the kernels' loops, what is long, and in test_numerics.py what other targets run.
LEFT_OUT = ("gradcheck", "vmap", "jacobians", "transforms", "second_derivative", "two_to_the_31", "million")
LEFT_OUT += ("a_small_batch", "test_value", "test_slope", "odd_counts", "refuses", "instruction_set")

RUNS = {
    # Tensors end at a guard, so that most are aligned to nothing.
    "as called": (
        True,
        False,
        ["shapes", "layouts", "nonfinite", "gradients", "parameter_gradients", "numerics"],
        750,
    ),
    # Tensors begin at a guard, aligned but where a test says otherwise.
    "past the cache": (
        False,
        True,
        ["shapes", "layouts", "nonfinite", "gradients", "add_pointwise_norm", "out", "quantized"],
        1500,
    ),
}


@pytest.mark.parametrize(("guard_ends", "stream", "files", "least"), RUNS.values(), ids=RUNS)
def test_operators(guard_ends, stream, files, least):
    on_host.run_tests(files, LEFT_OUT, avx512_on_host.environment(guard_ends, stream), least)


def run_here(program, guard_ends=True, stream=False):
    """Run a program in a process whose operators are the AVX-512 kernels."""
    program = f"import torch, derf, avx512_on_host; avx512_on_host.install_if_asked(); {program}"
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); {program}"],
        env=os.environ | avx512_on_host.environment(guard_ends, stream),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("stream", "channels", "streamed"),
    # Rows of 999 share lines, which are not to be stored half past the cache; at 20011 that hardly counts.
    [(False, 992, False), (True, 992, True), (True, 999, False), (True, 20011, True)],
)
def test_the_kernels_are_there_and_store_as_they_are_told(stream, channels, streamed):
    program = (
        f"x, w, one = torch.zeros(4, {channels}), torch.ones({channels}), torch.ones(1);"
        "derf.derf(x, one, one, w, w); print(torch.ops.derf_avx512_on_host.streamed() > 0)"
    )
    run = run_here(program, stream=stream)
    assert run.stdout == f"{streamed}\n", run.stderr


@pytest.mark.parametrize("guard_ends", [True, False])
def test_guards_are_there(guard_ends):
    run = run_here(
        "import ctypes; x = torch.zeros(1000); print('made', flush=True);"
        f"ctypes.memset(x.data_ptr() {'+ 4000' if guard_ends else '- 1'}, 1, 1)",
        guard_ends,
    )
    assert run.stdout == "made\n" and run.returncode < 0, run.stderr
