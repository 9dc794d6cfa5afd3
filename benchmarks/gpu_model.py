"""How long the CUDA kernels should take on GPUs that are not there: `python benchmarks/gpu_model.py`.

A roofline. A call takes what it costs to start its kernels, and the longest of three times: the bytes that
`gpu_traffic.py` counts (its JSON is read; no torch is needed) at the memory's published bandwidth; all instructions of
the loop over rows at four a clock and multiprocessor; its float32 and special instructions at the rate of their units.
These are bounds from below, made before any measurement, to compare the first ones with: a copy reaches some nine
tenths of the published bandwidth.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Seconds from one kernel's start to the next one's where neither has work: assumed, as NVIDIA publishes none.
LAUNCH = 2e-6


@dataclass(frozen=True)
class Gpu:
    """Figures of NVIDIA's data sheets and architecture papers (A100, H100, H200 SXM; HGX B200)."""

    name: str
    processors: int
    float32_lanes: int  # of a multiprocessor
    float32_flops: float  # peak, from which the clock follows
    bandwidth: float  # bytes a second
    special_lanes: int = 16
    issue: int = 4 * 32  # threads' instructions a clock

    @property
    def clock(self) -> float:
        return self.float32_flops / (2 * self.processors * self.float32_lanes)


GPUS = [
    Gpu("A100 80 GB", 108, 64, 19.5e12, 2.039e12),
    Gpu("H100", 132, 128, 67e12, 3.35e12),
    Gpu("H200", 132, 128, 67e12, 4.8e12),
    Gpu("B200", 148, 128, 75e12, 8.0e12),
]


@dataclass(frozen=True)
class Instructions:
    """For an element in the loop over rows: tests/test_cuda_binary.py holds them to the machine code of sm_90."""

    all: float
    float32: float  # additions, products and both at once
    special: float  # exponentials and the like


INSTRUCTIONS = {
    ("forward", "bfloat16"): Instructions(16.2, 10.0, 1),
    ("forward", "float32"): Instructions(22.5, 16.0, 1),
    ("backward", "bfloat16"): Instructions(29.6, 17.1, 2),
    ("backward", "float32"): Instructions(35.75, 23.25, 2),
}


def prediction(row: dict, gpu: Gpu) -> tuple[float, str]:
    """Seconds of one call, and what bounds it. `row` is one of gpu_traffic.py's."""
    sizes = {"bfloat16": 2, "float32": 4}
    passes = {"forward": 2, "backward": 3}[row["direction"]]
    elements = row["tensors"] * row["part"] / (passes * sizes[row["dtype"]])
    each = INSTRUCTIONS[row["direction"], row["dtype"]]
    clocks = max(each.all / gpu.issue, each.float32 / gpu.float32_lanes, each.special / gpu.special_lanes)
    times = {
        "memory": row["memory"] * row["part"] / gpu.bandwidth,
        "instructions": elements * clocks / (gpu.processors * gpu.clock),
        "launches": len(row["blocks"]) * LAUNCH,
    }
    bound = max(times, key=times.__getitem__)
    return times["launches"] + max(times["memory"], times["instructions"]), bound


def table(rows: list[dict]) -> str:
    """Markdown: microseconds, with what bounds them where that is not memory."""
    heads = ["", "shape", "dtype", "", *(f"{gpu.name}, µs" for gpu in GPUS)]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        cells = [row["name"], " x ".join(map(str, row["shape"])), row["dtype"], row["direction"]]
        for gpu in GPUS:
            seconds, bound = prediction(row, gpu)
            cells.append(f"{seconds * 1e6:.1f}" + ("" if bound == "memory" else f" ({bound})"))
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument(
        "--traffic", type=Path, default=HERE / "results" / "gpu_traffic.json", help="what gpu_traffic.py has written"
    )
    parser.add_argument("--out", type=Path, default=HERE / "results", help="for the table (default: %(default)s)")
    arguments = parser.parse_args()
    text = table(json.loads(arguments.traffic.read_text()))
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "gpu_model.md").write_text(text)


if __name__ == "__main__":
    main()
