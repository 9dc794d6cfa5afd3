"""Recognises a normalization layer by what it computes.

There are hundreds of classes that compute a LayerNorm or an RMSNorm, and their names say little: a weight may count
from 1, the channels may be the second dimension, and a class called RMSNorm may return the reciprocal deviation alone.
So the forward of a class that nobody registered runs on random numbers, in a copy with random parameters of the same
shapes.
"""

import inspect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_WEIGHTS = ("weight", "scale", "gamma")
_BIASES = ("bias", "shift", "beta")
_PLAIN = frozenset(nn.Module().__dict__)


class Unsuitable(Exception):
    """Why a module that looks like a normalization layer is none that a Derf can replace."""


@dataclass(frozen=True)
class Observed:
    """The normalization that a module computes, with the names of its parameters."""

    shape: tuple[int, ...]
    weight: str | None
    bias: str | None
    channel_dim: int
    weight_offset: float


def clone_without_state(module: nn.Module) -> nn.Module:
    """A module of the same class and attributes, without parameters, buffers, hooks and submodules."""
    bare = module.__class__.__new__(module.__class__)
    nn.Module.__init__(bare)
    attributes = {name: value for name, value in module.__dict__.items() if name not in _PLAIN}
    attributes.pop("forward", None)  # bound to the module
    bare.__dict__.update(attributes)
    bare._parameters = dict.fromkeys(module._parameters)
    return bare


def observe(module: nn.Module) -> Observed:
    """Which LayerNorm or RMSNorm the module computes; raises Unsuitable where it computes neither."""
    names = [name for name, parameter in module._parameters.items() if parameter is not None]
    weight = next((name for name in _WEIGHTS if name in names), None)
    bias = next((name for name in _BIASES if name in names), None)
    shape = _shape(module, names)
    others = [name for name, other in (module._modules | module._buffers).items() if other is not None]
    if others:
        raise Unsuitable(f"it has more than parameters: {', '.join(others)}")
    further = list(inspect.signature(type(module).forward).parameters)[2:]
    if further:  # optional ones too: a Derf would be called with them
        raise Unsuitable(f"its forward takes more than an input: {', '.join(further)}")
    if not shape:
        raise Unsuitable("it has no parameters and does not say its size")
    random = torch.Generator().manual_seed(0)
    copy = clone_without_state(module).eval()
    for name in names:
        value = 0.5 + torch.rand(shape, generator=random, device="cpu", dtype=torch.float32)
        copy._parameters[name] = nn.Parameter(value, requires_grad=False)
    w = copy._parameters[weight] if weight else None
    b = copy._parameters[bias] if bias else None
    for channel_dim, sizes in _layouts(shape):
        # Far from a mean of 0 and a variance of 1, and so large that no epsilon shows.
        input = 100 * torch.randn(sizes, generator=random, device="cpu", dtype=torch.float32) + 50
        try:
            with torch.no_grad():
                output = copy.forward(input.clone())
        except Exception:  # whatever a forward of somebody else's raises, it takes no such tensor
            continue
        if not isinstance(output, Tensor) or output.shape != input.shape:
            continue
        for offset, expected in _norms(input.movedim(channel_dim, -1) if channel_dim == 1 else input, shape, w, b):
            if torch.allclose(output.movedim(channel_dim, -1) if channel_dim == 1 else output, expected, 1e-3, 1e-3):
                return Observed(shape, weight, bias, channel_dim, offset)
    raise Unsuitable("it computes neither a LayerNorm nor an RMSNorm")


def _shape(module: nn.Module, names: list[str]) -> tuple[int, ...]:
    """The shape of the module's parameters, or what it says of itself where it has none."""
    if names:
        return tuple(module._parameters[names[0]].shape)
    said = getattr(module, "normalized_shape", None) or getattr(module, "dim", None) or ()
    sizes = (said,) if isinstance(said, int) else tuple(said)
    return sizes if all(isinstance(size, int) and size > 0 for size in sizes) else ()


def _layouts(shape: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Dimensions of the channels, with sizes of inputs that have the channels there."""
    yield -1, (2, 3, *shape)
    yield -1, (2, 3, 2, *shape)
    if len(shape) == 1:
        yield 1, (2, *shape, 5, 7)
        yield 1, (2, *shape, 5)


def _norms(
    input: Tensor, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None
) -> Iterator[tuple[float, Tensor]]:
    """Everything that a norm over the last dimensions may compute, each with the offset of the weight."""
    dims = tuple(range(-len(shape), 0))
    centered = input - input.mean(dims, keepdim=True)
    for x, offset in itertools.product((centered, input), (0.0, 1.0) if weight is not None else (0.0,)):
        y = x * x.square().mean(dims, keepdim=True).rsqrt()
        y = y if weight is None else y * (weight + offset)
        yield offset, y if bias is None else y + bias
