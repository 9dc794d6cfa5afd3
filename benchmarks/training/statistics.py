"""Means with their intervals, and what two sets of runs allow to say."""

import math
from dataclasses import dataclass
from statistics import fmean, stdev

from .runs import Row
from .system import Base


@dataclass(frozen=True)
class Mean:
    """Of n values, with the half width of its 95 % interval by Student's t (infinite for one value)."""

    value: float
    half: float
    n: int

    def __str__(self) -> str:
        digits = 2 if abs(self.value) >= 10 else 4
        if math.isinf(self.half):
            return f"{self.value:.{digits}f}"
        return f"{self.value:.{digits}f} ± {self.half:.{digits}f}"


def mean(values: list[float]) -> Mean:
    from scipy.stats import t

    n = len(values)
    half = t.ppf(0.975, n - 1) * stdev(values) / math.sqrt(n) if n > 1 else math.inf
    return Mean(fmean(values), float(half), n)


def compared_rows(rows: list[Row], norm: str) -> list[Row]:
    return [row for row in rows if row["run"]["part"] == "comparison" and row["run"]["norm"] == norm]


def by_seed(task: Base, rows: list[Row], norm: str, measure: str | None = None) -> dict[int, float]:
    """A measure of the comparison's runs that stayed finite, those that learned nothing included."""
    found = {row["run"]["seed"]: row["measures"].get(measure or task.measure) for row in compared_rows(rows, norm)}
    return {seed: value for seed, value in found.items() if value is not None}


def mean_fit(rows: list[Row], norm: str) -> Mean | None:
    """Training loss in evaluation mode."""
    values = [row["fit"] for row in compared_rows(rows, norm) if row["fit"] is not None]
    return mean(values) if values else None


def difference(task: Base, rows: list[Row], norm: str, other: str) -> Mean | None:
    """Of the measure, norm less other, over the seeds that both have: those have the same batches."""
    mine, theirs = by_seed(task, rows, norm), by_seed(task, rows, other)
    both = sorted(mine.keys() & theirs.keys())
    return mean([mine[seed] - theirs[seed] for seed in both]) if both else None


def verdict(task: Base, change: Mean | None) -> str:
    """better, worse or undecided: whether 0 is in the interval."""
    if change is None or math.isinf(change.half) or abs(change.value) <= change.half:
        return "undecided"
    return "better" if (change.value > 0) == task.higher_is_better else "worse"
