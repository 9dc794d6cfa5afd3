"""Which parameters an optimizer must not decay."""

from typing import Any

from torch import nn

from .modules import PointwiseNorm
from .recipes import EmbeddingScale, ScaledEmbedding


def no_weight_decay_names(model: nn.Module) -> set[str]:
    """Qualified names of the parameters that the layers bring: alpha, shift, weight and bias of each, and scales.

    Weight decay would pull alpha towards 0, where the layer is constant. Optimizers that leave all vectors undecayed
    (timm's, for one) need no names, but for layers with a normalized_shape of several dimensions; those that go by the
    names of modules (Trainer of Transformers) do.

    >>> import torch, derf
    >>> model = derf.replace_norm(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8)))
    >>> sorted(derf.no_weight_decay_names(model))
    ['1.alpha', '1.bias', '1.shift', '1.weight']
    """
    names = set()
    for module_name, module in model.named_modules(remove_duplicate=False):
        prefix = f"{module_name}." if module_name else ""
        if isinstance(module, PointwiseNorm):
            names |= {prefix + name for name, _ in module.named_parameters()}
        elif isinstance(module, (EmbeddingScale, ScaledEmbedding)):
            names.add(f"{prefix}scale")
    return names


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer: what is decayed, and what is not.

    Not decayed are vectors and scalars, everything called bias, the parameters of the layers
    (:func:`derf.no_weight_decay_names`), and what the model's own ``no_weight_decay()`` names (timm's models have it),
    also where the model is compiled or wrapped by DDP, FSDP and the like. Frozen parameters are in neither group,
    shared ones in one of them once.

    Args:
        model: any ``nn.Module``.
        weight_decay: of the first group; the second has 0.

    Raises:
        ValueError: where weight_decay is negative.

    >>> import torch, derf
    >>> model = derf.replace_norm(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8)))
    >>> groups = derf.parameter_groups(model, weight_decay=0.05)
    >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
    [(1, 0.05), (5, 0.0)]
    >>> optimizer = torch.optim.AdamW(groups, lr=1e-3)
    """
    if not weight_decay >= 0:
        raise ValueError(f"derf: weight_decay must not be negative, but is {weight_decay!r}")
    inner, wrapping = _unwrapped(model)
    own = set(inner.no_weight_decay()) if hasattr(inner, "no_weight_decay") else set()
    without = no_weight_decay_names(model)
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            written = _without_wrappers(name.removeprefix(wrapping))
            stays = parameter.ndim < 2 or name.endswith("bias") or name in without or written in own
            (others if stays else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


# What wrappers call the module inside: torch.compile, FSDP, activation checkpointing; DDP, DataParallel and others.
_INSIDE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def _unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
    """The model inside its wrappers, and the prefix that they give to its names."""
    prefix = ""
    while True:
        name = next((name for name in (*_INSIDE, "module") if name in model._modules), None)
        own = hasattr(type(model), "no_weight_decay") or model._parameters or len(model._modules) > 1
        if name is None or own:
            return model, prefix
        model, prefix = model._modules[name], f"{prefix}{name}."


def _without_wrappers(name: str) -> str:
    """A parameter's name as the model's own code knows it, where parts of the model are wrapped."""
    return ".".join(part for part in name.split(".") if part not in _INSIDE)
