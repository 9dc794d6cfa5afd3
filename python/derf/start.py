"""Starts from data for training from scratch."""

import math
import warnings
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .custom import function_name
from .modules import PointwiseNorm, checked_start
from .passes import Forward, call, check_batch, check_plain, evaluating
from .processes import summed
from .response import slope_at_start

Model = TypeVar("Model", bound=nn.Module)
BOUND = 16.0
_SMALL = 1 / 16  # a value of the function up to which it counts as its slope times the argument


def start(
    model: Model, batch: Any, *, gain: float = 1.0, bound: float = BOUND, forward: Forward | None = None
) -> Model:
    r"""Set the start of every :class:`derf.PointwiseNorm` of a model (Derf, DyT) from one batch of data, and return the
    model.

    A normalization layer gives its output a size of about 1, whatever comes in. A pointwise layer with a fixed alpha
    does not: if its input is small, it passes on next to nothing, and training is stuck. Here each layer starts with
    the slope that a norm has on this data,

    .. math:: \gamma = \mathrm{bound}, \qquad
        \alpha = \frac{\mathrm{gain}}{\mathrm{bound} \cdot f'(0) \cdot \mathrm{rms}(x)}

    so that the root mean square of its output is close to gain at first, and can grow to bound (times the function's
    largest value) before the layer saturates. If the function's slope at 0 is 0 or infinite, f'(0) is replaced by the
    slope of the straight line from 0 to the point where the function reaches gain / bound, or 1/16 if that is less;
    likewise under a dead zone and the other options of studies.

    Layers are set in order of execution within one forward, each before its first call, so that later layers see what
    the earlier ones now compute. shift and bias stay. An alpha for each channel starts at the same value for all,
    because a norm keeps the relative sizes of channels too. The relative sizes of a layer's weights stay: their root
    mean square becomes bound, so a second call changes nothing more.

    It is meant for training from scratch, before the optimizer is built. Give alpha a learning rate relative to its
    size: ``derf.parameter_groups(model, weight_decay=..., lr=..., alpha_lr_scale=20)``. Otherwise large alphas hardly
    move and saturate. A model that was trained with norms is converted by :func:`derf.calibrate` instead.

    Args:
        model: a model with such layers, from :func:`derf.replace_norm`; it is changed in place.
        batch: one batch of training data: a tensor, a tuple or list of positional arguments, or a mapping of keyword
            arguments for the model.
        gain: the root mean square of each layer's output at the start, if the layer is not saturated.
        bound: the largest output before bias for a function whose largest value is 1. 4 is closer to a norm, more is
            closer to a linear layer. For SGD, whose step on alpha grows with the weight, use 1, without alpha_lr_scale.
        forward: called as ``forward(model, batch)`` instead of the model.

    The forward runs in eval mode without gradients; modes are restored. A layer that is called several times is set
    from its first call. A layer without weight gets alpha = gain / (f'(0) rms(x)). A layer whose input is 0, whose
    weight is 0, or that does not run stays as it is, with a warning that names it. If ``torch.distributed`` is
    initialized, the squares are summed over all processes, each of which makes this call.

    Raises:
        TypeError: if model is not an ``nn.Module``, or is compiled, scripted or distributed; if gain or bound are not
            numbers.
        ValueError: if gain or bound are not positive; if model has no such layer, or one whose function is the same on
            both sides of 0, such as cos; if the batch is empty, has NaN or is on another device; if a layer's input is
            not finite.

    After an error the model is as it was before.

    >>> import torch, derf
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64))
    >>> model = derf.start(derf.replace_norm(model), 0.01 * torch.randn(32, 64))
    >>> output = model(0.01 * torch.randn(32, 64))
    >>> 0.8 < output.square().mean().sqrt() < 1.2
    tensor(True)
    """
    check_plain(model, "start")
    for name, value in {"gain": gain, "bound": bound}.items():
        if not checked_start(value, name) > 0:
            raise ValueError(f"derf: {name} must be positive, but is {value!r}")
    layers = {module: name for name, module in model.named_modules() if isinstance(module, PointwiseNorm)}
    if not layers:
        raise ValueError(
            "derf: model must have a derf.Derf, DyT or PointwiseNorm, but has none. Call replace_norm first."
        )
    slopes = {layer: _slope(layer, name, min(gain / bound, _SMALL)) for layer, name in layers.items()}
    check_batch(model, batch, "batch", devices=forward is None)

    before = {layer: _values(layer) for layer in layers}
    unset = dict.fromkeys(layers.values(), "does not run")

    def set_start(layer: PointwiseNorm, inputs: tuple[Tensor, ...]) -> None:
        name = layers[layer]
        if unset.get(name) == "does not run":
            reason = _set_start(layer, inputs[0], name, gain / slopes[layer], bound)
            unset.pop(name)
            if reason:
                unset[name] = reason

    # In front of the model's own hooks nothing has run yet, but what they make of the input is what the layer sees.
    handles = [layer.register_forward_pre_hook(set_start) for layer in layers]
    try:
        with evaluating(model):
            (forward or call)(model, batch)
    except BaseException:
        for values in before.values():
            for parameter, saved in values:
                parameter.data.copy_(saved)
        raise
    finally:
        for handle in handles:
            handle.remove()
    for name, reason in unset.items():
        warnings.warn(f"derf: start left {name or 'model'} as it is: it {reason}", stacklevel=2)
    return model


def _slope(layer: PointwiseNorm, name: str, value: float) -> float:
    found = slope_at_start(layer, value)
    if found is None:
        raise ValueError(
            f"derf: the function of {name or 'model'} must rise or fall from one side of 0 to the other by {value:.2g} "
            f"to each, but {function_name(layer.function)} does not"
        )
    return found


def _values(layer: PointwiseNorm) -> list[tuple[nn.Parameter, Tensor]]:
    parameters = [parameter for parameter in (layer.alpha, layer.weight) if parameter is not None]
    return [(parameter, parameter.detach().clone()) for parameter in parameters]


def _set_start(layer: PointwiseNorm, input: Tensor, name: str, size: float, bound: float) -> str | None:
    """Set the layer, alpha times weight to size / rms(x); the reason where that cannot be."""
    sums = torch.stack([input.double().square().sum(), input.new_tensor(input.numel(), dtype=torch.float64)])
    summed([sums])
    square, count = sums.tolist()
    if not math.isfinite(square):
        raise ValueError(f"derf: the input of {name or 'model'} must be finite, but has NaN or infinite elements")
    if not square:
        return "sees zeros alone"
    rms = math.sqrt(square / count)
    if layer.weight is None:
        layer.alpha.fill_(size / rms)
        return None
    weight = layer.weight.double().square().mean().sqrt().item()
    if not weight:
        return "has a weight of 0"
    layer.weight.mul_(bound / weight)
    layer.alpha.fill_(size / (bound * rms))
    return None
