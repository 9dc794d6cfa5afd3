"""The AVX-512 kernels' own source, compiled for a processor that has AVX2: tests/avx512_on_host/ says how.

As ``cuda_on_host``. ``WHY_NOT`` says why a machine leaves it out, and is empty on others.
"""

import functools
import os
import subprocess
import warnings

import derf
import on_host
import torch

VARIABLE = "DERF_TEST_AVX512_ON_HOST"


def _why_not():
    capabilities = derf._C.capabilities() if derf._C else []
    if "avx512" in capabilities:
        return "this processor has AVX-512: the other tests run it"
    if "avx2" not in capabilities:
        return "this processor has no AVX2, or this build of the package no derf._C to say so"
    preprocess = [os.environ.get("CXX", "c++"), "-E", "-x", "c++", "-o", os.devnull, "-"]
    run = subprocess.run(preprocess, input="#include <simde/simde-features.h>\n", capture_output=True, text=True)
    return "" if run.returncode == 0 else "SIMDe's headers are not here (Debian: apt-get install libsimde-dev)"


WHY_NOT = _why_not()


@functools.cache
def library():
    """torch.ops.derf_avx512_on_host, built anew where its sources have changed."""
    on_host.build("avx512_on_host")
    return torch.ops.derf_avx512_on_host


def environment(guard_ends, stream):
    """What to set for a process that is to run the kernels, storing past the cache whatever a tensor's size or not."""
    library()
    return {VARIABLE: f"{int(guard_ends)} {int(stream)}"}


def install_if_asked():
    """Put the AVX-512 kernels in the place of the CPU's, where ``environment()`` says so."""
    if VARIABLE in os.environ:
        guard_ends, stream = map(int, os.environ[VARIABLE].split())
        torch.ops.load_library(on_host.library("avx512_on_host"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that kernels are replaced, as is meant
            torch.ops.derf_avx512_on_host.install(bool(guard_ends), bool(stream))
