"""Starts from data for training from scratch."""

import math
import warnings
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .modules import Derf, checked_start
from .passes import Forward, call, check_batch, check_plain, evaluating
from .processes import summed

Model = TypeVar("Model", bound=nn.Module)
BOUND = 16.0


def start(
    model: Model, batch: Any, *, gain: float = 1.0, bound: float = BOUND, forward: Forward | None = None
) -> Model:
    r"""Set where every :class:`derf.Derf` of a model starts from one batch of data, and return the model.

    A normalization layer makes its output as large as 1 whatever comes in. A Derf whose alpha is fixed does not: where
    its input is small it passes on next to nothing, and training gets stuck. Here each layer starts with the slope
    that a norm has on this data,

    .. math:: \gamma = \mathrm{bound}, \qquad \alpha = \frac{\mathrm{gain}}{\mathrm{bound} \cdot \mathrm{rms}(x)}

    so that its output's root mean square is near gain at first, and can grow to bound before the layer saturates.
    Layers are set in order of execution within one forward, each before its first call, so that later layers see what
    the earlier ones now compute. shift and bias stay. The relative sizes of a layer's weights stay too: their root mean
    square becomes bound, so that a second call changes nothing more.

    For training from scratch, before the optimizer is built. Give alpha a learning rate relative to its size:
    ``derf.parameter_groups(model, weight_decay=..., lr=..., alpha_lr_scale=20)``, or large alphas stay where they are
    and saturate. A model that was trained with norms is converted by :func:`derf.calibrate` instead.

    Args:
        model: a model with Derfs, from :func:`derf.replace_norm`; it is changed in place.
        batch: one batch of training data: a tensor, a tuple or list of positional arguments, or a mapping of keyword
            arguments for the model.
        gain: the root mean square of each layer's output at the start, where the layer is not saturated.
        bound: the largest output, before bias. 4 is nearer to a norm, more is nearer to a linear layer.
        forward: called as ``forward(model, batch)`` in the place of the model.

    The forward runs in eval mode without gradients; modes are restored. A layer that is called several times is set
    from its first call. A layer without weight gets alpha = gain / rms(x). A layer whose input is 0, whose weight is 0,
    or that does not run stays as it is, with a warning that names it. Where ``torch.distributed`` is initialised, the
    squares are summed over all processes, each of which calls this alike.

    Raises:
        TypeError: where model is no ``nn.Module``, or is compiled, scripted or distributed; where gain or bound are no
            numbers.
        ValueError: where gain or bound are not positive; where model has no Derf; where the batch is empty, has NaN or
            is on another device; where a layer's input is not finite.

    After an error the model is as it was.

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
    layers = {module: name for name, module in model.named_modules() if isinstance(module, Derf)}
    if not layers:
        raise ValueError("derf: model must have a derf.Derf, but has none. Call replace_norm first.")
    check_batch(model, batch, "batch", devices=forward is None)

    before = {layer: _values(layer) for layer in layers}
    unset = dict.fromkeys(layers.values(), "does not run")

    def set_start(layer: Derf, inputs: tuple[Tensor, ...]) -> None:
        name = layers[layer]
        if unset.get(name) == "does not run":
            reason = _set_start(layer, inputs[0], name, gain, bound)
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
            for parameter, value in values:
                parameter.data.copy_(value)
        raise
    finally:
        for handle in handles:
            handle.remove()
    for name, reason in unset.items():
        warnings.warn(f"derf: start left {name or 'model'} as it is: it {reason}", stacklevel=2)
    return model


def _values(layer: Derf) -> list[tuple[nn.Parameter, Tensor]]:
    parameters = [parameter for parameter in (layer.alpha, layer.weight) if parameter is not None]
    return [(parameter, parameter.detach().clone()) for parameter in parameters]


def _set_start(layer: Derf, input: Tensor, name: str, gain: float, bound: float) -> str | None:
    """Set the layer; the reason where that cannot be."""
    sums = torch.stack([input.double().square().sum(), input.new_tensor(input.numel(), dtype=torch.float64)])
    summed([sums])
    square, count = sums.tolist()
    if not math.isfinite(square):
        raise ValueError(f"derf: the input of {name or 'model'} must be finite, but has NaN or infinite elements")
    if not square:
        return "sees zeros alone"
    rms = math.sqrt(square / count)
    if layer.weight is None:
        layer.alpha.fill_(gain / rms)
        return None
    size = layer.weight.double().square().mean().sqrt().item()
    if not size:
        return "has a weight of 0"
    layer.weight.mul_(bound / size)
    layer.alpha.fill_(gain / (bound * rms))
    return None
