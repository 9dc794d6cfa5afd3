"""What stands in the place of a model's norms: the entrants of the comparison, by name."""

import copy
import math
from collections.abc import Callable
from typing import Any

import derf
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .system import Base

ALPHA_LR_SCALE = 20  # beside a start from data, as derf.start advises
Prepared = tuple[nn.Module, float | None]  # the model, and alpha_lr_scale of derf.parameter_groups
Prepare = Callable[[nn.Module, Base, dict[str, Any]], Prepared]


class SharedAlpha(nn.Module):
    """One alpha for all channels of a layer that has a shift for each."""

    def forward(self, one: Tensor) -> Tensor:
        return one.expand(self.shape)

    def right_inverse(self, alpha: Tensor) -> Tensor:
        self.shape = alpha.shape
        return alpha.flatten()[:1].clone()


def sites(model: nn.Module, system: Base) -> dict[str, tuple[int, ...]]:
    """Name and shape of the norms that the recipe replaces: the same places for every entrant."""
    report = derf.replace_norm(model, recipe=system.recipe, dry_run=True)
    return {entry.name: tuple(entry.new.normalized_shape) for entry in report.replaced}


def exchanged(kind: Callable[[tuple[int, ...], bool], nn.Module]) -> Prepare:
    def prepare(model: nn.Module, system: Base, options: dict[str, Any]) -> Prepared:
        if options:
            raise ValueError(f"benchmarks.training: a norm has no options, but got {options}")
        for name, shape in sites(model, system).items():
            affine = getattr(model.get_submodule(name), "weight", None) is not None
            model.set_submodule(name, kind(shape, affine))
        return model, None

    return prepare


def replaced(model: nn.Module, options: dict[str, Any], **where: Any) -> nn.Module:
    """Options are those of replace_norm, and shift="channel" for a shift alone for each channel."""
    shift_alone = options.get("shift") == "channel"
    if shift_alone:
        options = {**options, "shift": None, "per_channel": True}
    model = derf.replace_norm(model, **where, **options)
    if shift_alone:
        for layer in [module for module in model.modules() if isinstance(module, derf.PointwiseNorm)]:
            parametrize.register_parametrization(layer, "alpha", SharedAlpha())
    return model


def pointwise(model: nn.Module, system: Base, options: dict[str, Any]) -> Prepared:
    """By the recipe."""
    return replaced(model, options, recipe=system.recipe), None


def dyt(model: nn.Module, system: Base, options: dict[str, Any]) -> Prepared:
    return pointwise(model, system, {"function": "tanh", "shift": False, **options})


def derf_start(model: nn.Module, system: Base, options: dict[str, Any]) -> Prepared:
    """From one batch of training data, in the places of the recipe, without its changes of the model. Options are those
    of replace_norm, and bound, of derf.start."""
    options = dict(options)
    start = {"bound": options.pop("bound")} if "bound" in options else {}
    model = replaced(model, options, include=list(sites(model, system)))
    torch.manual_seed(0)  # wav2vec 2.0 draws noise in its forward
    return derf.start(model, system.batch("train", 0, 0), forward=system.loss, **start), ALPHA_LR_SCALE


def dyt_start(model: nn.Module, system: Base, options: dict[str, Any]) -> Prepared:
    """The start that a Derf has there; erf is steeper at 0 than tanh by 2/√π."""
    twin, scale = derf_start(copy.deepcopy(model), system, {})
    places = list(sites(model, system))
    model = derf.replace_norm(model, include=places, function="tanh", shift=False, **options)
    with torch.no_grad():
        for name in places:
            layer, started = model.get_submodule(name), twin.get_submodule(name)
            layer.alpha.copy_(started.alpha * 2 / math.sqrt(math.pi))
            if layer.weight is not None:
                layer.weight.copy_(started.weight)
    return model, scale


NORMS: dict[str, tuple[str, Prepare]] = {  # name: title, what makes it
    "layernorm": ("LayerNorm", exchanged(lambda shape, affine: nn.LayerNorm(shape, elementwise_affine=affine))),
    "rmsnorm": ("RMSNorm", exchanged(lambda shape, affine: nn.RMSNorm(shape, elementwise_affine=affine))),
    "dyt": ("DyT", dyt),
    "dyt-start": ("DyT, start from data", dyt_start),
    "derf": ("Derf", pointwise),
    "derf-start": ("Derf, `derf.start`", derf_start),
    "none": ("no norm", exchanged(lambda shape, affine: nn.Identity())),
}
DEFAULT = ("layernorm", "derf", "derf-start", "dyt", "rmsnorm", "none")  # what is wanted first comes first
