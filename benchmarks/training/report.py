"""The page of results, its tables and sentences, from the JSON lines alone."""

import math
from pathlib import Path

from ..starts.report import markdown
from . import paper, study_report
from .norms import NORMS
from .runs import Row, read
from .statistics import by_seed, compared_rows, difference, mean, mean_fit, verdict
from .studies import GRID_SEED, STUDIES, best_lr, grid_rows
from .system import MORE, NAMES, Base, system

HEAD = """# Does it train as well?

Written by `python -m benchmarks.training --report` from the JSON lines beside this page; do not edit. Models and data
are small, so this says how these layers compare *here*, and what of the paper's claims shows at this size. ±: 95 %
interval of the mean by Student's t. Learning rates are chosen by a grid with a seed and a split of their own; where the
best is at an end of the grid, the grid grows there, up to five. Failed: not finite, or no better than a model that
learned nothing; such a run counts in the mean where it is finite. All entrants of a system start from the same weights
and see the same batches. Better and worse: 0 is outside the 95 % interval of the paired difference; among twenty such
comparisons one is expected to say so by chance."""


def load(out: Path) -> dict[str, tuple[Base, list[Row]]]:
    """Systems that have rows, in their order."""
    found = {}
    for name in (*NAMES, *MORE):
        rows = read(out / f"{name}.jsonl")
        if rows:
            found[name] = system(name, rows[0]["settings"]["scale"]), rows
    return found


def compared(rows: list[Row]) -> list[str]:
    """The entrants that have runs of the comparison or of its grid."""
    present = {row["run"]["norm"] for row in rows if row["run"]["part"] in ("grid", "comparison")}
    return [norm for norm in NORMS if norm in present]


def cell(task: Base, rows: list[Row], norm: str) -> str:
    """Mean with its interval; how many runs failed."""
    runs = compared_rows(rows, norm)
    if not runs:
        return "–"
    values, failed = list(by_seed(task, rows, norm).values()), sum(row["failed"] for row in runs)
    return (str(mean(values)) if values else "") + (f" ({failed} of {len(runs)} failed)" if failed else "")


def summary(out: Path) -> str:
    """The table of all systems."""
    found = load(out)
    if not found:
        return "no results"
    norms = [norm for norm in NORMS if any(norm in compared(rows) for _, rows in found.values())]
    heads = [
        "",
        *(f"{task.title}: {task.measure} {'↑' if task.higher_is_better else '↓'}" for task, _ in found.values()),
    ]
    table = [[NORMS[norm][0], *(cell(task, rows, norm) for task, rows in found.values())] for norm in norms]
    seeds = [str(max((len(by_seed(task, rows, norm)) for norm in norms), default=0)) for task, rows in found.values()]
    steps = [str(rows[0]["settings"]["steps"]) for _, rows in found.values()]
    return markdown(heads, [*table, ["seeds", *seeds], ["steps", *steps]])


def papers() -> str:
    return markdown(list(paper.HEADS), [[what, *map(str, values)] for _, what, *values in paper.ROWS])


def grid(task: Base, rows: list[Row], norm: str) -> str:
    """learning rate: measure, in the order of the rates; the best in bold."""
    best = best_lr(task, norm, rows)
    parts = []
    for row in sorted(grid_rows(task, norm, rows), key=lambda row: row["run"]["lr"]):
        value = row["measures"].get(task.measure)
        text = f"{row['run']['lr']:g}: {'failed' if row['failed'] or value is None else f'{value:.4g}'}"
        parts.append(f"**{text}**" if row["run"]["lr"] == best else text)
    return ", ".join(parts)


def edge(task: Base, rows: list[Row], norm: str) -> bool:
    """Whether the best learning rate is at an end of the grid: a better one may lie beyond."""
    rates = [row["run"]["lr"] for row in grid_rows(task, norm, rows)]
    return bool(rates) and best_lr(task, norm, rows) in (min(rates), max(rates))


def sentence(task: Base, rows: list[Row], norm: str, other: str) -> str:
    change = difference(task, rows, norm, other)
    name, its = NORMS[norm][0], NORMS[other][0]
    if change is None:
        return f"{name} and {its}: no seed on which both trained."
    words = f"{change.value:+.3g}" + ("" if math.isinf(change.half) else f" ± {change.half:.2g}")
    said = {
        "better": f"{name} is better than {its}",
        "worse": f"{name} is worse than {its}",
        "undecided": f"{name} and {its} cannot be told apart",
    }[verdict(task, change)]
    return f"{said}: {words} ({task.measure}, {change.n} seeds, paired)."


