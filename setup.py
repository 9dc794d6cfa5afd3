"""Hands the build to CMake with the torch that can be imported; all else is in pyproject.toml and CMakeLists.txt."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent


def tool(name):
    """Find cmake or ninja, pip's first: the system's may be too old, and PATH need not show this environment's."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if not found:
        raise SystemExit(f"derf's build needs {name}: pip install {name}")
    return found


def nvcc_of_pip():
    """Settings that name the nvcc that build_backend/derf_build.py asked for, if it did."""
    for folder in sys.path:
        for nvcc in Path(folder or ".").glob("nvidia/cu*/bin/nvcc"):
            return [f"-DDERF_NVCC={nvcc.resolve()}"]
    return []


def need_compiler():
    """Refuse in one sentence what CMake says in twenty lines."""
    given = os.environ.get("CXX", "").split()
    if os.name == "posix" and not any(map(shutil.which, given[:1] or ("c++", "g++", "clang++"))):
        raise SystemExit(
            f"derf's build needs a C++ compiler, and {f'CXX={given[0]}' if given else 'c++'} was not found. First, on "
            "Debian or Ubuntu: apt-get install g++; on Fedora: dnf install gcc-c++; in conda: conda install gxx."
        )


class Build(build):
    def run(self):
        # setuptools would pack what an earlier build left here: renamed modules, libraries for another torch.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class BuildWithCMake(build_ext):
    def run(self):
        spec = find_spec("torch")
        if not spec:
            raise SystemExit(
                "derf is compiled against torch, and there is none here. First: pip install torch; "
                "or leave out --no-build-isolation."
            )
        cuda = {"": "AUTO", "0": "OFF", "1": "ON"}.get(os.environ.get("DERF_CUDA", ""))
        if not cuda:
            raise SystemExit(f"The environment variable DERF_CUDA must be 0 or 1, but is {os.environ['DERF_CUDA']!r}.")
        need_compiler()
        torch = Path(spec.origin).parent
        version = re.search(r"__version__ *= *['\"]([^'\"]+)", (torch / "version.py").read_text())[1]
        # One build directory per torch and Python: ninja looks at time stamps and command lines only.
        directory = HERE / "build" / f"torch-{version}-{sys.implementation.cache_tag}"
        package = Path(self.get_ext_fullpath("derf._C")).resolve().parent  # python/derf with -e
        cmake = tool("cmake")
        settings = [
            f"-DTORCH_DIR={torch}",
            f"-DDERF_CUDA={cuda}",
            "-DDERF_PYTHON=ON",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
            *nvcc_of_pip(),
        ]
        subprocess.check_call([cmake, "-S", HERE, "-B", directory, "-G", "Ninja", *settings])
        jobs = ["--parallel", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
        subprocess.check_call([cmake, "--build", directory, *jobs])
        subprocess.check_call([cmake, "--install", directory, "--prefix", package])
        (HERE / "build" / "last").touch()  # see cache-keys in pyproject.toml


setup(ext_modules=[Extension("derf._C", [])], cmdclass={"build": Build, "build_ext": BuildWithCMake})
