"""Finds and loads what was compiled, which fits one torch only."""

import importlib.machinery
import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import torch

_HERE = Path(__file__).resolve().parent


def tag() -> str:
    """Return what the file names for the torch in use carry: "torch2_15_cu13", say (as cmake/FindLibTorch.cmake)."""
    major, minor = torch.__version__.split(".")[:2]
    cuda = f"cu{torch.version.cuda.split('.')[0]}" if torch.version.cuda else "cpu"
    return f"torch{major}_{minor}_{cuda}"


def load() -> ModuleType | None:
    """Load the operators into `torch.ops.derf`. Return `derf._C`, or None where it was not built.

    Loading again does nothing. Raises ImportError where the operators were compiled for another torch.
    """
    library = _HERE / f"libderf_{tag()}.so"
    if not library.exists():
        built = ", ".join(sorted(file.stem.removeprefix("libderf_") for file in _HERE.glob("libderf_*"))) or "no torch"
        raise ImportError(
            f"derf in {_HERE} was compiled for {built}, but the torch in use is {torch.__version__} ({tag()}). "
            f"Compile it again: {sys.executable} -m pip install --force-reinstall --no-deps --no-cache-dir {_source()}"
        )
    torch.ops.load_library(library)
    return _load_tools()


def _source() -> str:
    """Where derf was installed from, as pip wants to be told."""
    try:
        origin = json.loads(importlib.metadata.distribution("derf").read_text("direct_url.json") or "{}")
    except importlib.metadata.PackageNotFoundError:
        origin = {}
    if "vcs_info" in origin:
        return f"{origin['vcs_info']['vcs']}+{origin['url']}@{origin['vcs_info']['commit_id']}"
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return editable + origin.get("url", "<where derf came from>")


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
