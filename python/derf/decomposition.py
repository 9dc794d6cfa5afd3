"""The operators in PyTorch's own ones, for compilers that fuse them and executors that do not have ours."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload


def decompositions() -> dict[OpOverload, Callable[..., Any]]:
    """Return what each operator is in core ATen operators: a table for everything that takes decompositions.

    An exported program that was decomposed with it runs where derf is not installed:

    >>> import torch, derf
    >>> program = torch.export.export(derf.Derf(4), (torch.randn(2, 4),))
    >>> table = torch.export.default_decompositions()
    >>> table.update(derf.decompositions())
    >>> program = program.run_decompositions(table)
    >>> {str(node.target) for node in program.graph.nodes if "derf" in str(node.target)}
    set()

    Inductor leaves derf's kernels as they are. For it to fuse the layers with its neighbours instead, before compiling:

    >>> from torch._inductor.decomposition import decompositions
    >>> decompositions.update(derf.decompositions())  # doctest: +SKIP

    Arithmetic is in float32 (float64 for float64), as in the operators; erf, exp and so on are those of the executor.
    """
    ops = torch.ops.derf
    return {
        ops.derf.default: _derf,
        ops.derf_backward.default: _derf_backward,
        ops.pointwise_norm.default: ops.pointwise_norm_composite,
        ops.pointwise_norm_backward.default: ops.pointwise_norm_backward_composite,
        ops.add_pointwise_norm.default: ops.add_pointwise_norm_composite,
        ops.add_pointwise_norm_backward.default: ops.add_pointwise_norm_backward_composite,
        ops.quantized_pointwise_norm.default: ops.quantized_pointwise_norm_composite,
        ops.function.default: ops.function_composite,
    }


# The formulas themselves are in csrc/composite, which double backward and vmap use as well.


def _derf(
    input: Tensor,
    alpha: Tensor,
    shift: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    channel_dim: int = -1,
) -> Tensor:
    return torch.ops.derf.pointwise_norm_composite(input, alpha, shift, weight, bias, channel_dim=channel_dim)


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
    tensors = grad_output, input, alpha, shift, weight, bias
    no_study = 0.0, 0.0, 0.0, None, 0.0, 1
    return torch.ops.derf.pointwise_norm_backward_composite(*tensors, channel_dim, "erf", 0.0, *no_study, output_mask)
