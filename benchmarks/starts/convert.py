"""Conversion of trained models: how much a model is worth after it, at once and after a short fine-tuning.

    python -m benchmarks.starts.convert vit gpt bert convnext llama wav2vec2 --seeds 0 1 2

Trains each model with its norms first (kept in build/starts), then measures the original going on, replace_norm alone,
calibrate in parallel, in sequence, and that with 40 steps of refine, after 0, 50 and 200 gentle steps; with --at-once
after none. Other --ways: with min_r2, with 120 steps of refine. Cells that the results have are not run again.
"""

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import derf
import torch
from torch import nn

from .starts import read
from .tasks import TASKS, train

RESULTS = Path(__file__).parent / "results" / "convert.jsonl"
MODELS = Path(__file__).parents[2] / "build" / "starts"
AT = (0, 50, 200)
WAYS: dict[str, dict[str, Any] | None] = {  # and the options of calibrate
    "original": None,
    "plain": None,
    "parallel": {"mode": "parallel"},
    "sequential": {"mode": "sequential"},
    "refined": {"mode": "sequential", "refine": 40},
    # With four times as many batches.
    "longer": {"mode": "sequential", "refine": 120},
    "kept": {"mode": "sequential"},  # and min_r2
    "kept, longer": {"mode": "sequential", "refine": 120},
}
MIN_R2 = {"wav2vec2": 0.98, "llama": 0.94}  # keeps two norms of ten, and one of nine
BATCHES, CALIBRATION_SEED = 8, 777


def trained(task: Any, seed: int) -> nn.Module:
    """The model with its norms, trained once."""
    model, file = task.make(seed), MODELS / f"{task.name}{seed}.pt"
    if not file.exists():
        train(task, model, task.steps, lr=task.lr, seed=seed)
        MODELS.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()


def converted(task: Any, model: nn.Module, way: str) -> tuple[nn.Module, dict[str, Any]]:
    began = time.process_time()
    if way == "original":
        return model, {}
    if way == "plain":
        return derf.replace_norm(model), {}
    options = {**WAYS[way], **({"min_r2": MIN_R2[task.name]} if way.startswith("kept") else {})}
    batches = list(task.batches(BATCHES if way in list(WAYS)[:5] else 4 * BATCHES, CALIBRATION_SEED))
    model, report = derf.calibrate(model, batches, forward=task.loss, return_report=True, **options)
    seconds = time.process_time() - began
    began = time.process_time()
    with torch.no_grad():
        for batch in batches:
            task.loss(model, batch)
    return model, {
        "seconds": round(seconds, 2),
        "forwards": round(
            seconds / (time.process_time() - began), 2
        ),  # calibrate's processor time over that of one pass
        "r2": [round(layer.r2, 3) for layer in report.layers],
        "gain": [round(layer.gain, 3) for layer in report.layers],
        "weight": [round(layer.weight, 2) for layer in report.layers],
        "kept": [norm.name for norm in report.kept],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS)[:5])
    parser.add_argument("--at-once", action="store_true", help="right after the conversion alone, without fine-tuning")
    arguments = parser.parse_args()
    if any(way.startswith("kept") for way in arguments.ways) and not MIN_R2.keys() >= set(arguments.tasks):
        parser.error(f"the ways that keep norms are for {' and '.join(MIN_R2)}")
    torch.set_num_threads(1)
    last = 0 if arguments.at_once else AT[-1]
    done = {(row["task"], row["seed"], row["way"]) for row in read(RESULTS) if str(last) in row["at"]}
    for seed in arguments.seeds:
        for name in arguments.tasks:
            task = TASKS[name]
            for way in arguments.ways:
                if (name, seed, way) in done:
                    continue
                model, about = converted(task, copy.deepcopy(trained(task, seed)), way)
                row = {"task": name, "seed": seed, "way": way, **about}
                found = {0: task.evaluate(model)}
                if not arguments.at_once:
                    _, found = train(task, model, AT[-1], lr=task.fine_lr, seed=seed + 50, at=AT)
                row["at"] = {step: [round(value, 4) for value in values] for step, values in found.items()}
                with RESULTS.open("a") as out:
                    out.write(json.dumps(row) + "\n")
                print(row, flush=True)


if __name__ == "__main__":
    main()
