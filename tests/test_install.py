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
import tarfile
from pathlib import Path
from types import SimpleNamespace

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
    assert [line for line in DISTRIBUTION.requires if "extra ==" not in line] == ["torch>=2.7"]


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
            extras = ("demo", "release", "test") if name == "derf" else ("",)
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


def test_no_path_of_the_build_was_replaced():
    """Zeros would stand where it was longer, so that builds in two directories differ."""
    (place,) = re.findall(r" \.dynstr +STRTAB +\w+ (\w+) (\w+) ", binutils("readelf", "-SW", LIBRARY))
    offset, size = (int(number, 16) for number in place)
    names = LIBRARY.read_bytes()[offset : offset + size]
    assert b"derf" in names
    assert b"\0\0" not in names


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


def import_derf(**environment):
    """Import the copy. Return the last line of what went wrong, and what was printed."""
    code = "import derf; print(derf._library.library()); print(derf.show_config())"
    result = run(sys.executable, "-c", code, env={**os.environ, **environment})
    return (result.stderr.splitlines() or [""])[-1], result.stdout


def leave_libraries(copy, *tags):
    """Name the library for these torches, and remove all others."""
    shutil.copy(copy / LIBRARY.name, copy / "kept")
    for other in copy.glob("libderf_*"):
        other.unlink()
    for tag in tags:
        shutil.copy(copy / "kept", copy / f"libderf_{tag}.so")


def another_cuda():
    """The tag of this torch with another major version of CUDA."""
    return f"{_library.tag().rpartition('_')[0]}_cu99"


def test_no_library_for_this_torch(copy):
    leave_libraries(copy, "torch1_99_cu9", "torch1_98_cu9", "torch1_97_cpu")
    message, _ = import_derf()
    assert message.startswith(f"ImportError: derf in {copy} was compiled for ")
    assert "torch 1.98 and 1.99 with CUDA 9, torch 1.97 without CUDA, but" in message
    assert f"the torch in use is {torch.__version__} ({_library.in_words([_library.tag()])})" in message
    assert f"{sys.executable} -m pip install --force-reinstall --no-deps --no-cache-dir " in message


def test_library_for_another_cuda(copy):
    leave_libraries(copy, another_cuda())
    message, _ = import_derf()
    assert "with CUDA 99, but the torch in use is" in message
    assert "-m pip install --force-reinstall" in message


@pytest.mark.skipif(_library.tag().endswith("_cpu"), reason="this torch has no CUDA")
def test_library_without_cuda_serves_a_torch_with_cuda(copy):
    without = f"{_library.tag().rpartition('_')[0]}_cpu"
    leave_libraries(copy, another_cuda(), without)
    message, printed = import_derf()
    assert printed.splitlines()[0] == str(copy / f"libderf_{without}.so"), message
    (copy / "kept").rename(copy / LIBRARY.name)
    leave_libraries(copy, _library.tag(), without)
    assert import_derf()[1].splitlines()[0] == str(copy / LIBRARY.name)


def test_library_that_does_not_load(copy):
    (copy / LIBRARY.name).write_bytes(b"\x7fELF")
    message, _ = import_derf()
    assert message.startswith(f"ImportError: derf's {copy / LIBRARY.name} does not load, and the torch in use is")
    assert "-m pip install --force-reinstall" in message


@pytest.mark.parametrize("name", ["DERF_STRICT", "DERF_HUGE_PAGES"])
def test_switch_with_a_wrong_value(copy, name):
    message, _ = import_derf(**{name: "yes"})
    assert message == f"ValueError: The environment variable {name} must be 0 or 1, but is 'yes'."
    assert import_derf(**{name: "1"})[1]


