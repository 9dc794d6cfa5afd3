"""Compiles the libraries for one torch: the one without CUDA, and that with CUDA kernels where they can be compiled."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def compile_libraries(torch: Path, architecture: str, folder: Path, *, cuda: str | None) -> list[Path]:
    """Compile against one torch package and return the files.

    The library without CUDA serves every torch of that version: derf/_library.py takes it where there is none for the
    CUDA in use.

    Args:
        torch: the package.
        architecture: "x86_64" or "aarch64"; another than this machine's is cross-compiled.
        folder: where the builds may lie.
        cuda: an nvcc of that torch's CUDA, or None for no CUDA kernels.
    """
    builds = {"cpu": ["-DLibTorch_WITHOUT_CUDA=ON"]}
    if cuda:
        builds["cuda"] = ["-DDERF_CUDA=ON", f"-DDERF_NVCC={cuda}"]
    if architecture != platform.machine():
        toolchain = ["-DCMAKE_TOOLCHAIN_FILE=" + str(Path(__file__).with_name(f"{architecture}.cmake"))]
        builds = {name: [*settings, *toolchain] for name, settings in builds.items()}
    found = []
    for name, settings in builds.items():
        build, into = folder / f"build-{name}", folder / name
        settings = [f"-DTORCH_DIR={torch}", "-DDERF_PYTHON=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_Python=ON", *settings]
        _cmake("-S", ROOT, "-B", build, "-G", "Ninja", *settings)
        jobs = ["--parallel", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
        _cmake("--build", build, *jobs)
        _cmake("--install", build, "--prefix", into)
        found += sorted(into.glob("libderf_*.so"))
    return found


def _cmake(*arguments: str | Path) -> None:
    beside = shutil.which("cmake", path=Path(sys.executable).parent)
    subprocess.run([beside or "cmake", *map(str, arguments)], check=True)
