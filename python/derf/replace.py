"""From a model with LayerNorm to one with Derf."""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .modules import Derf

Model = TypeVar("Model", bound=nn.Module)

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def replace_norm(model: Model, *, alpha_init: float = 0.5, shift_init: float = 0.0) -> Model | Derf:
    """Put a :class:`derf.Derf` in the place of every ``torch.nn.LayerNorm`` of a model, and return the model.

    The layers are exchanged in place, wherever they are: nested, in containers, under several names (a shared layer
    stays shared). Where the model itself is a LayerNorm, the Derf is returned. A new layer takes over the old one's
    shape, its weight and bias (values, dtype, device, requires_grad; what was absent stays absent) and its train or
    eval mode; alpha and shift start anew, frozen where the weight is. Other layers, subclasses of LayerNorm included,
    stay as they are.

    Training from the start, or further training, is needed: a Derf does not compute what the LayerNorm did. Build
    the optimizer after the exchange, for alpha and shift are new parameters.

    Args:
        model: any ``nn.Module`` that is no ScriptModule.
        alpha_init: where alpha starts in every layer; the paper's default is 0.5.
        shift_init: where shift starts in every layer.

    Raises:
        TypeError: where model is no ``nn.Module``, or is or contains a ScriptModule: convert first, then script.
        ValueError: where a LayerNorm has hooks or parametrizations, which would be lost; nothing is changed then.

    Source: "Stronger Normalization-Free Transformers", arXiv 2512.10938.

    >>> import torch, derf
    >>> encoder = torch.nn.TransformerEncoderLayer(d_model=16, nhead=2)
    >>> derf.replace_norm(encoder).norm1
    Derf((16,), alpha_init=0.5, shift_init=0.0)
    >>> derf.replace_norm(torch.nn.LayerNorm(8, bias=False))
    Derf((8,), alpha_init=0.5, shift_init=0.0, bias=False)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"derf: model must be a torch.nn.Module, but is of type {type(model).__qualname__}: {model!r}")
    modules = dict(model.named_modules())
    for name, module in modules.items():
        _check_convertible(name or "model", module)
    replacements = {
        module: _derf_like(module, _example(modules, name), alpha_init, shift_init)
        for name, module in modules.items()
        if type(module) is nn.LayerNorm
    }
    if not replacements:
        return model
    for parent in modules.values():
        for name, child in parent._modules.items():
            if child in replacements:
                parent._modules[name] = replacements[child]
    for parent in modules.values():
        _leave_fast_path(parent)
    return replacements.get(model, model)


def _check_convertible(name: str, module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            f"derf: model must hold no ScriptModule, but {name} is a {type(module).__qualname__}. "
            "Call replace_norm first, then torch.jit.script or torch.jit.trace."
        )
    if parametrize.is_parametrized(module) and isinstance(module, nn.LayerNorm):
        raise ValueError(
            f"derf: {name} has parametrizations of {', '.join(module.parametrizations)}. "
            "Call replace_norm first, then register them."
        )
    hooks = [kind.strip("_") for kind in _HOOKS if getattr(module, kind, None)] if type(module) is nn.LayerNorm else []
    if hooks:
        raise ValueError(f"derf: {name} has {', '.join(hooks)}. Call replace_norm first, then register them.")


def _example(modules: dict[str, nn.Module], name: str) -> Tensor:
    """A tensor whose dtype and device the new parameters take: the layer's own, or else its nearest neighbour's."""
    while True:
        found = next((p for p in modules[name].parameters() if p.is_floating_point()), None)
        if found is not None or not name:
            return torch.empty(0) if found is None else found
        name = name.rpartition(".")[0]


def _derf_like(norm: nn.LayerNorm, example: Tensor, alpha_init: float, shift_init: float) -> Derf:
    new = Derf(
        norm.normalized_shape,
        alpha_init=alpha_init,
        shift_init=shift_init,
        elementwise_affine=norm.weight is not None,
        bias=norm.bias is not None,
        device=example.device,
        dtype=example.dtype,
    )
    # The very parameters: what holds them (a tied weight, an optimizer) goes on holding them.
    if norm.weight is not None:
        new.weight = norm.weight
        new.alpha.requires_grad_(norm.weight.requires_grad)  # a frozen layer stays frozen
        new.shift.requires_grad_(norm.weight.requires_grad)
    if norm.bias is not None:
        new.bias = norm.bias
    return new.train(norm.training)


def _leave_fast_path(parent: nn.Module) -> None:
    """Keep torch's own Transformer layers from computing a LayerNorm with a Derf's weights.

    In eval mode TransformerEncoderLayer hands norm1.eps, norm1.weight and so on to one fused kernel, unless norm1.eps
    differs from norm2.eps; NaN differs from itself. TransformerEncoder packs padded input into a nested tensor for that
    kernel alone.
    """
    if isinstance(parent, nn.TransformerEncoderLayer):
        for norm in (parent.norm1, parent.norm2):
            if isinstance(norm, Derf):
                norm.eps = float("nan")
    elif isinstance(parent, nn.TransformerEncoder) and any(isinstance(m, Derf) for m in parent.modules()):
        parent.use_nested_tensor = False
