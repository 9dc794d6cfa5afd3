"""The family of functions: what each is called, what it computes, and what is known of it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

ELEMENTARY = ("abs", "sign", "sqrt", "exp", "log", "erf", "tanh", "atan", "sin", "asinh", "clip")


@dataclass(frozen=True)
class PointwiseFunction:
    """One function f of the family, as :func:`derf.functions` lists it.

    Args:
        name: what ``function=`` takes.
        formula: f(u) as a Python expression in u, made of numbers, pi, e, arithmetic and the functions abs, sign, sqrt,
            exp, log, erf, tanh, atan, sin, asinh and clip(value, low, high).
        bound: the largest absolute value, or inf.
        float32_ulp: the largest allowed error of a float32 value, in units of the last place.
        monotone: whether the function never decreases.
        source: the paper that it is from.
    """

    name: str
    formula: str
    bound: float
    float32_ulp: float
    monotone: bool
    source: str


def functions() -> dict[str, PointwiseFunction]:
    """Return the functions that have fused kernels, by name.

    >>> import derf
    >>> erf = derf.functions()["erf"]
    >>> erf.formula, erf.bound, erf.source
    ('erf(u)', 1.0, 'arXiv 2512.10938')
    >>> [name for name, function in derf.functions().items() if not function.monotone]
    ['sin', 'dampx', 'dampexp']
    """
    all_facts = [line.split("\t") for line in torch.ops.derf.functions()]
    return {
        name: PointwiseFunction(name, formula, float(bound), float(ulp), monotone == "1", source)
        for name, formula, bound, ulp, monotone, source in all_facts
    }


def evaluate(formula: str, u: Any, elementary: Mapping[str, Callable[..., Any]]) -> Any:
    """The value of a formula at u, an object of any kind that has arithmetic, with the elementary functions given.

    >>> import math
    >>> from derf.functions import evaluate
    >>> evaluate("2 / pi * atan(u)", 1.0, {"atan": math.atan})
    0.5
    """
    names = {"u": u, "pi": math.pi, "e": math.e, **elementary}
    return eval(formula, {"__builtins__": {}}, names)  # noqa: S307 - the formulas are our own
