"""benchmarks/gpu_model.py: predictions made before a measurement, from what gpu_traffic.py counted."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
RESULTS = BENCHMARKS / "results"


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        spec = importlib.util.spec_from_file_location("gpu_model", BENCHMARKS / "gpu_model.py")
        patch.setitem(sys.modules, "gpu_model", importlib.util.module_from_spec(spec))
        spec.loader.exec_module(sys.modules["gpu_model"])
        yield sys.modules["gpu_model"]


def test_the_committed_table_is_that_of_the_committed_counts(model):
    rows = json.loads((RESULTS / "gpu_traffic.json").read_text())
    assert model.table(rows) == (RESULTS / "gpu_model.md").read_text()


@pytest.mark.parametrize(("name", "megahertz"), [("A100 80 GB", 1410), ("H100", 1980), ("H200", 1980), ("B200", 1980)])
def test_clocks_that_follow_from_published_peaks(model, name, megahertz):
    assert next(gpu.clock for gpu in model.GPUS if gpu.name == name) == pytest.approx(megahertz * 1e6, rel=0.01)


def test_prediction_by_hand(model):
    gpu = model.Gpu("made up", processors=100, float32_lanes=128, float32_flops=2 * 100 * 128 * 1e9, bandwidth=1e12)
    elements = 10**8
    row = {"direction": "forward", "dtype": "bfloat16", "part": 10, "blocks": [100]}
    row |= {"tensors": elements * 2 * 2 / 10, "memory": elements * 2 * 2 / 10}
    # 4e8 bytes at 1 TB/s: 400 us. 16.2 instructions an element, 128 a clock, 1e11 clocks a second of all: 127 us.
    assert model.prediction(row, gpu) == (pytest.approx(400e-6 + model.LAUNCH), "memory")
    fast = model.Gpu("made up", 100, 128, 2 * 100 * 128 * 1e9, bandwidth=1e13)
    each = model.INSTRUCTIONS["forward", "bfloat16"].all
    assert model.prediction(row, fast) == (pytest.approx(elements * each / 128 / 1e11 + model.LAUNCH), "instructions")
    small = row | {"tensors": 4, "memory": 100, "direction": "backward", "blocks": [1, 1]}
    seconds, bound = model.prediction(small, gpu)
    assert bound == "launches" and seconds == pytest.approx(2 * model.LAUNCH, rel=0.01)
