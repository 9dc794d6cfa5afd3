"""Kernels that this machine cannot run, run all the same: what cuda_on_host, avx512_on_host and neon_emulated share."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from derf import _library
from filelock import FileLock

TESTS = Path(__file__).resolve().parent


def tool(name):
    """The path of cmake or ninja, of this environment first."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    assert found, f"{name} is needed: pip install {name}"
    return found


def library(directory, name=None):
    """The path of what that directory of the tests builds."""
    return TESTS.parent / "build" / f"{directory}_{_library.tag()}" / f"{name or directory}.so"


def build(directory, name=None):
    """Build that, where its sources have changed, and load it. One process at a time, for pytest-xdist has several."""
    cmake, torch_directory, path = tool("cmake"), Path(torch.__file__).parent, library(directory, name)
    ninja = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"]
    path.parent.parent.mkdir(exist_ok=True)
    with FileLock(f"{path.parent}.lock"):
        for command in (
            [cmake, "-S", TESTS / directory, "-B", path.parent, *ninja, f"-DTORCH_DIR={torch_directory}"],
            [cmake, "--build", path.parent, "--target", path.stem],
        ):
            run = subprocess.run(command, capture_output=True, text=True)
            assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-4000:]
    torch.ops.load_library(path)


def run_tests(names, left_out, environment, least):
    """Run the tests of ``names`` but ``left_out`` in a process of its own; more than ``least`` must pass."""
    files = [TESTS / f"test_{name}.py" for name in names]
    options = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider", "-x", "-k", f"not ({' or '.join(left_out)})"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        env=os.environ | environment | {"DERF_TEST_PROFILE": "short"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed and int(passed[1]) > least, run.stdout[-2000:]
