"""Train the systems of the paper with norms and with Derf, and write what was found.

    python -m benchmarks.training gpt2 vit        # the comparison, some minutes each on 2 cores
    python -m benchmarks.training --all --workers 2
    python -m benchmarks.training --study alpha-adamw
    torchrun --nproc-per-node 2 -m benchmarks.training gpt2

Runs that the results have are not run again, and one that was interrupted goes on from its last checkpoint.
"""

import argparse
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
EXTRA = {
    "timm": "timm", "transformers": "transformers", "diffusers": "diffusers", "sklearn": "scikit-learn",
    "matplotlib": "matplotlib", "rich": "rich", "scipy": "scipy", "PIL": "pillow",
}  # fmt: skip


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    missing = [package for module, package in EXTRA.items() if importlib.util.find_spec(module) is None]
    if missing:
        parser.exit(2, f'benchmarks.training needs {", ".join(missing)}: pip install "derf[science]"\n')
    from .norms import DEFAULT, NORMS
    from .studies import STUDIES
    from .system import MORE, NAMES

    known = (*NAMES, *MORE)
    add = parser.add_argument
    add("systems", nargs="*", metavar="SYSTEM", help=", ".join(known))
    add("--all", action="store_true", help=f"the systems {', '.join(NAMES)}")
    add("--study", nargs="+", metavar="NAME", default=[], help=f"not the comparison: {', '.join(STUDIES)}, all")
    add("--norms", nargs="+", metavar="NAME", default=list(DEFAULT), help=f"of {', '.join(NORMS)}")
    add("--seeds", type=int, help="default: 3; of studies, what is practicable")
    add("--smoke", action="store_true", help="tiny, to see that all of it runs")
    add("--gpu", action="store_true", help="larger models and trainings, on a CUDA device")
    add("--workers", type=int, default=1, help="trainings at a time (default: %(default)s)")
    add("--threads", type=int, default=1, help="of each training (default: %(default)s)")
    add("--out", type=Path, help="default: benchmarks/training/results; of --smoke and --gpu, build/training")
    add("--report", action="store_true", help="train nothing, write tables and plots of what is there")
    options = parser.parse_args(argv)
    asked = {"system": (options.systems, known), "norm": (options.norms, NORMS), "study": (options.study, STUDIES)}
    for kind, (names, there) in asked.items():
        for name in names:
            if name not in there and (kind, name) != ("study", "all"):
                parser.error(f"unknown {kind} {name!r}: it must be one of {', '.join(there)}")
    for name in ("seeds", "workers", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, but is {value}")
    if options.smoke and options.gpu:
        parser.error("--smoke and --gpu exclude each other")
    options.systems = list(dict.fromkeys([*(NAMES if options.all else ()), *options.systems]))
    options.norms = list(dict.fromkeys(options.norms))
    options.study = list(STUDIES if "all" in options.study else dict.fromkeys(options.study))
    if not (options.systems or options.study or options.report):
        parser.error(f"name systems ({', '.join(known)}), or give --all, --study or --report")
    options.scale = "smoke" if options.smoke else "gpu" if options.gpu else "default"
    elsewhere = ROOT / "build" / "training" / options.scale
    options.out = options.out or (RESULTS if options.scale == "default" else elsewhere)
    return options


def plan(options: argparse.Namespace, results: dict) -> Iterator:
    """All runs that are asked for and not done, as far as what is known says."""
    from .studies import SEEDS, STUDIES, comparison
    from .system import system

    if not options.study:
        for name in options.systems:
            yield from comparison(system(name, options.scale), results[name].rows, options.norms, options.seeds or 3)
    for study in options.study:
        for name in options.systems or [STUDIES[study].system]:
            task = system(name, options.scale)
            if study == "fit":
                yield from comparison(task, results[name].rows, options.norms, options.seeds or 3)
            seeds = options.seeds or (1 if options.smoke else SEEDS.get(study, 1))
            yield from STUDIES[study].plan(study, task, seeds, results[name].rows)


def train_all(options: argparse.Namespace) -> None:
    import torch
    from torch import distributed as dist

    from .runs import Refused, Results, Run
    from .studies import STUDIES
    from .system import system
    from .trainer import checkpoint
    from .workers import execute

    processes = int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1 and options.workers > 1:
        raise Refused("--workers spreads trainings and torchrun one training over processes: use one of them")
    device = "cpu"
    if options.gpu:
        if not torch.cuda.is_available():
            raise Refused("--gpu needs a CUDA device, but torch sees none")
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    if processes > 1:
        dist.init_process_group("nccl" if options.gpu else "gloo")
    names = {*options.systems, *(STUDIES[study].system for study in options.study if not options.systems)}
    results = {name: Results(options.out / f"{name}.jsonl", system(name, options.scale).settings()) for name in names}
    checkpoints = options.out / "checkpoints"
    first = processes == 1 or dist.get_rank() == 0
    if processes > 1:
        dist.barrier()  # all have read before one writes

    def pending() -> list:
        return [run for run in plan(options, results) if run.key not in results[run.system].done]

    def add(row: dict) -> None:
        name = row["run"]["system"]
        results[name].add(row, write=first)
        if first:
            checkpoint(Run(**row["run"]), system(name, options.scale), checkpoints)[0].unlink(missing_ok=True)

    execute(
        pending, lambda run: system(run.system, options.scale).scale.steps, add, scale=options.scale,
        checkpoints=checkpoints, device=device, workers=options.workers, threads=options.threads, show=first,
    )  # fmt: skip
    if processes > 1:
        dist.destroy_process_group()
    if not first:
        sys.exit(0)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is looked for on a hub
    signal.signal(signal.SIGTERM, partial(lambda number, frame: sys.exit(128 + number)))
    from . import report
    from .runs import Refused

    try:
        if not options.report:
            train_all(options)
        written = report.write(options.out)
    except Refused as error:
        print(f"benchmarks.training: {error}", file=sys.stderr)
        return 1
    print(report.summary(options.out))
    print("written:", *(os.path.relpath(path) for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