def comparison(task: Base, rows: list[Row]) -> str:
    norms = compared(rows)
    others = [name for name in max((row["measures"] for row in rows), key=len) if name != task.measure]
    table = []
    for norm in norms:
        values = [list(by_seed(task, rows, norm, other).values()) for other in others]
        means = [*(mean(each) if each else None for each in values), mean_fit(rows, norm)]
        cells = [str(each) if each else "–" for each in means]
        table.append([NORMS[norm][0], grid(task, rows, norm), cell(task, rows, norm), *cells])
    heads = ["", f"learning rate: {task.measure} (seed {GRID_SEED}, validation)", f"{task.measure} (test)"]
    text = [markdown([*heads, *(f"{other} (test)" for other in others), "training loss, evaluation mode"], table)]
    pairs = [(norm, "layernorm") for norm in norms if norm != "layernorm" and "layernorm" in norms]
    pairs += [(norm, "dyt") for norm in ("derf", "derf-start") if norm in norms and "dyt" in norms]
    text.append("\n".join("- " + sentence(task, rows, *pair) for pair in pairs))
    edges = [NORMS[norm][0] for norm in norms if edge(task, rows, norm)]
    if edges:
        text.append(f"At the end of its grid, so perhaps not at its best: {', '.join(edges)}.")
    settings = ", ".join(f"{name} {value}" for name, value in rows[0]["settings"].items())
    versions = ", ".join(f"{name} {value}" for name, value in rows[0]["versions"].items())
    seconds = sum(row["seconds"] for row in rows)
    text.append(f"Settings: {settings}. Versions: {versions}. {seconds:.0f} s of the processor.")
    return "\n\n".join(part for part in text if part)


def reproduced(found: dict[str, tuple[Base, list[Row]]]) -> str:
    """The paper's claims, one by one, and what is seen of them here."""
    table = []
    for name, (task, rows) in found.items():
        for other, claim in paper.CLAIMS[name].items():
            for norm in ("derf", "derf-start"):
                change = difference(task, rows, norm, other)
                if change is not None:
                    seen = verdict(task, change)
                    undecided = "no difference shows" if claim == "as good" else "does not show"
                    agrees = {"better": "yes", "undecided": undecided, "worse": "**no**"}[seen]
                    said = f"{claim} {'than' if claim == 'better' else 'as'} {NORMS[other][0]}"
                    table.append([task.title, f"Derf is {said}", NORMS[norm][0], seen, agrees])
    return markdown(["", "the paper", "here by", "here", "reproduced"], table) if table else ""


def missing(found: dict[str, tuple[Base, list[Row]]]) -> str:
    """What did not run."""
    lines = [f"- {name}" for name in NAMES if name not in found]
    for name, (_, rows) in found.items():
        without = [norm for norm in compared(rows) if not compared_rows(rows, norm)]
        if without:
            lines.append(f"- {name}: the comparison of {', '.join(without)}")
    done = {row["run"]["part"] for _, rows in found.values() for row in rows}
    lines += [f"- study {name}: {study.title}" for name, study in STUDIES.items() if name not in {*done, "fit"}]
    return "\n".join(lines) or "Nothing: all of it ran."


def write(out: Path) -> list[Path]:
    """README.md and the plots."""
    from . import plots

    found = load(out)
    if not found:
        return []
    parts, drawn = [HEAD, "## All systems\n\n" + summary(out)], []
    parts.append("The paper's, at the size of clusters:\n\n" + papers())
    claims = reproduced(found)
    if claims:
        parts.append("## What reproduced, and what did not\n\n" + claims)
    parts.append("## What did not run\n\n" + missing(found))
    for name, (task, rows) in found.items():
        if compared(rows):
            drawn.append(plots.comparison(task, rows, out / f"{name}.png"))
            parts.append(f"## {task.title}\n\n{comparison(task, rows)}\n\n![]({drawn[-1].name})")
    for study, about in STUDIES.items():
        for task, rows in found.values():
            text, pictures = study_report.of(study, task, rows, out)
            if text:
                drawn += pictures
                shown = "".join(f"\n\n![]({picture.name})" for picture in pictures)
                parts.append(f"## Study {study}: {about.title} ({task.title})\n\n{text}{shown}")
    page = out / "README.md"
    page.write_text("\n\n".join(parts) + "\n")
    return [page, *drawn]
