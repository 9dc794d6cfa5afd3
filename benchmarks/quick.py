"""How long Derf takes beside LayerNorm, Derf written in PyTorch, and a copy: `python benchmarks/quick.py`, a minute.

All providers run in one process, one after the other in turn, and each figure is a median. Before that they are checked
for the same dtype of every result, and the two Derfs for the same values. The copy, `y.copy_(x)` into a tensor that is
there already, is what the memory allows: an operator that reads its input once and writes its output once has a ratio
of 1, one that reads input and gradient and writes a gradient 1.5 more.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from statistics import median

import derf
import torch
from torch import Tensor
from torch.nn import functional as F

# With glibc's defaults each large tensor is fresh memory, which the kernel clears page by page: that would be most of
# the time of every provider but the copy. A training process reaches this state on its own only in part.
WARM_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "10000000000",
    "MALLOC_TRIM_THRESHOLD_": "10000000000",
    "MALLOC_TOP_PAD_": "1000000000",
}
SHAPES = [(12608, 768), (2048, 4096), (16384, 4096), (1024, 768), (1, 768)]
DTYPES = {"float32": SHAPES, "bfloat16": [(12608, 768), (1024, 768)]}
CALLS = 1 << 20  # elements to go through between two looks at the clock, at least

Provider = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def layer_norm(x: Tensor, alpha: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x, weight.shape, weight, bias)


def eager(x: Tensor, alpha: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return weight * torch.erf(alpha * x + shift) + bias


PROVIDERS: dict[str, Provider] = {"layer_norm": layer_norm, "eager": eager, "derf": derf.derf}


class Case:
    """One shape and dtype: the arguments that all providers get, and what is timed."""

    def __init__(self, shape: tuple[int, int], dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        self.x, self.gradient = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
        weight, bias = 1 + 0.1 * torch.randn(shape[1]), 0.1 * torch.randn(shape[1])
        parameters = (torch.tensor([0.5]), torch.tensor([0.1]), weight, bias)
        self.arguments = [tensor.to(dtype).requires_grad_() for tensor in (self.x, *parameters)]
        self.copied = torch.empty_like(self.x)
        self.calls = max(1, min(200, CALLS // self.x.numel()))

    def forward(self, provider: Provider) -> Tensor:
        with torch.no_grad():
            return provider(*self.arguments)

    def forward_backward(self, provider: Provider) -> tuple[Tensor | None, ...]:
        unused = provider is layer_norm
        wanted = self.arguments[:1] + self.arguments[3:] if unused else self.arguments
        return torch.autograd.grad(provider(*self.arguments), wanted, self.gradient)

    def check(self) -> None:
        """Raise AssertionError where the providers cannot be compared."""
        for name, provider in PROVIDERS.items():
            for result in (self.forward(provider), *self.forward_backward(provider)):
                assert result.dtype == self.x.dtype, f"{name} gives {result.dtype} for {self.x.dtype}"
        for run in (self.forward, lambda provider: self.forward_backward(provider)[0]):
            expected = run(eager)
            # Eager PyTorch rounds after each of four operations forward, and of a few more backward.
            bound = 4 * torch.finfo(expected.dtype).eps * expected.abs().max().item()
            torch.testing.assert_close(run(derf.derf), expected, rtol=0, atol=bound)

    def timings(self) -> dict[str, dict[str, Callable[[], object]]]:
        copy = partial(self.copied.copy_, self.x)
        forward = {name: partial(self.forward, provider) for name, provider in PROVIDERS.items()}
        both = {name: partial(self.forward_backward, provider) for name, provider in PROVIDERS.items()}
        return {"forward": {"copy": copy, **forward}, "forward+backward": {"copy": copy, **both}}


def measure(case: Case, functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median milliseconds of one call of each function; they run in turn, and the first round does not count."""
    milliseconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(case.calls):
                function()
            milliseconds[name].append((time.perf_counter() - start) * 1e3 / case.calls)
    return {name: median(values[1:]) for name, values in milliseconds.items()}


def with_progress(items: list[tuple[str, tuple[int, int]]]) -> Iterable[tuple[str, tuple[int, int]]]:
    try:
        from rich.progress import track
    except ImportError:
        return items
    return track(items, description="measuring", transient=True)


def rows(dtypes: dict[str, list[tuple[int, int]]], repeats: int) -> Iterator[list[str]]:
    for dtype, shape in with_progress([(dtype, shape) for dtype, shapes in dtypes.items() for shape in shapes]):
        case = Case(shape, getattr(torch, dtype))
        case.check()
        for what, functions in case.timings().items():
            time_of = measure(case, functions, repeats)
            cells = [f"{time_of['copy']:.4f}"]
            cells += [f"{time_of[name]:.4f} ({time_of[name] / time_of['copy']:.2f})" for name in PROVIDERS]
            ratios = [f"{time_of[name] / time_of['derf']:.2f}" for name in ("layer_norm", "eager")]
            yield [dtype, "{} x {}".format(*shape), what, *cells, *ratios]


def print_table(heads: list[str], lines: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    for line in (heads, ["-" * width for width in widths], *lines):
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=9, help="rounds to take the median of (default: %(default)s)")
    parser.add_argument("--dtype", choices=["float64", "float32", "float16", "bfloat16"], help="all shapes in this one")
    parser.add_argument("--default-allocator", action="store_true", help="leave the environment as it is")
    arguments = parser.parse_args()
    if min(arguments.threads, arguments.repeats) < 1:
        parser.error("--threads and --repeats must be at least 1")
    if not arguments.default_allocator and not WARM_ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **WARM_ALLOCATOR})
    torch.set_num_threads(arguments.threads)
    lines = list(rows({arguments.dtype: SHAPES} if arguments.dtype else DTYPES, arguments.repeats))
    print(derf.show_config())
    print("allocator:", "default" if arguments.default_allocator else " ".join(map("=".join, WARM_ALLOCATOR.items())))
    print("\nMilliseconds, in brackets the multiple of the copy; then how many times as long as derf.\n")
    providers = [f"{name} (x copy)" for name in PROVIDERS]
    print_table(["dtype", "shape", "", "copy", *providers, "layer_norm/derf", "eager/derf"], lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
