"""What `benchmarks/gpu.py` makes of its measurements: bandwidths, targets, a table and plots. Needs no GPU, nor torch.

A measurement is one line of the JSON that `benchmarks/gpu.py` writes: the milliseconds of one call of one provider
(median and quartiles), forward, backward or both, for one shape and dtype.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from statistics import median, quantiles

Measurement = dict
Key = tuple  # dtype, shape, what
Groups = dict[Key, dict[str, Measurement]]

MODELS = {
    "ViT-B": (64 * 197, 768),
    "GPT-2": (8 * 1024, 768),
    "GPT-2, one sequence": (1024, 768),
    "LLaMA-7B": (2048, 4096),
    "DiT-XL": (8 * 256, 1152),
    "wav2vec 2.0": (8 * 499, 768),
    "one token": (1, 768),
    "ConvNeXt": (32, 96, 56, 56),  # channel_dim=1
}
GRID = [(rows, channels) for rows in (8192, 32768, 131072) for channels in (1024, 4096, 16384)]
QUICK = [MODELS[name] for name in ("ViT-B", "GPT-2, one sequence", "LLaMA-7B", "one token")] + [(32768, 4096)]
DTYPES = ["bfloat16", "float32", "float16"]
NAMES = {shape: name for name, shape in MODELS.items()}
# Over the tensor, at least: forward reads x and writes y; backward reads x and y's gradient and writes x's.
PASSES = {"forward": 2, "backward": 3, "forward+backward": 5}
COPY_PASSES = 2
MIB = 1 << 20
LARGE = 64 * MIB  # bytes of a tensor: TARGETS are for larger ones
TARGETS = {"forward": 0.92, "backward": 0.90}  # of the copy's bandwidth


def summary(milliseconds: list[float]) -> dict[str, float]:
    cuts = quantiles(milliseconds, n=4, method="inclusive") if len(milliseconds) > 1 else milliseconds * 3
    return {"milliseconds": cuts[1], "quartiles": [cuts[0], cuts[2]], "rounds": len(milliseconds)}


def bandwidth(measurement: Measurement) -> float:
    """GB/s by the byte model: an operator that passes over the tensor more often than it must gets less."""
    passes = COPY_PASSES if measurement["provider"] == "copy" else PASSES[measurement["what"]]
    return passes * measurement["bytes"] / measurement["milliseconds"] / 1e6


def of_copy(measurement: Measurement, copy: Measurement) -> float:
    return bandwidth(measurement) / bandwidth(copy)


def groups(measurements: Iterable[Measurement]) -> Groups:
    """The measurements that ran in turn, by provider; groups in the order in which they ran."""
    found: Groups = {}
    for each in measurements:
        found.setdefault((each["dtype"], tuple(each["shape"]), each["what"]), {})[each["provider"]] = each
    return found


def peers(group: dict[str, Measurement]) -> list[str]:
    return [name for name in group if name not in ("copy", "derf")]


def label(key: Key) -> str:
    dtype, shape, what = key
    return f"{' x '.join(map(str, shape))} {dtype} {what}"


def misses(measurements: Iterable[Measurement]) -> list[str]:
    """One line for each target that Derf misses."""
    lines = []
    for key, group in groups(measurements).items():
        ours, target = group["derf"], TARGETS.get(key[2])
        reached = of_copy(ours, group["copy"])
        if target and ours["bytes"] > LARGE and reached < target:
            lines.append(f"{label(key)}: {reached:.1%} of the copy's bandwidth, target {target:.0%}")
        for name in peers(group):
            speedup = group[name]["milliseconds"] / ours["milliseconds"]
            if speedup <= 1:
                lines.append(f"{label(key)}: not ahead of {name}, which takes {speedup:.2f} of derf's time")
    return lines


def table(measurements: list[Measurement]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: the copy, Derf, and how many times as long as Derf each peer takes."""
    found = groups(measurements)
    columns = list(dict.fromkeys(name for group in found.values() for name in peers(group)))
    heads = ["dtype", "shape", "MiB", "", "copy GB/s", "derf us", "quartiles", "GB/s", "of copy"]
    rows = []
    for (dtype, shape, what), group in found.items():
        ours, copy = group["derf"], group["copy"]
        cells = [dtype, " x ".join(map(str, shape)) + f" {NAMES.get(shape, '')}".rstrip()]
        cells += [f"{ours['bytes'] / MIB:.1f}" + "g" * ours["graph"], what, f"{bandwidth(copy):.0f}"]
        low, high = ours["quartiles"]
        cells += [f"{ours['milliseconds'] * 1e3:.2f}", f"{low * 1e3:.2f}-{high * 1e3:.2f}", f"{bandwidth(ours):.0f}"]
        cells += [f"{of_copy(ours, copy):.1%}"]
        times = [group[name]["milliseconds"] / ours["milliseconds"] if name in group else None for name in columns]
        rows.append(cells + [f"{time:.2f}" if time else "" for time in times])
    return [*heads, *(f"{name}/derf" for name in columns)], rows


