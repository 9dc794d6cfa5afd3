"""`python -m benchmarks`: measure, print, and write JSON, plots and a page of tables."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from . import cases, report, targets
from .cases import WARM_ALLOCATOR, Job, Setting

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
PARTIAL = ROOT / "build" / "benchmarks"  # what git ignores
QUIET = 0.05  # processors that others may keep busy


def environment(setting: Setting) -> dict[str, str]:
    # Inductor would start processes to compile, which take their time beside what is measured.
    fixed = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
    fixed["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    if setting.allocator == "warm":
        fixed |= WARM_ALLOCATOR
    if setting.capability != "native":
        fixed["ATEN_CPU_CAPABILITY"] = setting.capability
    return {**inherited, **fixed}


def results(setting: Setting, jobs: list[Job]) -> Iterator[tuple[str, object]]:
    """What a process with this setting finds, as it comes."""
    with tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "-m", "benchmarks.worker"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "text": True}
        with subprocess.Popen(command, env=environment(setting), cwd=ROOT, **pipes) as worker:
            try:
                json.dump([job.as_dict() for job in jobs], worker.stdin)
                worker.stdin.close()
                for line in worker.stdout:
                    yield from json.loads(line).items()
            except BaseException:
                worker.kill()
                raise
        if worker.returncode:
            errors.seek(0)
            raise SystemExit(f"benchmarks: a process failed ({setting}):\n{errors.read()}")


def busy_seconds() -> tuple[float, float]:
    """Of all processors in user and system mode since they started, and of this process and those it has awaited."""
    try:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split()[1:9]]
    except (OSError, ValueError):
        return 0.0, 0.0
    waiting = ticks[3] + ticks[4]
    return (sum(ticks) - waiting) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


def measure(plan: dict[Setting, list[Job]], threads: int) -> dict:
    """Run all processes, one after the other, under one progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    found: dict = {"facts": {}, **{part: [] for part in report.PARTS}}
    start, before = time.perf_counter(), busy_seconds()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Drawn when a job is done and not by a clock: that would take time from what is measured.
    with Progress(*columns, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("starting", total=sum(map(len, plan.values())))
        for setting, jobs in plan.items():
            for part, result in results(setting, jobs):
                if part == "facts":
                    found["facts"] = found["facts"] or {**result, "threads": threads, "warm allocator": WARM_ALLOCATOR}
                elif part == "done":
                    description = f"{setting.allocator} allocator, {setting.capability}: {result}"
                    progress.update(task, advance=1, description=description, refresh=True)
                elif part == "measurements":
                    found[part].append({**asdict(setting), **result})
                else:
                    found[part].append(result)
    others = [end - begin for begin, end in zip(before, busy_seconds(), strict=True)]
    busy = max(0.0, others[0] - others[1]) / (time.perf_counter() - start)
    found["facts"]["processors that others kept busy"] = round(busy, 2)
    if busy > QUIET:
        found["notes"].append(f"not a quiet machine: others kept {busy:.2f} processors busy, run it again")
    found["targets"] = targets.evaluate(found)
    return found


def write(found: dict, output: Path) -> list[Path]:
    from . import plots

    output.mkdir(parents=True, exist_ok=True)
    drawn = plots.plot(found, output)
    (output / "results.json").write_text(report.dumps(found))
    (output / "README.md").write_text(report.markdown(found, [path.name for path in drawn]))
    return [output / "results.json", output / "README.md", *drawn]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases, within a minute")
    parser.add_argument("--dtype", nargs="+", choices=list(cases.BYTES), default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: %(default)s")
    parser.add_argument("--only", default="", metavar="NAME", help="cases with this in their names: vit, sweep, …")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results; of a part, build/benchmarks")
    parser.add_argument("--plots-from", type=Path, metavar="JSON", help="measure nothing, draw the plots of a run")
    options = parser.parse_args()
    if options.threads < 1:
        parser.error("--threads must be at least 1")
    return options


def main() -> int:
    options, start = parse(), time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and take the process that measures along
    if options.plots_from:
        found = json.loads(options.plots_from.read_text())
        found["targets"] = targets.evaluate(found)
        output = options.output or options.plots_from.parent
    else:
        plan = cases.plan(options.dtype, options.threads, options.quick, options.only)
        if not plan:
            raise SystemExit(f"benchmarks: no case has {options.only!r} in its name")
        found = measure(plan, options.threads)
        output = options.output or (PARTIAL if options.quick or options.only else RESULTS)
    written = write(found, output)
    report.print_report(found)
    print(f"written in {time.perf_counter() - start:.0f} s:", *(os.path.relpath(path) for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
