"""The tests of the operators again, run by the CUDA kernels' own source on the host: no GPU is needed.

What the kernels must not do ends such a process: touch memory outside of a tensor (every tensor lies between two pages
that no one may touch), leave a barrier that others wait at. What a missing barrier would let happen shows where the
threads of a block run against their order.
"""

import os
import re
import subprocess
import sys

import cuda_on_host
import pytest

FILES = (
    "test_shapes.py",
    "test_layouts.py",
    "test_nonfinite.py",
    "test_gradients.py",
    "test_errors.py",
    "test_parameter_gradients.py",
)
# What runs little of the kernels' loops, what is long, and what eager PyTorch sums otherwise on a CPU than on a GPU.
LEFT_OUT = ("gradcheck", "vmap", "jacobians", "transforms", "second_derivative", "million", "float64 and aligned")


# As on a GPU with so many multiprocessors; whether tensors end at a guard, or begin there; threads against their order.
@pytest.mark.parametrize(("processors", "guard_ends", "reversed"), [(1, True, False), (7, False, True)], ids=str)
def test_operators(processors, guard_ends, reversed):
    here = os.path.dirname(__file__)
    files = [os.path.join(here, name) for name in FILES]
    unwanted = "not (" + " or ".join(f"({words})" for words in LEFT_OUT) + ")"
    options = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider", "-x", "-k", unwanted]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        env=os.environ | cuda_on_host.environment(processors, guard_ends, reversed) | {"DERF_TEST_PROFILE": "short"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed and int(passed[1]) > 500, run.stdout[-2000:]


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
