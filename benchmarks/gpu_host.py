"""What a call costs the processor that launches the CUDA kernels, without a GPU: `python benchmarks/gpu_host.py`.

The CUDA operators' own source on the host (`tests/cuda_on_host`), with launches that do nothing, beside F.layer_norm on
tensors of one element, whose arithmetic is nothing as well: dispatch, checks, allocations, sizes of the launch. Of a
GPU's driver there is nothing in either. Medians, all in turn.
"""

import sys
import time
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
PROCESSORS, CALLS, ROUNDS = 132, 200, 40


def functions() -> dict[str, list]:
    import derf

    x = torch.randn(1, 1, requires_grad=True)
    weight, bias = torch.ones(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    alpha, shift = torch.full((1,), 0.5, requires_grad=True), torch.zeros(1, requires_grad=True)
    calls = {
        "F.layer_norm": lambda: F.layer_norm(x, (1,), weight, bias),
        "derf.derf": lambda: derf.derf(x, alpha, shift, weight, bias),
    }

    def without_gradients(call):
        with torch.no_grad():
            call()

    return {
        "forward, no gradients": [lambda call=call: without_gradients(call) for call in calls.values()],
        "forward": list(calls.values()),
        "forward and backward": [lambda call=call: call().backward() for call in calls.values()],
    }


def microseconds(function) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        function()
    return (time.perf_counter() - start) / CALLS * 1e6


def ratios() -> dict[str, tuple[float, float]]:
    """Microseconds of F.layer_norm and of Derf."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    import cuda_on_host

    cuda_on_host.library().install_idle(PROCESSORS)
    torch.set_num_threads(1)
    times = {}
    for name, pair in functions().items():
        rounds = [[microseconds(function) for function in pair] for _ in range(ROUNDS)]
        times[name] = tuple(median(each) for each in zip(*rounds, strict=True))
    return times


if __name__ == "__main__":
    print("| | F.layer_norm, µs | derf.derf, µs | ratio |\n| --- | --- | --- | --- |")
    for name, (norm, ours) in ratios().items():
        print(f"| {name} | {norm:.2f} | {ours:.2f} | {ours / norm:.2f} |")
