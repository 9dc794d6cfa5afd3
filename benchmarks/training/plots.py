"""The plots, from rows."""

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ..plots import COLORS as OTHERS
from .norms import NORMS
from .runs import Row
from .statistics import Mean
from .studies import ALPHAS, BOUNDED, PROPERTIES
from .system import Base

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, as in the other plots of this project.
COLORS = {
    "layernorm": OTHERS["F.layer_norm"], "rmsnorm": OTHERS["F.rms_norm"], "dyt": OTHERS["compiled DyT"],
    "dyt-start": "#7f3f5f", "derf": OTHERS["eager Derf"], "derf-start": OTHERS["derf"], "none": "#999999",
}  # fmt: skip


def figure(width: float, height: float):
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def comparison(task: Base, rows: list[Row], file: Path) -> Path:
    """Curves of the training loss, and the measure over learning rates."""
    drawn = figure(10, 3.6)
    left, right = drawn.subplots(1, 2)
    for norm, (title, _) in NORMS.items():
        mine = [row for row in rows if row["run"]["norm"] == norm]
        curves = [row["curve"] for row in mine if row["run"]["part"] == "comparison" and None not in row["curve"]]
        if curves:
            means = [fmean(values) for values in zip(*curves, strict=False)]
            steps = [(i + 1) * rows[0]["settings"]["steps"] / len(means) for i in range(len(means))]
            left.plot(steps, means, color=COLORS[norm], label=f"{title.replace('`', '')} ({len(curves)})")
        grid = sorted(
            (row["run"]["lr"], row["measures"][task.measure])
            for row in mine
            if row["run"]["part"] == "grid" and row["measures"].get(task.measure) is not None
        )
        if grid:
            right.plot(*zip(*grid, strict=True), "o-", color=COLORS[norm], markersize=4)
    left.set(xlabel="step", ylabel="training loss", title=f"{task.title}, each at its best learning rate (seeds)")
    right.set(xlabel="learning rate", ylabel=f"{task.measure} (validation)", xscale="log", title="grid, one seed")
    finish(left, right)
    if left.lines:
        # A peak of a training that nearly failed must not make all others flat.
        least = min(min(line.get_ydata()) for line in left.lines)
        left.set(yscale="log", ylim=(0.95 * least, 1.5 * task.trivial))
        left.yaxis.set_major_formatter("{x:g}")
        left.yaxis.set_minor_formatter("{x:g}")
        left.legend(fontsize="x-small")
    drawn.savefig(file)
    return file


def finish(*several: "Axes") -> None:
    for axes in several:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)


def alpha_map(task: Base, rows: list[Row], file: Path) -> Path:
    """A cell for each start and learning rate; the failed ones are crossed."""
    rates = sorted({row["run"]["lr"] for row in rows})
    alphas = [alpha for alpha in ALPHAS if any(row["run"]["options"]["alpha"] == alpha for row in rows)]
    found = {(row["run"]["options"]["alpha"], row["run"]["lr"]): row for row in rows}
    values = [[_shown(found.get((alpha, rate)), task.trivial) for rate in rates] for alpha in alphas]
    drawn = figure(6, 4)
    axes = drawn.subplots()
    shown = axes.imshow(values, cmap="viridis_r", aspect="auto", vmax=task.trivial, origin="lower")
    for y, alpha in enumerate(alphas):
        for x, rate in enumerate(rates):
            row = found.get((alpha, rate))
            if row is not None:
                text = "×" if row["failed"] else f"{row['last']:.2f}"
                dark = values[y][x] < (min(map(min, values)) + task.trivial) / 2
                axes.text(x, y, text, ha="center", va="center", color="white" if dark else "black", fontsize=9)
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_yticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
    name = rows[0]["run"]["options"]["optimizer"].replace("adamw", "AdamW").replace("muon", "Muon")
    axes.set(xlabel="learning rate", ylabel="alpha at the start", title=f"{task.title}, {name}: final training loss")
    axes.title.set_fontsize(10)
    drawn.colorbar(shown)
    drawn.savefig(file)
    return file


def _shown(row: Row | None, most: float) -> float:
    return most if row is None or row["last"] is None else min(row["last"], most)


def bars(task: Base, found: list[tuple[str, Mean]], file: Path) -> Path:
    """A point with its interval for each."""
    drawn = figure(7, 1.2 + 0.24 * len(found))
    axes = drawn.subplots()
    for place, (_, value) in enumerate(reversed(found)):
        half = value.half if value.n > 1 else 0
        axes.errorbar(value.value, place, xerr=half, fmt="o", color=COLORS["derf-start"], capsize=3, markersize=4)
    axes.set_yticks(range(len(found)), [name for name, _ in reversed(found)], fontsize=8)
    axes.set(xlabel=f"{task.measure} (validation), mean and 95 % interval", title=task.title)
    finish(axes)
    drawn.savefig(file)
    return file


def properties(task: Base, found: dict[str, dict[str, dict[float | None, float | None]]], file: Path) -> Path:
    """A panel for each property: the measure over λ, a line for each function; a failed training is at the bottom."""
    names = [name for name in PROPERTIES if name != "sign"]
    drawn = figure(12, 6)
    panels = drawn.subplots(2, 3).flat
    colors = dict(zip((*BOUNDED, "arcsinh", "logsign", "linear"), OTHERS.values(), strict=False))
    for axes, name in zip(panels, names, strict=False):
        for function, values in found[name].items():
            points = sorted((size, value or 0) for size, value in values.items() if size is not None)
            axes.plot(*zip(*points, strict=True), "o-", color=colors[function], markersize=4, label=function)
            if None in values:
                axes.axhline(values[None] or 0, color=colors[function], linestyle=":")
        axes.set(title=PROPERTIES[name].title, xlabel="λ" + (" (dotted: not clipped)" if name == "clip" else ""))
        axes.legend(fontsize="x-small")
    last = drawn.axes[len(names)]
    left = [(function, values[None] or 0) for function, values in found[""].items()]
    last.barh([function for function, _ in left], [value for _, value in left], color=COLORS["derf-start"])
    last.set(title="As they are", xlabel=task.measure)
    finish(*drawn.axes)
    most = max(value or 0 for functions in found.values() for values in functions.values() for value in values.values())
    for axes in drawn.axes[: len(names)]:
        axes.set(ylabel=task.measure, ylim=(0, 1.05 * most))
    drawn.savefig(file)
    return file
