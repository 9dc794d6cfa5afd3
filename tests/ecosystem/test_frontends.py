"""Each frontend builds for the torch of the environment that it was told of. Compiling and torch are stood in for."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CMAKE = """
cmake_minimum_required(VERSION 3.25)
project(stub LANGUAGES CXX)
list(PREPEND CMAKE_MODULE_PATH ${PROJECT_SOURCE_DIR}/cmake)
find_package(LibTorch 2.7 REQUIRED)
file(WRITE ${CMAKE_BINARY_DIR}/libderf_${LibTorch_TAG}.so "")
install(FILES ${CMAKE_BINARY_DIR}/libderf_${LibTorch_TAG}.so DESTINATION .)
"""
VERSION = "".join(
    f"#define TORCH_VERSION_{part} {value}\n" for part, value in (("MAJOR", 2), ("MINOR", 99), ("PATCH", 0))
)


@pytest.fixture
def source(tmp_path):
    """The project, with a build that only says for which torch."""
    source = tmp_path / "source"
    for name in ("build_backend", "cmake", "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    (source / "CMakeLists.txt").write_text(CMAKE)
    (source / "python" / "derf").mkdir(parents=True)
    (source / "python" / "derf" / "__init__.py").touch()
    return source


@pytest.fixture
def python(tmp_path):
    """The interpreter of an environment with a torch 2.99, and with what a build without isolation needs."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "beside.pth").write_text(next(path for path in sys.path if Path(path, "setuptools").is_dir()))
    files = {
        "torch/__init__.py": "",
        "torch/version.py": "__version__ = '2.99.0'\ncuda = None\n",
        "torch/include/torch/csrc/api/include/torch/version.h": VERSION,
        "torch/include/ATen/Config.h": "",
        **{f"torch/lib/lib{name}.so": "" for name in ("torch", "torch_cpu", "c10")},
        "torch-2.99.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.99.0\n",
        "torch-2.99.0.dist-info/RECORD": "",
    }
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    return python


PIP = [sys.executable, "-m", "pip", "--python", "PYTHON", "install", "--no-deps"]
UV = [sys.executable, "-m", "uv", "pip", "install", "--python", "PYTHON", "--no-deps"]
BUILD = [sys.executable, "-m", "build", "--wheel", "--outdir", "OUT"]


@pytest.mark.parametrize(
    "command, named",
    [
        ([*PIP], False),
        ([*PIP, "--no-build-isolation"], False),
        ([*PIP, "--editable"], False),
        ([*UV], True),
        ([*UV, "--no-build-isolation"], False),
        ([*UV, "--editable"], True),
        ([*BUILD], True),
    ],
    ids=["pip", "pip_no_isolation", "pip_editable", "uv", "uv_no_isolation", "uv_editable", "build"],
)
def test_builds_for_the_torch_that_is_there(command, named, source, python, tmp_path):
    out = tmp_path / "out"
    command = [{"PYTHON": python, "OUT": out}.get(word, word) for word in command]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, **({"DERF_BUILD_PYTHON": str(python)} if named else {})}
    result = subprocess.run([*command, source], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    places = [*python.parents[1].glob("lib/python*/site-packages/derf"), source / "python" / "derf"]
    found = {file.name for place in places for file in place.glob("libderf_*")}
    for wheel in out.glob("*.whl"):
        found |= {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "libderf_" in name}
    assert found == {"libderf_torch2_99_cpu.so"}
