"""The NEON kernels, compiled for Arm and run by an emulator: tests/neon_emulated/ says how.

As ``cuda_on_host``. ``WHY_NOT`` says why a machine leaves it out, and is empty on others.
"""

import functools
import os
import shutil
import subprocess
import warnings

import derf
import on_host
import torch

VARIABLE = "DERF_TEST_NEON_EMULATED"
EMULATOR = "qemu-aarch64-static"
COMPILERS = ["aarch64-linux-gnu-g++", *(f"aarch64-linux-gnu-g++-{version}" for version in (14, 13, 12))]


def _why_not():
    if "neon" in (derf._C.capabilities() if derf._C else []):
        return "this processor has NEON: the other tests run it"
    if shutil.which(EMULATOR) and any(map(shutil.which, COMPILERS)):
        return ""
    return "no emulator or compiler for Arm (Debian: apt-get install qemu-user-static g++-aarch64-linux-gnu)"


WHY_NOT = _why_not()


def program(name):
    """The path of a program for Arm: server, driver."""
    return on_host.library("neon_emulated").parent / name


@functools.cache
def library():
    """torch.ops.derf_neon_emulated, built anew where its sources have changed, connected to an emulator."""
    on_host.build("neon_emulated")
    return _connected()


@functools.cache
def _connected():
    torch.ops.load_library(on_host.library("neon_emulated"))
    memory = os.memfd_create("derf")
    os.truncate(memory, 1 << 28)
    emulator = subprocess.Popen(
        [EMULATOR, program("server"), str(memory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[memory],
    )
    torch.ops.derf_neon_emulated.connect(memory, emulator.stdin.fileno(), emulator.stdout.fileno())
    torch.ops.derf_neon_emulated.emulator = emulator  # it ends with its input
    return torch.ops.derf_neon_emulated


def environment(stream):
    """What to set for a process that is to run the kernels, as for tensors larger than the cache or not."""
    on_host.build("neon_emulated")
    return {VARIABLE: str(int(stream))}


def install_if_asked():
    """Put the NEON kernels in the place of the CPU's, where ``environment()`` says so."""
    if VARIABLE in os.environ:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that kernels are replaced, as is meant
            _connected().install(bool(int(os.environ[VARIABLE])))
