"""Derf as a module."""

import math
import numbers
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def _checked_shape(normalized_shape: int | Iterable[int], channel_dim: int) -> tuple[int, ...]:
    """normalized_shape as a tuple, once it is seen to be one."""
    if isinstance(normalized_shape, str) or not isinstance(normalized_shape, (numbers.Integral, Iterable)):
        raise TypeError(f"derf: normalized_shape must be an int or a sequence of ints, but is {normalized_shape!r}")
    whole = isinstance(normalized_shape, numbers.Integral)
    shape = (normalized_shape,) if whole else tuple(normalized_shape)
    if not all(isinstance(size, numbers.Integral) and not isinstance(size, bool) for size in shape):
        raise TypeError(f"derf: normalized_shape must be an int or a sequence of ints, but is {normalized_shape!r}")
    if not shape or any(size < 0 for size in shape):
        raise ValueError(
            f"derf: normalized_shape must have at least one dimension and no negative size, but is {normalized_shape!r}"
        )
    if not isinstance(channel_dim, numbers.Integral) or isinstance(channel_dim, bool):
        raise TypeError(f"derf: channel_dim must be an int, but is {channel_dim!r}")
    if channel_dim != -1 and len(shape) != 1:
        raise ValueError(
            f"derf: normalized_shape must have one dimension where channel_dim is not -1, but channel_dim is "
            f"{channel_dim} and normalized_shape is {normalized_shape!r}"
        )
    return tuple(int(size) for size in shape)


DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def _checked_dtype(dtype: torch.dtype | None) -> torch.dtype:
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if dtype not in DTYPES:
        raise TypeError(f"derf: dtype must be float64, float32, float16 or bfloat16, but is {dtype!r}")
    return dtype


def checked_start(value: float, name: str) -> float:
    """The value as a float, once it is seen to be a finite number."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"derf: {name} must be a number, but is {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"derf: {name} must be finite, but is {value!r}")
    return float(value)


class Derf(nn.Module):
    r"""The layer :math:`y = \gamma \cdot \mathrm{erf}(\alpha x + s) + \beta`, in the place of a normalization layer.

    Args:
        normalized_shape: the number of channels, or the sizes of the last dimensions of the input, as in
            ``torch.nn.LayerNorm``.
        alpha_init: where the learnable scalar alpha starts.
        shift_init: where the learnable scalar shift starts.
        elementwise_affine: whether there are a weight (starts at 1) and a bias (starts at 0) for each channel.
        bias: whether there is a bias; of effect only where elementwise_affine is true.
        channel_dim: the input's dimension of the channels: -1 (default) for the last ones, 1 for [N, C, H, W].
        device: where the parameters are.
        dtype: the parameters' dtype; the input has the same one, or a 16-bit one beside float32 parameters.

    Shape:
        Input and output: any shape whose last dimensions (or dimension channel_dim) are normalized_shape.

    Attributes:
        alpha: parameter of shape [1].
        shift: parameter of shape [1].
        weight: parameter of shape normalized_shape, or None.
        bias: parameter of shape normalized_shape, or None.

    Parameters have the names and shapes of the authors' own code, so that its checkpoints load.

    Raises:
        TypeError, ValueError: for arguments that cannot be; the message names the argument.

    Source: "Stronger Normalization-Free Transformers", arXiv 2512.10938.

    >>> import torch, derf
    >>> layer = derf.Derf(4)
    >>> layer(torch.tensor([[-2.0, 0.0, 2.0, float("inf")]])).detach()
    tensor([[-0.8427,  0.0000,  0.8427,  1.0000]])
    >>> derf.Derf(3, channel_dim=1)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """

    __constants__ = ["normalized_shape", "channel_dim", "alpha_init", "shift_init", "elementwise_affine"]
    normalized_shape: tuple[int, ...]
    channel_dim: int
    alpha_init: float
    shift_init: float
    elementwise_affine: bool

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
        shape = _checked_shape(normalized_shape, channel_dim)
        alpha_init = checked_start(alpha_init, "alpha_init")
        shift_init = checked_start(shift_init, "shift_init")
        dtype = _checked_dtype(dtype)
        super().__init__()
        self.normalized_shape = shape
        self.channel_dim = int(channel_dim)
        self.alpha_init = alpha_init
        self.shift_init = shift_init
        self.elementwise_affine = bool(elementwise_affine)

        def parameter(*sizes: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(sizes, device=device, dtype=dtype))

        self.alpha = parameter(1)
        self.shift = parameter(1)
        self.register_parameter("weight", parameter(*shape) if elementwise_affine else None)
        self.register_parameter("bias", parameter(*shape) if elementwise_affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set alpha and shift to their starts, weight to 1 and bias to 0."""
        nn.init.constant_(self.alpha, self.alpha_init)
        nn.init.constant_(self.shift, self.shift_init)
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer; see :func:`derf.functional.derf` for dtypes, layouts and errors."""
        return torch.ops.derf.derf(input, self.alpha, self.shift, self.weight, self.bias, self.channel_dim)

    def extra_repr(self) -> str:
        parts = [f"{self.normalized_shape}", f"alpha_init={self.alpha_init}", f"shift_init={self.shift_init}"]
        if not self.elementwise_affine:
            parts.append("elementwise_affine=False")
        elif self.bias is None:
            parts.append("bias=False")
        if self.channel_dim != -1:
            parts.append(f"channel_dim={self.channel_dim}")
        return ", ".join(parts)
