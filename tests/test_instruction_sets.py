"""The tests of the kernels again under every instruction set that is not this machine's own choice.

Each has vectors of another width, so other tails, and is another compilation of the same loops.
"""

import os
import re
import subprocess
import sys

import derf
import pytest
import torch

FILES = ("test_layouts.py", "test_nonfinite.py", "test_gradients.py", "test_large.py", "test_parameter_gradients.py")
# What runs little of the kernels' loops, and what is long.
LEFT_OUT = ("gradcheck", "vmap", "jacobians", "transforms", "second_derivative", "two_to_the_31", "million")

CAPABILITIES = derf._C.capabilities() if derf._C else []
OTHERS = [capability for capability in CAPABILITIES if capability != torch.ops.derf.cpu_capability()]


@pytest.mark.skipif(not OTHERS, reason="one instruction set, or no derf._C to name the others")
@pytest.mark.parametrize("capability", OTHERS or ["none"])
def test_kernels(capability):
    here = os.path.dirname(__file__)
    files = [os.path.join(here, name) for name in FILES]
    unwanted = "not (" + " or ".join(LEFT_OUT) + ")"
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--import-mode=importlib",
            "-p",
            "no:cacheprovider",
            "-k",
            unwanted,
            *files,
        ],
        env=os.environ | {"ATEN_CPU_CAPABILITY": capability, "DERF_TEST_PROFILE": "short"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed and int(passed[1]) > 500, run.stdout[-2000:]
