"""Gradient descent on the fitted Derfs alone, so that the model's output comes nearer to the original's.

A regression makes each layer as good as it can be alone. Where the sizes of rows differ much from token to token, what
is left adds up over the layers; a few steps on all layers together win most of it back. Nothing but alpha, weight and
bias of the Derfs moves, and no labels are needed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .functional import pointwise_norm
from .processes import agree, averaged
from .sites import Site

LEARNING_RATE = 0.03  # relative to the size of each parameter; a cosine from there to 0

Forward = Callable[[Any, Callable[[Site, Tensor, Tensor], Tensor]], Any]


def refine(
    model: nn.Module, sites: list[Site], batches: list[Any], steps: int, forward: Forward, mask: Callable[[Any], Any]
) -> tuple[float, float]:
    """Improve the fits of the sites by so many steps; the distance to the original's outputs before and after.

    forward takes a batch and what gives each site's output, as calibrate's hooks do. Where the output did not come
    nearer, the fits are as they were. Several processes average distances and gradients, each of batches of its own.
    """
    leaves = {site: _leaves(site) for site in sites}
    every = [leaf for found in leaves.values() for leaf in found.values()]
    sizes = [_size(name, leaf) for found in leaves.values() for name, leaf in found.items()]
    optimizer = torch.optim.Adam([{"params": [leaf]} for leaf in every], lr=LEARNING_RATE, betas=(0.9, 0.95))
    captured: list[Any] = []
    handle = model.register_forward_hook(lambda module, inputs, output: captured.append(output))

    def outputs(batch: Any, function: Callable[[Site, Tensor, Tensor], Tensor]) -> tuple[Tensor, bool]:
        captured.clear()
        forward(batch, function)
        if not captured:
            raise ValueError("derf: refine needs a forward that calls the model itself, not a part of it")
        return _output(captured[-1])

    def fitted(site: Site, x: Tensor, t: Tensor) -> Tensor:
        if site not in leaves:
            return t
        found = leaves[site]
        alpha, shape = found["alpha"].reshape(site.new.alpha.shape), site.new.normalized_shape
        weight, bias = found["weight"].reshape(shape), found.get("bias")
        bias = None if bias is None else bias.reshape(shape)
        return pointwise_norm(x, alpha, None, weight, bias, channel_dim=site.new.channel_dim)

    def distance_of(batch: Any) -> Tensor:
        with torch.no_grad():
            wanted, are_logits = outputs(batch, lambda site, x, t: t)
        return _distance(outputs(batch, fitted)[0], wanted, are_logits, mask(batch))

    def distance() -> float:
        with agree():
            found = torch.stack([distance_of(batch).cpu() for batch in batches]).mean()
        averaged([found])
        return found.item()

    try:
        before = distance()
        for step in range(steps):
            for group, size in zip(optimizer.param_groups, sizes, strict=True):
                group["lr"] = LEARNING_RATE * size * (1 + math.cos(math.pi * step / steps)) / 2
            with agree(), torch.enable_grad():
                loss = distance_of(batches[step % len(batches)])
                # Not backward(): the model's own parameters are to get no gradients.
                gradients = torch.autograd.grad(loss, every, materialize_grads=True)
            averaged(list(gradients))
            for leaf, gradient in zip(every, gradients, strict=True):
                leaf.grad = gradient
            optimizer.step()
        after = distance()
    finally:
        handle.remove()
    if not after < before:
        return before, before
    for site, found in leaves.items():
        values = {name: leaf.detach().double() for name, leaf in found.items()}
        site.alpha = site.moments.alpha = values["alpha"]
        site.fit = replace(site.fit, weight=values["weight"], bias=values.get("bias"))
    return before, after


def _size(name: str, leaf: Tensor) -> float:
    """What a leaf's learning rate is relative to. A bias, and a weight, may be 0 at first."""
    return max(leaf.detach().abs().mean().item(), 0.0 if name == "alpha" else 0.05)


def _leaves(site: Site) -> dict[str, Tensor]:
    """The site's parameters in float32, or in float64 where the layer's are."""
    dtype = torch.promote_types(site.new.alpha.dtype, torch.float32)
    values = {"alpha": site.alpha, "weight": site.fit.weight, "bias": site.fit.bias}
    return {name: value.to(dtype).clone().requires_grad_() for name, value in values.items() if value is not None}


def _output(output: Any) -> tuple[Tensor, bool]:
    """The tensor of a model's output that is compared, and whether it is called logits."""
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        return logits, True
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, (tuple, list)):
        output = next((each for each in output if isinstance(each, Tensor) and each.is_floating_point()), None)
    if not isinstance(output, Tensor):
        raise ValueError(f"derf: refine needs a model that returns a tensor, but it returns a {type(output).__name__}")
    return output, False


def _distance(found: Tensor, wanted: Tensor, are_logits: bool, mask: Tensor | None) -> Tensor:
    """The Kullback-Leibler divergence of logits, or the squared error relative to the variance."""
    found, wanted = found.float(), wanted.float()
    if mask is not None and found.shape[: mask.dim()] == mask.shape and found.dim() > mask.dim():
        found, wanted = found[mask.to(found.device)], wanted[mask.to(found.device)]
    if are_logits:
        found, wanted = found.flatten(0, -2).log_softmax(-1), wanted.flatten(0, -2).log_softmax(-1)
        return nn.functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
    return (found - wanted).square().mean() / wanted.var().clamp_min(torch.finfo(torch.float32).tiny)
