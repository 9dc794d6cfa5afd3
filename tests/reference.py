"""The truth that the tests compare with. Nothing here calls the package under test.

Three levels, each checked against the one above it in ``test_reference.py``:

1. ``erf_exact`` and ``slope_exact``: mpmath with 50 digits, for thousands of points.
2. ``erf64`` and ``slope64``: float64 with a relative error below 1e-14, for millions of points.
3. ``derf`` and ``gradients``: the formula of the operator in elementary PyTorch operations, differentiated by autograd.
   In float64 it is the truth of every other dtype; in the dtype of the arguments it is "eager PyTorch".

An error in ulp is the distance from the truth divided by the spacing of the output type at the truth.
"""

import math

import mpmath
import torch
from torch import nn

TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
MANTISSA_BITS = {torch.float64: 52, torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}
SMALLEST_EXPONENT = {torch.float64: -1022, torch.float32: -126, torch.float16: -14, torch.bfloat16: -126}


def spacing(value, dtype):
    """Distance between neighbours of ``dtype`` at ``value`` (float64), down to the spacing of the denormal numbers."""
    exponent = (value.double().view(torch.int64) >> 52 & 0x7FF) - 1023
    exponent = exponent.clamp(min=SMALLEST_EXPONENT[dtype]) - MANTISSA_BITS[dtype]
    normal = exponent.clamp(min=-1022) + 1023 << 52
    denormal = torch.ones_like(exponent) << (exponent + 1074).clamp(max=51)
    return torch.where(exponent < -1022, denormal, normal).view(torch.float64)


def ulp_error(actual, truth, dtype, remainder=0.0):
    """|actual - truth| in units of ``dtype``'s spacing at ``truth``.

    ``truth`` is float64; ``remainder`` is what is missing from it to the exact value, in the same units. The difference
    of two float64 numbers within a factor of two is exact, so this holds for float64 results as well.
    """
    return ((actual.double() - truth) / spacing(truth, dtype) - remainder).abs()


def same_bits(a, b):
    """Whether shapes, dtypes and all bits agree, those of NaN and of the sign of zero included."""
    integer = {8: torch.int64, 4: torch.int32, 2: torch.int16}[a.element_size()]
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.view(integer), b.view(integer))


def erf_exact(u):
    """erf of a float64 tensor by mpmath: the nearest float64 and the rest of the value in its ulp."""
    return _exact(u, mpmath.erf)


def slope_exact(u):
    """2/sqrt(pi) exp(-u^2) of a float64 tensor by mpmath: the nearest float64 and the rest of the value in its ulp."""
    return _exact(u, lambda x: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x))


def _exact(u, function):
    with mpmath.workdps(50):
        exact = [function(mpmath.mpf(x)) for x in u.double().tolist()]
        nearest = torch.tensor([float(x) for x in exact], dtype=torch.float64)
        units = spacing(nearest, torch.float64).tolist()
        rest = [
            float((x - mpmath.mpf(n)) / mpmath.mpf(s)) for x, n, s in zip(exact, nearest.tolist(), units, strict=True)
        ]
    return nearest, torch.tensor(rest, dtype=torch.float64)


def erf64(u):
    """erf in float64, relative error below 1e-15 for |u| from 1e-300 up."""
    return torch.erf(u.double())


def slope64(u):
    """2/sqrt(pi) exp(-u^2) in float64, relative error below u^2 2^-52 + 1e-15, which is 2e-14 at u = 8."""
    u = u.double()
    return TWO_OVER_SQRT_PI * torch.exp(-u * u)


def along_channel(parameter, input, channel_dim):
    """Reshape a weight or bias so that it broadcasts against input."""
    if parameter is None or channel_dim in (-1, input.dim() - 1):
        return parameter
    shape = [1] * input.dim()
    shape[channel_dim] = -1
    return parameter.reshape(shape)


def derf(input, alpha, shift, weight=None, bias=None, channel_dim=-1):
    """weight * erf(alpha * input + shift) + bias as a user would write it, differentiable, in the arguments' dtypes."""
    y = torch.erf(alpha.reshape(()) * input + shift.reshape(()))
    if weight is not None:
        y = along_channel(weight, input, channel_dim) * y
    if bias is not None:
        y = y + along_channel(bias, input, channel_dim)
    return y


def differentiated(of, grads, tensors, /, **options):
    """What ``of`` gives, one result or several, and by autograd the gradients of those tensors that are not None.

    ``grads`` is one or several likewise; a result whose entry there is None is not used.
    """
    leaves = [None if t is None else t.detach().clone().requires_grad_() for t in tensors]
    results = of(*leaves, **options)
    several = not isinstance(results, torch.Tensor)
    pairs = zip(results, grads, strict=True) if several else [(results, grads)]
    used, given = zip(*((r, g.to(r.dtype)) for r, g in pairs if g is not None), strict=True)
    present = [t for t in leaves if t is not None]
    found = iter(torch.autograd.grad(used, present, given, allow_unused=several))
    detached = [r.detach() for r in results] if several else results.detach()
    return detached, [None if t is None else next(found) for t in leaves]


def gradients(grad_output, input, alpha, shift, weight=None, bias=None, channel_dim=-1):
    """Gradients of input, alpha, shift, weight, bias by autograd in the arguments' dtypes (None for what is absent)."""
    return tuple(differentiated(derf, grad_output, (input, alpha, shift, weight, bias), channel_dim=channel_dim)[1])


def double(*tensors):
    """The same tensors (or None) in float64."""
    return tuple(None if t is None else t.detach().double() for t in tensors)


def derf64(input, alpha, shift, weight=None, bias=None, channel_dim=-1):
    """``derf`` of the arguments converted to float64."""
    return derf(*double(input, alpha, shift, weight, bias), channel_dim)


def gradients64(grad_output, input, alpha, shift, weight=None, bias=None, channel_dim=-1):
    """``gradients`` of the arguments converted to float64."""
    return gradients(*double(grad_output, input, alpha, shift, weight, bias), channel_dim)


def parameter_gradients64(grad_output, input, alpha, shift, weight):
    """float64 gradients of alpha, shift, weight and bias for a matrix of any length, in blocks that fit the cache."""
    a, s, w = double(alpha, shift, weight)
    sums = [w.new_zeros(1), w.new_zeros(1), torch.zeros_like(w), torch.zeros_like(w)]
    rows = max(1, 2**20 // input.shape[1])
    for g, x in zip(grad_output.split(rows), input.split(rows), strict=True):
        g, x = double(g, x)
        u = a * x + s
        h = g * w * slope64(u)
        for total, part in zip(sums, ((h * x).sum(), h.sum(), (g * erf64(u)).sum(0), g.sum(0)), strict=True):
            total += part
    return sums


class EagerDerf(nn.Module):
    """The layer written by hand, with the starting values of the paper, around an nn.LayerNorm's weight and bias."""

    def __init__(self, norm, alpha=0.5, shift=0.0):
        super().__init__()
        like = {"device": norm.weight.device, "dtype": norm.weight.dtype} if norm.weight is not None else {}
        self.alpha = nn.Parameter(torch.full((1,), alpha, **like))
        self.shift = nn.Parameter(torch.full((1,), shift, **like))
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, input):
        return derf(input, self.alpha, self.shift, self.weight, self.bias)


def with_eager_derf(model):
    """Put an ``EagerDerf`` in place of every nn.LayerNorm inside ``model``; returns how many there were."""
    replaced = {}
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.LayerNorm):
                replaced.setdefault(child, EagerDerf(child))
                setattr(parent, name, replaced[child])
    return len(replaced)
