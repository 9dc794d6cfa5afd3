"""Training from scratch over learning rates: LayerNorm, fixed starts, starts from data of several bounds.

    python -m benchmarks.starts.starts gpt --lrs 1e-3 2e-3 --starts LN 0.5 k16:10

A start is LN; a number, for a fixed alpha; kB:S for derf.start(bound=B) and alpha_lr_scale=S (kB for none), with @G for
a gain other than 1; or a function's name in the place of kB, for that function and the default bound. Cells that the
results have are not run again.
"""

import argparse
import json
import math
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import derf
import torch

from .tasks import TASKS, train

RESULTS = Path(__file__).parent / "results" / "starts.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def prepared(task: Any, start: str, seed: int, **shape: Any) -> tuple[torch.nn.Module, float | None]:
    """The model as it starts, and alpha's learning rate relative to its size."""
    model = task.make(seed, **shape)
    if start == "LN":
        return model, None
    kind, _, scale = start.partition(":")
    if kind[0].isdigit():
        return derf.replace_norm(model, alpha=float(kind)), float(scale) if scale else None
    named = kind in derf.functions()
    bound, _, gain = ("16" if named else kind[1:]).partition("@")
    model = derf.replace_norm(model, function=kind if named else "erf")
    (batch,) = task.batches(1, 999)
    derf.start(model, batch, gain=float(gain or 1), bound=float(bound), forward=task.loss)
    return model, float(scale) if scale else None


def run(task: Any, cell: dict[str, Any]) -> dict[str, Any]:
    """One training: the loss of its last twentieth, the evaluation at its end, and a thinned curve."""
    began = time.perf_counter()
    shape = {name: cell[name] for name in ("width", "depth", "init") if cell[name] is not None}
    model, scale = prepared(task, cell["start"], cell["seed"], **shape)
    steps = cell["steps"]
    losses, evaluations = train(
        task, model, steps, lr=cell["lr"], seed=cell["seed"], at=(steps,), optimizer=cell["optimizer"],
        clip=cell["clip"], alpha_lr_scale=scale,
    )  # fmt: skip
    every = max(1, steps // 50)
    curve = [round(fmean(losses[i : i + every]), 4) for i in range(0, len(losses), every)]
    loss, accuracy = evaluations.get(steps, (math.nan, math.nan))
    return {
        **cell,
        "train": round(fmean(losses[-(steps // 20) :]), 4) if len(losses) == steps else None,
        "loss": round(loss, 4) if math.isfinite(loss) else None,
        "accuracy": round(accuracy, 2) if math.isfinite(accuracy) else None,
        "curve": [value if math.isfinite(value) else None for value in curve],
        "seconds": round(time.perf_counter() - began),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--starts", nargs="+", default=["LN", "0.5", "k16:10"])
    parser.add_argument("--lrs", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3, 4e-3, 8e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--optimizer", choices=("adamw", "sgd", "muon"), default="adamw")
    parser.add_argument("--clip", type=float)
    parser.add_argument("--width", type=int)
    parser.add_argument("--depth", type=int)
    parser.add_argument("--init", type=float)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = TASKS[arguments.task]
    known = ("task", "start", "lr", "seed", "steps", "optimizer", "clip", "width", "depth", "init")
    done = {tuple(row[name] for name in known) for row in read(RESULTS)}
    for seed in arguments.seeds:
        for lr in arguments.lrs:
            for start in arguments.starts:
                common = {name: getattr(arguments, name) for name in ("optimizer", "clip", "width", "depth", "init")}
                steps = arguments.steps or task.steps
                cell = {"task": task.name, "start": start, "lr": lr, "seed": seed, "steps": steps, **common}
                if tuple(cell[name] for name in known) in done:
                    continue
                row = run(task, cell)
                with RESULTS.open("a") as out:
                    out.write(json.dumps(row) + "\n")
                print({name: value for name, value in row.items() if name != "curve"}, flush=True)


if __name__ == "__main__":
    main()
