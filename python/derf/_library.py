"""Finds and loads what was compiled: a library fits one minor version of torch, and one major version of CUDA."""

import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import torch

_HERE = Path(__file__).resolve().parent
_SWITCHES = ("DERF_STRICT", "DERF_HUGE_PAGES")  # which the library reads when it needs them


def tag() -> str:
    """Return what the file names for the torch in use carry: "torch2_15_cu13", say (as cmake/FindLibTorch.cmake)."""
    major, minor = torch.__version__.split(".")[:2]
    cuda = f"cu{torch.version.cuda.split('.')[0]}" if torch.version.cuda else "cpu"
    return f"torch{major}_{minor}_{cuda}"


def library() -> Path:
    """The file that fits the torch in use, whether it is there or not.

    Where there is none for its CUDA, that without CUDA fits too: torch's other libraries are the same.
    """
    without_cuda = _HERE / f"libderf_{tag().rpartition('_')[0]}_cpu.so"
    exact = _HERE / f"libderf_{tag()}.so"
    return exact if exact.exists() or not without_cuda.exists() else without_cuda


def distribution() -> importlib.metadata.Distribution:
    """What pip knows of this package. It is beside the modules where Hugging Face's kernels library brought them."""
    for found in importlib.metadata.distributions(name="derf", path=[str(_HERE), *sys.path]):
        return found
    raise importlib.metadata.PackageNotFoundError("derf")


def load() -> ModuleType | None:
    """Load the operators into `torch.ops.derf`. Return `derf._C`, or None where it was not built.

    Loading again does nothing. Raises ImportError where the operators were compiled for another torch, and ValueError
    where an environment variable of derf's has a value that means nothing.
    """
    for name in _SWITCHES:
        if os.environ.get(name, "") not in ("", "0", "1"):
            raise ValueError(f"The environment variable {name} must be 0 or 1, but is {os.environ[name]!r}.")
    in_use = f"the torch in use is {torch.__version__} ({in_words([tag()])})"
    if not library().exists():
        tags = [file.stem.removeprefix("libderf_") for file in _HERE.glob("libderf_*.so")]
        raise ImportError(
            f"derf in {_HERE} was compiled for {in_words(tags)}, but {in_use}. Compile it for that: {_command()}"
        )
    try:
        torch.ops.load_library(library())
    except OSError as error:  # of a nightly build of this torch, or one that somebody compiled otherwise
        raise ImportError(
            f"derf's {library()} does not load, and {in_use}: {error}. Compile it: {_command()}"
        ) from error
    return _load_tools()


def in_words(tags: list[str]) -> str:
    """What libraries are for, in few words: "torch 2.7 and 2.9 with CUDA 12, torch 2.15 without CUDA", say.

    >>> in_words(["torch2_15_cpu", "torch2_9_cu12", "torch2_7_cu12"])
    'torch 2.7 and 2.9 with CUDA 12, torch 2.15 without CUDA'
    """
    versions = defaultdict(list)
    for entry in tags:
        if match := re.fullmatch(r"torch(\d+)_(\d+)_(?:cpu|cu(\d+))", entry):
            versions[int(match[3] or 0)].append((int(match[1]), int(match[2])))
    parts = []
    for cuda in sorted(versions, key=lambda cuda: cuda or 1000):
        *most, last = (f"{major}.{minor}" for major, minor in sorted(versions[cuda]))
        listed = f"{', '.join(most)} and {last}" if most else last
        parts.append(f"torch {listed} with{f' CUDA {cuda}' if cuda else 'out CUDA'}")
    return ", ".join(parts) or "no torch"


def _command() -> str:
    """What compiles derf for the torch in use, by the installer that brought derf here."""
    installed = distribution()
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    source = origin.get("url", "")
    if "vcs_info" in origin:
        source = f"{origin['vcs_info']['vcs']}+{source}@{origin['vcs_info']['commit_id']}"
    elif origin.get("dir_info", {}).get("editable"):
        source = f"-e {source}"
    elif not source or source.endswith(".whl"):  # a wheel holds nothing to compile
        source = f"--no-binary derf derf=={installed.version}"
    if (installed.read_text("INSTALLER") or "").strip() == "uv":  # which hides the environment from the build
        return (
            f"DERF_BUILD_PYTHON={sys.executable} uv pip install --python {sys.executable} --reinstall-package derf "
            f"--no-deps --no-cache {source}"
        )
    return f"{sys.executable} -m pip install --force-reinstall --no-deps --no-cache-dir {source}"


def _load_tools() -> ModuleType | None:
    name = f"{__package__}._C"
    if name not in sys.modules:
        files = (_HERE / f"_C_{tag()}{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES)
        file = next((file for file in files if file.exists()), None)
        if not file:
            return None
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]
