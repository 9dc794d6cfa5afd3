"""Tables and plots of what is in results: python -m benchmarks.starts.report"""

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from .convert import MIN_R2
from .starts import read

RESULTS = Path(__file__).parent / "results"
NAMES = {
    "vit": "ViT, digits: test accuracy, %",
    "convnext": "ConvNeXt, digits: test accuracy, %",
    "gpt": "GPT-2, bytes: held-out loss",
    "llama": "LLaMA, bytes: held-out loss",
    "bert": "post-norm BERT, causal, bytes: held-out loss",
    "wav2vec2": "wav2vec 2.0, tones: accuracy of frames, %",
}
WAYS = {
    "original": "the original, going on",
    "plain": "replace_norm",
    "parallel": "calibrate, parallel",
    "sequential": "calibrate, sequential",
    "refined": "calibrate, refine=40",
    "longer": "calibrate, refine=120, 32 batches",
    "kept": "calibrate, min_r2={}, 32 batches",
    "kept, longer": "calibrate, min_r2={}, refine=120, 32 batches",
}


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def conversions(rows: list[dict[str, Any]]) -> str:
    """A table a model: ways and steps; means over the seeds that were run so far, with the range where there are
    several and, in brackets, how many they are where that is not the same for all steps."""
    parts = []
    for task, title in NAMES.items():
        mine = [row for row in rows if row["task"] == task]
        if not mine:
            continue
        column = 1 if "accuracy" in title else 0
        table = []
        for way, words in WAYS.items():
            runs = list({row["seed"]: row["at"] for row in mine if row["way"] == way}.values())
            if runs:
                cells = []
                for step in ("0", "50", "200"):
                    values = [run[step][column] for run in runs if step in run]
                    text = (f"{fmean(values):.3f}" if column == 0 else f"{fmean(values):.2f}") if values else ""
                    several = f"{text}, {min(values):.4g} to {max(values):.4g}" if len(values) > 1 else text
                    cells.append(several if len(values) in (0, len(runs)) else f"{several} [{len(values)}]")
                table.append([words.format(MIN_R2.get(task)), *cells, str(len(runs))])
        parts.append(f"**{title}**\n\n" + markdown(["", "at once", "50 steps", "200 steps", "seeds"], table))
    return "\n\n".join(parts)


def starts(rows: list[dict[str, Any]]) -> str:
    """A table a setting: the end's evaluation by start and learning rate."""
    parts = []
    kinds = ("task", "init", "width", "depth", "optimizer", "steps")
    for setting in dict.fromkeys(tuple(r[kind] for kind in kinds) for r in rows):
        mine = [r for r in rows if tuple(r[kind] for kind in kinds) == setting]
        rates = sorted({r["lr"] for r in mine})
        table = []
        for start, clip in dict.fromkeys((r["start"], r["clip"]) for r in mine):
            cells = []
            for rate in rates:
                found = [r for r in mine if (r["start"], r["clip"], r["lr"]) == (start, clip, rate)]
                cells.append(
                    (f"{found[0]['loss']:.3f}" if found[0]["loss"] is not None else "diverged") if found else ""
                )
            table.append([start + (f", clip {clip:g}" if clip else ""), *cells])
        about = dict(zip(kinds, setting, strict=True))
        others = "".join(f", {kind} {about[kind]:g}" for kind in ("init", "width", "depth") if about[kind])
        title = f"**{about['task']}, {about['optimizer']}, {about['steps']} steps{others}: loss on held-out data**"
        parts.append(f"{title}\n\n" + markdown(["start \\ lr", *(f"{rate:g}" for rate in rates)], table))
    return "\n\n".join(parts)


