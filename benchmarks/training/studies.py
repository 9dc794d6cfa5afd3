"""The studies: which trainings each takes. Every one is a function of what is known already, so all can be resumed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .runs import Row, Run
from .system import Base

GRID_SEED = 0  # of the search; the comparison has the seeds from 1 on
WIDEST = 5  # learning rates of a grid that grew at its ends
ALPHAS = (0.1, 0.3, 0.5, 1.0, 2.0, 4.0)
FUNCTIONS = (
    "erf", "tanh", "satursin", "arctan", "isru", "relsign", "smoothsign", "expsign", "saturlog", "arcsinh_clip",
    "logsign_clip", "linear_clip", "power23_clip", "exproot", "logquad_clip", "cubsign",
)  # fmt: skip
BOUNDED = ("erf", "tanh", "arctan")  # the paper's bases of the studies of properties


@dataclass(frozen=True)
class Property:
    """What an option of a study changes: words with λ for its value, and the value at which it changes nothing."""

    title: str
    otherwise: float | None = 0.0


PROPERTIES = {
    "input_shift": Property("Centre: f(αx + λ)"),
    "output_shift": Property("Centre: f(αx) + λ"),
    "clip": Property("Bound: f clipped to ±λ", None),
    "linear_mix": Property("Bound: (1 − λ) f(αx) + λ αx"),
    "dead_zone": Property("Dead zone: 0 where |αx| < λ, f beyond"),
    "sign": Property("Direction: λ f(αx)", 1.0),
}


def better(task: Base, row: Row) -> tuple[bool, float]:
    """A key by which the best row is the least one; runs that failed come last."""
    value = row["measures"].get(task.measure)
    if row["failed"] or value is None:
        return True, row["last"] if row["last"] is not None else float("inf")
    return False, -value if task.higher_is_better else value


def grid_rows(task: Base, norm: str, rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["run"]["part"] == "grid" and row["run"]["norm"] == norm]


def best_lr(task: Base, norm: str, rows: list[Row]) -> float | None:
    """That of the grid's best run; None as long as a grid is not finished."""
    found = {row["run"]["lr"]: row for row in grid_rows(task, norm, rows)}
    if not set(task.scale.lrs) <= found.keys() or next(iter(extension(task, norm, rows)), None):
        return None
    return min(found.values(), key=lambda row: better(task, row))["run"]["lr"]


def extension(task: Base, norm: str, rows: list[Row]) -> Iterator[float]:
    """Where the best is at an end of the grid, the next learning rate beyond it."""
    found = {row["run"]["lr"]: row for row in grid_rows(task, norm, rows)}
    if not set(task.scale.lrs) <= found.keys() or len(found) >= WIDEST or task.scale_name == "smoke":
        return
    rates = sorted(found)
    best = min(found.values(), key=lambda row: better(task, row))["run"]["lr"]
    if best == rates[0]:
        yield rates[0] / 2
    elif best == rates[-1]:
        yield rates[-1] * 2


def comparison(task: Base, rows: list[Row], norms: tuple[str, ...], seeds: int) -> Iterator[Run]:
    """The grid of each entrant with one seed, then its best learning rate with others."""
    for norm in norms:
        best = best_lr(task, norm, rows)
        if best is None:
            rates = (*task.scale.lrs, *extension(task, norm, rows))
            yield from (Run(task.name, norm, lr, GRID_SEED, "grid") for lr in rates)
        else:
            yield from (Run(task.name, norm, best, GRID_SEED + 1 + seed, "comparison") for seed in range(seeds))