@pytest.mark.parametrize(
    "origin, installer, command",
    [
        ({"url": "file:///src", "dir_info": {"editable": True}}, "pip", "--no-cache-dir -e file:///src"),
        ({"url": "file:///src", "dir_info": {}}, "pip", "--no-cache-dir file:///src"),
        ({"url": "https://host/derf-1-py3-none-any.whl"}, "pip", "--no-cache-dir --no-binary derf derf=="),
        (None, "pip", "-m pip install --force-reinstall --no-deps --no-cache-dir --no-binary derf derf=="),
        (
            None,
            "uv",
            f"DERF_BUILD_PYTHON={sys.executable} uv pip install --python {sys.executable} --reinstall-package",
        ),
        (
            {"url": "https://host/derf", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "uv",
            "--no-deps --no-cache git+https://host/derf@abc",
        ),
    ],
)
def test_command_that_mends_it(origin, installer, command, monkeypatch):
    """By where derf came from, and by what."""
    files = {"direct_url.json": origin and json.dumps(origin), "INSTALLER": installer + "\n"}
    distribution = SimpleNamespace(version=derf.__version__, read_text=files.get)
    monkeypatch.setattr(_library, "distribution", lambda: distribution)
    assert command in _library._command()


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


def test_build_asks_for_a_torch_where_there_is_none(backend, tmp_path, monkeypatch, capsys):
    """As uv and `python -m build` make an environment for the build."""
    monkeypatch.setattr(sys, "executable", interpreter(tmp_path, version=None))
    assert backend.find_torch() == ["torch>=2.7"]
    assert "DERF_BUILD_PYTHON=<its python>" in capsys.readouterr().err


def test_build_under_pip_asks_its_own_interpreter(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", interpreter(tmp_path))
    assert backend.find_torch() == []
    assert sys.path[-1] == str(tmp_path)


def test_build_takes_the_torch_that_can_be_imported(backend, monkeypatch):
    monkeypatch.setattr(backend, "find_spec", lambda name: name)
    monkeypatch.setenv("DERF_BUILD_PYTHON", "/nowhere/python")
    assert backend.find_torch() == []


@pytest.mark.parametrize(
    "answer, message",
    [
        ({"version": "2.6.1+cpu"}, r"needs torch>=2\.7, but .* is torch 2\.6\.1\+cpu"),
        ({"version": None}, r"has no torch. First: .*/python -m pip install torch"),
        ({"abi": "cpython-27"}, r"is another kind of Python \(cpython-27\)"),
    ],
    ids=["old", "none", "other_python"],
)
def test_build_refuses_what_cannot_work(backend, answer, message, tmp_path, monkeypatch):
    monkeypatch.setenv("DERF_BUILD_PYTHON", interpreter(tmp_path, **answer))
    with pytest.raises(SystemExit, match=message):
        backend.find_torch()


def test_build_refuses_a_python_that_is_not_there(backend, monkeypatch):
    monkeypatch.setenv("DERF_BUILD_PYTHON", "/nowhere/python")
    with pytest.raises(SystemExit, match=r"could not ask /nowhere/python \(DERF_BUILD_PYTHON\) for its torch"):
        backend.find_torch()


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"DERF_CUDA": "yes"}, "DERF_CUDA must be 0 or 1, but is 'yes'"),
        (
            {"PATH": "/nowhere", "CXX": ""},
            "needs a C++ compiler, and c++ was not found. First, on Debian or Ubuntu: apt-get",
        ),
        ({"CXX": "nowhere/g++ -m64"}, "needs a C++ compiler, and CXX=nowhere/g++ was not found."),
    ],
    ids=["value", "no_compiler", "wrong_compiler"],
)
def test_build_refuses_a_wrong_environment(setting, message, tmp_path):
    pytest.importorskip("setuptools")
    for name in ("csrc", "cmake", "python", "setup.py", "pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    result = run(sys.executable, "setup.py", "build_ext", cwd=tmp_path, env={**os.environ, **setting})
    assert result.returncode != 0
    assert message in " ".join(result.stderr.split()), result.stderr


def test_what_the_build_requires_is_bounded_and_here_within_the_bounds():
    packaging = pytest.importorskip("packaging.requirements")
    (line,) = re.findall(r"^requires = (\[.*\])$", (ROOT / "pyproject.toml").read_text(), re.M)
    requires = [packaging.Requirement(each) for each in json.loads(line)]
    assert {each.name for each in requires} == {"setuptools", "cmake", "ninja"}
    for each in requires:
        assert {bound.operator for bound in each.specifier} == {">=", "<"}, each
        assert importlib.metadata.version(each.name) in each.specifier


def sdist(sources, out, **environment):
    """The source distribution that the backend in these sources makes of them."""
    code = "import sys; sys.path.insert(0, 'build_backend'); import derf_build; derf_build.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, out, cwd=sources, env={**os.environ, **environment}, check=True)
    (archive,) = out.iterdir()
    return archive


def test_a_source_distribution_is_the_same_bytes_each_time(tmp_path):
    """From the sources of a working tree, and from what it holds itself: other times, other owners, another folder."""
    pytest.importorskip("setuptools")
    ignored = shutil.ignore_patterns(".*", "build", "__pycache__", "*.so", "*.egg-info")
    shutil.copytree(ROOT, tmp_path / "tree", ignore=ignored)
    (tmp_path / "tree" / "setup.py").chmod(0o600)
    first = sdist(tmp_path / "tree", tmp_path / "first")
    with tarfile.open(first) as archive:
        archive.extractall(tmp_path)
    (unpacked,) = tmp_path.glob("derf-*")
    assert {"PKG-INFO", "setup.py", "csrc", "tests", "python"} <= {path.name for path in unpacked.iterdir()}
    (unpacked / "setup.py").touch()
    assert sdist(unpacked, tmp_path / "second").read_bytes() == first.read_bytes()
    later = sdist(unpacked, tmp_path / "later", SOURCE_DATE_EPOCH="1600000000")
    with tarfile.open(later) as archive:
        assert {member.mtime for member in archive} == {1600000000}


# CUDA


@pytest.mark.parametrize(
    "wish, cuda, toolkit, asks",
    [
        ("1", "13.0", None, True),
        ("1", "13.0", "12.8", True),
        ("1", "13.0", "13.2", False),
        ("1", "12.8", None, False),  # which PyPI does not have
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
        ("Common", "80-real;90-real;120"),
        ("", "80-real;90-real;120"),  # of the default ones, those that this nvcc knows
        ("7.0", "names no architecture"),
        ("90", "must hold entries like 9.0"),
    ],
)
def test_architectures(wanted, architectures, tmp_path):
    said = architectures_for(wanted, (75, 80, 86, 90, 120), tmp_path)
    if "nvidia-smi" in said or (not wanted and shutil.which("nvidia-smi")):
        pytest.skip("this machine has a GPU of its own to compile for")
    assert (f"CUDA architectures {architectures}," if "-real" in architectures else architectures) in said


def test_common_architectures_of_an_older_nvcc(tmp_path):
    """A GPU that it does not know compiles the intermediate code of the newest one that it knows."""
    assert "CUDA architectures 80-real;90," in architectures_for("Common", (75, 80, 86, 90), tmp_path)


def architectures_for(wanted, known, tmp_path):
    cmake = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\n" + "".join(f"echo compute_{number}\n" for number in known))
    nvcc.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "CUDAARCHS"}
    environment |= {"TORCH_CUDA_ARCH_LIST": wanted, "PATH": "/usr/bin:/bin"}
    script = ROOT / "cmake" / "architectures.cmake"
    result = run(cmake, f"-DNvcc_EXECUTABLE={nvcc}", "-DNvcc_VERSION=13.0", "-P", script, env=environment)
    return " ".join((result.stdout + result.stderr).split())