def mapped(rows: list[dict[str, Any]]) -> str:
    """A picture of the byte GPT-2 over learning rate and gain, where that has run: loss after 400 steps."""
    mine = [row for row in rows if (row["task"], row["steps"], row["width"], row["depth"]) == ("gpt", 400, None, None)]
    if not mine:
        return ""
    rates = sorted({row["lr"] for row in mine})
    words = {"k16@2:10": "gain 2", "k16:10": "gain 1", "k16@0.5:10": "gain 0.5", "LN": "LayerNorm"}
    loss = {(row["start"], row["lr"]): row["loss"] for row in mine}
    table = [[loss.get((start, rate)) or math.nan for rate in rates] for start in words]
    figure = Figure(figsize=(6, 3), dpi=110, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(table, cmap="viridis_r", aspect="auto", vmin=2.0, vmax=3.2)
    for i, line in enumerate(table):
        for j, value in enumerate(line):
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if value > 2.6 else "black")
    axes.set(xlabel="learning rate", title="derf.start on a byte GPT-2: held-out loss after 400 steps")
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_yticks(range(len(words)), words.values())
    figure.colorbar(image)
    figure.savefig(RESULTS / "start_map.png")
    return "\n\n![](start_map.png)"


def health(rows: list[dict[str, Any]]) -> str:
    """A line a kind of run: how many, how many with a warning, the first one of each, and how they ended."""
    table = []
    kinds = ("task", "run", "steps")
    for kind in dict.fromkeys(tuple(row[key] for key in kinds) for row in rows):
        mine = [row for row in rows if tuple(row[key] for key in kinds) == kind]
        flagged = [row["warnings"][0] for row in mine if row["warnings"]]
        said = ", ".join(sorted({f"{each['kind']} at step {each['step']}" for each in flagged})) or "nothing"
        losses = [row["loss"] for row in mine if row["loss"] is not None]
        loss = f"{min(losses):.3f} to {max(losses):.3f}" if losses else "not finite"
        table.append([*map(str, kind), str(len(mine)), str(len(flagged)), said, loss])
    return markdown(["model", "run", "steps", "runs", "flagged", "first warning", "training loss at the end"], table)


def draw(conversion_rows: list[dict[str, Any]], start_rows: list[dict[str, Any]]) -> None:
    tasks = [task for task in NAMES if any(row["task"] == task for row in conversion_rows)]
    rows = math.ceil(len(tasks) / 3)
    figure = Figure(figsize=(10, 3 * rows + 0.9), dpi=110, layout="constrained")
    panels = list(figure.subplots(rows, 3, squeeze=False).flat)
    for axes in panels[len(tasks) :]:
        axes.set_axis_off()
    colors = {way: f"C{place}" for place, way in enumerate(WAYS)}
    drawn = {}
    for axes, task in zip(panels, tasks, strict=False):
        for way, words in WAYS.items():
            runs = [row["at"] for row in conversion_rows if (row["task"], row["way"]) == (task, way)]
            runs = [run for run in runs if "200" in run] or runs
            if runs:
                steps = sorted(runs[0], key=int)
                means = [fmean(run[step][0] for run in runs) for step in steps]
                (drawn[words.replace("={}", "")],) = axes.plot([*map(int, steps)], means, "o-", color=colors[way])
        axes.set(xlabel="fine-tuning steps", ylabel="held-out loss", title=NAMES[task].partition(":")[0], yscale="log")
        axes.grid(alpha=0.3, which="both")
    figure.legend(drawn.values(), drawn, fontsize="small", loc="outside lower center", ncols=3)
    figure.savefig(RESULTS / "convert.png")
    mine = [row for row in start_rows if row["task"] == "gpt" and row["steps"] == 1000]
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
        "LN: LayerNorm. A number: Derf with that alpha. kB@G:S: `derf.start(bound=B, gain=G)` and `alpha_lr_scale=S`; "
        "without @G the gain is 1, without :S alpha has the learning rate of all. (Runs with @1.128 are older: gain "
        "did not count erf's slope then, and they were called 1.) Muon has the hidden layers' matrices, AdamW the "
        "rest at a tenth of the learning rate. Empty cells were not run."
    )
    parts.append(f"## Starts\n\n{note}\n\n{starts(start_rows)}\n\n![](starts.png)" + mapped(start_rows))
    if health_rows:
        words = (
            "`derf.Monitor(every=1)` on planted failures and on starts that should be healthy. GPT-2 with alpha .5 "
            "is faint from the first step on whatever else is planted: that start is stuck. The start with bound 4, "
            "which it flags there, ends behind that with bound 16."
        )
        parts.append(f"## Health\n\n{words}\n\n" + health(health_rows))
    (RESULTS / "README.md").write_text("\n\n".join(parts) + "\n")
    draw(conversion_rows, start_rows)


if __name__ == "__main__":
    main()
