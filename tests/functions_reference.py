"""The truth about every function of the family, from its definition: nothing here calls the package under test.

``EXACT`` has f, f' and f'' for mpmath, at a >= 0 (f and f'' are odd, f' is even); ``value64``, ``slope64`` are float64 for
millions of float32 arguments, checked against it. Where a slope is infinite or has a jump, ``EXACT`` says what torch's
clamp would: the inner slope at the ends of what is clipped, and 0 where it is infinite.
"""

import math

import mpmath as mp
import torch
from reference import spacing

E, HALF_PI = math.e, math.pi / 2


def _clip(function, slope, second):
    return (
        lambda a: min(function(a), mp.mpf(1)),
        lambda a: slope(a) if function(a) <= 1 else mp.mpf(0),
        lambda a: second(a) if function(a) < 1 else mp.mpf(0),
    )


def _log1p(a):
    return mp.log1p(a)


def _logsign():
    return (_log1p, lambda a: 1 / (1 + a), lambda a: -1 / (1 + a) ** 2 if a else mp.mpf(0))


def _logquad():
    return (
        lambda a: _log1p(a * a),
        lambda a: 2 * a / (1 + a * a),
        lambda a: 2 * (1 - a) * (1 + a) / (1 + a * a) ** 2 if a else mp.mpf(0),
    )


def _power23():
    return (
        lambda a: mp.cbrt(a) ** 2,
        lambda a: 2 / (3 * mp.cbrt(a)) if a else mp.mpf(0),
        lambda a: -2 / (9 * mp.cbrt(a) ** 4) if a else mp.mpf(0),
    )


def _arcsinh():
    return (mp.asinh, lambda a: 1 / mp.sqrt(1 + a * a), lambda a: -a / mp.sqrt(1 + a * a) ** 3)


def _linear():
    return (lambda a: a, lambda a: mp.mpf(1), lambda a: mp.mpf(0))


def _tanh_slope(a):
    return 1 / mp.cosh(a) ** 2


def _s(a):
    return mp.sqrt(1 + a * a)


def _l(a):
    return 1 + mp.log1p(a)


EXACT = {
    "erf": (
        mp.erf,
        lambda a: 2 / mp.sqrt(mp.pi) * mp.exp(-a * a),
        lambda a: -4 * a / mp.sqrt(mp.pi) * mp.exp(-a * a),
    ),
    "tanh": (mp.tanh, _tanh_slope, lambda a: -2 * mp.tanh(a) * _tanh_slope(a)),
    "arctan": (
        lambda a: 2 / mp.pi * mp.atan(a),
        lambda a: 2 / mp.pi / (1 + a * a),
        lambda a: -4 * a / mp.pi / (1 + a * a) ** 2,
    ),
    "isru": (lambda a: a / _s(a), lambda a: _s(a) ** -3, lambda a: -3 * a * _s(a) ** -5),
    "relsign": (
        lambda a: a / (_s(a) + 1),
        lambda a: 1 / (_s(a) * (_s(a) + 1)),
        lambda a: -a * (2 * _s(a) + 1) / (_s(a) ** 3 * (_s(a) + 1) ** 2),
    ),
    "smoothsign": (
        lambda a: a / (1 + a),
        lambda a: (1 + a) ** -2,
        lambda a: -2 * (1 + a) ** -3 if a else mp.mpf(0),
    ),
    "cubsign": (
        lambda a: a**3 / (a**3 + 1),
        lambda a: 3 * a**2 / (a**3 + 1) ** 2,
        lambda a: 6 * a * (1 - 2 * a**3) / (a**3 + 1) ** 3,
    ),
    "expsign": (lambda a: -mp.expm1(-a), lambda a: mp.exp(-a), lambda a: -mp.exp(-a) if a else mp.mpf(0)),
    "exproot": (
        lambda a: -mp.expm1(-mp.sqrt(a)),
        lambda a: mp.exp(-mp.sqrt(a)) / (2 * mp.sqrt(a)) if a else mp.mpf(0),
        lambda a: -mp.exp(-mp.sqrt(a)) * (1 + mp.sqrt(a)) / (4 * mp.sqrt(a) ** 3) if a else mp.mpf(0),
    ),
    "saturlog": (
        lambda a: _log1p(a) / _l(a),
        lambda a: 1 / ((1 + a) * _l(a) ** 2),
        lambda a: -(_l(a) + 2) / ((1 + a) ** 2 * _l(a) ** 3) if a else mp.mpf(0),
    ),
    "satursin": (
        lambda a: mp.sin(a) if a < mp.pi / 2 else mp.mpf(1),
        lambda a: mp.cos(a) if a < mp.pi / 2 else mp.mpf(0),
        lambda a: -mp.sin(a) if a < mp.pi / 2 else mp.mpf(0),
    ),
    "linear_clip": _clip(*_linear()),
    "logsign_clip": _clip(*_logsign()),
    "logquad_clip": _clip(*_logquad()),
    "power23_clip": _clip(*_power23()),
    "arcsinh_clip": _clip(*_arcsinh()),
    "linear": _linear(),
    "logsign": _logsign(),
    "logquad": _logquad(),
    "power23": _power23(),
    "arcsinh": _arcsinh(),
    "sin": (mp.sin, mp.cos, lambda a: -mp.sin(a)),
    "dampx": (
        lambda a: 2 * a / (1 + a * a),
        lambda a: 2 * (1 - a) * (1 + a) / (1 + a * a) ** 2,
        lambda a: 4 * a * (a * a - 3) / (1 + a * a) ** 3,
    ),
    "dampexp": (
        lambda a: mp.e * a * mp.exp(-a),
        lambda a: mp.e * (1 - a) * mp.exp(-a),
        lambda a: mp.e * (a - 2) * mp.exp(-a) if a else mp.mpf(0),
    ),
}
NAMES = list(EXACT)
CLIPPED = [name for name in NAMES if name.endswith("_clip")]
# The limits of value and slope at Inf.
UNBOUNDED = ("linear", "logsign", "logquad", "power23", "arcsinh")
AT_INFINITY = {
    **{name: (1.0, 0.0) for name in NAMES},
    **{name: (math.inf, 0.0) for name in UNBOUNDED},
    "linear": (math.inf, 1.0),
    "sin": (math.nan, math.nan),
    "dampx": (0.0, 0.0),
    "dampexp": (0.0, 0.0),
}


