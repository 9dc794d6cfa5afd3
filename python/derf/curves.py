"""`python -m derf functions`: the family in a table and in a figure."""

import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .functional import pointwise_norm
from .functions import ELEMENTARY, PointwiseFunction, evaluate, functions
from .report import table

POINTS = (0.0, 0.5, 1.0, 2.0)
SAMPLES = 200_000
_TORCH: dict[str, Callable[..., Tensor]] = {name: getattr(torch, name) for name in ELEMENTARY}


def value_and_slope(function: str, u: Tensor) -> tuple[Tensor, Tensor]:
    """f and its derivative at u, by the fused operator."""
    u = u.detach().requires_grad_()
    value = pointwise_norm(u, torch.ones(1, dtype=u.dtype), function=function)
    (slope,) = torch.autograd.grad(value.sum(), u)
    return value.detach(), slope


def worst_ulp(function: PointwiseFunction) -> float:
    """The largest error of a float32 value that is found, in units of the last place, against the formula in float64.

    The numbers are uniform in the logarithm between 2^-10 and 2^10, of both signs: nearer to 0 a formula such as
    log(u**2 + 1) itself loses digits in float64.
    """
    u = torch.logspace(-10, 10, SAMPLES, base=2, dtype=torch.float64).float()
    u = torch.cat([u, -u])
    truth = evaluate(function.formula, u.double(), _TORCH)
    value, _ = value_and_slope(function.name, u)
    spacing = torch.exp2(torch.frexp(truth.abs().clamp(min=2.0**-126))[1].double() - 24)
    return float(((value.double() - truth).abs() / spacing).max())


def rows() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the table, which has a row for each function."""
    header = ("function", "f(u)", *(f"f({u:g})" for u in POINTS), *(f"f'({u:g})" for u in POINTS))
    header += ("bound", "rises", "ulp found", "ulp allowed", "source")
    found = []
    for function in functions().values():
        value, slope = value_and_slope(function.name, torch.tensor(POINTS))
        numbers = [f"{number:.4f}" for number in [*value.tolist(), *slope.tolist()]]
        bound = "none" if math.isinf(function.bound) else f"{function.bound:.4g}"
        ulp = f"{worst_ulp(function):.2f}", f"{function.float32_ulp:g}"
        rises = "always" if function.monotone else "not always"
        found.append((function.name, function.formula, *numbers, bound, rises, *ulp, function.source))
    return header, found


def text() -> str:
    """The table, drawn by rich where a terminal and rich are there."""
    header, found = rows()
    if not sys.stdout.isatty() or importlib.util.find_spec("rich") is None:
        return table(header, found)
    from rich.console import Console
    from rich.table import Table

    drawn = Table(*header)
    for row in found:
        drawn.add_row(*row)
    console = Console()
    with console.capture() as capture:
        console.print(drawn)
    return capture.get().rstrip()


def plot(file: Path) -> None:
    """Draw each function with its slope, all in one figure, into the file."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("--plot needs matplotlib: pip install matplotlib") from error
    known = functions()
    columns = min(6, len(known))
    lines = -(-len(known) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.2 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flatten()
    u = torch.linspace(-4, 4, 801, dtype=torch.float64)
    erf, _ = value_and_slope("erf", u)
    for axis, name in zip(axes, known, strict=False):
        value, slope = value_and_slope(name, u)
        slope[slope.abs() > 10] = math.nan  # infinite at 0
        axis.axhline(0, color="0.8", linewidth=0.6)
        axis.axvline(0, color="0.8", linewidth=0.6)
        axis.plot(u, erf, color="0.7", linewidth=1, label="erf")
        axis.plot(u, value, color="tab:blue", label="f(u)")
        axis.plot(u, slope, color="tab:orange", linewidth=1, label="slope f'(u)")
        axis.set_title(name, fontsize=9)
        axis.set_xlim(-4, 4)
        axis.set_ylim(-1.6, 1.6)
        axis.tick_params(labelsize=7)
    for axis in axes[len(known) :]:
        axis.set_axis_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(file, dpi=130)
