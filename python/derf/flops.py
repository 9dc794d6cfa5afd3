"""FLOPs of Derf for torch.utils.flop_counter, and of the norms on the same terms.

PyTorch's counter takes a LayerNorm for nothing. Here every addition and multiplication on an element counts, a fused
multiply-add as two; what is done once a row or once a tensor does not, nor do comparisons and table look-ups. The error
function and its slope count as the polynomials that they are in csrc/functions/erf.h for float32 with AVX2.
"""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch.utils.flop_counter import register_flop_formula

Shape = Sequence[int]

ERF = 1 + 3 + 2 * 6 + 2  # centring, finding the piece, a polynomial of degree 6, u + u p
ERF_IN_SUMS = 3 + 2 * 6  # finding the piece, a polynomial of degree 6: accurate enough for a sum of gradients
SLOPE = 1 + 3 + 2 + 2 * 3 + 1  # u^2, finding the power of two, what remains, a polynomial of degree 3, scaling


def derf_flops(
    input: Shape, alpha: Shape, shift: Shape, weight: Shape | None = None, bias: Shape | None = None, *_, **__
) -> int:
    """FLOPs of weight * erf(alpha * input + shift) + bias, from the shapes of its arguments.

    >>> import torch, derf
    >>> from torch.utils.flop_counter import FlopCounterMode
    >>> with FlopCounterMode(display=False) as counter:
    ...     output = derf.Derf(768)(torch.ones(100, 768))
    >>> counter.get_total_flops() // (100 * 768)
    22
    """
    return prod(input) * (2 + ERF + (weight is not None) + (bias is not None))


def derf_backward_flops(
    grad_output: Shape,
    input: Shape,
    alpha: Shape,
    shift: Shape,
    weight: Shape | None,
    bias: Shape | None,
    *_: object,
    out_shape: Sequence[Shape | None],
    **__: object,
) -> int:
    """FLOPs of those gradients that are asked for."""
    to_input, to_alpha, to_shift, to_weight, to_bias = (shape is not None for shape in out_shape)
    through_erf = to_input or to_alpha or to_shift
    each = 2 * (through_erf or to_weight)  # alpha * input + shift
    each += through_erf * (SLOPE + 1 + (weight is not None))
    each += to_input + 2 * to_alpha + to_shift + to_weight * (ERF_IN_SUMS + 2) + to_bias
    return prod(input) * each


register_flop_formula(torch.ops.derf.derf)(derf_flops)
register_flop_formula(torch.ops.derf.derf_backward)(derf_backward_flops)


def norm_flops(elements: int, *, centered: bool, weight: bool, bias: bool) -> int:
    """FLOPs of a LayerNorm (centered) or an RMSNorm of so many elements."""
    return elements * (3 + 2 * centered + weight + bias)


def norm_backward_flops(elements: int, *, centered: bool, weight: bool, bias: bool) -> int:
    """FLOPs of the gradients of input, weight and bias of a LayerNorm (centered) or an RMSNorm."""
    normalized = 1 + centered
    to_input = 2 + centered + 3 + centered  # sums over the row, and what they take off
    return elements * (normalized + to_input + 3 * weight + bias)


def _layer_norm(input: Shape, normalized_shape: Shape, weight: Shape | None, bias: Shape | None, *_, **__) -> int:
    return norm_flops(prod(input), centered=True, weight=weight is not None, bias=bias is not None)


def _layer_norm_backward(
    grad_output: Shape,
    input: Shape,
    normalized_shape: Shape,
    mean: Shape,
    rstd: Shape,
    weight: Shape | None,
    bias: Shape | None,
    *_: object,
    **__: object,
) -> int:
    return norm_backward_flops(prod(input), centered=True, weight=weight is not None, bias=bias is not None)


def norm_formulas() -> dict[torch._ops.OpOverloadPacket, Callable[..., int]]:
    """Formulas for torch's LayerNorm, which its counter has none for: pass them as ``custom_mapping``.

    An RMSNorm is counted by :func:`norm_flops` alone: on the CPU torch has no operator for it.

    >>> import torch, derf
    >>> from torch.utils.flop_counter import FlopCounterMode
    >>> with FlopCounterMode(display=False, custom_mapping=derf.flops.norm_formulas()) as counter:
    ...     output = torch.nn.LayerNorm(768)(torch.ones(100, 768))
    >>> counter.get_total_flops() // (100 * 768)
    7
    """
    return {
        torch.ops.aten.native_layer_norm: _layer_norm,
        torch.ops.aten.native_layer_norm_backward: _layer_norm_backward,
    }
