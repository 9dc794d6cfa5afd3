"""What an installation is made of, what it refuses, and how the build chooses the torch it compiles against."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import derf
import pytest
import torch
from derf import _library

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(derf.__file__).resolve().parent
LIBRARY = PACKAGE / f"libderf_{_library.tag()}.so"
DISTRIBUTION = importlib.metadata.distribution("derf")
EDITABLE = json.loads(DISTRIBUTION.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable", False)


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def binutils(tool, *arguments):
    if not shutil.which(tool):
        pytest.skip(f"needs {tool}")
    return run(tool, *arguments, check=True).stdout


# The package


@pytest.mark.skipif(EDITABLE, reason="installed with -e")
def test_tests_import_the_installed_package():
    assert not PACKAGE.is_relative_to(ROOT / "python")
    installed = {Path(DISTRIBUTION.locate_file(file)).resolve() for file in DISTRIBUTION.files}
    assert {Path(derf.__file__).resolve(), LIBRARY, PACKAGE / "py.typed"} <= installed


def test_one_version():
    (version,) = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert derf.__version__ == version == DISTRIBUTION.version


def test_requires_torch_alone_and_does_not_pin_it():
    assert [line for line in DISTRIBUTION.requires if "extra ==" not in line] == ["torch>=2.11"]


def test_extras_do_not_need_torchvision():
    packaging = pytest.importorskip("packaging.requirements")
    seen, names = set(), ["derf"]
    while names:
        name = names.pop()
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(packaging.Requirement, requires):
            extras = ("demo", "test") if name == "derf" else ("",)
            wanted = not requirement.marker or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
            if wanted and requirement.name not in seen:
                seen.add(requirement.name)
                names.append(requirement.name)
    assert "torch" in seen
    assert not seen & {"torchvision", "torchaudio", "timm"}


# The library


def test_exports_the_public_api_alone():
    defined = [line.split(maxsplit=2)[2] for line in binutils("nm", "-DC", "--defined-only", LIBRARY).splitlines()]
    names = {re.sub(r"(\[abi:\w+\])?\(.*", "", symbol) for symbol in defined}
    declared = re.findall(r"^DERF_API .*?(\w+)\(", (ROOT / "csrc" / "operators.h").read_text(), re.M)
    assert names == {f"derf::{name}" for name in declared}


def test_needs_no_python():
    undefined = binutils("nm", "-D", "--undefined-only", LIBRARY)
    assert not re.findall(r" _?Py\w+", undefined)
    assert not re.findall(r"lib\w*python[\w.]*", binutils("readelf", "-d", LIBRARY))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="instruction sets of x86")
def test_instruction_sets_stay_in_their_namespaces():
    """AVX code that any other function has would run, and stop the program, where the processor lacks AVX."""
    function, homes, strays = "", set(), set()
    for line in binutils("objdump", "-dC", "--no-show-raw-insn", LIBRARY).splitlines():
        if line.endswith(">:"):
            function = line.partition("<")[2]
        elif re.search(r"%zmm|%k[1-7]|%ymm|\tv[a-z]", line):
            allowed = {"AVX512"} if re.search(r"%zmm|%k[1-7]", line) else {"AVX512", "AVX2"}
            found = {home for home in allowed if f"::{home}::" in function}
            homes |= found
            if not found:
                strays.add(function)
    assert not strays
    assert homes == {"AVX512", "AVX2"}


# Another torch, and no derf._C


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package that other processes import in the place of the installed one."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "derf", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "derf"


def test_library_for_another_torch(copy):
    for other in copy.glob("libderf_*"):
        if other.name != LIBRARY.name:
            other.unlink()
    (copy / LIBRARY.name).rename(copy / "libderf_torch1_99_cu9.so")
    result = run(sys.executable, "-c", "import derf")
    assert result.returncode == 1
    message = result.stderr.splitlines()[-1]
    assert message.startswith("ImportError: derf in ")
    for part in (str(copy), "torch1_99_cu9", torch.__version__, _library.tag(), "-m pip install --force-reinstall"):
        assert part in message
    assert "undefined symbol" not in result.stderr


def test_works_without_tools(copy):
    """Those for another torch, or for another Python, are none."""
    for file in copy.glob("_C_*"):
        file.rename(copy / file.name.replace(_library.tag(), "torch1_99_cu9"))
    code = (
        "import derf, torch; x = torch.ones(2, 3, requires_grad=True); derf.Derf(3)(x).sum().backward(); "
        "print(derf._C, derf.__file__, x.grad.shape, derf.show_config())"
    )
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"None {copy}")


@pytest.mark.skipif(not Path(sysconfig.get_path("include"), "Python.h").exists(), reason="no Python headers")
def test_tools_are_imported_by_their_name():
    assert importlib.import_module("derf._C") is derf._C
    assert derf._C.__name__ == "derf._C"
    assert Path(derf._C.__file__).name.startswith(f"_C_{_library.tag()}.")


# The build


@pytest.fixture
def backend(monkeypatch):
    """The build backend as pip's isolation leaves it: torch is not to be seen."""
    spec = importlib.util.spec_from_file_location("derf_build", ROOT / "build_backend" / "derf_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("DERF_BUILD_PYTHON", raising=False)
    return module


def interpreter(folder, version="2.11.0", **answer):
    """A Python that says which torch it has."""
    abi = sysconfig.get_config_var("SOABI")
    answer = {"version": version, "where": str(folder / "torch"), "path": [str(folder)], "abi": abi, **answer}
    answer.setdefault("cuda", None)
    file = folder / "bin" / "python"
    file.parent.mkdir(parents=True)
    file.write_text(f"#!/bin/sh\necho 'derf:{json.dumps(answer if version else None)}'\n")
    file.chmod(0o755)
    return str(file)


def test_build_finds_the_torch_of_an_interpreter(backend):
    found = backend.probe(sys.executable)
    assert found["version"] == torch.__version__
    assert Path(found["where"]).resolve() == Path(torch.__file__).resolve().parent


@pytest.mark.parametrize("hook", ["get_requires_for_build_wheel", "get_requires_for_build_editable"])
def test_build_uses_the_torch_that_is_there(backend, hook, tmp_path, monkeypatch):
    monkeypatch.setenv("DERF_BUILD_PYTHON", interpreter(tmp_path))
    monkeypatch.setattr(backend.build_meta, hook, lambda config_settings: ["cmake"])
    before = list(sys.path)
    assert getattr(backend, hook)() == ["cmake"]
    assert sys.path == [*before, str(tmp_path)]


@pytest.mark.parametrize("answer", [{"version": None}, {"abi": "cpython-27"}], ids=["none", "other_python"])
def test_build_asks_for_a_torch_where_there_is_none(backend, answer, tmp_path, monkeypatch):
    monkeypatch.setenv("DERF_BUILD_PYTHON", interpreter(tmp_path, **answer))
    assert backend.find_torch() == ["torch>=2.11"]


def test_build_refuses_an_old_torch(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("DERF_BUILD_PYTHON", interpreter(tmp_path, version="2.10.1+cpu"))
    with pytest.raises(SystemExit, match=r"needs torch>=2\.11, but .* is torch 2\.10\.1\+cpu"):
        backend.find_torch()


def test_build_under_pip_asks_its_own_interpreter(backend, monkeypatch):
    monkeypatch.setattr(backend, "in_throwaway_environment", lambda: False)
    assert list(backend.target_interpreters()) == [sys.executable]


@pytest.mark.parametrize(
    "command, active, expected",
    [
        ("uv pip install .", "active", ["active"]),
        ("uv pip install .", None, ["cwd/.venv"]),
        ("uv pip install --python ../given/bin/python .", "active", ["cwd/../given"]),
        ("uv pip install -p=../given .", "active", ["cwd/../given"]),
        ("../given/bin/python -m build", "active", ["cwd/../given", "active"]),
        ("python -m build", "active", ["active"]),
    ],
)
def test_build_under_other_frontends_asks_what_they_install_into(backend, command, active, expected, tmp_path):
    """A process as /proc shows it, that runs in cwd."""
    for environment in ("active", "given", "cwd/.venv"):
        interpreter(tmp_path / environment)
    (tmp_path / "cmdline").write_text(command.replace(" ", "\0") + "\0")
    (tmp_path / "environ").write_text(f"VIRTUAL_ENV={tmp_path / active}\0" if active else "")
    found = backend.interpreters_of_starter(tmp_path)
    assert list(found) == [tmp_path / environment / "bin" / "python" for environment in expected]


def test_build_refuses_a_wrong_value(tmp_path):
    pytest.importorskip("setuptools")
    for name in ("csrc", "cmake", "python", "setup.py", "pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    result = run(sys.executable, "setup.py", "build_ext", cwd=tmp_path, env={**os.environ, "DERF_CUDA": "yes"})
    assert result.returncode != 0
    assert "DERF_CUDA must be 0 or 1, but is 'yes'" in " ".join(result.stderr.split()), result.stderr


# CUDA


@pytest.mark.parametrize(
    "wish, cuda, toolkit, asks",
    [
        ("1", "13.0", None, True),
        ("1", "13.0", "12.8", True),
        ("1", "13.0", "13.2", False),
        ("1", None, None, False),
        ("0", "13.0", None, False),
    ],
)
def test_build_asks_for_nvcc_where_it_is_wanted_and_missing(backend, wish, cuda, toolkit, asks, tmp_path, monkeypatch):
    monkeypatch.setenv("DERF_CUDA", wish)
    monkeypatch.setattr(backend, "NVCC_FOLDERS", ())
    for name in ("CUDACXX", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    if toolkit:
        nvcc = tmp_path / "nvcc"
        nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {toolkit}, V{toolkit}.1'\n")
        nvcc.chmod(0o755)
    monkeypatch.setenv("DERF_BUILD_PYTHON", interpreter(tmp_path, cuda=cuda))
    found = backend.find_torch()
    assert [requirement.partition("==") for requirement in found if asks] == [
        (name, "==", "13.0.*") for name in backend.NVCC if asks
    ]
    assert bool(found) == asks


@pytest.mark.parametrize(
    "wanted, architectures",
    [
        ("9.0", "90-real"),
        ("8.0;9.0+PTX", "80-real;90"),
        ("7.5 8.6", "86-real"),
        ("Hopper 12.0", "90-real;120-real"),
        ("9.0a", "90a-real"),
        ("", "80-real;90-real;120"),  # of the default ones, those that this nvcc knows
        ("7.0", "names no architecture"),
        ("90", "must hold entries like 9.0"),
    ],
)
def test_architectures(wanted, architectures, tmp_path):
    cmake = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\nprintf 'compute_75\\ncompute_80\\ncompute_86\\ncompute_90\\ncompute_120\\n'\n")
    nvcc.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "CUDAARCHS"}
    environment |= {"TORCH_CUDA_ARCH_LIST": wanted, "PATH": "/usr/bin:/bin"}
    script = ROOT / "cmake" / "architectures.cmake"
    result = run(cmake, f"-DNvcc_EXECUTABLE={nvcc}", "-DNvcc_VERSION=13.0", "-P", script, env=environment)
    said = " ".join((result.stdout + result.stderr).split())
    if "nvidia-smi" in said or (not wanted and shutil.which("nvidia-smi")):
        pytest.skip("this machine has a GPU of its own to compile for")
    assert (f"CUDA architectures {architectures}," if "-real" in architectures else architectures) in said
