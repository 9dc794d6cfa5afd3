"""8-bit outputs for 8-bit matrix products: scales from the layer's own bound, and the Linear that reads them."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .functional import quantized_pointwise_norm
from .functions import functions
from .modules import STUDY, PointwiseNorm

LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0, torch.float8_e5m2: 57344.0}


def output_bound(layer: PointwiseNorm) -> Tensor:
    """Return the largest absolute value that each channel of a layer's output can have, whatever its input.

    A bounded function is what a normalization is not: a scale for 8-bit numbers follows from the layer's parameters,
    without data. For :class:`derf.Derf` it is ``|weight| + |bias|``.

    Args:
        layer: a :class:`derf.Derf`, :class:`derf.DyT` or :class:`derf.PointwiseNorm`.

    Returns:
        A float32 tensor of the layer's normalized_shape.

    Raises:
        TypeError: where layer is none of these.
        ValueError: where the layer's function is not bounded and no clip bounds it.

    >>> import torch, derf
    >>> layer = derf.Derf(2)
    >>> _ = torch.nn.init.constant_(layer.bias, -0.5)
    >>> derf.output_bound(layer)
    tensor([1.5000, 1.5000])
    """
    if not isinstance(layer, PointwiseNorm):
        raise TypeError(f"derf: layer must be a derf.PointwiseNorm, but is a {type(layer).__name__}")
    bound = functions()[layer.function].bound if isinstance(layer.function, str) else math.inf
    if layer.linear_mix:
        bound = math.inf
    if layer.clip is not None:
        bound = min(bound, layer.clip)
    if not math.isfinite(bound):
        raise ValueError(f"derf: layer must have a bounded function, or a clip, but is {layer}")
    bound += abs(layer.output_shift)
    parameter = next(layer.parameters())
    result = torch.full(layer.normalized_shape, bound, device=parameter.device)
    if layer.weight is not None:
        result = result * layer.weight.detach().abs().float()
    if layer.bias is not None:
        result = result + layer.bias.detach().abs().float()
    return result


def _checked_dtype(dtype: torch.dtype) -> torch.dtype:
    if dtype not in LARGEST:
        raise TypeError(f"derf: dtype must be int8, float8_e4m3fn or float8_e5m2, but is {dtype!r}")
    return dtype


class QuantizedNorm(nn.Module):
    """A layer whose output is stored as 8 bits: ``output / scale``, rounded to nearest even. For inference.

    Args:
        layer: a :class:`derf.Derf`, :class:`derf.DyT` or :class:`derf.PointwiseNorm` without studies, whose
            normalized_shape has one dimension. It is kept, and shared with whoever else has it.
        dtype: ``torch.int8`` (default), ``torch.float8_e4m3fn`` or ``torch.float8_e5m2``.
        per_channel: whether each channel has a scale of its own (default) or all have one.

    Attributes:
        scale: buffer, float32: :func:`output_bound` over the largest number of dtype.

    Shape:
        As the layer's. Given a residual as well, returns a tuple of the output and of the sum, see
        :func:`derf.functional.add_pointwise_norm`.

    Raises:
        TypeError, ValueError: for a layer or a dtype that cannot be.

    >>> import torch, derf
    >>> norm = derf.QuantizedNorm(derf.Derf(3))
    >>> with torch.no_grad():
    ...     norm(torch.tensor([[-2.0, 0.0, 9.0]]))
    tensor([[-107,    0,  127]], dtype=torch.int8)
    """

    def __init__(self, layer: PointwiseNorm, dtype: torch.dtype = torch.int8, *, per_channel: bool = True) -> None:
        bound = output_bound(layer)
        if bound.dim() != 1:
            raise ValueError(
                f"derf: layer must have a normalized_shape of one dimension, but has {layer.normalized_shape}"
            )
        studied = [name for name in STUDY if getattr(layer, name) != STUDY[name]]
        if studied or not isinstance(layer.function, str):
            raise ValueError(f"derf: layer must have no study and a function of derf.functions(), but is {layer}")
        super().__init__()
        self.layer = layer
        self.dtype = _checked_dtype(dtype)
        bound = bound.clamp(min=torch.finfo(torch.float32).tiny * 1e6)
        self.scale: Tensor
        self.register_buffer("scale", (bound if per_channel else bound.max().reshape(1)) / LARGEST[dtype])

    def forward(
        self, input: Tensor, residual: Tensor | None = None, gate: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Apply the layer; see :func:`derf.functional.quantized_pointwise_norm`."""
        function: Any = self.layer.function  # of the family, as the constructor has seen
        return quantized_pointwise_norm(
            input,
            self.scale,
            self.layer.alpha,
            self.layer.shift,
            self.layer.weight,
            self.layer.bias,
            dtype=self.dtype,
            residual=residual,
            gate=gate,
            function=function,
            channel_dim=self.layer.channel_dim,
        )

    def extra_repr(self) -> str:
        return f"dtype={self.dtype}, per_channel={self.scale.numel() > 1}"


