"""What Derf is to reach, and what a run of the benchmark found: computed from the report alone.

"forward" is that of a training step, with a graph for the backward; "inference" has none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

LARGE = 32 << 20  # taken for the last level of cache where the machine does not tell


class Figure(NamedTuple):
    case: str
    value: float  # ratio of medians
    low: float  # and what it may be at worst and best, by the quartiles of both
    high: float


Figures = Callable[[dict], Iterator[Figure]]


@dataclass(frozen=True)
class Target:
    work: str
    bound: float
    figures: Figures
    at_least: bool = True


def label(record: dict) -> str:
    shape = " x ".join(map(str, record["shape"])) if record["name"] == "sweep" else record["name"]
    return f"{shape} {record['dtype']} {record.get('what', '')}".strip()


def is_large(record: dict, report: dict) -> bool:
    """Out of cache: input and output together do not fit."""
    return 2 * record["bytes"] > (report["facts"].get("last-level cache, bytes") or LARGE)


def in_cache(record: dict) -> bool:
    return tuple(record["shape"]) == (1024, 768)


def select(report: dict, keep: Callable[[dict], bool] = lambda record: True, **wanted: object) -> Iterator[dict]:
    """Measurements; by default those with all threads, a warm allocator and the instruction set of the machine."""
    wanted = {"allocator": "warm", "capability": "native", "threads": report["facts"]["threads"], **wanted}
    for record in report["measurements"]:
        if keep(record) and all(record[key] == value for key, value in wanted.items()):
            yield record


def figure(case: str, over: list[float], under: list[float]) -> Figure:
    return Figure(case, over[1] / under[1], over[0] / under[2], over[2] / under[0])


def times(over: str, under: str, size: str = "any", sweep: bool = False, **wanted: object) -> Figures:
    """How many times as long as `under` takes `over`, for each measurement that has both."""

    def figures(report: dict) -> Iterator[Figure]:
        def keep(record: dict) -> bool:
            fits = {"large": is_large(record, report), "in cache": in_cache(record)}.get(size, True)
            return fits and (sweep or record["name"] != "sweep")

        for record in select(report, keep, **wanted):
            found = record["microseconds"]
            if over in found and under in found:
                yield figure(label(record), found[over], found[under])

    return figures


def norm(what: str, size: str = "any", **wanted: object) -> Figures:
    return times("F.layer_norm", "derf", size, what=what, **wanted)


def of_copy(what: str, dtype: str) -> Figures:
    return times("derf", "copy", "large", what=what, dtype=dtype)


def anywhere(peer: str, what: str) -> Figures:
    return times(peer, "derf", sweep=True, what=what)


def one_token(what: str) -> Figures:
    def figures(report: dict) -> Iterator[Figure]:
        return (each for each in norm(what)(report) if each.case.startswith("one token"))

    return figures


def threads(report: dict) -> Iterator[Figure]:
    two = {label(record): record for record in select(report, in_cache, threads=2)}
    for one in select(report, in_cache, threads=1):
        if label(one) in two and one["what"] in ("forward", "forward+backward"):
            pair = (record["microseconds"]["derf"] for record in (one, two[label(one)]))
            yield figure(label(one), *pair)


def held(report: dict) -> Iterator[Figure]:
    for record in report["memory"]:
        of_input, beside = record["held"]["derf"]
        yield Figure(label(record), *[(of_input + beside) / record["bytes"]] * 3)


FORWARD, BOTH = "forward", "forward+backward"
WARM, DEFAULT = "out of cache, warm allocator", "out of cache, default allocator"
TARGETS = [
    Target(f"{WARM}, float32 forward / copy", 1.0, of_copy(FORWARD, "float32"), at_least=False),
    Target(f"{WARM}, bfloat16 forward / copy", 1.5, of_copy(FORWARD, "bfloat16"), at_least=False),
    Target(f"{WARM}, float32 forward+backward / copy", 2.6, of_copy(BOTH, "float32"), at_least=False),
    Target(f"{WARM}, F.layer_norm / derf, forward+backward", 1.4, norm(BOTH, "large")),
    Target("in cache, F.layer_norm / derf, float32 forward", 1.25, norm(FORWARD, "in cache", dtype="float32")),
    Target("in cache, F.layer_norm / derf, bfloat16 forward", 1.5, norm(FORWARD, "in cache", dtype="bfloat16")),
    Target("in cache, F.layer_norm / derf, forward+backward", 1.3, norm(BOTH, "in cache")),
    Target("one token, F.layer_norm / derf, inference", 1.0, one_token("inference")),
    Target("one token, F.layer_norm / derf, forward+backward", 1.0, one_token(BOTH)),
    Target("any shape, compiled Derf / derf, forward", 2.0, anywhere("compiled Derf", FORWARD)),
    Target("any shape, compiled Derf / derf, forward+backward", 3.0, anywhere("compiled Derf", BOTH)),
    Target("any shape, eager Derf / derf, forward", 5.0, anywhere("eager Derf", FORWARD)),
    Target("any shape, eager Derf / derf, forward+backward", 5.0, anywhere("eager Derf", BOTH)),
    Target(f"{DEFAULT}, F.layer_norm / derf, forward", 1.5, norm(FORWARD, "large", allocator="default")),
    Target(f"{DEFAULT}, F.layer_norm / derf, forward+backward", 1.5, norm(BOTH, "large", allocator="default")),
    Target("held for the backward / input", 1.0, held, at_least=False),
    Target("2 threads against 1, in cache", 1.8, threads),
    Target("AVX2, F.layer_norm / derf, forward+backward", 1.0, norm(BOTH, capability="avx2")),
    Target("default build, F.layer_norm / derf, forward+backward", 1.0, norm(BOTH, capability="default")),
]


def evaluate(report: dict) -> list[dict]:
    """A row for each target: the worst case, its noise, the best one. None for what this run did not measure."""
    rows = []
    for target in TARGETS:
        bound = f"{'≥' if target.at_least else '≤'} {target.bound:g}"
        row = {"work": target.work, "target": bound, "met": None}
        found = sorted(target.figures(report), key=lambda each: each.value, reverse=not target.at_least)
        if found:
            worst, best = found[0], found[-1]
            met = worst.value >= target.bound if target.at_least else worst.value <= target.bound
            row |= {"met": met, "cases": len(found), "worst": worst._asdict(), "best": best._asdict()}
        rows.append(row)
    return rows
