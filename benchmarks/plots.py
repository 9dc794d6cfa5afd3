"""The two plots of a run: bandwidth against size, and bars for the shapes of real models."""

import math
from pathlib import Path

from .gpu_report import COPY_PASSES, PASSES
from .targets import LARGE, select

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLORS = {
    "derf": "#0072B2",
    "F.layer_norm": "#D55E00",
    "F.rms_norm": "#E69F00",
    "compiled Derf": "#009E73",
    "eager Derf": "#56B4E9",
    "compiled DyT": "#CC79A7",
    "eager DyT": "#999999",
    "copy": "black",
}
End = tuple[float, float, str, str]  # of a line: GB/s, bytes, name, color
SHOWN = ["forward", "forward+backward"]
MIB = 1 << 20
BYTE_MODEL = (
    "Bandwidth by the bytes that must move: forward 2 passes over the tensor, forward+backward 5, a copy 2. "
    "Medians, all threads."
)
PAGE_FAULTS = (
    "Dashed: glibc's default allocator. A large output is fresh memory there, and the page faults that clear it take "
    "most of the time,\nwhatever is computed; the copy writes into memory that is there. "
    "Solid: an allocator that keeps its pages, as of a process that has run for a while."
)


def bandwidth(record: dict, provider: str) -> float:
    """GB/s: an operator that passes over the tensor more often than it must gets less."""
    passes = COPY_PASSES if provider == "copy" else PASSES[record["what"]]
    return passes * record["bytes"] / record["microseconds"][provider][1] / 1e3


def plot(report: dict, output: Path) -> list[Path]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
    paths = []
    for name, draw, note, columns in (("bandwidth", _sweep, PAGE_FAULTS, 2), ("models", _bars, "", 1)):
        keep = (lambda record: record["name"] == "sweep") if draw is _sweep else (lambda r: r["name"] != "sweep")
        dtypes = dict.fromkeys(record["dtype"] for record in select(report, keep))
        panels = [(dtype, what) for dtype in dtypes for what in SHOWN]
        if not panels:
            continue
        rows = len(panels) // columns
        kind = {"figsize": (11, 1.3 + rows * (1.2 + 1.1 * columns)), "layout": "constrained", "squeeze": False}
        figure, axes = pyplot.subplots(rows, columns, sharex=True, sharey=True, **kind)
        ends = {}
        for axis, (dtype, what) in zip(axes.flat, panels, strict=True):
            ends[axis] = draw(axis, report, {"what": what, "dtype": dtype})
            axis.set_title(f"{dtype}, {what}", loc="left", fontweight="bold")
        for axis, labels in ends.items():  # once all is drawn, for they share their scale
            _label(axis, labels)
        facts = report["facts"]
        head = f"{facts['cpu']}, {facts['threads']} threads, {facts['instruction set']}, torch {facts['torch']}"
        figure.suptitle("\n".join(filter(None, [head, BYTE_MODEL, note])), fontsize=9, x=0.01, ha="left")
        if draw is _bars:
            axes[0][0].set_ylim(0, min(2, axes[0][0].get_ylim()[1]))  # one outlier must not make all others small
            handles, names = axes[0][0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
        paths.append(output / f"{name}.png")
        figure.savefig(paths[-1], dpi=100)
        pyplot.close(figure)
    return paths


def _label(axis, ends: list[End]) -> None:
    """Write each line's name at its end, moved down where the one above is too close."""
    bottom, top = map(math.log10, axis.get_ylim()) if ends else (0, 0)
    height = math.inf
    for bandwidth, size, name, color in sorted(ends, reverse=True):
        height = min(math.log10(bandwidth), height - (top - bottom) / 24)
        axis.text(size * 1.3, 10**height, name, color=color, fontsize=8, va="center")


def _size(count: int) -> str:
    return f"{count >> 10} KiB" if count < MIB else f"{count // MIB} MiB"


def _sweep(axis, report: dict, wanted: dict) -> list[End]:
    ends: list[End] = []
    for allocator, style in (("default", "--"), ("warm", "-")):
        found = sorted(
            select(report, lambda record: record["name"] == "sweep", allocator=allocator, **wanted),
            key=lambda record: record["bytes"],
        )
        for name, color in COLORS.items():
            points = [(r["bytes"], bandwidth(r, name)) for r in found if name in r["microseconds"]]
            if not points or (name, allocator) == ("copy", "default"):
                continue
            axis.plot(*zip(*points, strict=True), style, color=color, linewidth=2.2 if name == "derf" else 1.3)
            label = name if allocator == "warm" else f"{name}, default allocator"
            ends.append((points[-1][1], points[-1][0], label, color))
    ticks = [1 << exponent for exponent in range(10, 30, 4)]
    axis.set(xscale="log", yscale="log", ylabel="GB/s", xlim=(800, 1 << 30))
    axis.set_xticks(ticks, map(_size, ticks))
    axis.minorticks_off()
    cache = (report["facts"].get("last-level cache, bytes") or LARGE) / 2
    axis.axvline(cache, color="grey", lw=0.8, ls=":")
    axis.text(cache, 0.02, " out of cache", color="grey", fontsize=8, transform=axis.get_xaxis_transform())
    axis.grid(alpha=0.25)
    return ends


def _bars(axis, report: dict, wanted: dict) -> list[End]:
    shapes = list(dict.fromkeys(record["name"] for record in select(report) if record["name"] != "sweep"))
    found = [record for record in select(report, **wanted) if record["name"] in shapes]
    names = [name for name in COLORS if name != "copy" and any(name in record["microseconds"] for record in found)]
    width = 0.84 / max(1, len(names))
    for place, name in enumerate(names):
        shift = (place - (len(names) - 1) / 2) * width
        bars = [
            (shapes.index(record["name"]) + shift, bandwidth(record, name) / bandwidth(record, "copy"))
            for record in found
            if name in record["microseconds"]
        ]
        drawn = axis.bar(*zip(*bars, strict=True), width, label=name, color=COLORS[name])
        if name in ("derf", "F.layer_norm"):
            axis.bar_label(drawn, fmt="%.2f", fontsize=7, rotation=90, padding=2, color=COLORS[name])
    axis.axhline(1, color="black", linestyle="--", linewidth=1)
    axis.text(len(shapes) - 0.4, 1.01, "copy", ha="right", va="bottom", fontsize=8)
    axis.set(ylabel="of copy's bandwidth", xticks=range(len(shapes)), xlim=(-0.6, len(shapes) - 0.4))
    axis.set_xticklabels([shape.replace(", ", ",\n") for shape in shapes], fontsize=8)
    axis.margins(y=0.2)  # for the numbers on the bars
    return []  # a legend names the bars
