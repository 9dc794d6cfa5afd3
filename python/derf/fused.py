"""Layers that do what stands before a Derf as well."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as _module

from .modules import DTYPES, STUDY, Derf, DyT, PointwiseNorm


class AddDerf(Derf):
    r"""A residual connection and the :class:`Derf` after it, in one pass.

    For an input x and a residual r it returns :math:`\gamma \cdot \mathrm{erf}(\alpha h + s) + \beta` and
    :math:`h = r + x`; with a gate g, :math:`h = r + g x`. A pre-norm Transformer block computes both at the end of each
    branch.

    Args:
        normalized_shape, alpha_init, shift_init, elementwise_affine, bias, channel_dim, device, dtype: as for
            :class:`Derf`, whose parameters and state_dict it has.

    Shape:
        Input, residual and both results: any shape whose last dimensions (or dimension channel_dim) are
            normalized_shape.

    Attributes:
        alpha, shift, weight, bias: as those of :class:`Derf`.

    Raises:
        TypeError, ValueError: for invalid arguments; the message names the argument.

    Source: "Stronger Normalization-Free Transformers", arXiv 2512.10938, for the function.

    >>> import torch, derf
    >>> layer = derf.AddDerf(2)
    >>> output, residual = layer(torch.tensor([[1.0, -2.0]]), torch.tensor([[1.0, 2.0]]))
    >>> output.detach()
    tensor([[0.8427, 0.0000]])
    >>> residual.detach()
    tensor([[2., 0.]])
    """

    def __init__(
        self,
        normalized_shape: int | Iterable[int],
        *,
        alpha_init: float = 0.5,
        shift_init: float = 0.0,
        elementwise_affine: bool = True,
        bias: bool = True,
        channel_dim: int = -1,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(  # without inplace, which two results do not go with
            normalized_shape,
            alpha_init=alpha_init,
            shift_init=shift_init,
            elementwise_affine=elementwise_affine,
            bias=bias,
            channel_dim=channel_dim,
            device=device,
            dtype=dtype,
        )

    # Derf's parameters and state_dict, another call. (TorchScript wants nothing behind the comment on types.)
    def forward(  # type: ignore[override]
        self, input: Tensor, residual: Tensor, gate: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (output, sum); see :func:`derf.functional.add_pointwise_norm` for dtypes, layouts and errors."""
        return torch.ops.derf.add_pointwise_norm(
            input, residual, self.alpha, self.shift, self.weight, self.bias, gate, channel_dim=self.channel_dim
        )


_LAYERS = (Derf, DyT, PointwiseNorm)
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def obstacle(layer: nn.Module) -> str | None:
    """Why a sum cannot be made in the call of a layer, or None."""
    if type(layer) not in _LAYERS:
        return f"{type(layer).__name__} has a forward of its own"
    if "forward" in layer.__dict__:
        return "its forward was replaced"
    if layer.inplace:
        return "it writes over the sum"
    if not isinstance(layer.function, str):
        return "its function is not fused"
    if type(layer) is PointwiseNorm and any(getattr(layer, name) != value for name, value in STUDY.items()):
        return "add_pointwise_norm has no studies"
    return "it has hooks" if _has_hooks(layer) else None


def _has_hooks(module: nn.Module) -> bool:
    return any(module.__dict__[hooks] for hooks in _HOOKS)


def is_gate(module: nn.Module) -> bool:
    """Whether a module multiplies by a factor for each channel or sample: LayerScale and DropPath of timm."""
    cls = type(module)
    return cls is nn.Identity or cls.__module__.startswith("timm.") and cls.__name__ in ("LayerScale", "DropPath")


def added(left: Tensor, right: Tensor, norm: Any, *gates: Any) -> tuple[list[Tensor], Tensor]:
    """``[norm(sum)], sum`` of ``sum = left + right``, right passed through gates first: in one call where possible.

    It stands in the forwards that :func:`derf.fuse` rewrites. Layers may have been replaced since, or have hooks.
    """
    if _add_alike(left, right) and obstacle(norm) is None and not _module._has_any_global_hook():
        gate = None
        factors = _factors(gates, right, norm) if gates else []
        if factors is not None:
            for factor in factors:
                gate = factor if gate is None else gate * factor
            output, sum = torch.ops.derf.add_pointwise_norm(
                right,
                left,
                norm.alpha,
                norm.shift,
                norm.weight,
                norm.bias,
                gate,
                function=norm.function,
                channel_dim=norm.channel_dim,
            )
            return [output], sum
    for module in gates:
        right = module(right)
    sum = left + right
    return [norm(sum)], sum


def _add_alike(left: Tensor, right: Tensor) -> bool:
    """Whether the operator adds the two as PyTorch does: they are plain, of one dtype and shape, and need no copy."""
    return (
        type(left) is type(right) is Tensor
        and left.layout is right.layout is torch.strided
        and not left.is_nested
        and not right.is_nested
        and left.dtype == right.dtype
        and left.dtype in DTYPES
        and left.device == right.device
        and left.shape == right.shape
        and left.stride() == right.stride()
    )


def _factors(gates: tuple[Any, ...], input: Tensor, norm: PointwiseNorm) -> list[Tensor] | None:
    """What the gates multiply the input by, or None where they do something else."""
    if norm.channel_dim != -1 or len(norm.normalized_shape) != 1:
        return None
    if not all(is_gate(module) and not _has_hooks(module) for module in gates):
        return None
    factors: list[Tensor] = []
    for module in gates:
        kind = type(module).__name__
        if kind == "LayerScale":
            if module.inplace or module.gamma.dtype != input.dtype:
                return None
            factors.append(module.gamma)
    if any(t.shape != input.shape[-1:] for t in factors):
        return None
    for module in gates:  # last: each call draws random numbers
        if type(module).__name__ == "DropPath" and module.training and module.drop_prob:
            factors.append(module(input.new_ones((input.size(0), *[1] * (input.dim() - 1)))))
    return factors