def exact(name, u, order):
    """The derivative of that order at float64 u by mpmath: the nearest float64 and the rest in its ulp."""
    function, odd = EXACT[name][order], order != 1
    with mp.workdps(50):
        results = []
        for x in u.double().tolist():
            y = function(mp.mpf(abs(x)))
            results.append(-y if odd and math.copysign(1, x) < 0 else y)
        nearest = torch.tensor([float(y) for y in results], dtype=torch.float64)
        units = spacing(nearest, torch.float64).tolist()
        rest = [
            float((y - mp.mpf(n)) / mp.mpf(s)) if math.isfinite(n) else 0.0
            for y, n, s in zip(results, nearest.tolist(), units, strict=True)
        ]
    return nearest, torch.tensor(rest, dtype=torch.float64)


def _of_magnitude(name, a):
    """f and f' at float64 a >= 0 that are float32 numbers, so their squares and cubes do not overflow."""
    one = torch.ones_like(a)
    s, log = torch.sqrt(1 + a * a), torch.log1p(a)
    inner = name.removesuffix("_clip")
    if name == "erf":
        return torch.erf(a), 2 / math.sqrt(math.pi) * torch.exp(-a * a)
    if name == "tanh":
        w = torch.exp(-2 * a) / (1 + torch.exp(-2 * a))
        return torch.tanh(a), 4 * w * (1 - w)
    if name == "arctan":
        return torch.atan(a) / HALF_PI, 1 / (HALF_PI * (1 + a * a))
    if name == "isru":
        return a / s, s**-3
    if name == "relsign":
        return a / (s + 1), 1 / (s * (s + 1))
    if name == "smoothsign":
        return a / (1 + a), (1 + a) ** -2
    if name == "cubsign":
        return a**3 / (a**3 + 1), 3 * a**2 / (a**3 + 1) ** 2
    if name == "expsign":
        return -torch.expm1(-a), torch.exp(-a)
    if name == "exproot":
        r = torch.sqrt(a)
        return -torch.expm1(-r), torch.where(a == 0, 0, torch.exp(-r) / (2 * r))
    if name == "saturlog":
        return log / (1 + log), 1 / ((1 + a) * (1 + log) ** 2)
    if name == "satursin":
        within = a.clamp(max=HALF_PI)
        rest = math.cos(HALF_PI)  # cos(a) = sin(pi/2 - a), pi/2 in two parts
        return torch.sin(within), torch.where(a < HALF_PI, torch.sin((HALF_PI - within) + rest), 0)
    if inner == "linear":
        value, slope = a, one
    elif inner == "logsign":
        value, slope = log, 1 / (1 + a)
    elif inner == "logquad":
        value, slope = torch.log1p(a * a), 2 * a / (1 + a * a)
    elif inner == "power23":
        value, slope = a ** (2 / 3), torch.where(a == 0, 0, 2 / 3 * a ** (-1 / 3))
    elif inner == "arcsinh":
        value, slope = torch.log1p(a + a * a / (1 + s)), 1 / s
    elif name == "sin":
        return torch.sin(a), torch.cos(a)
    elif name == "dampx":
        return 2 * a / (1 + a * a), 2 * (1 - a) * (1 + a) / (1 + a * a) ** 2
    elif name == "dampexp":
        return E * a * torch.exp(-a), E * (1 - a) * torch.exp(-a)
    if name in CLIPPED:
        return value.clamp(max=1), torch.where(value > 1, 0, slope)
    return value, slope


def values64(name, u):
    """f and f' in float64 at float32 numbers, relative error below 1e-13 (where they are not tiny)."""
    value, slope = _of_magnitude(name, u.double().abs())
    return torch.copysign(value, value * u.double().sign()) if name in ("sin",) else value * u.double().sign(), slope
