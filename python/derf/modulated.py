"""The layer of adaLN: Derf whose scale and shift come with the input, for each sample or token."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .modules import Derf

_HALF = (torch.float16, torch.bfloat16)


class ModulatedDerf(Derf):
    r"""The layer :math:`y = \mathrm{erf}(\alpha x + s) \cdot (1 + \text{scale}) + \text{shift}` of adaLN, in one call.

    It takes the place of a LayerNorm and the modulation behind it. scale and shift are read where they lie: the chunks
    of one Linear's output, [B, 6 C], are not copied. Their gradients are summed over what shares them.

    Args:
        normalized_shape: the number of channels, the last dimension of the input.
        alpha_init: where the learnable scalar alpha starts.
        shift_init: where the learnable scalar s starts.
        elementwise_affine: whether there are a weight and a bias of the layer's own, applied before the modulation.
            Most adaLN models have none.
        bias: whether there is a bias; of effect only where elementwise_affine is true.
        device: where the parameters are.
        dtype: the parameters' dtype; the input has the same one, or a 16-bit one beside float32 parameters.

    Shape:
        input: [B, \*, C]. scale and shift: [B, C], one row for each sample; or input's number of dimensions, each of
        input's size or 1: [B, 1, C], [B, T, C]. Each may be None. The output has input's shape and dtype.

    Attributes:
        alpha, shift: parameters of shape [1]. ``shift`` is s, not the argument of that name.
        weight, bias: parameters of shape [C], or None.

    Raises:
        TypeError, ValueError: for arguments that cannot be; the message names the argument.

    Source: adaLN is of "Scalable Diffusion Models with Transformers", arXiv 2212.09748; Derf in its place, of
    "Stronger Normalization-Free Transformers", arXiv 2512.10938.

    >>> import torch, derf
    >>> layer = derf.ModulatedDerf(4)
    >>> shift, scale, gate = torch.nn.Linear(8, 3 * 4)(torch.randn(2, 8)).chunk(3, dim=1)
    >>> layer(torch.randn(2, 5, 4), scale, shift).shape
    torch.Size([2, 5, 4])
    >>> layer(torch.full((1, 1, 4), 2.0), scale=torch.ones(1, 4), shift=torch.full((1, 4), -1.0)).detach()
    tensor([[[0.6854, 0.6854, 0.6854, 0.6854]]])
    """

    def __init__(
        self,
        normalized_shape: int | Iterable[int],
        *,
        alpha_init: float = 0.5,
        shift_init: float = 0.0,
        elementwise_affine: bool = False,
        bias: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            normalized_shape,
            alpha_init=alpha_init,
            shift_init=shift_init,
            elementwise_affine=elementwise_affine,
            bias=bias,
            device=device,
            dtype=dtype,
        )
        if len(self.normalized_shape) != 1:
            raise ValueError(
                f"derf: normalized_shape must be one number of channels, but is {list(self.normalized_shape)}"
            )

    def forward(self, input: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """Apply the layer and the modulation. Where scale and shift are None it is a :class:`Derf`.

        A 16-bit scale or shift beside a float32 input, as autocast gives them, is converted to float32.
        """
        weight, bias, offset = self.affine(input, scale, shift)
        return torch.ops.derf.pointwise_norm(input, self.alpha, self.shift, weight, bias, weight_offset=offset)

    def affine(
        self, input: Tensor, scale: Tensor | None, shift: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, float]:
        """weight, bias and weight_offset of the operator: those of the layer and of the modulation together."""
        weight: Tensor | None = self.weight
        bias: Tensor | None = self.bias
        if scale is not None:
            scale = self._beside(scale, input, "scale")
        if shift is not None:
            shift = self._beside(shift, input, "shift")
        if weight is None and bias is None:
            weight, bias, offset = scale, shift, 1.0
        else:  # few numbers beside the input's
            if scale is not None:
                weight = 1 + scale if weight is None else weight + weight * scale
                bias = None if bias is None else bias + bias * scale
            if shift is not None:
                bias = shift if bias is None else bias + shift
            offset = 0.0
        if weight is not None and bias is not None:
            weight = _padded(weight, bias)
            if weight.dtype != bias.dtype:
                weight, bias = weight.to(self._dtype(input)), bias.to(self._dtype(input))
        return weight, bias, 0.0 if weight is None else offset

    def _dtype(self, input: Tensor) -> torch.dtype:
        return torch.float32 if input.dtype in _HALF else input.dtype

    def _beside(self, tensor: Tensor, input: Tensor, name: str) -> Tensor:
        """scale or shift as the operator takes it, once its shape is seen to fit."""
        if tensor.dim() == 2 and input.dim() > 2:
            tensor = tensor.reshape(tensor.size(0), *[1] * (input.dim() - 2), tensor.size(1))
        if not torch.jit.is_tracing() and not fits(tensor, input):
            raise ValueError(
                f"derf: {name} must have shape [B, C], or input's number of dimensions with its sizes or 1 and all "
                f"channels, but is {list(tensor.shape)} beside an input of {list(input.shape)}"
            )
        return tensor if tensor.dtype in (input.dtype, self._dtype(input)) else tensor.to(self._dtype(input))


def fits(tensor: Tensor, input: Tensor) -> bool:
    """Whether the operator takes the tensor as a weight or bias beside input."""
    return (
        0 < tensor.dim() == input.dim()
        and tensor.size(-1) == input.size(-1)
        and all(n == 1 or n == m for n, m in zip(tensor.shape, input.shape, strict=True))
    )


def modulated(norm: nn.Module, input: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    """``norm(input) * (1 + scale) + shift`` as PyTorch broadcasts and promotes it: in one call where that is possible.

    It stands in the forwards that :func:`derf.replace_norm` rewrites.
    """
    given = [t for t in (scale, shift) if t is not None]
    if isinstance(norm, ModulatedDerf) and all(isinstance(t, Tensor) for t in given):
        beside = [t if t is None else _padded(t, input) for t in (scale, shift)]
        if all(
            fits(t, input) and torch.promote_types(t.dtype, input.dtype) == input.dtype for t in beside if t is not None
        ):
            return norm(input, *beside)
    output = norm(input)
    output = output if scale is None else output * (1 + scale)
    return output if shift is None else output + shift


def _padded(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor with as many dimensions as like, those that broadcasting adds."""
    return tensor[(None,) * (like.dim() - tensor.dim())] if tensor.dim() < like.dim() else tensor
