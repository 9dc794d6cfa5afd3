"""Tables and plots of what is in results: python -m benchmarks.starts.report"""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from .starts import read

RESULTS = Path(__file__).parent / "results"
NAMES = {
    "vit": "ViT, digits: test accuracy, %",
    "convnext": "ConvNeXt, digits: test accuracy, %",
    "gpt": "GPT-2, bytes: held-out loss",
    "llama": "LLaMA, bytes: held-out loss",
    "bert": "post-norm BERT, causal, bytes: held-out loss",
}
WAYS = {
    "original": "the original, going on",
    "plain": "replace_norm",
    "parallel": "calibrate, parallel",
    "sequential": "calibrate, sequential",
    "refined": "calibrate, refine=40",
}


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def conversions(rows: list[dict[str, Any]]) -> str:
    """A table a model: ways and steps; means over seeds, with their range where there are several."""
    parts = []
    for task, title in NAMES.items():
        mine = [row for row in rows if row["task"] == task]
        if not mine:
            continue
        column = 1 if "accuracy" in title else 0
        table = []
        for way, words in WAYS.items():
            runs = [row["at"] for row in mine if row["way"] == way]
            if runs:
                cells = []
                for step in ("0", "50", "200"):
                    values = [run[step][column] for run in runs]
                    text = f"{fmean(values):.3f}" if column == 0 else f"{fmean(values):.2f}"
                    cells.append(text if len(values) == 1 else f"{text} ({min(values):.4g} to {max(values):.4g})")
                table.append([words, *cells, str(len(runs))])
        parts.append(f"**{title}**\n\n" + markdown(["", "at once", "50 steps", "200 steps", "seeds"], table))
    return "\n\n".join(parts)


def starts(rows: list[dict[str, Any]]) -> str:
    """A table a setting: the end's evaluation by start and learning rate."""
    parts = []
    settings = list(dict.fromkeys((r["task"], r["init"], r["optimizer"], r["steps"]) for r in rows))
    for setting in settings:
        mine = [r for r in rows if (r["task"], r["init"], r["optimizer"], r["steps"]) == setting]
        rates = sorted({r["lr"] for r in mine})
        table = []
        for start, clip in dict.fromkeys((r["start"], r["clip"]) for r in mine):
            cells = []
            for rate in rates:
                found = [r for r in mine if (r["start"], r["clip"], r["lr"]) == (start, clip, rate)]
                cells.append(f"{found[0]['loss']:.3f}" if found and found[0]["loss"] is not None else "")
            table.append([start + (f", clip {clip:g}" if clip else ""), *cells])
        task, init, optimizer, steps = setting
        title = (
            f"**{task}, {optimizer}, {steps} steps" + (f", init {init}" if init else "") + ": loss on held-out data**"
        )
        parts.append(f"{title}\n\n" + markdown(["start \\ lr", *(f"{rate:g}" for rate in rates)], table))
    return "\n\n".join(parts)


def health(rows: list[dict[str, Any]]) -> str:
    table = []
    for name in dict.fromkeys(row["run"] for row in rows):
        mine = [row for row in rows if row["run"] == name]
        flagged = [row["warnings"][0] for row in mine if row["warnings"]]
        said = ", ".join(sorted({f"{each['kind']} at step {each['step']}" for each in flagged})) or "nothing"
        table.append([name, str(len(mine)), str(len(flagged)), said, f"{fmean(row['loss'] for row in mine):.3f}"])
    return markdown(["run", "runs", "flagged", "first warning", "training loss at the end"], table)


def draw(conversion_rows: list[dict[str, Any]], start_rows: list[dict[str, Any]]) -> None:
    tasks = [task for task in NAMES if any(row["task"] == task for row in conversion_rows)]
    figure = Figure(figsize=(4 * len(tasks), 3.4), dpi=110, layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for way, words in WAYS.items():
            runs = [row["at"] for row in conversion_rows if (row["task"], row["way"]) == (task, way)]
            if runs:
                steps = sorted(runs[0], key=int)
                axes.plot([int(s) for s in steps], [fmean(run[s][0] for run in runs) for s in steps], "o-", label=words)
        axes.set(xlabel="fine-tuning steps", ylabel="held-out loss", title=NAMES[task].partition(":")[0], yscale="log")
        axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize="small")
    figure.savefig(RESULTS / "convert.png")
    mine = [row for row in start_rows if row["task"] == "gpt"]
    figure = Figure(figsize=(6, 3.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    for row in mine:
        every = row["steps"] // len(row["curve"])
        label = f"{row['start']}, lr {row['lr']:g}" + (f", clip {row['clip']:g}" if row["clip"] else "")
        axes.plot([every * (i + 1) for i in range(len(row["curve"]))], row["curve"], label=label, linewidth=1)
    axes.set(xlabel="step", ylabel="training loss", title="byte GPT-2 from scratch")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", ncols=2)
    figure.savefig(RESULTS / "starts.png")


def main() -> None:
    conversion_rows, start_rows = read(RESULTS / "convert.jsonl"), read(RESULTS / "starts.jsonl")
    health_rows = read(RESULTS / "health.jsonl")
    parts = [
        "# Conversion, starts, health\n\nWritten by `python -m benchmarks.starts.report` from the files beside it."
    ]
    parts.append("## Conversion of trained models\n\n" + conversions(conversion_rows) + "\n\n![](convert.png)")
    pretrained = RESULTS / "pretrained.json"
    if pretrained.exists():
        found = json.loads(pretrained.read_text())
        rows = [
            [WAYS[way], f"{found[way]['loss']:.3f}", f"{found[way]['accuracy']:.1f}"] for way in WAYS if way in found
        ]
        title = f"**AntiBERTy (PyPI), no training; {found['predictions']} masked residues of held-out antibodies**"
        parts.append(f"{title}\n\n" + markdown(["", "loss", "accuracy, %"], rows))
    cost = RESULTS / "cost.json"
    if cost.exists():
        found = json.loads(cost.read_text())
        parts.append(
            "**ViT-B, 8 batches of 8 images**\n\n" + markdown(["", ""], [[k, str(v)] for k, v in found.items()])
        )
    note = (
        "LN: LayerNorm. A number: Derf with that alpha. kB:S: `derf.start(bound=B)`, `alpha_lr_scale=S`; kB: without."
    )
    parts.append(f"## Starts\n\n{note}\n\n{starts(start_rows)}\n\n![](starts.png)")
    if health_rows:
        parts.append("## Health\n\n" + health(health_rows))
    (RESULTS / "README.md").write_text("\n\n".join(parts) + "\n")
    draw(conversion_rows, start_rows)


if __name__ == "__main__":
    main()