def print_table(heads: list[str], rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for line in (heads, ["-" * width for width in widths], *rows):
            print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        return
    drawn = Table()
    for head in heads:
        drawn.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        drawn.add_row(*row)
    # Where the output is a file it has no width, and rich would cut the cells to fit 80 columns.
    console = Console()
    Console(width=max(console.width, sum(widths) + 3 * len(widths) + 1)).print(drawn)


def print_report(report: dict) -> None:
    print("\nMedians. g: replayed from a CUDA graph, in the L2 cache; else the cache was flushed before each call.")
    print("of copy: bandwidth by the byte model (passes forward 2, backward 3) in multiples of the copy's.\n")
    print_table(*table(report["measurements"]))
    for note in report["notes"]:
        print("note:", note)
    for failure in report["failures"]:
        print("FAILED:", failure)
    targets = ", ".join(f"{what} {target:.0%}" for what, target in TARGETS.items())
    missed = misses(report["measurements"])
    print(f"\nTargets: of the copy's bandwidth over {LARGE // MIB} MiB {targets}; ahead of every peer everywhere.")
    print(f"Missed: {len(missed)}" if missed else "None is missed.", *missed, sep="\n  ")


def dumps(report: dict) -> str:
    """JSON with one line for each measurement."""
    rest = json.dumps({key: value for key, value in report.items() if key != "measurements"}, indent=1)
    lines = ",\n  ".join(map(json.dumps, report["measurements"]))
    return rest.removesuffix("\n}") + f',\n "measurements": [\n  {lines}\n ]\n}}\n'


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def plot(report: dict, stem: Path) -> list[Path]:
    """Write STEM-bandwidth.png and STEM-models.png; return their paths. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = groups(report["measurements"])
    paths: list[Path] = []
    if not found:
        return paths
    for kind, draw in (("bandwidth", _bandwidths), ("models", _models)):
        dtypes = list(dict.fromkeys(dtype for dtype, _, _ in found))
        size = (14, 0.5 + 4.5 * len(dtypes))
        figure, axes = pyplot.subplots(len(dtypes), 2, figsize=size, squeeze=False, layout="constrained")
        for row, dtype in zip(axes, dtypes, strict=True):
            for axis, what in zip(row, TARGETS, strict=True):
                axis.set_title(f"{what}, {dtype}")
                draw(axis, {shape: group for (d, shape, w), group in found.items() if (d, w) == (dtype, what)})
        figure.suptitle(f"{report['facts']['gpu']}, torch {report['facts']['torch']}")
        paths.append(stem.with_name(f"{stem.name}-{kind}.png"))
        figure.savefig(paths[-1], dpi=110)
        pyplot.close(figure)
    return paths


def _providers(by_shape: dict[tuple, dict[str, Measurement]]) -> list[str]:
    """The copy last: a ceiling, drawn over the others."""
    found = dict.fromkeys(name for group in by_shape.values() for name in group if name != "copy")
    return [*found, "copy"]


def _bandwidths(axis, by_shape: dict[tuple, dict[str, Measurement]]) -> None:
    for name in _providers(by_shape):
        of_size: dict[float, list[float]] = {}
        for group in by_shape.values():
            if name in group:
                of_size.setdefault(group[name]["bytes"] / MIB, []).append(bandwidth(group[name]))
        points = sorted((size, median(values)) for size, values in of_size.items())
        style = {"color": "black", "linestyle": "--"} if name == "copy" else {"marker": "o", "markersize": 4}
        axis.plot(*zip(*points, strict=True), label=name, linewidth=2.5 if name == "derf" else 1.2, **style)
    axis.axvline(8, color="grey", linewidth=0.8, linestyle=":")
    axis.set(xscale="log", ylim=(0, None), xlabel="tensor, MiB (left of the line: in the L2 cache)", ylabel="GB/s")
    axis.legend(fontsize="small")
    axis.grid(alpha=0.3)


def _models(axis, by_shape: dict[tuple, dict[str, Measurement]]) -> None:
    shown = [shape for shape in NAMES if shape in by_shape]
    providers = _providers(by_shape)[:-1]
    width = 0.8 / max(1, len(providers))
    for place, name in enumerate(providers):
        bars = [(i, by_shape[shape]) for i, shape in enumerate(shown) if name in by_shape[shape]]
        where = [i + (place - (len(providers) - 1) / 2) * width for i, _ in bars]
        axis.bar(where, [of_copy(group[name], group["copy"]) for _, group in bars], width, label=name)
    axis.axhline(1, color="black", linestyle="--", linewidth=1)
    axis.set(ylabel="bandwidth, of the copy's", xticks=range(len(shown)))
    axis.set_xticklabels([NAMES[shape] for shape in shown], rotation=20, ha="right")
    if shown:
        axis.set_ylim(0, 1.15 * axis.get_ylim()[1])  # room for the legend
        axis.legend(fontsize="small", loc="upper center", ncols=len(providers))
