"""The torches of the matrix, and how one is fetched to compile against: without what it needs to run."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

# The last patch of each minor version, whose C++ API is that of the others, and the CUDA that PyPI's is compiled with.
TORCHES = {
    "2.7.1": "12.6",
    "2.8.0": "12.8",
    "2.9.1": "12.8",
    "2.10.0": "12.8",
    "2.11.0": "13.0",
    "2.12.1": "13.0",
    "2.13.0": "13.0",
    "2.14.1": "13.0",
    "2.15.0": "13.2",
}
PYTHON = "3.11"  # whose torch is taken: the headers and libraries are the same for each
ARCHITECTURES = ("x86_64", "aarch64")


def uv(*arguments: str | Path) -> None:
    """Run uv, which installs for other machines, in seconds."""
    subprocess.run([sys.executable, "-m", "uv", *map(str, arguments)], check=True)


def fetch(version: str, architecture: str, folder: Path) -> Path:
    """Install one torch's headers and libraries from PyPI into a folder, without its dependencies; return the package.

    A torch with CUDA brings the CUDA runtime, whose headers and library its kernels are compiled with. PyTorch's own
    CUDA kernels are removed again: they are most of the bytes, and nothing links to them.
    """
    site = folder / "site"
    done = site / "fetched"
    if not done.exists():
        where = ["--target", site, "--python-version", PYTHON, "--python-platform", f"{architecture}-manylinux_2_28"]
        uv("pip", "install", "--no-deps", "--only-binary", ":all:", *where, f"torch=={version}")
        (found,) = Distribution.discover(name="torch", path=[str(site)])
        cuda = cuda_version(site / "torch")
        runtime = cuda and [
            requirement.partition(";")[0].strip().replace("[cudart]", "")
            for requirement in found.requires or []
            if re.match(r"nvidia-cuda-runtime|cuda-toolkit", requirement)
        ]
        if runtime and "cuda-toolkit" in runtime[0]:
            runtime = [f"nvidia-cuda-runtime=={cuda}.*"]
        if runtime:
            uv("pip", "install", "--no-deps", "--only-binary", ":all:", *where, *runtime)
        for file in (site / "torch" / "lib").glob("libtorch_cuda*.so"):
            file.unlink()
        done.touch()
    return (site / "torch").resolve()


def cuda_version(torch: Path) -> str | None:
    """Which CUDA a torch package was compiled with, "12.6" say, or None."""
    found = re.search(r"^cuda\b[^=]*= *['\"]([^'\"]+)", (torch / "version.py").read_text(), re.M)
    return found and found[1]


def major(cuda: str | None) -> str | None:
    return cuda and cuda.partition(".")[0]


def newest_torch(cuda: str | None) -> str:
    """The newest of the matrix, or of those with this major version of CUDA."""
    return [version for version, its in TORCHES.items() if cuda in (None, major(its))][-1]


def nvcc_of_majors(nvccs: list[str]) -> dict[str, str]:
    """nvccs by the major version of their CUDA, with their whole paths."""
    found = {}
    for nvcc in nvccs:
        nvcc = os.path.abspath(shutil.which(nvcc) or nvcc)
        said = subprocess.run([nvcc, "--version"], check=True, text=True, stdout=subprocess.PIPE).stdout
        found[re.search(r"release (\d+)\.", said)[1]] = nvcc
    return found


def environment(folder: Path, torch: str) -> Path:
    """Make a virtual environment with a torch and NumPy, as a user has it, and return its interpreter."""
    uv("venv", "--quiet", "--clear", "--python", sys.executable, folder)
    uv("pip", "install", "--quiet", "--python", folder / "bin" / "python", f"torch=={torch}", "numpy")
    return folder / "bin" / "python"
