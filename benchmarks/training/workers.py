"""Runs, one after the other or several at a time in processes of their own, under one progress bar."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

import torch

from .runs import Row, Run
from .trainer import train

_ticks: multiprocessing.Queue


def _begin(ticks: multiprocessing.Queue, threads: int) -> None:
    global _ticks
    _ticks = ticks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its processes
    torch.set_num_threads(threads)


def _tick(steps: int) -> None:
    if not multiprocessing.parent_process().is_alive():
        os._exit(1)  # it was killed; whoever goes on will start processes of their own
    _ticks.put(steps)


def _train(run: Run, scale: str, checkpoints: Path, device: str) -> Row:
    return train(run, scale, checkpoints, device, _tick)


class Bar:
    """What is done, what remains, and for how long; plain lines where the output is no terminal."""

    def __init__(self, show: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        console = Console(file=sys.stderr)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console, disable=not (show and console.is_terminal))
        self.show = show
        self.task = self.progress.add_task("starting", total=1)
        self.steps = 0

    def tick(self, steps: int) -> None:
        self.steps += steps
        self.progress.update(self.task, advance=steps)

    def expect(self, steps: int) -> None:
        """So many are still to be made, as far as is known."""
        self.progress.update(self.task, total=max(1, self.steps + steps))

    def say(self, row: Row) -> None:
        run = row["run"]
        words = [run["system"], run["part"], run["norm"], f"lr {run['lr']:g}", f"seed {run['seed']}"]
        words += [f"{name}={value}" for name, value in run["options"].items() if value is not None]
        values = ", ".join(f"{name} {value:.4g}" for name, value in row["measures"].items() if value is not None)
        text = f"{' '.join(words)}: {'FAILED ' if row['failed'] else ''}{values} ({row['seconds']:.0f} s)"
        self.progress.update(self.task, description=run["system"])
        if not self.progress.disable:
            self.progress.console.print(text, highlight=False)
        elif self.show:
            print(text, flush=True)


def execute(
    pending: Callable[[], list[Run]],
    steps_of: Callable[[Run], int],
    add: Callable[[Row], None],
    *,
    scale: str,
    checkpoints: Path,
    device: str,
    workers: int,
    threads: int,
    show: bool = True,
) -> None:
    """Run what is pending, which may grow with what is found, until nothing is."""
    bar = Bar(show)

    def expected() -> list[Run]:
        runs = pending()
        bar.expect(sum(map(steps_of, runs)))
        return runs

    with bar.progress:
        if workers == 1:
            torch.set_num_threads(threads)
            while runs := expected():
                row = train(runs[0], scale, checkpoints, device, bar.tick)
                add(row)
                bar.say(row)
            return
        context = multiprocessing.get_context("spawn")
        ticks = context.Queue()
        executor = ProcessPoolExecutor(workers, context, _begin, (ticks, threads))
        running: dict[Future, Run] = {}
        try:
            while True:
                busy = {run.key for run in running.values()}
                free = [run for run in expected() if run.key not in busy]
                for run in free[: workers - len(running)]:
                    running[executor.submit(_train, run, scale, checkpoints, device)] = run
                if not running:
                    return
                done: set[Future] = set()
                while not done:
                    done, _ = wait(running, 0.3, FIRST_COMPLETED)
                    while not ticks.empty():
                        bar.tick(ticks.get())
                for future in done:
                    del running[future]
                    row = future.result()
                    add(row)
                    bar.say(row)
        finally:
            for process in multiprocessing.active_children():
                process.terminate()
            executor.shutdown(cancel_futures=True)
