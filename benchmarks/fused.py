"""What a Derf does together with its neighbour, beside the two one after the other and beside a LayerNorm there.

    python -m benchmarks.fused [NAME ...] [--dtype bfloat16] [--no-compiled] [--output results/fused.md]
    python -m benchmarks.fused out --default-allocator

Of each model's shape: the time of the fused call, and that of others in multiples of it (above 1: the fused one is
faster). All run in turn in one process; figures are ratios of medians. Its allocator is warm (`cases.py` says why), or
as users have it, where a large fresh output costs more than the computation: what `out=` is for.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import derf
import torch
from torch import Tensor
from torch.nn import functional as F

from .cases import SHAPES, WARM_ALLOCATOR
from .machine import facts
from .measure import measure

SECONDS = 0.3  # for each
Results = tuple[Tensor, ...]
PARAMETERS = ("alpha", "shift", "weight", "bias")


@dataclass(frozen=True)
class Fusion:
    """A fused call and what it is compared with: functions of the same tensors by name. `leaves` have a gradient."""

    tensors: Callable[[tuple[int, ...], torch.dtype], dict[str, Tensor]]
    leaves: tuple[str, ...]
    fused: Callable[[dict[str, Tensor]], Results]
    others: dict[str, Callable[[dict[str, Tensor]], Results]]
    same: str  # the one that computes the same
    tolerance: float | None = None  # None: as torch.testing has it


def parameters(channels: int) -> dict[str, Tensor]:
    values = 0.5, 0.1, 1 + 0.1 * torch.randn(channels), 0.1 * torch.randn(channels)
    return {name: torch.as_tensor(value).reshape(-1) for name, value in zip(PARAMETERS, values, strict=True)}


def added_tensors(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Tensor]:
    x, residual = torch.randn(2, *shape)
    return {name: t.to(dtype) for name, t in {"x": x, "residual": residual, **parameters(shape[-1])}.items()}


def add_derf(t: dict[str, Tensor]) -> Results:
    return derf.functional.add_pointwise_norm(t["x"], t["residual"], *(t[name] for name in PARAMETERS))


def add_then_derf(t: dict[str, Tensor]) -> Results:
    sum = t["residual"] + t["x"]
    return derf.derf(sum, *(t[name] for name in PARAMETERS)), sum


def add_then_layer_norm(t: dict[str, Tensor]) -> Results:
    sum = t["residual"] + t["x"]
    return F.layer_norm(sum, t["weight"].shape, t["weight"], t["bias"]), sum


def plain_tensors(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Tensor]:
    tensors = {name: t.to(dtype) for name, t in {"x": torch.randn(shape), **parameters(shape[-1])}.items()}
    return tensors | {"scale": torch.full((1,), 1 / 80), "out": torch.empty(shape, dtype=dtype)}


def plain(t: dict[str, Tensor]) -> Results:
    return (derf.derf(t["x"], *(t[name] for name in PARAMETERS)),)


def int8(t: dict[str, Tensor]) -> Results:
    of = (t[name] for name in PARAMETERS)
    return (derf.functional.quantized_pointwise_norm(t["x"], t["scale"], *of, dtype=torch.int8),)


def then_int8(t: dict[str, Tensor]) -> Results:
    return ((plain(t)[0] / t["scale"]).round().clamp(-128, 127).to(torch.int8),)


def into_memory(t: dict[str, Tensor]) -> Results:
    return (derf.derf(t["x"], *(t[name] for name in PARAMETERS), out=t["out"]),)


FUSIONS = {
    "add": Fusion(
        added_tensors,
        ("x", "residual", *PARAMETERS),
        add_derf,
        {"add, Derf": add_then_derf, "add, LayerNorm": add_then_layer_norm},
        "add, Derf",
    ),
    # One step at most: of numbers that lie between two, each may round to the other.
    "int8": Fusion(plain_tensors, (), int8, {"Derf": plain, "Derf, int8": then_int8}, "Derf, int8", tolerance=1),
    "out": Fusion(plain_tensors, (), into_memory, {"Derf": plain}, "Derf"),
}


def row(fusion: Fusion, shape: tuple[int, ...], dtype: torch.dtype, with_compiled: bool) -> Iterator[list[str]]:
    torch.manual_seed(0)
    torch.compiler.reset()
    tensors = {name: t.requires_grad_(name in fusion.leaves) for name, t in fusion.tensors(shape, dtype).items()}
    leaves = [tensors[name] for name in fusion.leaves]
    calls = {"fused": fusion.fused, **fusion.others}
    if with_compiled:
        *_, last = fusion.others
        calls[f"compiled {last}"] = torch.compile(fusion.others[last], dynamic=False)
    for ours, theirs in zip(fusion.fused(tensors), fusion.others[fusion.same](tensors), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=fusion.tolerance and 0, atol=fusion.tolerance)
    gradients = [torch.randn_like(result) for result in fusion.fused(tensors)] if leaves else []

    def forward(function: Callable[..., Results]) -> Results:
        with torch.no_grad():
            return function(tensors)

    def both(function: Callable[..., Results]) -> Results:
        return torch.autograd.grad(function(tensors), leaves, gradients, allow_unused=True)

    for what, run in (("forward", forward), ("forward+backward", both))[: 1 + bool(leaves)]:
        timed = measure({name: partial(run, function) for name, function in calls.items()}, SECONDS)
        own = timed.pop("fused").median
        yield [what, f"{1e3 * own:.3f}", *(f"{other.median / own:.2f}" for other in timed.values())]


def table(name: str, shapes: dict[str, tuple[int, ...]], dtypes: list[str], with_compiled: bool) -> Iterator[str]:
    fusion = FUSIONS[name]
    *_, last = fusion.others
    heads = ["shape", "dtype", "", f"{name} (ms)", *fusion.others, *[f"compiled {last}"] * with_compiled]
    yield "| " + " | ".join(heads) + " |"
    yield "| --- | --- | --- |" + " ---: |" * (len(heads) - 3)
    for case, shape in shapes.items():
        for dtype in dtypes:
            for cells in row(fusion, shape, getattr(torch, dtype), with_compiled):
                size = " x ".join(map(str, shape))
                yield "| " + " | ".join([f"{case}, {size}", dtype, *cells]) + " |"


def main() -> None:
    if not WARM_ALLOCATOR.items() <= os.environ.items() and "--default-allocator" not in sys.argv:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **WARM_ALLOCATOR})
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fused", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*FUSIONS, []], metavar="NAME", help=f"of {', '.join(FUSIONS)}")
    parser.add_argument(
        "--dtype", nargs="+", choices=["float32", "bfloat16", "float16"], default=["float32", "bfloat16"]
    )
    parser.add_argument("--largest", type=int, default=256, help="MiB of a float32 input: larger shapes are left out")
    parser.add_argument("--no-compiled", action="store_true", help="leave out torch.compile")
    parser.add_argument("--default-allocator", action="store_true", help="leave the process's allocator as it is")
    parser.add_argument("--output", type=Path, help="a file for the table")
    arguments = parser.parse_args()
    shapes = {n: s for n, s in SHAPES.items() if len(s) == 2 and math.prod(s) * 4 <= arguments.largest << 20}
    known = facts()
    lines = [f"{known['cpu']}, {known['instruction set']}, {torch.get_num_threads()} threads; torch {known['torch']}."]
    lines.append("Time of the fused call, and of the others in multiples of it.")
    print(*lines, sep="\n")
    for name in arguments.names or FUSIONS:
        lines.append("")
        print()
        for line in table(name, shapes, arguments.dtype, not arguments.no_compiled):
            print(line, flush=True)
            lines.append(line)
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
