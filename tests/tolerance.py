"""How far a result may be from float64 truth: the bounds of the contract, carried through the formula.

The contract bounds erf and its slope at a given u. What an operator adds is rounding: of u = alpha x + shift, of the
products and sums in the computing type (float32, or float64 for float64), and of the result in the output type. Each
bound below is the first-order sum of these, in float64, element by element; ``SLACK`` pays for the second order.
"""

import torch
from reference import (
    MANTISSA_BITS,
    SMALLEST_EXPONENT,
    along_channel,
    derf64,
    double,
    erf64,
    gradients64,
    slope64,
)

SLACK = 1.02
# erf in the forward, relative: 2 ulp (float64 truth itself errs by as much); for 16 bits 0.01 ulp beside the 0.5 ulp of
# the last rounding.
VALUE = {
    torch.float64: 2.0**-50,
    torch.float32: 2.0**-22,
    torch.float16: 0.01 * 2.0**-10,
    torch.bfloat16: 0.01 * 2.0**-7,
}
# erf in the backward needs absolute accuracy only: 2 ulp at 1, and what a 16-bit slope may have.
VALUE_IN_BACKWARD = {
    torch.float64: 2.0**-50,
    torch.float32: 2.0**-22,
    torch.float16: 2.0**-14,
    torch.bfloat16: 2.0**-14,
}
# The slope: relative where it is at least 2^-20, the same error as an absolute one elsewhere.
SLOPE = {torch.float64: 2.0**-46, torch.float32: 2.0**-19, torch.float16: 2.0**-14, torch.bfloat16: 2.0**-14}
SLOPE_THRESHOLD = 2.0**-20


def roundoff(dtype):
    """Largest relative error of rounding to ``dtype``."""
    return 2.0 ** -(MANTISSA_BITS[dtype] + 1)


def smallest(dtype):
    """Largest absolute error of rounding a number to a denormal of ``dtype``."""
    return 2.0 ** max(SMALLEST_EXPONENT[dtype] - MANTISSA_BITS[dtype] - 1, -1074)


def computing(dtype):
    """The type that arithmetic is done in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def slope_bound(slope, dtype):
    """Allowed absolute error of the slope f' = ``slope`` (float64) in the tier of ``dtype``."""
    return SLOPE[dtype] * slope.clamp(min=SLOPE_THRESHOLD)


def _rounded(bound, result, dtype):
    return SLACK * bound + roundoff(dtype) * (result.abs() + SLACK * bound) + smallest(dtype)


def _preactivation(input, alpha, shift):
    """u, its rounding error, and the largest slope within that error."""
    c = roundoff(computing(input.dtype))
    x, a, s = double(input, alpha.reshape(()), shift.reshape(()))
    u = a * x + s
    du = 2 * c * ((a * x).abs() + u.abs())  # twice: float64 truth has the same rounding error
    return u, du, slope64((u.abs() - du).clamp(min=0))


def forward_bound(input, alpha, shift, weight=None, bias=None, channel_dim=-1):
    """Allowed absolute error of the output, of its shape."""
    c = roundoff(computing(input.dtype))
    u, du, steepest = _preactivation(input, alpha, shift)
    w = 1.0 if weight is None else along_channel(weight, input, channel_dim).double().abs()
    b = 0.0 if bias is None else along_channel(bias, input, channel_dim).double()
    f = erf64(u)
    y = (w * f.abs()) + abs(b)
    bound = w * (VALUE[input.dtype] * f.abs() + steepest * du) + 2 * c * y + smallest(computing(input.dtype))
    return _rounded(bound, y, input.dtype)


def backward_bounds(grad_output, input, alpha, shift, weight=None, bias=None, channel_dim=-1):
    """Allowed absolute errors of the five gradients, each of its gradient's shape (None for what is absent).

    A sum of n terms in the computing type is allowed n roundings of the sum of magnitudes, the worst of all orders.
    """
    c = roundoff(computing(input.dtype))
    u, du, steepest = _preactivation(input, alpha, shift)
    g, x, a = (t.double().abs() for t in (grad_output, input, alpha.reshape(())))
    w = 1.0 if weight is None else along_channel(weight, input, channel_dim).double().abs()
    slope = slope64(u)
    slope_error = slope_bound(slope, input.dtype) + 2 * (u.abs() + du) * steepest * du
    h = g * w * slope
    h_error = g * w * slope_error + 4 * c * h

    def scalar(terms, errors, like):
        total = terms.sum()
        return _rounded(errors.sum() + (terms.numel() + 2) * c * total, total, like.dtype).reshape(like.shape)

    def channels(terms, errors, like):
        if like is None:
            return None
        terms, errors = (_over_rows(t, like, input, channel_dim) for t in (terms, errors))
        rows = max(1, input.numel() // max(1, like.numel()))
        return _rounded(errors + (rows + 2) * c * terms, terms, like.dtype)

    f = erf64(u).abs()
    return (
        _rounded(a * h_error + 2 * c * a * h, a * h, input.dtype),
        scalar(h * x, h_error * x, alpha),
        scalar(h, h_error, shift),
        channels(g * f, g * (VALUE_IN_BACKWARD[input.dtype] + steepest * du), weight),
        channels(g, torch.zeros_like(g), bias),
    )


def _over_rows(terms, like, input, channel_dim):
    if channel_dim in (-1, input.dim() - 1):
        return terms.sum_to_size(like.shape)
    others = [d for d in range(input.dim()) if d != channel_dim % input.dim()]
    return terms.sum(others)


def assert_within(actual, truth, bound, what):
    """Fail with the worst element when ``actual`` (any dtype) is farther than ``bound`` from ``truth`` (float64)."""
    assert actual.shape == truth.shape, f"{what}: shape {list(actual.shape)}, expected {list(truth.shape)}"
    if not actual.numel():
        return
    error = (actual.double() - truth).abs()
    excess = torch.where(error.isnan(), torch.inf, error / bound).reshape(-1)
    worst = int(excess.argmax())
    found, expected, allowed = (t.expand(truth.shape).reshape(-1)[worst].item() for t in (actual, truth, bound))
    assert excess[worst] <= 1, (
        f"{what}: {found!r}, expected {expected!r} at element {worst}, {excess[worst]:.3g} of the bound {allowed:.3g}"
    )


def assert_forward(actual, *arguments, what="output"):
    """Compare an output with float64 truth; ``arguments`` are the operator's."""
    assert actual.dtype == arguments[0].dtype, f"{what}: dtype {actual.dtype}, expected {arguments[0].dtype}"
    assert_within(actual, derf64(*arguments), forward_bound(*arguments), what)


def assert_gradients(actual, grad_output, *arguments, what=""):
    """Compare gradients (None where not asked for) with float64 truth; ``arguments`` are the operator's."""
    truths, bounds = gradients64(grad_output, *arguments), backward_bounds(grad_output, *arguments)
    names = ("input", "alpha", "shift", "weight", "bias")
    for name, mine, truth, bound, belongs_to in zip(names, actual, truths, bounds, arguments, strict=False):
        if mine is not None:
            assert mine.dtype == belongs_to.dtype, f"{what} gradient of {name}: dtype {mine.dtype}"
            assert_within(mine, truth, bound, f"{what} gradient of {name}".strip())
