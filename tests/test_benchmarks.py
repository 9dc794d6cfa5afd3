"""What `python -m benchmarks` does apart from timing: what it compares and refuses, targets, tables, JSON, plots."""

import importlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").exists(), reason="benchmarks are not beside the tests")
ROWS, IMAGES = (70, 96), (3, 5, 4, 4)


@pytest.fixture(scope="module", autouse=True)
def benchmarks():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        yield importlib.import_module("benchmarks")


def module(name):
    return importlib.import_module(f"benchmarks.{name}")


EAGER = ["derf", "F.layer_norm", "F.rms_norm", "eager Derf", "eager DyT"]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [ROWS, IMAGES])
def test_providers_give_the_dtype_of_the_input_and_equal_layers(dtype, shape):
    providers = module("providers")
    for channels_last in {False, len(shape) == 4}:
        compared = providers.Comparison(shape, dtype, EAGER, channels_last)
        assert compared.names == EAGER and not compared.notes
        for what in ("inference", "forward", "backward", "forward+backward"):
            for function in compared.timed(what).values():
                results = function()
                assert all(result.dtype == compared.x.dtype for result in results)
        assert not compared.copied.requires_grad and compared.copied.equal(compared.x)
    x, _, _, weight, bias = (tensor.double() for tensor in compared.arguments)
    rows = x.movedim(1, -1) if len(shape) == 4 else x
    normal = (rows - rows.mean(-1, keepdim=True)) / (rows.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    scaled = rows / (rows.square().mean(-1, keepdim=True) + torch.finfo(compared.x.dtype).eps).sqrt()
    for name, expected in (("F.layer_norm", normal * weight + bias), ("F.rms_norm", scaled * weight)):
        expected = expected.movedim(-1, 1) if len(shape) == 4 else expected
        # One rounding to the dtype of a number below 8, after arithmetic that is wider for 16 bits.
        atol = 8 * torch.finfo(compared.x.dtype).eps
        torch.testing.assert_close(compared.forward(name).double(), expected, rtol=0, atol=atol)


def slightly_off(x, alpha, shift, weight, bias):
    return weight * torch.erf(1.01 * alpha * x + shift) + bias


def wider(x, alpha, shift, weight, bias):
    return (weight * torch.erf(alpha * x + shift) + bias).double()


@pytest.mark.parametrize(("broken", "reason"), [(slightly_off, "off by"), (wider, "gives torch.float64")])
def test_a_broken_provider_is_refused(monkeypatch, broken, reason):
    providers = module("providers")
    for name in ("derf", "eager Derf"):
        monkeypatch.setitem(providers.PROVIDERS, name, (broken, providers.PROVIDERS[name][1]))
    compared = providers.Comparison(ROWS, "float32", ["F.layer_norm", "eager Derf"])
    assert compared.names == ["F.layer_norm"]
    assert len(compared.notes) == 1 and reason in compared.notes[0]
    with pytest.raises(ValueError, match=reason):
        providers.Comparison(ROWS, "float32", ["derf"])


def test_held_between_forward_and_backward():
    compared = module("providers").Comparison(ROWS, "float32", EAGER)
    x, *parameters = compared.arguments

    def held(name):
        return module("memory").held(lambda: compared.forward(name), x, parameters)

    size = x.numel() * 4
    assert held("derf") == (size, 0)
    assert held("F.layer_norm") == (size, 2 * 4 * ROWS[0])  # a mean and a deviation for each row
    assert held("eager Derf") == (size, 2 * size)  # the argument of erf, and its value


def test_measure_runs_in_turn_until_the_middle_one_has_had_its_time():
    measure = module("measure")
    order, passed = [], 0.0

    def function(name, seconds):
        def run():
            nonlocal passed
            passed += seconds
            order.append(name)

        return run

    with pytest.MonkeyPatch.context() as patch:
        timer = measure.timeit.Timer
        patch.setattr(measure.timeit, "Timer", lambda stmt: timer(stmt, timer=lambda: passed))
        functions = {"a": function("a", 1e-4), "b": function("b", 0.01), "c": function("c", 1.0)}
        found = measure.measure(functions, 0.1)
    assert [found[name].number_per_run for name in "abc"] == [5, 1, 1]
    assert [len(found[name].times) for name in "abc"] == [10, 10, 3]
    assert [found[name].median for name in "abc"] == pytest.approx([1e-4, 0.01, 1.0])
    rounds = re.fullmatch(".*?" + "((?:aaaaa|b|c){3})" * 3 + "((?:aaaaa|b){2})" * 7, "".join(order)).groups()
    assert all(sorted(each) == sorted("aaaaabc") for each in rounds[:3])
    assert all(sorted(each) == sorted("aaaaab") for each in rounds[3:])
    assert len(set(rounds[3:])) > 1  # not always behind the same one
    quartiles = measure.Measurement(2, [2e-6, 4e-6, 6e-6, 8e-6, 10e-6], found["a"].task_spec)
    assert measure.microseconds(quartiles) == [2.0, 3.0, 4.0]


def record(what, milliseconds, name="ViT-B", shape=(12608, 768), dtype="float32", **other):
    size = shape[0] * shape[1] * (4 if dtype == "float32" else 2)
    times = {provider: [900 * time, 1000 * time, 1100 * time] for provider, time in milliseconds.items()}
    place = {"allocator": "warm", "capability": "native", "threads": 2, **other}
    facts = {"name": name, "shape": list(shape), "dtype": dtype, "bytes": size, "what": what}
    return {**place, **facts, "microseconds": times}


@pytest.fixture
def report():
    small = {"name": "GPT-2, one sequence", "shape": (1024, 768)}
    measurements = [
        record("forward", {"copy": 10, "derf": 9.5, "F.layer_norm": 14, "eager Derf": 70}),
        record("forward", {"copy": 10, "derf": 9, "F.layer_norm": 14}, "LLaMA-7B", (2048, 4096)),
        record("forward+backward", {"copy": 10, "derf": 30, "F.layer_norm": 33, "eager Derf": 120}),
        record("forward", {"copy": 10, "derf": 99, "F.layer_norm": 99}, allocator="default"),
        record("forward", {"copy": 1, "derf": 4, "F.layer_norm": 5}, **small),
        record("forward", {"copy": 1, "derf": 7, "F.layer_norm": 5}, threads=1, **small),
        record("forward+backward", {"copy": 1, "derf": 4, "F.layer_norm": 3}, capability="avx2", **small),
        record("forward", {"copy": 1, "derf": 2, "eager Derf": 8}, "sweep", (4096, 1024)),
        record("forward+backward", {"copy": 1, "derf": 2, "eager Derf": 18}, "sweep", (4096, 1024)),
    ]
    held = {"derf": [4, 0], "F.layer_norm": [4, 1]}
    memory = [{"name": "ViT-B", "shape": [1, 1], "dtype": "float32", "bytes": 4, "held": held}]
    times = {"LayerNorm": [1e3, 2e3, 3e3], "Derf": [1e3, 1500, 3e3]}
    models = [{"name": "ViT-B of timm", "model": "vit", "what": "forward", "microseconds": times}]
    facts = {"cpu": "one", "threads": 2, "instruction set": "AVX2", "torch": "2", "derf": ["derf: 1"]}
    facts["last-level cache, bytes"] = 32 << 20
    report = {"facts": facts, "measurements": measurements, "memory": memory, "models": models, "notes": ["a note"]}
    return {**report, "targets": module("targets").evaluate(report)}


def test_targets(report):
    rows = {row["work"]: row for row in report["targets"]}

    def found(work):
        row = rows[work]
        if row["met"] is None:
            return None
        return row["met"], round(row["worst"]["value"], 3), row["worst"]["case"], row["cases"]

    warm, default = "out of cache, warm allocator", "out of cache, default allocator"
    assert found(f"{warm}, float32 forward / copy") == (True, 0.95, "ViT-B float32 forward", 2)
    assert rows[f"{warm}, float32 forward / copy"]["best"]["value"] == pytest.approx(0.9)
    assert rows[f"{warm}, float32 forward / copy"]["target"] == "≤ 1"
    assert found(f"{warm}, bfloat16 forward / copy") is None
    assert found(f"{warm}, float32 forward+backward / copy") == (False, 3.0, "ViT-B float32 forward+backward", 1)
    norm = f"{warm}, F.layer_norm / derf, forward+backward"
    assert found(norm) == (False, 1.1, "ViT-B float32 forward+backward", 1)
    low, high = (rows[norm]["worst"][end] for end in ("low", "high"))
    assert (low, high) == pytest.approx((1.1 * 9 / 11, 1.1 * 11 / 9))
    assert found("in cache, F.layer_norm / derf, float32 forward")[:2] == (True, 1.25)
    assert found("any shape, eager Derf / derf, forward") == (False, 4.0, "4096 x 1024 float32 forward", 2)
    assert found("any shape, eager Derf / derf, forward+backward")[:2] == (False, 4.0)
    assert found(f"{default}, F.layer_norm / derf, forward")[:2] == (False, 1.0)
    assert found("held for the backward / input")[:2] == (True, 1.0)
    assert found("2 threads against 1, in cache")[:2] == (False, 1.75)
    assert found("AVX2, F.layer_norm / derf, forward+backward")[:2] == (False, 0.75)


def test_report_on_the_terminal_and_in_files(report, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    main = module("__main__")
    written = main.write(report, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(report))
    assert sorted(path.name for path in written) == ["README.md", "bandwidth.png", "models.png", "results.json"]
    assert all(path.stat().st_size > 0 for path in written)
    module("report").print_report(report)
    for text in (capsys.readouterr().out, (tmp_path / "README.md").read_text()):
        for part in ("0.95", "not measured", "NO", "yes", "a note", "1 + 0.25", "2 (1-3)", "LLaMA-7B", "cpu: one"):
            assert part in text


def test_plan_has_every_row_and_setting():
    cases = module("cases")
    for quick in (False, True):
        plan = cases.plan(["float32", "bfloat16"], 2, quick)
        settings = {(setting.allocator, setting.capability) for setting in plan}
        assert settings == {("warm", "native"), ("default", "native"), ("warm", "avx2"), ("warm", "default")}
        assert {job.threads for job in plan[cases.Setting()]} == {1, 2}
    chosen = cases.plan(["float32"], 1, False, "one TOKEN")
    assert {job.case.name for jobs in chosen.values() for job in jobs} == {"one token"}
    assert [case.bytes for case in cases.sweep_cases("bfloat16")] == cases.SWEEP


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_a_run_says_nothing_of_whose_machine_it_is(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("rich")
    finished = run("--quick", "--dtype", "float32", "--only", "one token", "--output", tmp_path)
    assert finished.returncode == 0, finished.stderr
    text = (tmp_path / "results.json").read_text()
    found = json.loads(text)
    assert {record["what"] for record in found["measurements"]} == {"inference", "forward", "forward+backward"}
    assert {"copy", *EAGER[:-1]} == set(found["measurements"][0]["microseconds"])
    assert found["facts"]["torch"] == torch.__version__
    for private in {str(ROOT), str(Path.home()), socket.gethostname(), sys.prefix}:
        assert not re.search(rf"(?<!\w){re.escape(private)}(?!\w)", text)
    assert not re.search(r'[" ]/\w+/', text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--threads 0", "at least 1"),
        ("--dtype int8", "invalid choice: 'int8'"),
        ("--only nothing", "no case has 'nothing'"),
    ],
)
def test_wrong_arguments(arguments, message):
    finished = run(*arguments.split())
    assert finished.returncode != 0
    assert message in finished.stderr and "Traceback" not in finished.stderr


def test_modulated(monkeypatch):
    modulated = module("modulated")
    monkeypatch.setattr(modulated, "SECONDS", 0.01)
    monkeypatch.setattr(modulated, "SHAPES", {"small": (16, 32)})
    name, *figures = modulated.row("small", 2, torch.float32, with_compiled=False)
    assert name == "small, 2 x 16 x 32"
    assert [figure == "-" for figure in figures] == 2 * [False, False, True, False]
    assert all(float(figure) >= 0 for figure in figures if figure != "-")


def test_bytes_that_are_allocated():
    allocated = module("recompute").allocated
    before = allocated()
    tensor = torch.ones(1 << 22)
    assert 1 << 24 <= allocated() - before < 1.1 * (1 << 24)
    del tensor
    assert abs(allocated() - before) < 1 << 20
