"""Kernels that this machine cannot run, compiled for it all the same: what cuda_on_host and avx512_on_host share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from derf import _library

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
    """Build that, where its sources have changed, and load it."""
    cmake, torch_directory, path = tool("cmake"), Path(torch.__file__).parent, library(directory, name)
    ninja = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"]
    for command in (
        [cmake, "-S", TESTS / directory, "-B", path.parent, *ninja, f"-DTORCH_DIR={torch_directory}"],
        [cmake, "--build", path.parent, "--target", path.stem],
    ):
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-4000:]
    torch.ops.load_library(path)
