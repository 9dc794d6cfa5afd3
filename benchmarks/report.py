"""What is written of a run: tables for the terminal and for Markdown, and JSON with a line for each result."""

import json
from collections.abc import Iterator

from .gpu_report import print_table
from .targets import select

Table = tuple[list[str], list[list[str]]]
PARTS = ["measurements", "memory", "models", "targets", "notes"]


def dumps(report: dict) -> str:
    """JSON with a line for each result: short, and a change of one shows as one."""

    def lines(part: str) -> str:
        return (
            f'"{part}": [\n '
            + ",\n ".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in report[part])
            + "\n]"
        )

    return ",\n".join([f'{{"facts": {json.dumps(report["facts"], indent=1)}', *map(lines, PARTS)]) + "\n}\n"


def targets_table(report: dict) -> Table:
    heads = ["work", "target", "measured", "quartiles", "met", "where worst", "best", "cases"]
    rows = []
    for row in report["targets"]:
        cells = [row["work"], row["target"]]
        if row["met"] is None:
            rows.append([*cells, "-", "", "not measured", "", "", ""])
            continue
        worst = row["worst"]
        cells += [f"{worst['value']:.2f}", f"{worst['low']:.2f}-{worst['high']:.2f}", "yes" if row["met"] else "NO"]
        rows.append([*cells, worst["case"], f"{row['best']['value']:.2f}", str(row["cases"])])
    return heads, rows


def times_table(report: dict) -> Table:
    """The models' shapes with all threads and a warm allocator: microseconds of a copy, and multiples of that."""
    found = [record for record in select(report) if record["name"] != "sweep"]
    names = list(dict.fromkeys(name for record in found for name in record["microseconds"] if name != "copy"))
    rows = []
    for record in found:
        median = {name: cuts[1] for name, cuts in record["microseconds"].items()}
        cells = [record["dtype"], record["name"], record["what"], f"{median['copy']:.4g}"]
        cells += [f"{median[name] / median['copy']:.3g}" if name in median else "-" for name in names]
        rows.append([*cells, f"{median['F.layer_norm'] / median['derf']:.2f}" if "F.layer_norm" in median else "-"])
    return ["dtype", "shape", "", "copy, µs", *names, "layer_norm / derf"], rows


def models_table(report: dict) -> Table:
    names = list(dict.fromkeys(name for record in report["models"] for name in record["microseconds"]))
    rows = []
    for record in report["models"]:
        cells = [record["model"], record["what"]]
        for name in names:
            low, median, high = (time / 1e3 for time in record["microseconds"][name])
            cells.append(f"{median:.0f} ({low:.0f}-{high:.0f})")
        rows.append(cells)
    return ["model", "ms", *names], rows


def memory_table(report: dict) -> Table:
    """Of one shape, for the bytes grow with it: multiples of the input."""
    shape = next((record["shape"] for record in report["memory"]), None)
    found = [record for record in report["memory"] if record["shape"] == shape]
    names = list(dict.fromkeys(name for record in found for name in record["held"]))
    rows = []
    for record in found:
        cells = [f"{record['name']} {record['dtype']}"]
        for name in names:
            of_input, beside = (count / record["bytes"] for count in record["held"].get(name, (0, 0)))
            cells.append(f"{of_input:.3g} + {beside:.3g}")
        rows.append(cells)
    return ["input + others", *names], rows


def tables(report: dict) -> Iterator[tuple[str, Table]]:
    yield (
        "Time in multiples of a copy's, `y.copy_(x)` into a tensor that is there; all threads, warm allocator. "
        "-: not measured.",
        times_table(report),
    )
    if report["memory"]:
        yield "Held between forward and backward, in multiples of the input.", memory_table(report)
    if report["models"]:
        yield "Whole models, median milliseconds with quartiles.", models_table(report)
    yield "Targets: ratios of medians in the worst case.", targets_table(report)


def facts_lines(report: dict) -> list[str]:
    facts = {**report["facts"], "derf": "; ".join(report["facts"]["derf"])}
    return [f"{key}: {value}" for key, value in facts.items()]


def print_report(report: dict) -> None:
    print(*facts_lines(report), sep="\n")
    for title, (heads, rows) in tables(report):
        print(f"\n{title}")
        print_table(heads, rows)
    for note in report["notes"]:
        print("note:", note)


def markdown(report: dict, plots: list[str]) -> str:
    def row(cells: list[str]) -> str:
        return f"| {' | '.join(cells)} |"

    text = ["# Results of `python -m benchmarks`", "Written by that command; do not edit."]
    text.append("\n".join(f"- {line}" for line in facts_lines(report)))
    text += [f"![{name}]({name})" for name in plots]
    for title, (heads, rows) in reversed(list(tables(report))):
        text += [title, "\n".join(map(row, [heads, ["---"] * len(heads), *rows]))]
    text.append("\n".join(f"- {note}" for note in report["notes"]))
    return "\n\n".join(part for part in text if part) + "\n"
