"""Hugging Face's kernels library loads what `python -m tools.wheels hub` lays out."""

import os
import subprocess
import sys
from pathlib import Path

import zoo
from derf import _library

zoo.library("kernels")

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = _library.library()

LOAD = """
from pathlib import Path
import sys, torch
from kernels import get_local_kernel

folder, backend = sys.argv[1:]
kernel = get_local_kernel(Path(folder), backend=backend or None)
x = torch.randn(4, 8)
torch.testing.assert_close(kernel.Derf(8)(x), torch.erf(0.5 * x))
print(kernel.__version__, kernel.__file__, kernel.show_config(), sep="\\n")
"""


def run(*command):
    result = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_local_kernel(tmp_path):
    kernels = [tmp_path / f"libderf_kernels_{each}.so" for each in ("cpu", "cu99")]  # as those of a release, but empty
    for file in kernels:
        link = [os.environ.get("CXX", "c++"), "-shared", "-fPIC", "-x", "c++", "/dev/null", "-o", file]
        subprocess.run([*link, "-Wl,--enable-new-dtags,-rpath,$ORIGIN"], check=True)
    run("-m", "tools.wheels", "pack", "--out", tmp_path, LIBRARY, *kernels)
    (wheel,) = tmp_path.glob("*.whl")
    folder = Path(run("-m", "tools.wheels", "hub", wheel, tmp_path / "hub").strip())
    script = tmp_path / "load.py"
    script.write_text(LOAD)
    backend = "cpu" if LIBRARY.stem.endswith("_cpu") else ""
    version, file, config = run(script, tmp_path / "hub", backend).split("\n", 2)
    assert version == wheel.name.split("-")[1]
    assert Path(file) == folder / "__init__.py"
    assert f"library: {folder / LIBRARY.name}" in config
    assert {file.name for file in folder.glob("*.so")} == {LIBRARY.name, kernels[0].name}
