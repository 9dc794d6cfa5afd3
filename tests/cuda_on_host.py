"""The CUDA kernels' own source, compiled for the host: tests/cuda_on_host/ says how.

``library()`` builds it on first use and gives its operators. A process that is started with the variable that
``environment()`` sets runs every derf operator on CPU tensors by the CUDA kernels (``conftest.py`` sees to it).
"""

import functools
import os
import warnings

import on_host
import torch

VARIABLE = "DERF_TEST_CUDA_ON_HOST"


@functools.cache
def library():
    """torch.ops.derf_cuda_on_host, built anew where its sources have changed."""
    on_host.build("cuda_on_host")
    return torch.ops.derf_cuda_on_host


def environment(processors, guard_ends, reversed):
    """What to set for a process that is to run the kernels as on a GPU with so many multiprocessors."""
    library()
    return {VARIABLE: f"{processors} {int(guard_ends)} {int(reversed)}"}


def install_if_asked():
    """Put the CUDA kernels in the place of the CPU's, where ``environment()`` says so."""
    if VARIABLE in os.environ:
        processors, guard_ends, reversed = map(int, os.environ[VARIABLE].split())
        torch.ops.load_library(on_host.library("cuda_on_host"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that kernels are replaced, as is meant
            torch.ops.derf_cuda_on_host.install(processors, bool(guard_ends), bool(reversed))
