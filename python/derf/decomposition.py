"""The operators in PyTorch's own ones, for compilers that fuse them and executors that do not have ours."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload


def decompositions() -> dict[OpOverload, Callable[..., Any]]:
    """Return what each operator is in core ATen operators: a table for whatever takes decompositions.

    An exported program that went through it runs where derf is not installed:

    >>> import torch, derf
    >>> program = torch.export.export(derf.Derf(4), (torch.randn(2, 4),))
    >>> table = torch.export.default_decompositions()
    >>> table.update(derf.decompositions())
    >>> program = program.run_decompositions(table)
    >>> {str(node.target) for node in program.graph.nodes if "derf" in str(node.target)}
    set()

    Inductor leaves derf's kernels as they are. For it to fuse Derf with its neighbours instead, before compiling:

    >>> from torch._inductor.decomposition import decompositions
    >>> decompositions.update(derf.decompositions())  # doctest: +SKIP

    Arithmetic is in float32 (float64 for float64), as in the operators; the error function is that of the executor.
    """
    return {torch.ops.derf.derf.default: _derf, torch.ops.derf.derf_backward.default: _derf_backward}


def _derf(
    input: Tensor,
    alpha: Tensor,
    shift: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    channel_dim: int = -1,
) -> Tensor:
    y = torch.erf(_preactivation(input, alpha, shift))
    if weight is not None:
        y = y * _beside(input, weight, channel_dim)
    if bias is not None:
        y = y + _beside(input, bias, channel_dim)
    return y.to(input.dtype)


def _derf_backward(
    grad_output: Tensor,
    input: Tensor,
    alpha: Tensor,
    shift: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    channel_dim: int,
    output_mask: list[bool],
) -> tuple[Tensor | None, ...]:
    g, u = _wide(input, grad_output), _preactivation(input, alpha, shift)
    slope = 2 / math.sqrt(math.pi) * torch.exp(-u * u)
    h = g * slope if weight is None else g * slope * _beside(input, weight, channel_dim)

    def alive(term: Tensor) -> Tensor:
        return torch.where(slope == 0, 0.0, term)  # never 0 * Inf

    def sum_like(term: Tensor, parameter: Tensor) -> Tensor:
        summed = term.sum_to_size(_beside(input, parameter, channel_dim).shape)
        return summed.reshape(parameter.shape).to(parameter.dtype)

    def sum_all(term: Tensor, parameter: Tensor) -> Tensor:
        return term.sum().reshape(parameter.shape).to(parameter.dtype)

    return (
        alive(h * _one(input, alpha)).to(input.dtype) if output_mask[0] else None,
        sum_all(alive(h * _wide(input, input)), alpha) if output_mask[1] else None,
        sum_all(alive(h), shift) if output_mask[2] else None,
        sum_like(g * torch.erf(u), weight) if output_mask[3] and weight is not None else None,
        sum_like(g, bias) if output_mask[4] and bias is not None else None,
    )


def _wide(input: Tensor, tensor: Tensor) -> Tensor:
    """The tensor in the dtype of arithmetic."""
    return tensor.to(torch.promote_types(input.dtype, torch.float32))


def _one(input: Tensor, scalar: Tensor) -> Tensor:
    """alpha or shift, which may be [1] beside a 0-d input."""
    return _wide(input, scalar).reshape(())


def _preactivation(input: Tensor, alpha: Tensor, shift: Tensor) -> Tensor:
    return _wide(input, input) * _one(input, alpha) + _one(input, shift)


def _beside(input: Tensor, parameter: Tensor, channel_dim: int) -> Tensor:
    """weight or bias, shaped so that it broadcasts against input."""
    dimensions_after = -1 - channel_dim if channel_dim < 0 else input.dim() - 1 - channel_dim
    return _wide(input, parameter).reshape(*parameter.shape, *[1] * dimensions_after)
