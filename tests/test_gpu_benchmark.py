"""What benchmarks/gpu.py does apart from timing: byte model, targets, checks of what it compares, plots, refusals."""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch._functorch.config as functorch_config

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
MIB = 1 << 20


@pytest.fixture(scope="module")
def benchmark():
    """The module, loaded as a script finds what stands beside it; what it changes in this process is undone."""
    names = ("gpu_providers", "gpu_report")
    with pytest.MonkeyPatch.context() as patch, functorch_config.patch(donated_buffer=False):
        patch.syspath_prepend(BENCHMARKS)
        spec = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARKS / "gpu.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
        for name in names:
            del sys.modules[name]


@pytest.fixture
def report(benchmark):
    return benchmark.gpu_report


def run_script(*arguments):
    command = [sys.executable, BENCHMARKS / "gpu.py", *arguments]
    return subprocess.run(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True)


def group(milliseconds, what="forward", shape=(16384, 4096), dtype="bfloat16"):
    """Measurements of one shape: milliseconds by provider."""
    facts = {"shape": list(shape), "dtype": dtype, "what": what, "bytes": 2 * shape[0] * shape[1]}
    timed = {name: {"milliseconds": time, "quartiles": [0.9 * time, time]} for name, time in milliseconds.items()}
    facts["graph"] = facts["bytes"] <= 8 * MIB
    return [{**facts, "provider": name, **times} for name, times in timed.items()]


def test_bandwidth_counts_the_passes_that_cannot_be_avoided(report):
    megabyte = {"bytes": 1_000_000, "milliseconds": 0.001}  # a pass: 1000 GB/s
    passes = {"forward": 2, "backward": 3, "forward+backward": 5}
    for what, count in passes.items():
        assert report.bandwidth({**megabyte, "provider": "derf", "what": what}) == pytest.approx(1000 * count)
        assert report.bandwidth({**megabyte, "provider": "copy", "what": what}) == pytest.approx(2000)
    copy, derf = group({"copy": 2.0, "derf": 3.0}, "backward")
    assert report.of_copy(derf, copy) == pytest.approx(1)


def test_summary_has_median_and_quartiles(report):
    assert report.summary([5.0, 1.0, 2.0, 4.0, 3.0]) == {"milliseconds": 3, "quartiles": [2, 4], "rounds": 5}
    assert report.summary([7.0]) == {"milliseconds": 7, "quartiles": [7, 7], "rounds": 1}


@pytest.mark.parametrize(
    ("measurements", "expected"),
    [
        (group({"copy": 0.93, "derf": 1, "eager": 6}), []),
        (group({"copy": 0.91, "derf": 1, "eager": 6}), ["16384 x 4096 bfloat16 forward: 91.0% of the copy's"]),
        (group({"copy": 0.61, "derf": 1}, "backward"), []),
        (group({"copy": 0.59, "derf": 1}, "backward"), ["16384 x 4096 bfloat16 backward: 88.5% of the copy's"]),
        # 64 MiB are not over 64 MiB.
        (group({"copy": 0.5, "derf": 1}, shape=(8192, 4096)), []),
        (group({"copy": 0.5, "derf": 1}, shape=(8193, 4096)), ["8193 x 4096 bfloat16 forward: 50.0% of the copy's"]),
        (
            group({"copy": 1, "derf": 1, "rms_norm": 0.99, "eager": 6, "compiled": 1}, shape=(1, 768)),
            [f"1 x 768 bfloat16 forward: not ahead of {name}" for name in ("rms_norm", "compiled")],
        ),
        (group({"copy": 0.1, "derf": 1}, "forward+backward"), []),
    ],
)
def test_misses(report, measurements, expected):
    lines = report.misses(measurements)
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)


