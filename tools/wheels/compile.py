"""Compiles the libraries for one torch: the one without CUDA, and that with CUDA kernels where they can be compiled.

Most of the time goes into the kernels. They call nothing of torch's, so that they are compiled once, for all torches.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).resolve().parents[2]
CPU_KERNELS = {"x86_64": ("default", "avx2", "avx512"), "aarch64": ("neon",)}


def compile_kernels(torch: Path, architecture: str, build: Path, *, cuda: str | None) -> Path:
    """Compile the kernels alone, beside one torch package: those for the CPU, or with an nvcc those for CUDA.

    Returns the folder of the build. Raises ValueError if they call something of torch's.
    """
    kernels = ["cuda/kernels.cu"] if cuda else [f"cpu/kernels_{isa}.cpp" for isa in CPU_KERNELS[architecture]]
    _configure(torch, architecture, build, _settings(cuda))
    objects = [f"CMakeFiles/derf.dir/csrc/{kernel}.o" for kernel in kernels]
    _build(build, "--target", *objects)
    for file in objects:
        check_calls_no_torch(build / file)
    return build


def check_calls_no_torch(object_file: Path) -> None:
    """Raise ValueError if an object needs a function of torch's, which another torch may have otherwise."""
    with object_file.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab").iter_symbols()
        needed = [symbol.name for symbol in symbols if symbol["st_shndx"] == "SHN_UNDEF"]
    if calls := [name for name in needed if re.match(r"_Z(T[A-Z])?N?K?(3c10|2at|5torch)", name)]:
        raise ValueError(f"{object_file} calls {', '.join(calls)}: kernels of one torch do not serve every other.")


def compile_libraries(
    torch: Path, architecture: str, folder: Path, *, cuda: str | None, kernels: list[Path]
) -> list[Path]:
    """Compile against one torch package and return the files.

    The library without CUDA serves every torch of that version: derf/_library.py takes it where there is none for the
    CUDA in use.

    Args:
        torch: the package.
        architecture: "x86_64" or "aarch64"; another than this machine's is cross-compiled.
        folder: where the builds may lie.
        cuda: an nvcc of that torch's CUDA, or None for no CUDA kernels.
        kernels: what compile_kernels returned.
    """
    found = []
    for name, nvcc in ({"cpu": None} | ({"cuda": cuda} if cuda else {})).items():
        build, into = folder / f"build-{name}", folder / name
        _configure(torch, architecture, build, [*_settings(nvcc), f"-DDERF_KERNELS={';'.join(map(str, kernels))}"])
        _build(build)
        _cmake("--install", build, "--prefix", into)
        found += sorted(into.glob("libderf_*.so"))
    return found


def _settings(cuda: str | None) -> list[str]:
    return ["-DDERF_CUDA=ON", f"-DDERF_NVCC={cuda}"] if cuda else ["-DLibTorch_WITHOUT_CUDA=ON"]


def _configure(torch: Path, architecture: str, build: Path, settings: list[str]) -> None:
    if architecture != platform.machine():
        settings = [*settings, "-DCMAKE_TOOLCHAIN_FILE=" + str(Path(__file__).with_name(f"{architecture}.cmake"))]
    settings = [f"-DTORCH_DIR={torch}", "-DDERF_PYTHON=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_Python=ON", *settings]
    _cmake("-S", ROOT, "-B", build, "-G", "Ninja", *settings)


def _build(build: Path, *what: str) -> None:
    jobs = ["--parallel", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
    _cmake("--build", build, *jobs, *what)


def _cmake(*arguments: str | Path) -> None:
    beside = shutil.which("cmake", path=Path(sys.executable).parent)
    environment = {"TORCH_CUDA_ARCH_LIST": "Common", **os.environ}  # not for the GPU of this machine alone
    subprocess.run([beside or "cmake", *map(str, arguments)], check=True, env=environment)
