"""FLOPs of the layers for torch.utils.flop_counter, and of the norms on the same terms.

PyTorch's counter takes a LayerNorm for nothing. Here every addition and multiplication on an element counts, a fused
multiply-add as two; what is done once a row or once a tensor does not, nor do comparisons and table look-ups. The error
function and its slope count as the polynomials that they are in csrc/functions/erf.h for float32 with AVX2, and so does
tanh, which is made likewise. The other functions count by their formulas: each operation and each square root as one,
each elementary function as a polynomial of degree 6 with what finds its piece, and a slope as much as the value.
"""

from collections.abc import Callable, Sequence
from functools import cache
from math import prod

import torch
from torch.utils.flop_counter import register_flop_formula

from .functions import evaluate, functions

Shape = Sequence[int]

ERF = 1 + 3 + 2 * 6 + 2  # centring, finding the piece, a polynomial of degree 6, u + u p
ERF_IN_SUMS = 3 + 2 * 6  # finding the piece, a polynomial of degree 6: accurate enough for a sum of gradients
SLOPE = 1 + 3 + 2 + 2 * 3 + 1  # u^2, finding the power of two, what remains, a polynomial of degree 3, scaling


class _Counted:
    """Stands for a value of a formula, and counts the operations that led to it."""

    def __init__(self, flops: int = 0) -> None:
        self.flops = flops

    def _operation(self, *others: object) -> "_Counted":
        return _Counted(1 + self.flops + sum(getattr(other, "flops", 0) for other in others))

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _operation

    def __neg__(self) -> "_Counted":
        return self

    def __pow__(self, exponent: float) -> "_Counted":
        whole = float(exponent).is_integer()
        return _Counted(self.flops + (int(exponent) - 1 if whole else ERF_IN_SUMS))


def _counted(cost: int) -> Callable[..., _Counted]:
    return lambda value, *limits: _Counted(value.flops + cost)


_ELEMENTARY = dict.fromkeys(("abs", "sign", "clip"), _counted(0)) | {"sqrt": _counted(1)}
_ELEMENTARY |= dict.fromkeys(("exp", "log", "erf", "tanh", "atan", "sin", "asinh"), _counted(ERF_IN_SUMS))


@cache
def function_flops(function: str) -> tuple[int, int, int]:
    """FLOPs of a function for one element: its value, its value in sums of gradients, its slope.

    >>> import derf
    >>> derf.flops.function_flops("erf")
    (18, 15, 13)
    """
    if function in ("erf", "tanh"):
        return ERF, ERF_IN_SUMS, SLOPE
    by_formula = evaluate(functions()[function].formula, _Counted(), _ELEMENTARY).flops
    return by_formula, by_formula, by_formula


def _study_flops(dead_zone: float, input_shift: float, linear_mix: float, clip: object, output_shift: float) -> int:
    return 2 * bool(dead_zone) + bool(input_shift) + 3 * bool(linear_mix) + bool(output_shift)


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
    return pointwise_norm_flops(input, alpha, shift, weight, bias)


def pointwise_norm_flops(
    input: Shape,
    alpha: Shape,
    shift: Shape | None = None,
    weight: Shape | None = None,
    bias: Shape | None = None,
    *_: object,
    function: str = "erf",
    dead_zone: float = 0.0,
    input_shift: float = 0.0,
    linear_mix: float = 0.0,
    clip: float | None = None,
    output_shift: float = 0.0,
    **__: object,
) -> int:
    """The same of a function of the family and its options. (weight_offset is added once a channel.)"""
    value = function_flops(function)[0]
    each = 1 + (shift is not None) + value + (weight is not None) + (bias is not None)
    return prod(input) * (each + _study_flops(dead_zone, input_shift, linear_mix, clip, output_shift))


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
    return pointwise_norm_backward_flops(grad_output, input, alpha, shift, weight, bias, out_shape=out_shape)


