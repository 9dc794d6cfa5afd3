"""The layers as functions."""

from typing import Any

import torch
from torch import Tensor

from .custom import Function, pointwise_norm_of, warn_not_fused


def derf(
    input: Tensor,
    alpha: Tensor,
    shift: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    channel_dim: int = -1,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``weight * erf(alpha * input + shift) + bias``, computed in one pass over input.

    Args:
        input: of any shape and strides; float64, float32, float16 or bfloat16.
        alpha: one element, of shape [1] or []; multiplies input. Dtype of input, or float32 beside a 16-bit input.
        shift: one element, like alpha and of its dtype; added before the error function.
        weight: one factor a channel, or None for 1. Its shape is that of the last dimensions of input (any number of
            them, as in ``torch.nn.functional.layer_norm``), or ``[input.size(channel_dim)]`` where channel_dim is not
            the last dimension. Dtype of input, or float32 beside a 16-bit input.
        bias: one summand a channel, or None for 0; shape and dtype as for weight.
        channel_dim: the dimension of the channels: -1 (default) or, for images of shape [N, C, H, W], 1.
        out: where the output is written, instead of fresh memory: a tensor of input's shape, dtype and device and any
            strides. It may be input itself; else it must not overlap input. For inference: nothing may require a
            gradient. On a CPU a fresh large output costs more than the computation.

    Returns:
        ``out`` if it is given. Else a tensor of input's shape and dtype; dense, with the order of dimensions in memory
        that input has. Arithmetic is in float32 (float64 for float64). NaN gives NaN, and an infinite input gives
        bias ± weight.

    Differentiable with respect to all five tensors, twice and more; deterministic, on any number of threads.

    Raises:
        RuntimeError: for a wrong dtype, device or shape, before any work; the message names the argument. Likewise for
            an ``out`` that overlaps another tensor in part, or where something requires a gradient.
        IndexError: where channel_dim is not a dimension of input.

    Source: "Stronger Normalization-Free Transformers", arXiv 2512.10938.

    >>> import torch, derf
    >>> x = torch.tensor([[-2.0, 0.0, 2.0]])
    >>> derf.derf(x, alpha=torch.tensor([0.5]), shift=torch.tensor([0.0]))
    tensor([[-0.8427,  0.0000,  0.8427]])
    >>> derf.derf(x, torch.tensor([0.5]), torch.tensor([0.0]), torch.full((3,), 2.0), torch.ones(3))
    tensor([[-0.6854,  1.0000,  2.6854]])
    >>> _ = derf.derf(x, torch.tensor([0.5]), torch.tensor([0.0]), out=x)
    >>> x
    tensor([[-0.8427,  0.0000,  0.8427]])
    """
    if out is not None:
        return torch.ops.derf.derf.out(input, alpha, shift, weight, bias, channel_dim, out=out)
    return torch.ops.derf.derf(input, alpha, shift, weight, bias, channel_dim)


def pointwise_norm(
    input: Tensor,
    alpha: Tensor,
    shift: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    function: Function = "erf",
    channel_dim: int = -1,
    weight_offset: float = 0.0,
    dead_zone: float = 0.0,
    input_shift: float = 0.0,
    linear_mix: float = 0.0,
    clip: float | None = None,
    output_shift: float = 0.0,
    sign: int = 1,
    out: Tensor | None = None,
) -> Tensor:
    """Return ``(weight + weight_offset) * f(alpha * input + shift) + bias``, computed in one pass over input.

    Args:
        input: of any shape and strides; float64, float32, float16 or bfloat16.
        alpha: one element, of shape [1] or [], or one for each channel: the shape of the last dimensions of input, or
            ``[input.size(channel_dim)]`` where channel_dim is not the last dimension. Dtype of input, or float32 beside
            a 16-bit input.
        shift: like alpha, of its shape and dtype, or None for 0.
        weight: one factor for each channel, or None for 1. Shape as alpha's for each channel; before that it may have
            leading dimensions of input's size or 1, for factors that differ from group to group: [B, 1, C] beside an
            input of [B, S, C]. Any strides; dtype of input, or float32 beside a 16-bit input.
        bias: one summand for each channel, or None for 0; dimensions and dtype as for weight.
        function: a name from :func:`derf.functions`, or a function of your own from tensor to tensor, element by
            element, which runs as plain PyTorch under autograd; a warning says so once.
        channel_dim: the dimension of the channels: -1 (default) or, for images of shape [N, C, H, W], 1.
        weight_offset: what is added to weight: 1 where a weight of 0 means a factor of 1.
        out: where the output is written, instead of fresh memory: a tensor of input's shape, dtype and device and any
            strides. It may be input itself; else it must not overlap input. For inference: nothing may require a
            gradient. On a CPU a fresh large output costs more than the computation.

    What is between ``u = alpha * input + shift`` and weight can be studied, in this order:

    ================ ======= ====================================================
    option           default what it does
    ================ ======= ====================================================
    ``dead_zone``    0       ``v = sign(u) * max(abs(u) - dead_zone, 0)``
    ``input_shift``  0       ``v = v + input_shift``
    (the function)           ``v = f(v)``
    ``linear_mix``   0       ``v = (1 - linear_mix) * v + linear_mix * u``
    ``clip``         None    ``v = min(max(v, -clip), clip)``
    ``output_shift`` 0       ``v = v + output_shift``
    ``sign``         1       ``v = sign * v``; 1 or -1
    ================ ======= ====================================================

    Returns:
        ``out`` if it is given. Else a tensor of input's shape and dtype; dense, with the order of dimensions in memory
        that input has. Arithmetic is in float32 (float64 for float64). NaN gives NaN.

    Differentiable with respect to all five tensors, twice and more; deterministic, on any number of threads. Where a
    clip or a dead zone cuts, the slope is that of ``torch.clamp``.

    Raises:
        RuntimeError: for a wrong dtype, device or shape, before any work; the message names the argument. Likewise for
            an ``out`` that overlaps another tensor in part, or where something requires a gradient.
        ValueError: for a function that is not known, and options that cannot be or contradict each other.
        IndexError: where channel_dim is not a dimension of input.

    Source: "Stronger Normalization-Free Transformers", arXiv 2512.10938; the options are those of its section 3.

    >>> import torch, derf
    >>> x = torch.tensor([[-2.0, 0.0, 2.0]])
    >>> derf.functional.pointwise_norm(x, alpha=torch.tensor([1.0]), function="linear", clip=0.5)
    tensor([[-0.5000,  0.0000,  0.5000]])
    >>> derf.functional.pointwise_norm(x, torch.tensor([0.5]), weight=torch.zeros(3), weight_offset=1.0)
    tensor([[-0.8427,  0.0000,  0.8427]])
    """
    study: dict[str, Any] = {"dead_zone": dead_zone, "input_shift": input_shift, "linear_mix": linear_mix, "clip": clip}
    study |= {"output_shift": output_shift, "sign": sign}
    options = {"channel_dim": channel_dim, "weight_offset": weight_offset, **study}
    if isinstance(function, str):
        if out is not None:
            operator = torch.ops.derf.pointwise_norm.out
            return operator(input, alpha, shift, weight, bias, function=function, **options, out=out)
        return torch.ops.derf.pointwise_norm(input, alpha, shift, weight, bias, function=function, **options)
    if not torch.compiler.is_compiling():
        warn_not_fused(function)
    return pointwise_norm_of(function, input, alpha, shift, weight, bias, out=out, **options)


def add_pointwise_norm(
    input: Tensor,
    residual: Tensor,
    alpha: Tensor,
    shift: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    gate: Tensor | None = None,
    function: str = "erf",
    channel_dim: int = -1,
    weight_offset: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return ``(output, sum)``: the residual connection and the layer after it, computed in one pass.

    ``sum = residual + gate * input`` and ``output = (weight + weight_offset) * f(alpha * sum + shift) + bias``. The sum
    is rounded to its dtype first, so that output is what :func:`pointwise_norm` gives for it. The backward gives all
    gradients in one pass too. Without a gate, residual's gradient is input's: one tensor serves both, unless their
    dtypes differ.

    Args:
        input: what is added, of any shape and strides; float64, float32, float16 or bfloat16.
        residual: what it is added to, of input's shape. Dtype of input, or float32 beside a 16-bit input.
        alpha, shift, weight, bias, channel_dim, weight_offset: as for :func:`pointwise_norm`, beside input's dtype.
        gate: what input is multiplied by, or None for 1. One factor for each channel, shape [C], or for each group, as
            weight may have them; any of its dimensions may be 1: [B, 1, 1] (drop path) or [B, 1, C] (adaLN) beside an
            input of [B, S, C]. Beside images, whose channel_dim is 1, it may also have all dimensions of input, with 1
            in the place of those after the channels. Any strides; dtype of input, or float32 beside a 16-bit input.
        function: a name from :func:`derf.functions`.

    Returns:
        output: of input's shape and dtype.
        sum: of input's shape and residual's dtype.

        Both are dense, with the order of dimensions in memory that input has. Arithmetic is in float32 (float64 for
        float64). NaN gives NaN.

    Differentiable with respect to all seven tensors, twice and more; deterministic, on any number of threads. Of
    input's size the backward keeps the sum alone, and input where a gradient of gate is wanted.

    Raises:
        RuntimeError: for a wrong dtype, device or shape, before any work; the message names the argument.
        ValueError: for a function that is not known, and a weight_offset that cannot be.
        IndexError: where channel_dim is not a dimension of input.

    Source: "Stronger Normalization-Free Transformers", arXiv 2512.10938, for the function; the fusion is that of
    pre-norm Transformer blocks.

    >>> import torch, derf
    >>> x, residual = torch.tensor([[1.0, -2.0]]), torch.tensor([[1.0, 2.0]])
    >>> output, sum = derf.functional.add_pointwise_norm(x, residual, alpha=torch.tensor([0.5]))
    >>> output
    tensor([[0.8427, 0.0000]])
    >>> sum
    tensor([[2., 0.]])
    >>> derf.functional.add_pointwise_norm(x, residual, torch.tensor([0.5]), gate=torch.tensor([0.0, 1.0]))[1]
    tensor([[1., 0.]])
    """
    return torch.ops.derf.add_pointwise_norm(
        input,
        residual,
        alpha,
        shift,
        weight,
        bias,
        gate,
        function=function,
        channel_dim=channel_dim,
        weight_offset=weight_offset,
    )


def quantized_pointwise_norm(
    input: Tensor,
    scale: Tensor,
    alpha: Tensor,
    shift: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    dtype: torch.dtype,
    residual: Tensor | None = None,
    gate: Tensor | None = None,
    unquantized: bool = False,
    function: str = "erf",
    channel_dim: int = -1,
    weight_offset: float = 0.0,
) -> Tensor | tuple[Tensor, ...]:
    """Return ``((weight + weight_offset) * f(alpha * input + shift) + bias) / scale`` as 8-bit numbers, in one pass.

    The result is rounded to nearest, ties to even, and saturates: beyond the largest number of dtype, infinities
    included, it is that number. NaN stays NaN in the float8 types and is 0 as int8. Arithmetic is in float32 (float64
    for float64), and the division is a multiplication by ``1 / scale`` in that type, as in PyTorch's own
    ``quantize_per_tensor``. For inference: nothing may require a gradient.

    Args:
        input, alpha, shift, weight, bias, channel_dim, weight_offset: as for :func:`pointwise_norm`.
        scale: one positive number, or one for each channel: shape ``[input.size(channel_dim)]``. float32. On a CPU its
            values are checked. ``derf.output_bound`` tells what no output exceeds.
        dtype: ``torch.int8``, ``torch.float8_e4m3fn`` or ``torch.float8_e5m2``.
        residual, gate: as for :func:`add_pointwise_norm`; then f is applied to ``residual + gate * input``.
        unquantized: whether the output itself is returned as well, of input's dtype.
        function: a name from :func:`derf.functions`.

    Returns:
        The 8-bit tensor, of input's shape; or a tuple of it, the output where ``unquantized``, and the sum where there
        is a residual. All are dense, with the order of dimensions in memory that input has.

    Raises:
        RuntimeError: for a wrong dtype, device or shape, before any work; the message names the argument. Likewise
            where something requires a gradient.
        ValueError: for a function that is not known, and a scale that is not positive and finite.

    Source: "Stronger Normalization-Free Transformers", arXiv 2512.10938, for the function; the formats are those of
    "FP8 Formats for Deep Learning", arXiv 2209.05433.

    >>> import torch, derf
    >>> x = torch.tensor([[-2.0, 0.0, 2.0]])
    >>> scale, alpha = torch.tensor([1 / 127]), torch.tensor([0.5])
    >>> derf.functional.quantized_pointwise_norm(x, scale, alpha, dtype=torch.int8)
    tensor([[-107,    0,  107]], dtype=torch.int8)
    """
    quantized, output, sum = torch.ops.derf.quantized_pointwise_norm(
        input,
        scale,
        alpha,
        shift,
        weight,
        bias,
        residual,
        gate,
        dtype=dtype,
        unquantized=unquantized,
        function=function,
        channel_dim=channel_dim,
        weight_offset=weight_offset,
    )
    results = (quantized, *((output,) if unquantized else ()), *(() if residual is None else (sum,)))
    return results if len(results) > 1 else quantized
