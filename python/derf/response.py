"""How the function of a layer answers to its argument u = alpha x + shift, its study's options included."""

import math

import torch
from torch import Tensor

from .functional import pointwise_norm
from .modules import STUDY, PointwiseNorm

_FLAT = 0.0245  # of the slope over [-1, 1]: what erf has at |u| = 2
_LARGEST = 1e3  # argument that is looked at


def respond(layer: PointwiseNorm, u: Tensor) -> Tensor:
    """What the layer has between u and weight."""
    study = {name: getattr(layer, name) for name in STUDY}
    return pointwise_norm(u, u.new_ones(1), function=layer.function, **study)


def slope_at_start(layer: PointwiseNorm, value: float) -> float | None:
    """value / u for the smallest u that moves the result by value, to both sides of the layer's shift on average.

    Of a small value that is the function's slope, and it is finite and positive where the slope is 0 or infinite. None
    where no u moves the result so far.
    """
    u = _arguments(layer)
    shift = 0.0 if layer.shift is None else layer.shift.detach().double().mean().item()

    def reached(u: Tensor) -> Tensor:
        move = (respond(layer, shift + u) - respond(layer, shift - u)).abs() / 2
        return (move >= value).nonzero().flatten()

    for _ in range(3):  # each time a thousand times as fine
        found = reached(u)
        if not len(found):
            return None
        last, first = u[max(0, int(found[0]) - 1)], u[found[0]]
        u = torch.linspace(last.item(), first.item(), 1001, dtype=u.dtype, device=u.device)
    return value / first.item()


def saturates_at(layer: PointwiseNorm) -> float:
    """The |u| beyond which the function's slope stays below a fortieth of its slope over [-1, 1], to 0.3 %; inf
    where there is no such place. It is 2 for erf, 2.67 for tanh, 1 for a function that is clipped there."""
    u = _arguments(layer)
    u = torch.cat([-u, u]).requires_grad_()
    with torch.enable_grad():
        (slopes,) = torch.autograd.grad(respond(layer, u).sum(), u)
    low, high = respond(layer, u.detach().new_tensor([-1.0, 1.0])).tolist()
    steep = u.detach().abs()[slopes.abs() >= _FLAT * abs(high - low) / 2]
    last = steep.max().item() if len(steep) else math.inf
    return math.inf if last >= _LARGEST else round(last, 2)


def _arguments(layer: PointwiseNorm) -> Tensor:
    """From 1e-9 to 1000, a thousand for each power of ten. A user's own function runs where the layer is."""
    ours = isinstance(layer.function, str)
    place = {"dtype": torch.float64} if ours else {"dtype": torch.float32, "device": layer.alpha.device}
    return torch.logspace(-9, math.log10(_LARGEST), 12001, **place)
