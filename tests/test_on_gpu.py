"""benchmarks/on_gpu.sh without a GPU: what it starts is a stub, so that its own errors do not wait for one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STEPS = [
    "install",
    "python3 -m derf",
    "tests on the device",
    "compute-sanitizer memcheck",
    "compute-sanitizer racecheck",
    "compute-sanitizer initcheck",
    "benchmark",
]
# Stands in for python3: says what it is asked, and does in $STUB_FAILS or $STUB_HANGS what their words are found in.
PYTHON = """#!/bin/bash
echo "asked: $*"
if [[ -n "$STUB_HANGS" && "$*" == *"$STUB_HANGS"* ]]; then sleep 600; fi
if [[ -n "$STUB_FAILS" && "$*" == *"$STUB_FAILS"* ]]; then exit 3; fi
if [[ "$*" == *"gpu.py"* ]]; then echo "{}" >"$3/cuda-stub.json"; fi
if [[ "$*" == *"pytest"* ]]; then echo "1 passed"; fi
exit 0
"""
SANITIZER = """#!/bin/bash
echo "sanitizer: $*"
if [[ "$STUB_SANITIZER" == unsupported ]]; then echo "Error: Device not supported"; exit 1; fi
while [[ "$1" != */python3 ]]; do shift; done
"$@"
"""


@pytest.fixture
def run(tmp_path):
    if missing := [tool for tool in ("bash", "timeout", "realpath") if not shutil.which(tool)]:
        pytest.skip(f"needs {missing[0]}")

    def run(**settings):
        out, stubs = tmp_path / "out", tmp_path / "stubs"
        stubs.mkdir()
        for name, text in (("python3", PYTHON), ("compute-sanitizer", SANITIZER)):
            (stubs / name).write_text(text)
            (stubs / name).chmod(0o755)
        environment = {"PATH": f"{stubs}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/"), **settings}
        command = ["bash", str(ROOT / "benchmarks" / "on_gpu.sh"), str(out)]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        ended = {}
        for line in (out / "on_gpu.txt").read_text().splitlines():
            word, _, _, name = line.split(maxsplit=3)
            ended[name.partition(":")[0]] = (word, name.partition(": ")[2])
        return result, ended, out

    return run


def test_every_step_runs_and_is_kept(run):
    result, ended, out = run()
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-2000:]
    assert not result.stderr
    assert ended == dict.fromkeys(STEPS, ("passed", ""))
    logs = {path.name: path.read_text() for path in out.glob("on_gpu-*.log")}
    assert len(logs) == len(STEPS)
    assert "-m pip install" in logs["on_gpu-install.log"]
    assert "tests -q --device cuda" in logs["on_gpu-tests-on-the-device.log"]
    assert "--tool racecheck" in (out / "sanitizer-racecheck.log").read_text()
    assert (out / "cuda-stub.json").exists()
    # What a step names must be there.
    asked = " ".join(logs.values()).split()
    for word in asked:
        if word.startswith(("--ignore=tests/", "tests/", "benchmarks/")):
            assert (ROOT / word.removeprefix("--ignore=")).exists(), word


def test_a_step_that_fails_keeps_none_from_running(run):
    result, ended, out = run(STUB_FAILS="--device cuda --failures")
    assert result.returncode == 1
    assert ended["tests on the device"] == ("FAILED", "exit status 3")
    assert [word for word, _ in ended.values()].count("passed") == len(STEPS) - 1
    assert (out / "cuda-stub.json").exists()


def test_without_an_installation_nothing_runs(run):
    result, ended, _ = run(STUB_FAILS="pip install")
    assert result.returncode == 1
    assert ended == {"install": ("FAILED", "exit status 3")}


def test_a_step_that_hangs_is_ended(run):
    result, ended, out = run(STUB_HANGS="pip install", DERF_ON_GPU_SECONDS="173")
    assert result.returncode == 1
    assert ended["install"] == ("FAILED", "not done in time")
    assert "pip install" in (out / "on_gpu-install.log").read_text()


def test_a_sanitizer_that_does_not_run_is_skipped(run):
    result, ended, _ = run(STUB_SANITIZER="unsupported")
    assert result.returncode == 0
    assert {ended[name][0] for name in STEPS if "sanitizer" in name} == {"SKIPPED"}
    assert ended["benchmark"][0] == "passed"