@dataclass(frozen=True)
class Study:
    """A set of trainings.

    Args:
        title: what it asks.
        system: which it is run on where none is named.
        runs: norm, learning rate as a multiple of the middle of the grid, and options, of each training of a seed.
        own_lr: whether a norm's best learning rate, where the comparison has found it, takes the place of the middle.
    """

    title: str
    system: str
    runs: Callable[[Base], Iterator[tuple[str, float, dict[str, Any]]]]
    own_lr: bool = False

    def plan(self, name: str, task: Base, seeds: int, rows: list[Row]) -> Iterator[Run]:
        middle = task.scale.lrs[len(task.scale.lrs) // 2]
        for seed in range(seeds):
            for norm, factor, options in self.runs(task):
                lr = self.own_lr and best_lr(task, norm, rows) or middle
                yield Run(task.name, norm, lr * factor, GRID_SEED + seed, name, options)


def alpha_map(optimizer: str) -> Callable[[Base], Iterator]:
    def runs(task: Base) -> Iterator:
        few = task.scale_name == "smoke"
        for alpha in ALPHAS[:: 3 if few else 1]:
            for factor in (0.5, 2.0) if few else (0.25, 0.5, 1.0, 2.0, 4.0):
                yield "derf", factor, {"alpha": alpha, "optimizer": optimizer}

    return runs


def shift(task: Base) -> Iterator:
    for value in (0.0, "channel", False):
        yield "derf-start", 1.0, {"shift": value}


def alpha(task: Base) -> Iterator:
    for per_channel in (False, True):
        yield "derf-start", 1.0, {"per_channel": per_channel, "shift": False}


def depth_width(task: Base) -> Iterator:
    sizes = [{"depth": n} for n in (2 * task.scale.depth, 3 * task.scale.depth)]
    sizes += [{"width": n * task.scale.width} for n in (2, 3)]
    for size in [{}, *sizes[:: 3 if task.scale_name == "smoke" else 1]]:
        for norm in ("layernorm", "derf", "derf-start"):
            yield norm, 1.0, size


def functions(task: Base) -> Iterator:
    for name in FUNCTIONS:
        yield "derf-start", 1.0, {"function": name}


def properties(task: Base) -> Iterator:
    """The paper's section 3, all without s: f(ax ± λ), f(ax) ± λ; clips; a linear share; a flat centre; signs. From a
    start whose values of f are not so small (1/4, in place of 1/16) that every λ is large beside them."""
    studied = []
    for base in BOUNDED:
        for size in (0.1, 0.5, 1.0, 2.0):
            for name in ("input_shift", "output_shift"):
                studied += [{"function": base, name: size}, {"function": base, name: -size}]
        studied += [{"function": base, "linear_mix": share} for share in (0.01, 0.1, 0.5)]
        studied += [{"function": base, "dead_zone": size} for size in (0.1, 0.5, 1.0, 2.0, 3.0)]
        studied += [{"function": base}, {"function": base, "sign": -1}]
    for base in ("arcsinh", "logsign", "linear"):
        studied += [{"function": base, "clip": size} for size in (0.5, 0.8, 1.0, 2.0, 3.0, 5.0)]
    studied += [{"function": name} for name in ("arcsinh", "logsign", "logquad", "power23", "linear")]
    studied += [{"function": name} for name in ("sin", "dampx", "dampexp")]
    for options in studied[:: 12 if task.scale_name == "smoke" else 1]:
        yield "derf-start", 1.0, {"shift": False, "bound": 4.0, **options}


def precision(task: Base) -> Iterator:
    for norm in ("layernorm", "derf", "derf-start"):
        for name in (None, "bf16"):
            yield norm, 1.0, {"precision": name} if name else {}


def none_of_its_own(task: Base) -> Iterator:
    """What it asks is in the comparison's rows."""
    yield from ()


STUDIES: dict[str, Study] = {
    "fit": Study("Training loss in evaluation mode: does Derf fit less?", "vit", none_of_its_own),
    "alpha-adamw": Study("Start of alpha × learning rate, AdamW", "gpt2", alpha_map("adamw")),
    "alpha-muon": Study("Start of alpha × learning rate, Muon", "gpt2", alpha_map("muon")),
    "shift": Study("The shift s: one a layer, one a channel, none", "vit", shift),
    "alpha": Study("Alpha: one a layer, one a channel (without a shift)", "vit", alpha),
    "size": Study("Depth and width", "gpt2", depth_width, own_lr=True),
    "functions": Study("The sixteen functions", "vit", functions),
    "properties": Study("Centre, bound, dead zone, sign and monotonicity", "vit", properties),
    "precision": Study("Training in 16 bits (autocast to bfloat16) against float32", "vit", precision, own_lr=True),
}
SEEDS = {"functions": 3, "shift": 3, "alpha": 3, "precision": 3}  # others have one
