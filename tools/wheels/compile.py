"""Compiles the libraries for one torch: the one without CUDA, and that with CUDA kernels where they can be compiled.

Most of the time and of the bytes are the kernels'. They call nothing of torch's, so that they are libraries of their
own, compiled once, for all torches.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def compile_kernels(torch: Path, architecture: str, build: Path, *, cuda: str | None, major: str | None) -> Path:
    """Compile a library of kernels alone, beside one torch package: those for the CPU or, with an nvcc, those for CUDA.

    Args:
        torch: the package.
        architecture: "x86_64" or "aarch64"; another than this machine's is cross-compiled.
        build: where to build.
        cuda: an nvcc, or None.
        major: the major version of its CUDA, or None.
    """
    name = f"derf_kernels_cu{major}" if cuda else "derf_kernels_cpu"
    _configure(torch, architecture, build, _settings(cuda))
    _build(build, "--target", name)
    return build / f"lib{name}.so"


def compile_libraries(
    torch: Path, architecture: str, folder: Path, *, cuda: str | None, kernels: list[Path]
) -> list[Path]:
    """Compile against one torch package and return the files.

    The library without CUDA serves every torch of that version: derf/_library.py takes it where there is none for the
    CUDA in use.

    Args:
        torch: the package.
        architecture: as for compile_kernels.
        folder: where the builds may lie.
        cuda: an nvcc of that torch's CUDA, or None for no CUDA kernels.
        kernels: the CPU's library of kernels and, with CUDA, that of CUDA.
    """
    found = []
    for name, nvcc in ({"cpu": None} | ({"cuda": cuda} if cuda else {})).items():
        build, into = folder / f"build-{name}", folder / name
        linked = kernels if nvcc else kernels[:1]
        _configure(torch, architecture, build, [*_settings(nvcc), f"-DDERF_KERNELS={';'.join(map(str, linked))}"])
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
