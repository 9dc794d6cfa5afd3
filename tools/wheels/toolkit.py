"""Puts nvcc 12.4 together, for the torches with CUDA 12: PyPI lacks parts of it, and Debian has them.

It knows GPUs up to compute capability 9.0; newer ones compile its intermediate code when a program starts. NVIDIA's
own toolkit 12.8 compiles for them, too.
"""

import shutil
from pathlib import Path

from .debian import unpack
from .torches import uv

VERSION = "12.4"
PROGRAMS = ("bin2c", "cudafe++", "fatbinary", "nvlink", "ptxas")
HEADERS = {
    "nvidia-cuda-nvcc-cu12": "cuda_nvcc",
    "nvidia-cuda-runtime-cu12": "cuda_runtime",
    "nvidia-cuda-cccl-cu12": "cuda_cccl",
}
PROFILE = """\
TOP = $(_HERE_)/..
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
PATH += $(TOP)/nvvm/bin:$(_HERE_):
INCLUDES += "-I$(TOP)/include" $(_SPACE_)
LIBRARIES =+ $(_SPACE_) "-L$(TOP)/lib64"
"""


def assemble(folder: Path) -> Path:
    """Make a toolkit in a folder, with what compiles kernels, and return its nvcc."""
    parts = folder / "parts"
    unpack(["nvidia-cuda-toolkit"], parts / "apt", parts / "debian", architecture="amd64", dependencies=False)
    where = ["--target", parts / "pypi", "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:"]
    uv("pip", "install", "--quiet", "--no-deps", *where, *(f"{package}=={VERSION}.*" for package in HEADERS))
    binaries, own = parts / "debian" / "usr" / "bin", parts / "debian" / "usr" / "lib" / "nvidia-cuda-toolkit"
    for source, to in (
        *((binaries / program, "bin") for program in PROGRAMS),
        (own / "bin" / "nvcc", "bin"),
        (own / "bin" / "cicc", "nvvm/bin"),
        (own / "libdevice" / "libdevice.10.bc", "nvvm/libdevice"),
    ):
        (folder / to).mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / to)
    for name in HEADERS.values():
        shutil.copytree(parts / "pypi" / "nvidia" / name / "include", folder / "include", dirs_exist_ok=True)
    shutil.copytree(own / "bin" / "crt", folder / "bin" / "crt", dirs_exist_ok=True)
    shutil.copytree(parts / "pypi" / "nvidia" / "cuda_runtime" / "lib", folder / "lib64", dirs_exist_ok=True)
    (folder / "bin" / "nvcc.profile").write_text(PROFILE)
    shutil.rmtree(parts)
    return folder / "bin" / "nvcc"
