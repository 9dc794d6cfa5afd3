"""What the statistics of pointwise layers say about a training: thresholds, sentences, a table, a plot."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

GRADIENTS = ("alpha_grad", "shift_grad", "weight_grad")
STATISTICS = ("saturated", "gain", "output", "alpha", "shift", *GRADIENTS)

# For the mean over layers: one layer alone that is past them is common in trainings that go well.
SATURATED = 0.3  # of the elements
GAIN = 1.5  # alpha times the input's root mean square, where a function saturates at 2; a norm is served by .1 to .4
OUTPUT = 0.1  # root mean square before bias, where a norm has 1
# For one layer: nothing passes through it.
DEAD_SATURATED, DEAD_OUTPUT = 0.99, 1e-3


@dataclass(frozen=True)
class HealthWarning:
    """One finding of :class:`derf.Monitor`.

    Args:
        step: when it was seen.
        kind: "saturated", "gain", "faint", "dead" or "not finite".
        layer: the layer; if the mean over layers is meant, the worst one.
        text: a sentence that says what is wrong and what helps.
    """

    step: int
    kind: str
    layer: str
    text: str

    def __str__(self) -> str:
        return f"step {self.step}: {self.text}"


def mean_over_layers(layers: dict[str, dict[str, float]]) -> dict[str, float]:
    """The mean of each statistic over the layers that have it."""
    result = {}
    for name in STATISTICS:
        values = [row[name] for row in layers.values() if not math.isnan(row[name])]
        result[name] = fmean(values) if values else math.nan
    return result


def judge(
    step: int, layers: dict[str, dict[str, float]], limits: Mapping[str, float] | None = None
) -> Iterator[HealthWarning]:
    """What is wrong in one look. A mean that is past its threshold names the worst layer.

    limits: the |u| at which each layer saturates; erf's where they are not given.
    """
    limits = limits or dict.fromkeys(layers, 2.0)
    names = {name: f"layer {name}" if name else "the layer" for name in layers}
    for name, row in layers.items():
        if not all(math.isfinite(row[key]) for key in ("saturated", "gain", "output")):
            yield HealthWarning(
                step,
                "not finite",
                name,
                f"{names[name]} has a NaN or infinite input or parameter. Lower the lr.",
            )
            return
    mean, many = mean_over_layers(layers), len(layers) > 1
    worst = max(layers, key=lambda name: layers[name]["saturated"])
    if mean["saturated"] > SATURATED:
        beside = f" (mean over layers {mean['saturated']:.0%})" if many else ""
        yield HealthWarning(
            step, "saturated", worst,
            f"{names[worst]} is saturated: {layers[worst]['saturated']:.0%} of |u| > {limits[worst]:.3g}{beside}. "
            "Lower alpha's start or the learning rate.",
        )  # fmt: skip
    elif fmean(layers[name]["gain"] * 2 / limits[name] for name in layers) > GAIN:
        worst = max(layers, key=lambda name: layers[name]["gain"] / limits[name])
        beside = f" (mean over layers {mean['gain']:.2g})" if many else ""
        yield HealthWarning(
            step, "gain", worst,
            f"{names[worst]} sees inputs that are too large for its alpha: alpha times their root mean square is "
            f"{layers[worst]['gain']:.2g}{beside}. Lower alpha's start or the learning rate.",
        )  # fmt: skip
    if mean["output"] < OUTPUT:
        worst = min(layers, key=lambda name: layers[name]["output"])
        beside = f" (mean over layers {mean['output']:.2g})" if many else ""
        yield HealthWarning(
            step, "faint", worst,
            f"{names[worst]} passes on next to nothing: the root mean square of its output is "
            f"{layers[worst]['output']:.2g}{beside}, where a norm's is 1. Start from data: derf.start(model, batch).",
        )  # fmt: skip
    for name, row in layers.items():
        if row["output"] < DEAD_OUTPUT and mean["output"] >= OUTPUT:
            yield HealthWarning(
                step, "dead", name,
                f"{names[name]} is dead: its output before bias is {row['output']:.1g}. Look at its alpha and weight, "
                "and keep them out of weight decay.",
            )  # fmt: skip
        elif row["saturated"] > DEAD_SATURATED and mean["saturated"] <= SATURATED:
            yield HealthWarning(
                step, "dead", name,
                f"{names[name]} is dead: {row['saturated']:.1%} of |u| > {limits[name]:.3g}, so no gradient passes. "
                "Lower its alpha's start or the learning rate.",
            )  # fmt: skip


def rich_table(look: dict[str, Any] | None) -> Any:
    """A rich.table.Table of one look, a row a layer and the mean."""
    try:
        from rich.table import Table
    except ImportError as error:
        raise ImportError("derf: Monitor.table needs the package rich: pip install rich") from error
    table = Table(title=f"step {look['step']}" if look else "no step yet")
    for heading in ("layer", *STATISTICS):
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    if look:
        for name, row in {**look["layers"], "mean": mean_over_layers(look["layers"])}.items():
            cells = (f"{row[key]:.1%}" if key == "saturated" else f"{row[key]:.3g}" for key in STATISTICS)
            table.add_row(name or "model", *cells)
    return table


def draw(history: list[dict[str, Any]], file: Path) -> None:
    """A panel for each of the statistics that have thresholds, and alpha."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("derf: Monitor.plot needs the package matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(12, 3.4), dpi=120, layout="constrained")
    steps = [look["step"] for look in history]
    layers = list(dict.fromkeys(name for look in history for name in look["layers"]))
    limits = {"saturated": SATURATED, "gain": GAIN, "output": OUTPUT, "alpha": None}
    for axes, (key, limit) in zip(figure.subplots(1, len(limits)), limits.items(), strict=True):
        for index, name in enumerate(layers):
            values = [look["layers"].get(name, {}).get(key, math.nan) for look in history]
            shade = str(0.75 - 0.5 * index / max(1, len(layers) - 1))
            axes.plot(steps, values, color=shade, linewidth=0.8)
        axes.plot(steps, [mean_over_layers(look["layers"])[key] for look in history], color="#d55e00", label="mean")
        if limit is not None:
            axes.axhline(limit, color="black", linestyle=":", linewidth=0.8, label="threshold of the mean")
        axes.set(xlabel="step", title=key)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(file)
