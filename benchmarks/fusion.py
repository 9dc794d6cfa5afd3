"""Derf between two pointwise neighbours under torch.compile: its kernel, or Inductor's own fusion of all three.

    python -m benchmarks.fusion

An addition before, a GELU after, as in a residual block. "kernel" keeps the operator one call; "fused" has the formula
in PyTorch's operators, as `derf.decompositions()` would put it there, so that Inductor writes one loop. The two run in
turn in one process, whose allocator is warm (`cases.py` says why); figures are medians.
"""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial

import derf
import torch
from torch import Tensor
from torch.nn import functional as F

from .cases import WARM_ALLOCATOR
from .gpu_report import print_table
from .measure import measure

SHAPE = (12608, 768)
SECONDS = 0.5  # for each


def block(x: Tensor, y: Tensor, *parameters: Tensor) -> Tensor:
    return F.gelu(derf.derf(x + y, *parameters))


def decomposed(x: Tensor, y: Tensor, alpha: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.gelu(weight * torch.erf(alpha * (x + y) + shift) + bias)


def arguments(dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    x, y = torch.randn(2, *SHAPE)
    weight, bias = 1 + 0.1 * torch.randn(SHAPE[1]), 0.1 * torch.randn(SHAPE[1])
    tensors = (x, y, torch.tensor([0.5]), torch.tensor([0.1]), weight, bias)
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def rows(dtype: torch.dtype) -> Iterator[list[str]]:
    tensors, gradient = arguments(dtype), torch.randn(SHAPE).to(dtype)
    functions = {
        "kernel": torch.compile(block, fullgraph=True),
        "fused": torch.compile(decomposed, fullgraph=True),
    }

    def forward(function: Callable[..., Tensor]) -> Tensor:
        with torch.no_grad():
            return function(*tensors)

    def both(function: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(function(*tensors), tensors, gradient)

    # Inductor keeps float32 between the three, the kernel's neighbours round to dtype.
    torch.testing.assert_close(*map(forward, functions.values()), rtol=0.02, atol=0.02)
    for what, run in (("forward", forward), ("forward+backward", both)):
        timed = measure({name: partial(run, function) for name, function in functions.items()}, SECONDS)
        time_of = {name: 1e3 * measurement.median for name, measurement in timed.items()}
        cells = [f"{time:.2f}" for time in time_of.values()]
        yield [str(dtype).removeprefix("torch."), what, *cells, f"{time_of['fused'] / time_of['kernel']:.2f}"]


def main() -> None:
    if not WARM_ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **WARM_ALLOCATOR})
    lines = [*rows(torch.float32), *rows(torch.bfloat16)]
    print(derf.show_config(), end="\n\n")
    print_table(["dtype", "", "kernel (ms)", "fused (ms)", "fused/kernel"], lines)


if __name__ == "__main__":
    main()