def pointwise_norm_backward_flops(
    grad_output: Shape,
    input: Shape,
    alpha: Shape,
    shift: Shape | None,
    weight: Shape | None,
    bias: Shape | None,
    channel_dim: int = -1,
    function: str = "erf",
    weight_offset: float = 0.0,
    dead_zone: float = 0.0,
    input_shift: float = 0.0,
    linear_mix: float = 0.0,
    clip: float | None = None,
    output_shift: float = 0.0,
    *_: object,
    out_shape: Sequence[Shape | None],
    **__: object,
) -> int:
    """The same of a function of the family and its options."""
    in_sums, slope = function_flops(function)[1:]
    to_input, to_alpha, to_shift, to_weight, to_bias = (shape is not None for shape in out_shape)
    through = to_input or to_alpha or to_shift
    each = (1 + (shift is not None)) * (through or to_weight)  # alpha * input + shift
    each += through * (slope + 1 + (weight is not None) + 2 * bool(linear_mix))
    each += to_input + 2 * to_alpha + to_shift + to_weight * (in_sums + 2) + to_bias
    each += (through or to_weight) * (2 * bool(dead_zone) + bool(input_shift))
    each += to_weight * (3 * bool(linear_mix) + bool(output_shift))
    return prod(input) * each


def add_pointwise_norm_flops(
    input: Shape,
    residual: Shape,
    alpha: Shape,
    shift: Shape | None = None,
    weight: Shape | None = None,
    bias: Shape | None = None,
    gate: Shape | None = None,
    *_: object,
    function: str = "erf",
    **__: object,
) -> int:
    """FLOPs of sum = residual + gate * input and of the function of it."""
    of_function = pointwise_norm_flops(input, alpha, shift, weight, bias, function=function)
    return of_function + prod(input) * (1 + (gate is not None))


def quantized_pointwise_norm_flops(
    input: Shape,
    scale: Shape,
    alpha: Shape,
    shift: Shape | None = None,
    weight: Shape | None = None,
    bias: Shape | None = None,
    residual: Shape | None = None,
    gate: Shape | None = None,
    *_: object,
    function: str = "erf",
    **__: object,
) -> int:
    """FLOPs of the function and of the multiplication by 1 / scale; rounding is not counted."""
    of_function = pointwise_norm_flops(input, alpha, shift, weight, bias, function=function)
    return of_function + prod(input) * (1 + (residual is not None) + (gate is not None))


def add_pointwise_norm_backward_flops(
    grad_output: Shape,
    grad_sum: Shape | None,
    input: Shape | None,
    sum: Shape,
    alpha: Shape,
    shift: Shape | None,
    weight: Shape | None,
    bias: Shape | None,
    gate: Shape | None,
    channel_dim: int = -1,
    function: str = "erf",
    *_: object,
    out_shape: Sequence[Shape | None],
    **__: object,
) -> int:
    """FLOPs of those gradients that are asked for."""
    to_input, to_residual, *to_parameters, to_gate = out_shape
    of_sum = any(shape is not None for shape in (to_input, to_residual, to_gate))
    each = of_sum * (grad_sum is not None) + (to_input is not None and gate is not None) + 2 * (to_gate is not None)
    of_function = pointwise_norm_backward_flops(
        grad_output,
        sum,
        alpha,
        shift,
        weight,
        bias,
        channel_dim,
        function,
        out_shape=(sum if of_sum else None, *to_parameters),
    )
    return of_function + prod(sum) * each


register_flop_formula(torch.ops.derf.derf)(derf_flops)
register_flop_formula(torch.ops.derf.derf_backward)(derf_backward_flops)
register_flop_formula(torch.ops.derf.pointwise_norm)(pointwise_norm_flops)
register_flop_formula(torch.ops.derf.pointwise_norm_backward)(pointwise_norm_backward_flops)
register_flop_formula(torch.ops.derf.add_pointwise_norm)(add_pointwise_norm_flops)
register_flop_formula(torch.ops.derf.quantized_pointwise_norm)(quantized_pointwise_norm_flops)
register_flop_formula(torch.ops.derf.add_pointwise_norm_backward)(add_pointwise_norm_backward_flops)


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
