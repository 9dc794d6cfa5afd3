"""What the CUDA kernels ask of memory, by the model of benchmarks/gpu_traffic.py: no GPU is needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu_traffic.py"
TENSORS = ("input", "grad_output", "output", "grad_input")


@pytest.fixture(scope="module")
def rows():
    """The rows of the table, counted in a process of their own: its operators are the recorded kernels."""
    run = subprocess.run([sys.executable, SCRIPT, "--json"], capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout)


def title(row):
    return f"{row['name']} {row['shape']} {row['dtype']} {row['direction']}"


def least(row):
    """The share of the minimal traffic that is promised."""
    if row["name"] == "large":
        return 0.98
    return 0.9


@pytest.mark.parametrize("level", ["memory", "L2"])
def test_traffic_is_near_the_minimum(rows, level):
    for row in rows:
        assert row["minimum"] >= least(row) * row[level], f"{title(row)}: {row['minimum'] / row[level]:.3f}"
        # A kernel that left out what it must touch would look well.
        assert row["minimum"] <= 1.0001 * row["memory"] or row["shape"][0] == 1, title(row)


def test_whole_sectors_are_used(rows):
    for row in rows:
        assert row["coalesced"] >= 0.95, f"{title(row)}: {row['coalesced']:.3f}"


def test_no_bank_conflict_beyond_two_ways(rows):
    for row in rows:
        assert row["bank conflicts"] <= 2, title(row)
        assert row["direction"] == "forward" or row["bank conflicts"] >= 1, f"{title(row)}: no shared memory seen"


def test_small_tensors_take_one_launch(rows):
    for row in rows:
        assert len(row["blocks"]) == (1 if row["direction"] == "forward" or row["name"] == "one token" else 2), title(
            row
        )


def test_parameters_come_by_packets(rows):
    """weight and bias of a thread's eight bfloat16 columns: a load each, on their way behind those of two rows."""
    row = next(row for row in rows if row["name"] == "large" and row["dtype"] == "bfloat16")
    steps = [(name, size) for name, size, _ in row["first thread"]]
    assert steps[:2] == [("input", 16)] * 2
    assert sorted(steps[2:6]) == [("alpha", 2), ("bias", 16), ("shift", 2), ("weight", 16)]
    assert all(size == 16 for name, size in steps if name in TENSORS)


def test_modulation_keeps_the_function_s_own_kernel(rows):
    """adaLN's weight and bias of each sample, and its 1 + scale, are no reason for the kernel of any function."""
    for row in rows:
        assert "Fixed" in row["kernel"] and "Erf" in row["kernel"] and "General" not in row["kernel"], row["kernel"]
    assert any("modulated" in row["name"] for row in rows)
