"""Tables and plots of the studies, from their rows."""

from pathlib import Path

from ..starts.report import markdown
from . import paper, plots
from .norms import NORMS
from .runs import Row
from .statistics import Mean, difference, mean, mean_fit, verdict
from .studies import ALPHAS, BOUNDED, PROPERTIES
from .system import Base

LABELS = {  # of what is studied
    "shift": {"0.0": "one a layer", "channel": "one a channel", "False": "none"},
    "per_channel": {"False": "one a layer", "True": "one a channel"},
}


def of(study: str, task: Base, rows: list[Row], out: Path) -> tuple[str, list[Path]]:
    """What a study found on a system, or nothing: text and plots."""
    if study == "fit":
        return fit(task, rows), []
    rows = [row for row in rows if row["run"]["part"] == study]
    if not rows:
        return "", []
    file = out / f"{study}-{task.name}.png"
    if study.startswith("alpha-"):
        return alpha_map(task, rows), [plots.alpha_map(task, rows, file)]
    if study == "properties":
        return properties(task, rows), [plots.properties(task, by_property(task, rows), file)]
    found = ranked(task, rows, in_order=study in ("size", "precision"))
    table = [[label, *cells] for label, _, *cells in found]
    text = markdown(["", task.measure, "failed"], table)
    return text, [plots.bars(task, [(label, value) for label, value, *_ in found if value], file)]


def label(row: Row, several: bool) -> str:
    """What is special about a row: its options, and its norm where the study has several."""
    options = {name: value for name, value in row["run"]["options"].items()}
    if options.get("shift") is False and len(options) > 1:
        del options["shift"]  # all of that study have none
    parts = [LABELS.get(name, {}).get(str(value), f"{name} {value}") for name, value in options.items()]
    norm = row["run"]["norm"]
    title = NORMS[norm][0].replace("`", "")
    return ", ".join([*([title] if several or not parts else []), *parts]).replace("function ", "")


def ranked(task: Base, rows: list[Row], in_order: bool) -> list[tuple[str, Mean | None, str, str]]:
    """Label, mean, its text, and failures of each; best first, or as they come."""
    groups: dict[str, list[Row]] = {}
    several = len({row["run"]["norm"] for row in rows}) > 1
    for row in rows:
        groups.setdefault(label(row, several), []).append(row)
    found = []
    for name, runs in groups.items():
        values = [row["measures"][task.measure] for row in runs if not row["failed"]]
        value = mean(values) if values else None
        found.append((name, value, str(value) if value else "–", f"{len(runs) - len(values)} of {len(runs)}"))
    if not in_order:
        sign = -1 if task.higher_is_better else 1
        found.sort(key=lambda entry: sign * entry[1].value if entry[1] else float("inf"))
    return found


def by_property(task: Base, rows: list[Row]) -> dict[str, dict[str, dict[float | None, float | None]]]:
    """Property, function and size: the measure, or None where the training failed. Each function also has what it is
    without the property: its own value at a shift or a share of 0, or without a clip."""
    found: dict[str, dict[str, dict[float | None, float | None]]] = {name: {} for name in PROPERTIES}
    plain: dict[str, float | None] = {}
    for row in rows:
        options = row["run"]["options"]
        value = None if row["failed"] else row["measures"][task.measure]
        name = next((name for name in PROPERTIES if name in options), None)
        if name:
            found[name].setdefault(options["function"], {})[options[name]] = value
        else:
            plain[options["function"]] = value
    for name, functions in found.items():
        for function, values in functions.items():
            if function in plain:
                values[PROPERTIES[name].otherwise] = plain[function]
    found[""] = {function: {None: value} for function, value in plain.items()}
    return found


def properties(task: Base, rows: list[Row]) -> str:
    found = by_property(task, rows)
    chance = [abs(values[1.0] - values[-1.0]) for values in found["sign"].values() if None not in values.values()]
    parts = ["One seed, from `derf.start(bound=4)`."]
    if chance:
        parts[0] += (
            " −f is f with other signs of the matrices behind it, which start at random: so the columns of Direction "
            f"differ by chance alone, by up to {max(chance):.0f} points, and a smaller difference says nothing."
        )
    for name, about in PROPERTIES.items():
        sizes = {size for values in found[name].values() for size in values}
        if sizes:
            order = sorted(sizes, key=lambda size: float("inf") if size is None else size)
            heads = ["none" if size is None else f"{size:g}" for size in order]
            table = [[f, *(_cell(values, size) for size in order)] for f, values in found[name].items()]
            parts.append(f"**{about.title}**\n\n" + markdown([f"{task.measure}, by λ", *heads], table))
    others = {function: values for function, values in found[""].items() if function not in BOUNDED}
    if others:
        table = [[function, _cell(values, None)] for function, values in others.items()]
        parts.append("**Unbounded, and not monotonic, as they are**\n\n" + markdown(["", task.measure], table))
    return "\n\n".join(parts)


def _cell(values: dict[float | None, float | None], size: float | None) -> str:
    if size not in values:
        return ""
    value = values[size]
    return "failed" if value is None else f"{value:.1f}"


def alpha_map(task: Base, rows: list[Row]) -> str:
    rates = sorted({row["run"]["lr"] for row in rows})
    table = []
    for alpha in ALPHAS:
        mine = {row["run"]["lr"]: row for row in rows if row["run"]["options"]["alpha"] == alpha}
        if mine:
            table.append([f"{alpha:g}", *(_final(mine.get(rate)) for rate in rates)])
    note = (
        f"Training loss at the end; × where it is not finite or above {task.trivial:g}, that of having learned nothing."
    )
    return note + "\n\n" + markdown(["alpha \\ lr", *(f"{rate:g}" for rate in rates)], table)


def _final(row: Row | None) -> str:
    if row is None:
        return ""
    value = "" if row["last"] is None else f"{row['last']:.3f}"
    return f"× {value}".strip() if row["failed"] else value


def fit(task: Base, rows: list[Row]) -> str:
    """Is it Norm < Derf < DyT, as in the paper?"""
    means = {norm: value for norm in NORMS if (value := mean_fit(rows, norm))}
    if not {"layernorm", "dyt", "derf"} <= means.keys():
        return ""
    order = " < ".join(NORMS[norm][0] for norm in sorted(means, key=lambda norm: means[norm].value))
    holds = means["layernorm"].value < means["derf"].value < means["dyt"].value
    said = "holds" if holds else "does **not** hold"
    text = f"By means: {order}. The paper's order, LayerNorm < Derf < DyT, {said} here."
    change = difference(task, rows, "derf", "layernorm")
    if change:
        seen = {"better": "better", "worse": "worse", "undecided": "neither better nor worse"}[verdict(task, change)]
        text += f" The paper's Derf is as good or better on held-out data; here it is {seen} than LayerNorm there."
    table = [[NORMS[norm][0], str(value)] for norm, value in means.items()]
    if task.name in paper.FIT:
        norm, dyt, derf = paper.FIT[task.name]
        text += f" The paper has {norm}, {derf} and {dyt}."
    return text + "\n\n" + markdown(["", "training loss in evaluation mode"], table)
