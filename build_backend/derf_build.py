"""PEP 517 backend: setuptools', plus "compile against the torch that is already there".

A torch extension must be compiled against the torch it will run with. Under build isolation the build does not see
that torch, and `requires = ["torch"]` would download another one to compile against. So the first of these decides:

* torch can be imported: without build isolation, or where a frontend has been told to put it there
  (uv: `extra-build-dependencies` with `match-runtime`);
* the torch of the interpreter that DERF_BUILD_PYTHON names;
* the torch of this interpreter when nothing is hidden from it: pip runs a build with the Python it installs into. uv
  and `python -m build` make an environment for it, which has no torch;
* the newest, which the wheel will ask for too, so that both get the same where there was none.

And where that torch has CUDA, the machine has a GPU (or DERF_CUDA=1 asks for CUDA kernels), and no CUDA toolkit is
installed: ask for nvcc, which PyPI has. DERF_CUDA=0 never does.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from importlib.util import find_spec
from pathlib import Path

try:
    import setuptools
    from setuptools import build_meta
    from setuptools.build_meta import (  # noqa: F401  hooks that need no torch
        get_requires_for_build_sdist,
        prepare_metadata_for_build_editable,
        prepare_metadata_for_build_wheel,
    )
except ModuleNotFoundError:
    setuptools = None

if not setuptools or int(setuptools.__version__.split(".")[0]) < 77:  # only ever so without build isolation
    raise SystemExit(
        "derf is being built without build isolation, where setuptools is missing or too old. "
        "First: pip install 'setuptools>=77.0.3' 'cmake>=3.30' ninja"
    )

TORCH = "torch>=2.7"
NVCC_FOLDERS = ("/usr/local/cuda",)
NVCC = ("nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-nvvm", "nvidia-cuda-runtime", "nvidia-cuda-cccl")

# What another interpreter is asked. Finding torch is fast, importing it is not.
PROBE = r"""
import importlib.util, json, re, sys, sysconfig
sys.path = [p for p in sys.path if p]
spec, found = importlib.util.find_spec("torch"), None
if spec and spec.origin:
    where = spec.submodule_search_locations[0]
    text = open(where + "/version.py").read()
    version = re.search(r"__version__ *= *['\"]([^'\"]+)", text)[1]
    cuda = re.search(r"^cuda\b[^=]*= *['\"]([^'\"]+)", text, re.M)
    found = {"where": where, "version": version, "cuda": cuda and cuda[1]}
    found |= {"path": sys.path, "abi": sysconfig.get_config_var("SOABI")}
print("derf:" + json.dumps(found))
"""


def say(text):
    print(f"derf build: {text}", file=sys.stderr, flush=True)


def probe(python):
    """Return the torch that this interpreter sees outside of any build isolation, or None."""
    hidden = ("PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONHOME", "__PYVENV_LAUNCHER__")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    try:
        out = subprocess.run([python, "-c", PROBE], env=env, capture_output=True, text=True, timeout=120, check=True)
        return json.loads(out.stdout.rpartition("derf:")[2])
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise SystemExit(f"derf's build could not ask {python} (DERF_BUILD_PYTHON) for its torch: {error}") from None


def toolkit_is_there(cuda):
    """Whether an nvcc of torch's CUDA version works; looks where cmake/FindNvcc.cmake does."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), *NVCC_FOLDERS]
    candidates = [os.environ.get("CUDACXX"), shutil.which("nvcc"), *(f"{home}/bin/nvcc" for home in homes if home)]
    for nvcc in filter(None, candidates):
        try:
            out = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=60).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        if f"release {cuda.split('.')[0]}." in out:
            return True
    return False


def nvcc_requirements(cuda):
    """What to install so that CUDA kernels can be compiled for a torch with this version of CUDA (None: without)."""
    gpu = any(map(os.path.exists, ("/dev/nvidiactl", "/dev/dxg")))  # the second under WSL
    wanted = {"0": False, "1": True}.get(os.environ.get("DERF_CUDA", ""), gpu)
    if not cuda or not wanted or toolkit_is_there(cuda):
        return []
    version = ".".join(cuda.split(".")[:2])
    if int(version.partition(".")[0]) < 13:  # PyPI has parts of older ones, without nvcc itself
        say(f"no CUDA {version} toolkit found, and PyPI has none. If there is one, name its folder in CUDA_HOME.")
        return []
    say(f"no CUDA toolkit found; asking for nvcc {version}")
    return [f"{name}=={version}.*" for name in NVCC]


def find_torch():
    """Make torch importable. Return what is to be installed for the build: torch where there is none, maybe nvcc."""
    if find_spec("torch"):  # --no-build-isolation, or installed for this build
        return []
    named = os.environ.get("DERF_BUILD_PYTHON")
    found = probe(named or sys.executable)
    if found and found["abi"] != sysconfig.get_config_var("SOABI"):
        raise SystemExit(
            f"DERF_BUILD_PYTHON={named} is another kind of Python ({found['abi']}) than the one that builds derf "
            f"({sysconfig.get_config_var('SOABI')}, {sys.executable}). Build with that one."
        )
    if not found and named:
        raise SystemExit(f"DERF_BUILD_PYTHON={named} has no torch. First: {named} -m pip install torch")
    if not found:
        say(
            f"{sys.executable} has no torch, so derf is compiled for the newest one. To compile it for that of an "
            "environment: DERF_BUILD_PYTHON=<its python>, or no build isolation"
        )
        return [TORCH]
    if tuple(map(int, found["version"].split(".")[:2])) < (2, 7):
        raise SystemExit(
            f"derf needs {TORCH}, but {found['where']} is torch {found['version']}. "
            "Upgrade torch in that environment first."
        )
    # Behind our own: setuptools, cmake and ninja stay the build's. The last is for an editable torch.
    for entry in (*found["path"], str(Path(found["where"]).parent)):
        if entry not in sys.path:
            sys.path.append(entry)
    say(f"compiling against torch {found['version']} in {found['where']}")
    return nvcc_requirements(found["cuda"])


def remake(archive):
    """Make the archive anew without times, owners and the order of a directory: the same files are the same bytes.

    setuptools' own list of files is left out: it has those that setuptools adds only where it has added them before.
    """
    time = int(os.environ.get("SOURCE_DATE_EPOCH", 315532800))  # 1980: a wheel knows no earlier one
    old = archive.with_suffix(".old")
    archive.rename(old)
    with (
        tarfile.open(old) as files,
        archive.open("wb") as new,
        gzip.GzipFile("", "wb", fileobj=new, mtime=time) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as remade,
    ):
        for file in sorted((each for each in files if ".egg-info" not in each.name), key=lambda each: each.name):
            member = tarfile.TarInfo(file.name)
            member.type, member.size, member.linkname, member.mtime = file.type, file.size, file.linkname, time
            member.mode = 0o755 if file.isdir() or file.mode & 0o100 else 0o644
            remade.addfile(member, files.extractfile(file) if file.isfile() else None)
    old.unlink()


def build_sdist(sdist_directory, config_settings=None):
    name = build_meta.build_sdist(sdist_directory, config_settings)
    remake(Path(sdist_directory) / name)
    return name


def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + find_torch()


def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + find_torch()


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    find_torch()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    find_torch()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
