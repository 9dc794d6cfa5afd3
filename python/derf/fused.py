"""Layers that do what stands before a Derf as well."""

from collections.abc import Iterable

import torch
from torch import Tensor

from .modules import Derf


class AddDerf(Derf):
    r"""A residual connection and the :class:`Derf` after it, in one pass.

    Given an input x and a residual r it returns :math:`\gamma \cdot \mathrm{erf}(\alpha h + s) + \beta` and
    :math:`h = r + x`; with a gate g, :math:`h = r + g x`. A pre-norm Transformer block computes the two at the end of
    each branch, and goes on with both.

    Args:
        normalized_shape, alpha_init, shift_init, elementwise_affine, bias, channel_dim, device, dtype: as for
            :class:`Derf`, whose parameters and state_dict it has.

    Shape:
        Input, residual and both results: any shape whose last dimensions (or dimension channel_dim) are
        normalized_shape.

    Attributes:
        alpha, shift, weight, bias: as :class:`Derf`'s.

    Raises:
        TypeError, ValueError: for arguments that cannot be; the message names the argument.

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

    def forward(self, input: Tensor, residual: Tensor, gate: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (output, sum); see :func:`derf.functional.add_pointwise_norm` for dtypes, layouts and errors."""
        return torch.ops.derf.add_pointwise_norm(
            input, residual, self.alpha, self.shift, self.weight, self.bias, gate, channel_dim=self.channel_dim
        )