class QuantizedLinear(nn.Module):
    """A Linear that reads what a :class:`QuantizedNorm` stores: an 8-bit matrix product. For inference.

    Args:
        linear: the trained ``torch.nn.Linear``; it is not changed.
        norm: the :class:`QuantizedNorm` before it. Its scale goes into the weight, which then is rounded to norm's
            dtype: int8 with a scale for each row, float8 with one for all.

    Shape:
        Input: [..., in_features] of norm's dtype. Output: [..., out_features] of linear's dtype.

    Raises:
        TypeError, ValueError: for a linear that is none, or whose in_features are not norm's channels.

    >>> import torch, derf
    >>> norm = derf.QuantizedNorm(derf.Derf(16))
    >>> linear = torch.nn.Linear(16, 8)
    >>> quantized = derf.QuantizedLinear(linear, norm)
    >>> x = torch.randn(4, 16)
    >>> with torch.no_grad():
    ...     error = (quantized(norm(x)) - linear(norm.layer(x))).abs().max()
    >>> bool(error < 0.02)
    True
    """

    def __init__(self, linear: nn.Linear, norm: QuantizedNorm) -> None:
        if not isinstance(linear, nn.Linear):
            raise TypeError(f"derf: linear must be a torch.nn.Linear, but is a {type(linear).__name__}")
        if not isinstance(norm, QuantizedNorm):
            raise TypeError(f"derf: norm must be a derf.QuantizedNorm, but is a {type(norm).__name__}")
        channels = norm.layer.normalized_shape[0]
        if linear.in_features != channels or norm.layer.channel_dim != -1:
            raise ValueError(
                f"derf: linear must read norm's {channels} channels as its last dimension, but has in_features="
                f"{linear.in_features}, and norm's channel_dim is {norm.layer.channel_dim}"
            )
        super().__init__()
        weight = linear.weight.detach().float() * norm.scale
        largest = weight.abs().amax(1, keepdim=True) if norm.dtype == torch.int8 else weight.abs().max().reshape(1, 1)
        scale = largest.clamp(min=torch.finfo(torch.float32).tiny * 1e6) / LARGEST[norm.dtype]
        scaled = weight / scale
        self.weight: Tensor
        self.weight_scale: Tensor
        self.bias: Tensor | None
        self.register_buffer("weight", (scaled.round() if norm.dtype == torch.int8 else scaled).to(norm.dtype))
        self.register_buffer("weight_scale", scale.reshape(-1))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().clone())
        self.dtype = linear.weight.dtype

    def forward(self, input: Tensor) -> Tensor:
        """Return the product, rescaled, plus bias."""
        if input.dtype != self.weight.dtype:
            raise TypeError(f"derf: input must have dtype {self.weight.dtype}, but has {input.dtype}")
        rows = input.reshape(-1, input.shape[-1])
        if input.dtype == torch.int8:
            product = torch._int_mm(rows, self.weight.t()).float() * self.weight_scale
        else:
            one = self.weight_scale.new_ones(())
            product = torch._scaled_mm(
                rows, self.weight.t(), scale_a=one, scale_b=self.weight_scale.reshape(()), out_dtype=torch.bfloat16
            )
        output = product.to(self.dtype).reshape(*input.shape[:-1], -1)
        return output if self.bias is None else output + self.bias

    def extra_repr(self) -> str:
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}, dtype={self.weight.dtype}"
