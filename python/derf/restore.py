"""From a model with Derf back to its normalization layers, and checkpoints from one to the other."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from .modules import PointwiseNorm
from .norms import describe, looks_like_norm
from .observe import Unsuitable, clone_without_state
from .plan import Origin, parameter_names
from .recipes import EmbeddingScale, ScaledEmbedding
from .replace import CALL_HOOKS
from .rewrite import original_class

Model = TypeVar("Model", bound=nn.Module)


def restore_norm(model: Model) -> Model | nn.Module:
    """Put back the normalization layers that :func:`derf.replace_norm` replaced, and return the model.

    Each layer has its old class and settings (epsilon and so on), and the new layer's weight and bias. alpha and shift
    are dropped, and so is a bias that the layer did not have. A Derf (or DyT, or PointwiseNorm) that never was a norm
    stays, and so does what a recipe changed besides the norms. This too changes what the model computes.

    Args:
        model: any ``nn.Module``; it is changed in place. If it is a Derf itself, its norm is returned.

    Raises:
        TypeError: if model is not an ``nn.Module``.

    >>> import torch, derf
    >>> model = derf.replace_norm(torch.nn.Sequential(torch.nn.LayerNorm(8, eps=1e-3)))
    >>> layer = derf.restore_norm(model)[0]
    >>> type(layer).__name__, layer.eps
    ('LayerNorm', 0.001)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"derf: model must be a torch.nn.Module, but is of type {type(model).__qualname__}: {model!r}")
    counted_from_0: dict[nn.Parameter, nn.Parameter] = {}
    layers = [module for module in model.modules() if isinstance(module, PointwiseNorm) and _origin(module)]
    norms: dict[nn.Module, nn.Module] = {layer: norm_of(layer, counted_from_0) for layer in layers}
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in norms:
                parent._modules[name] = norms[child]
        parent.__class__ = original_class(type(parent))
    return norms.get(model, model)


def _origin(module: nn.Module) -> Origin | None:
    return getattr(module, "origin", None) if isinstance(module, PointwiseNorm) else None


def norm_of(derf: PointwiseNorm, counted_from_0: dict[nn.Parameter, nn.Parameter]) -> nn.Module:
    origin = _origin(derf)
    norm = clone_without_state(origin.norm)
    if origin.weight:
        weight = derf.weight
        if origin.weight_offset:
            if weight not in counted_from_0:  # layers that share their weight go on sharing it
                shifted = weight.detach() - origin.weight_offset
                counted_from_0[weight] = nn.Parameter(shifted, weight.requires_grad)
            weight = counted_from_0[weight]
        norm._parameters[origin.weight] = weight
    if origin.bias:
        norm._parameters[origin.bias] = derf.bias
    for hooks in CALL_HOOKS:
        norm.__dict__[hooks] = derf.__dict__[hooks]
    return norm.train(derf.training)


def convert_state_dict(state_dict: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Convert a checkpoint of a model with norms for the same model with Derf, or the other way round.

    - The checkpoint has a norm, and model has a Derf: weight and bias become the Derf's; alpha and shift keep the
      values that they have in model.
    - The checkpoint has a Derf, and model has a norm: alpha and shift are dropped.
    - Both have pointwise layers (Derf, DyT, PointwiseNorm): a shift that is missing in the checkpoint, as in DyT's,
      becomes 0, and one alpha for all channels becomes one for each if model has these.

    A weight that counts from 1 in one of the two is converted, and renamed if it has another name. The authors' GPT-2
    and LLaMA checkpoints call the scale of the embeddings ``shared_scale``; it becomes the one that a recipe put into
    model. Everything else is passed on. A checkpoint that already fits is returned as it is.

    Args:
        state_dict: names and tensors, as ``state_dict()`` gives them; it is not changed.
        model: the model that will load the result, from :func:`derf.replace_norm`, or with norms that it replaces.

    Returns:
        A new dictionary. Its tensors are those of state_dict and model, unless something had to be computed.

    >>> import torch, derf
    >>> checkpoint = torch.nn.Sequential(torch.nn.LayerNorm(8)).state_dict()
    >>> model = derf.replace_norm(torch.nn.Sequential(torch.nn.LayerNorm(8)))
    >>> model.load_state_dict(derf.convert_state_dict(checkpoint, model))
    <All keys matched successfully>
    """
    result = dict(state_dict)
    for name, module in model.named_modules(remove_duplicate=False):
        prefix = f"{name}." if name else ""
        of_derf = f"{prefix}alpha" in state_dict
        origin = _origin(module)
        if isinstance(module, PointwiseNorm):
            if of_derf:
                _derf_to_derf(result, prefix, module)
            else:
                _norm_to_derf(result, prefix, module, origin)
        elif isinstance(module, (EmbeddingScale, ScaledEmbedding)):
            scale = result.pop("shared_scale", module.scale.detach())
            result.setdefault(f"{prefix}scale", scale)
        elif of_derf and looks_like_norm(module):
            _derf_to_norm(result, prefix, module)
    return result


def _norm_to_derf(result: dict[str, Tensor], prefix: str, derf: PointwiseNorm, origin: Origin | None) -> None:
    if origin is not None:
        _rename(result, prefix, origin.weight, "weight", origin.weight_offset)
        _rename(result, prefix, origin.bias, "bias", 0.0)
    for name, tensor in derf.state_dict().items():
        result.setdefault(prefix + name, tensor)


def _derf_to_derf(result: dict[str, Tensor], prefix: str, derf: PointwiseNorm) -> None:
    """What the checkpoint's layer computes, with the parameters of this one."""
    if derf.shift is not None and f"{prefix}shift" not in result:  # DyT has none, which is a shift of 0
        result[f"{prefix}shift"] = torch.zeros_like(result[f"{prefix}alpha"])
    if derf.per_channel:
        for name in ("alpha", "shift"):
            tensor = result.get(prefix + name)
            if tensor is not None and tensor.numel() == 1:
                result[prefix + name] = tensor.expand(derf.normalized_shape).clone()


def _derf_to_norm(result: dict[str, Tensor], prefix: str, norm: nn.Module) -> None:
    try:
        spec = describe(norm)
    except Unsuitable:
        return
    names = parameter_names(norm)
    del result[f"{prefix}alpha"]
    result.pop(f"{prefix}shift", None)  # DyT has none
    _rename(result, prefix, "weight", names.get(spec.weight), -spec.weight_offset)
    _rename(result, prefix, "bias", names.get(spec.bias), 0.0)


def _rename(result: dict[str, Tensor], prefix: str, old: str | None, new: str | None, offset: float) -> None:
    """Move an entry, and drop it where the new layer has none."""
    tensor = result.pop(f"{prefix}{old}", None)
    if tensor is not None and new is not None:
        result[f"{prefix}{new}"] = tensor + offset if offset else tensor
