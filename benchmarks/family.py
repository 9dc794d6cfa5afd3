"""Every function of the family beside erf, and beside its own formula under torch.compile.

    python -m benchmarks.family [NAME ...] [--dtype bfloat16] [--no-compiled] [--shape 12608 768]

Each function runs in turn with erf in one process, whose allocator is warm (`cases.py` says why); figures are ratios of
medians: its time in multiples of erf's, and the compiled formula's in multiples of its own. `per channel` is erf with
alpha and shift for each channel, `studies` erf with every study around it.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial

import derf
import torch
from derf.functions import evaluate
from torch import Tensor

from .cases import WARM_ALLOCATOR
from .gpu_report import print_table
from .measure import measure

SECONDS = 0.4  # for each
ELEMENTARY = {name: getattr(torch, name) for name in ("abs", "sign", "sqrt", "exp", "log", "erf", "tanh", "sin")}
ELEMENTARY |= {"atan": torch.atan, "asinh": torch.asinh, "clip": torch.clamp}
EVERY_STUDY = {"dead_zone": 0.1, "input_shift": 0.1, "linear_mix": 0.01, "clip": 0.8, "output_shift": 0.1, "sign": -1}
VARIANTS = ("per channel", "studies")


def operator(name: str) -> Callable[..., Tensor]:
    options = EVERY_STUDY if name == "studies" else {}
    function = "erf" if name in VARIANTS else name
    return partial(torch.ops.derf.pointwise_norm, function=function, **options)


def compiled(name: str) -> Callable[..., Tensor]:
    formula = derf.functions()[name].formula

    def eager(x: Tensor, alpha: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return weight * evaluate(formula, alpha * x + shift, ELEMENTARY) + bias

    return torch.compile(eager, dynamic=False)


def row(name: str, shape: list[int], dtype: torch.dtype, with_compiled: bool) -> list[str]:
    torch.manual_seed(0)
    channels = shape[-1]
    scalars = channels if name == "per channel" else 1
    parameters = (torch.full((scalars,), 0.5), torch.zeros(scalars), torch.ones(channels), torch.zeros(channels))
    tensors = [t.to(dtype).requires_grad_() for t in (torch.randn(shape), *parameters)]
    of_erf = [tensors[0], *(t.detach()[:1].requires_grad_() for t in tensors[1:3]), *tensors[3:]]
    gradient = torch.randn(shape).to(dtype)
    calls = {"own": (operator(name), tensors), "erf": (torch.ops.derf.derf, of_erf)}
    if with_compiled and name not in VARIANTS:
        calls["compiled"] = compiled(name), tensors
        torch.testing.assert_close(*(f(*t) for f, t in (calls["own"], calls["compiled"])), rtol=0.02, atol=0.02)

    def forward(function: Callable[..., Tensor], tensors: list[Tensor]) -> Tensor:
        with torch.no_grad():
            return function(*tensors)

    def both(function: Callable[..., Tensor], tensors: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(function(*tensors), tensors, gradient)

    cells = [name]
    for run in (forward, both):
        timed = measure({key: partial(run, *call) for key, call in calls.items()}, SECONDS)
        own = timed["own"].median
        cells += [f"{1e3 * own:.2f}", f"{own / timed['erf'].median:.2f}"]
        cells.append(f"{timed['compiled'].median / own:.1f}" if "compiled" in timed else "-")
    return cells


def main() -> None:
    if not WARM_ALLOCATOR.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **WARM_ALLOCATOR})
    known = [*derf.functions(), *VARIANTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.family", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*known, []], metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16", "float64"], default="float32")
    parser.add_argument("--shape", nargs="+", type=int, default=[12608, 768])
    parser.add_argument(
        "--no-compiled", action="store_true", help="leave out torch.compile, which takes most of the time"
    )
    arguments = parser.parse_args()
    names = arguments.names or known
    row(names[0], arguments.shape, getattr(torch, arguments.dtype), False)  # the first one finds memory cold
    lines = [row(n, arguments.shape, getattr(torch, arguments.dtype), not arguments.no_compiled) for n in names]
    print(derf.show_config(), end="\n\n")
    header = ["function", "forward (ms)", "/ erf", "compiled / own", "both (ms)", "/ erf", "compiled / own"]
    print(f"{arguments.dtype} {arguments.shape}")
    print_table(header, lines)


if __name__ == "__main__":
    main()
