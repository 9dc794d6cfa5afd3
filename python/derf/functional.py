"""Derf as a function."""

import torch
from torch import Tensor


def derf(
    input: Tensor,
    alpha: Tensor,
    shift: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    channel_dim: int = -1,
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

    Returns:
        A tensor of input's shape and dtype; dense, with the order of dimensions in memory that input has. Arithmetic
        is in float32 (float64 for float64). NaN gives NaN, and an infinite input gives bias ± weight.

    Differentiable with respect to all five tensors, twice and more; deterministic, on any number of threads.

    Raises:
        RuntimeError: for a wrong dtype, device or shape, before any work; the message names the argument.
        IndexError: where channel_dim is not a dimension of input.

    Source: "Stronger Normalization-Free Transformers", arXiv 2512.10938.

    >>> import torch, derf
    >>> x = torch.tensor([[-2.0, 0.0, 2.0]])
    >>> derf.derf(x, alpha=torch.tensor([0.5]), shift=torch.tensor([0.0]))
    tensor([[-0.8427,  0.0000,  0.8427]])
    >>> derf.derf(x, torch.tensor([0.5]), torch.tensor([0.0]), torch.full((3,), 2.0), torch.ones(3))
    tensor([[-0.6854,  1.0000,  2.6854]])
    """
    return torch.ops.derf.derf(input, alpha, shift, weight, bias, channel_dim)
