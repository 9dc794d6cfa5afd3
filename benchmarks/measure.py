"""Time functions in turn: what else the machine does meets all alike. Medians with quartiles.

Each round has an order of its own, by chance: behind the same slow one each time, a function would pay what that one
leaves behind, such as memory that a virtual machine's host has taken back meanwhile.
"""

import math
import random
import timeit
from collections.abc import Callable, Mapping
from statistics import median, quantiles

from torch.utils.benchmark import Measurement, TaskSpec

SAMPLE = 5e-4  # seconds between two looks at the clock, at least: many calls where tensors are small, one where large
FEWEST_ROUNDS = 3


def measure(functions: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Measurement]:
    """So many rounds that the function in the middle takes these seconds.

    A slow one stops when it has had them, after a few rounds at least. A fast one goes on no longer than the others: it
    would find in the cache what they leave no room for.
    """
    timers = {name: timeit.Timer(function) for name, function in functions.items()}  # switches off the collector
    calls, turns = dict.fromkeys(functions, 1), {}
    for name, timer in timers.items():
        turns[name] = timer.timeit(1)
        while turns[name] < SAMPLE / 2:
            calls[name] = math.ceil(calls[name] * min(10, SAMPLE / turns[name]))
            turns[name] = timer.timeit(calls[name])
    chance = random.Random(0)
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for done in range(max(FEWEST_ROUNDS, int(seconds / median(turns.values())))):
        for name in chance.sample(list(taken), len(taken)):
            times = taken[name]
            if done < FEWEST_ROUNDS or sum(times) < seconds:
                times.append(timers[name].timeit(calls[name]))
    return {name: Measurement(calls[name], times, TaskSpec(name, "")) for name, times in taken.items()}


def microseconds(measurement: Measurement) -> list[float]:
    """First quartile, median and third quartile of one call, to four digits."""
    return [float(f"{1e6 * cut:.4g}") for cut in quantiles(measurement.times, n=4, method="inclusive")]
