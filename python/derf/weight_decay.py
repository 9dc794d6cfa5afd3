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


def parameter_groups(
    model: nn.Module, *, weight_decay: float, lr: float | None = None, alpha_lr_scale: float | None = None
) -> list[dict[str, Any]]:
    """Groups for an optimizer: what is decayed, and what is not; on request, alpha with its own learning rate.

    Not decayed are vectors and scalars, everything called bias, the parameters of the layers
    (:func:`derf.no_weight_decay_names`), and what the model's own ``no_weight_decay()`` names (timm's models have it),
    also where the model is compiled or wrapped by DDP, FSDP and the like. Frozen parameters are in no group, shared
    ones in one of them once.

    Adam moves every parameter by about lr a step, whatever its size: an alpha of 0.01 by a tenth at lr 1e-3, one of 10
    by next to nothing. With alpha_lr_scale each alpha gets the learning rate ``lr * alpha_lr_scale * abs(alpha)``, so
    that all of them move by the same share; schedulers scale it as they scale the others. Use it with
    :func:`derf.start`, whose alphas differ much, and build the groups after it.

    Args:
        model: any ``nn.Module``.
        weight_decay: of the first group; the others have 0.
        lr: the optimizer's learning rate; it becomes that of all groups. Needed beside alpha_lr_scale.
        alpha_lr_scale: how much faster than lr each alpha moves relative to its size; None (default) leaves alpha among
            the others.

    Returns:
        Two groups, and then one for each size of alpha where alpha_lr_scale is given.

    Raises:
        ValueError: where weight_decay is negative, lr or alpha_lr_scale are not positive, or alpha_lr_scale is given
            without lr.

    >>> import torch, derf
    >>> model = derf.replace_norm(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8)))
    >>> groups = derf.parameter_groups(model, weight_decay=0.05)
    >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
    [(1, 0.05), (5, 0.0)]
    >>> optimizer = torch.optim.AdamW(groups, lr=1e-3)
    >>> groups = derf.parameter_groups(model, weight_decay=0.05, lr=1e-3, alpha_lr_scale=10)
    >>> [(len(group["params"]), group["lr"]) for group in groups]
    [(1, 0.001), (4, 0.001), (1, 0.005)]
    """
    if not weight_decay >= 0:
        raise ValueError(f"derf: weight_decay must not be negative, but is {weight_decay!r}")
    for name, value in {"lr": lr, "alpha_lr_scale": alpha_lr_scale}.items():
        if value is not None and not value > 0:
            raise ValueError(f"derf: {name} must be positive, but is {value!r}")
    if alpha_lr_scale is not None and lr is None:
        raise ValueError("derf: lr must be given beside alpha_lr_scale, but is None")
    inner, wrapping = _unwrapped(model)
    own = set(inner.no_weight_decay()) if hasattr(inner, "no_weight_decay") else set()
    without = no_weight_decay_names(model)
    layers = [module for module in model.modules() if isinstance(module, PointwiseNorm)]
    alphas = {id(layer.alpha) for layer in layers} if alpha_lr_scale else set()
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    by_size: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in alphas:
            size = parameter.detach().abs().double().mean().item()
            by_size.setdefault(size, []).append(parameter)
        else:
            written = _without_wrappers(name.removeprefix(wrapping))
            stays = parameter.ndim < 2 or name.endswith("bias") or name in without or written in own
            (others if stays else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    if lr is not None:
        groups = [group | {"lr": lr} for group in groups]
    for size, parameters in by_size.items():
        # An alpha of 0 has no size to go by: it moves as the others do.
        groups.append({"params": parameters, "weight_decay": 0.0, "lr": lr * alpha_lr_scale * size if size else lr})
    return groups


# What wrappers call the module inside: torch.compile, FSDP, activation checkpointing; DDP, DataParallel and others.
_INSIDE = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def _unwrapped(model: Any) -> tuple[Any, str]:
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
