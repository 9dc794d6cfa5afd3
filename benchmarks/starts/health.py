"""derf.Monitor on trainings that fail on purpose and on healthy ones: when each is flagged.

    python -m benchmarks.starts.health vit gpt

The digits' ViT and the byte GPT-2, 150 steps, every step looked at. A run that the results have is not run again.
"""

import argparse
import json
import math
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

import derf
import torch

from .starts import prepared, read
from .tasks import TASKS, train

RESULTS = Path(__file__).parent / "results" / "health.jsonl"
FAILING = {  # name: start, times the learning rate, layer made dead
    "alpha 2": ("2", 1, False),
    "alpha 8": ("8", 1, False),
    "alpha 32": ("32", 1, False),
    "alpha .02": ("0.02", 1, False),
    "lr x 20": ("0.5", 20, False),
    "a dead layer": ("0.5", 1, True),
}
HEALTHY = {
    "vit": {
        "alpha .5": "0.5",
        "alpha .8": "0.8",
        "start": "k16:20",
        "start, bound 4": "k4:20",
        "start, tanh": "tanh:20",
    },
    "gpt": {"start": "k16:10", "start, bound 4": "k4:10"},
}


def run(task: Any, name: str, start: str, factor: float, dead: bool, seed: int, steps: int) -> dict[str, Any]:
    model, scale = prepared(task, start, seed)
    layers = [module for module in model.modules() if isinstance(module, derf.PointwiseNorm)]
    if dead:
        torch.nn.init.zeros_(layers[3].alpha)
    said = []
    with derf.Monitor(model, every=1, on_warning=said.append) as monitor:
        losses, _ = train(
            task, model, steps, lr=task.lr * factor, seed=seed, alpha_lr_scale=scale, watch=lambda _: monitor.as_dict()
        )
    found = [{"step": warning.step, "kind": warning.kind, "layer": warning.layer} for warning in said]
    loss = round(fmean(losses[-20:]), 4)
    curve = [round(loss, 3) for loss in losses[:20]]
    return {
        **{"task": task.name, "run": name, "seed": seed, "steps": steps, "loss": loss if math.isfinite(loss) else None},
        **{"curve": curve, "warnings": found},
    }


def cost() -> dict[str, float]:
    """Milliseconds of the processor: a step, a step with a look, and the share that looks at every=50 add."""
    task = TASKS["vit"]
    model = derf.replace_norm(task.make(0))
    batch = next(task.batches(1, 0))
    times = {"plain": [], "look": []}
    for index in range(80):
        name = ("plain", "look")[index % 2]
        monitor = derf.Monitor(model, every=1) if name == "look" else None
        model.zero_grad()
        began = time.process_time()
        task.loss(model, batch).backward()
        times[name].append(time.process_time() - began)
        if monitor:
            monitor.close()
    medians = {name: 1e3 * median(values) for name, values in times.items()}
    share = (medians["look"] / medians["plain"] - 1) / 50
    return {**{name: round(value, 2) for name, value in medians.items()}, "share at every=50": round(share, 5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=["vit"], choices=HEALTHY, metavar="task")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--cost", action="store_true", help="only measure what a look takes, of a training step")
    parser.add_argument("--seeds", type=int, default=5, help="of healthy runs; failing ones have 3 at most")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.cost:
        print(cost())
        return
    runs = []
    for seed in range(arguments.seeds):
        for task in arguments.tasks:
            runs += [(task, name, *about, seed) for name, about in FAILING.items() if seed < 3]
            runs += [(task, name, start, 1, False, seed) for name, start in HEALTHY[task].items()]
    done = {(row["task"], row["run"], row["seed"], row["steps"]) for row in read(RESULTS)}
    for task, name, start, factor, dead, seed in runs:
        if (task, name, seed, arguments.steps) not in done:
            row = run(TASKS[task], name, start, factor, dead, seed, arguments.steps)
            with RESULTS.open("a") as out:
                out.write(json.dumps(row) + "\n")
            print({key: value for key, value in row.items() if key != "curve"}, flush=True)


if __name__ == "__main__":
    main()
