"""The CUDA kernels' own source, compiled for the host: tests/cuda_on_host/ says how.

``library()`` builds it on first use and gives its operators. A process that is started with the variable that
``environment()`` sets runs every derf operator on CPU tensors by the CUDA kernels (``conftest.py`` sees to it).
"""

import functools
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from derf import _library

SOURCE = Path(__file__).resolve().parent / "cuda_on_host"
BUILD = SOURCE.parent.parent / "build" / f"cuda_on_host_{_library.tag()}"
VARIABLE = "DERF_TEST_CUDA_ON_HOST"


def tool(name):
    """The path of cmake or ninja, of this environment first."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    assert found, f"{name} is needed: pip install {name}"
    return found


@functools.cache
def library():
    """torch.ops.derf_cuda_on_host, built anew where its sources have changed."""
    cmake, torch_directory = tool("cmake"), Path(torch.__file__).parent
    ninja = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"]
    for command in (
        [cmake, "-S", SOURCE, "-B", BUILD, *ninja, f"-DTORCH_DIR={torch_directory}"],
        [cmake, "--build", BUILD],
    ):
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-4000:]
    torch.ops.load_library(BUILD / "cuda_on_host.so")
    return torch.ops.derf_cuda_on_host


def environment(processors, guard_ends, reversed):
    """What to set for a process that is to run the kernels as on a GPU with so many multiprocessors."""
    library()
    return {VARIABLE: f"{processors} {int(guard_ends)} {int(reversed)}"}


def install_if_asked():
    """Put the CUDA kernels in the place of the CPU's, where ``environment()`` says so."""
    if VARIABLE in os.environ:
        processors, guard_ends, reversed = map(int, os.environ[VARIABLE].split())
        torch.ops.load_library(BUILD / "cuda_on_host.so")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that kernels are replaced, as is meant
            torch.ops.derf_cuda_on_host.install(processors, bool(guard_ends), bool(reversed))