def test_table(report, capsys):
    measurements = group({"copy": 0.1, "derf": 0.125, "eager": 0.5}, shape=(1, 768))
    measurements += group({"copy": 0.1, "derf": 0.125, "rms_norm": 0.25}, "backward", dtype="float16")
    heads, rows = report.table(measurements)
    assert heads[-2:] == ["eager/derf", "rms_norm/derf"]
    assert [row[:2] for row in rows] == [["bfloat16", "1 x 768 one token"], ["float16", "16384 x 4096"]]
    assert [row[-3:] for row in rows] == [["80.0%", "4.00", ""], ["120.0%", "", "2.00"]]
    assert rows[0][5:7] == ["125.00", "112.50-125.00"]
    report.print_report({"measurements": measurements, "notes": ["a note"], "failures": ["a failure"]})
    printed = capsys.readouterr().out
    for text in (*heads, "1 x 768 one token", "a note", "FAILED: a failure", "None is missed."):
        assert text in printed


def test_plots_are_drawn_from_the_json_anywhere(benchmark, report, tmp_path, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")

    def draw(directory, derf):
        measurements = []
        for what in ("forward", "backward"):
            for shape in ((1, 768), (2048, 4096), (16384, 4096), (32, 96, 56, 56)):
                measurements += group({"copy": 1, "derf": derf, "eager": 6}, what, shape)
        facts = {"gpu": "NVIDIA Made-Up 1", "torch": "2.11"}
        path = directory / f"cuda-{report.slug(facts['gpu'])}.json"
        path.parent.mkdir()
        drawn = {"facts": facts, "measurements": measurements, "notes": [], "failures": []}
        path.write_text(report.dumps(drawn))
        assert json.loads(path.read_text()) == drawn
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--plot", str(path)])
        assert benchmark.main() == 0
        pictures = [directory / f"cuda-nvidia-made-up-1-{kind}.png" for kind in ("bandwidth", "models")]
        assert sorted(directory.glob("*.png")) == pictures
        return [pyplot.imread(picture) for picture in pictures]

    for one, other in zip(draw(tmp_path / "one", 1.1), draw(tmp_path / "other", 2.5), strict=True):
        assert one.shape == other.shape
        assert (one != other).any()


def test_refuses_without_a_device():
    result = run_script("--quick")
    assert result.returncode == 2
    assert result.stderr.strip().endswith("but torch sees no CUDA device")
    assert "Traceback" not in result.stderr


def test_refuses_without_kernels(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(benchmark.derf, "show_config", lambda: "derf: 1\nCUDA kernels: no (no nvcc)\nrunning: ...")
    assert benchmark.main() == 2
    assert capsys.readouterr().err.strip().endswith("CUDA kernels: no (no nvcc)")
    monkeypatch.setattr(benchmark.derf, "show_config", lambda: "derf: 1\nCUDA kernels: yes (nvcc 13.0: sm_90)")
    assert benchmark.why_not() is None


def test_first_round_does_not_count_and_time_ends_the_others(benchmark, monkeypatch):
    rounds = iter([{"derf": 0.0}, *({"derf": float(i)} for i in range(1, 100))])
    assert benchmark.measure(lambda: next(rounds), 5)["derf"]["milliseconds"] == 3
    monkeypatch.setattr(benchmark, "SECONDS", -1)
    assert benchmark.measure(lambda: {"derf": 1.0}, 50)["derf"]["rounds"] == benchmark.FEWEST_ROUNDS


class Timer:
    """Calls every function once, and makes up the time."""

    def __init__(self):
        self.notes = []

    def prepare(self, functions, small):
        for function in functions.values():
            function()
        return lambda: dict.fromkeys(functions, 1.0)


ROWS, IMAGES = (70, 96), (3, 5, 4, 4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_run_measures_all_providers(benchmark, dtype):
    too_large = (1 << 20, 1 << 10)
    result = benchmark.run(Timer(), [(dtype, shape) for shape in (ROWS, too_large, IMAGES)], 2, 1000, "cpu")
    assert not result["failures"]
    found = {(tuple(m["shape"]), m["what"], m["provider"]) for m in result["measurements"]}
    expected = {ROWS: ("copy", "derf", "layer_norm", "rms_norm", "eager"), IMAGES: ("copy", "derf", "eager")}
    whats = ("forward", "backward", "forward+backward")
    assert found == {(shape, what, name) for shape, names in expected.items() for what in whats for name in names}
    assert any(str(too_large) in note and "memory" in note for note in result["notes"])
    late = benchmark.run(Timer(), [(dtype, ROWS)], 2, -1, "cpu")
    assert not late["measurements"] and any("left out: -1 s are over" in note for note in late["notes"])


def slightly_off(x, alpha, shift, weight, bias):
    return weight * torch.erf(1.01 * alpha * x + shift) + bias


def wider(x, alpha, shift, weight, bias):
    return (weight * torch.erf(alpha * x + shift) + bias).double()


@pytest.mark.parametrize("broken", [slightly_off, wider])
@pytest.mark.parametrize("name", ["derf", "eager"])
def test_what_cannot_be_compared_is_not_timed(benchmark, monkeypatch, name, broken):
    providers = sys.modules["gpu_providers"].PROVIDERS
    monkeypatch.setitem(providers, name, (broken, providers[name][1]))
    result = benchmark.run(Timer(), [("float32", ROWS)], 2, 1000, "cpu")
    measured = {m["provider"] for m in result["measurements"]}
    reason = "off by" if broken is slightly_off else "gives torch.float64"
    if name == "derf":
        assert not measured
        assert len(result["failures"]) == 1 and reason in result["failures"][0]
    else:
        assert measured == {"copy", "derf", "layer_norm", "rms_norm"}
        assert any(note.startswith(f"{name} left out") and reason in note for note in result["notes"])


def test_what_was_measured_is_kept_after_each_case(benchmark):
    kept = []
    cases = [("float32", shape) for shape in (ROWS, IMAGES)]
    benchmark.run(Timer(), cases, 2, 1000, "cpu", lambda report: kept.append(len(report["measurements"])))
    assert len(kept) == 2 and 0 < kept[0] < kept[1]


class Device:
    """What benchmarks/gpu.py uses of torch.cuda, for a device that does nothing."""

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            pass

        def elapsed_time(self, end):
            return 1.0

    class CUDAGraph:
        def replay(self):
            pass

    class Stream:
        pass

    properties = SimpleNamespace(name="NVIDIA Made-Up 1", L2_cache_size=1000, total_memory=10**9)
    current_device = staticmethod(lambda: 0)
    get_device_properties = staticmethod(lambda device: Device.properties)
    mem_get_info = staticmethod(lambda: (10**6, 10**9))
    synchronize = staticmethod(lambda: None)
    graph = staticmethod(lambda graph, stream: contextlib.nullcontext())
    stream = staticmethod(lambda stream: contextlib.nullcontext())


def test_the_whole_script_on_a_device_that_does_nothing(benchmark, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for name in ("Event", "CUDAGraph", "Stream", "current_device", "get_device_properties", "mem_get_info"):
        monkeypatch.setattr(torch.cuda, name, getattr(Device, name))
    for name in ("synchronize", "graph", "stream"):
        monkeypatch.setattr(torch.cuda, name, getattr(Device, name))
    monkeypatch.delitem(sys.modules["gpu_providers"].PROVIDERS, "compiled")
    for name, value in {"DEVICE": "cpu", "QUICK": [ROWS, (700, 96), IMAGES], "SMALL": 2 * 96 * 100}.items():
        monkeypatch.setattr(benchmark, name, value)
    monkeypatch.setattr(benchmark, "why_not", lambda: None)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--quick", "--out", str(tmp_path / "out"), "--repeats", "2"])
    assert benchmark.main() == 0, capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "cuda-nvidia-made-up-1.json").read_text())
    assert {m["graph"] for m in report["measurements"] if m["provider"] == "derf"} == {True, False}
    assert report["facts"]["gpu"] == "NVIDIA Made-Up 1" and not report["failures"]
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
