"""The layers: PointwiseNorm, and its cases Derf and DyT."""

import math
import numbers
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .custom import Function, function_name, pointwise_norm_of, warn_not_fused


def _checked_shape(normalized_shape: int | Iterable[int], channel_dim: int) -> tuple[int, ...]:
    """normalized_shape as a tuple, once it is seen to be one."""
    if isinstance(normalized_shape, str) or not isinstance(normalized_shape, (numbers.Integral, Iterable)):
        raise TypeError(f"derf: normalized_shape must be an int or a sequence of ints, but is {normalized_shape!r}")
    shape = tuple(normalized_shape) if isinstance(normalized_shape, Iterable) else (normalized_shape,)
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


# The options of the paper's property studies, and what they are where nothing is studied.
STUDY: dict[str, float | None] = {
    "dead_zone": 0.0,
    "input_shift": 0.0,
    "linear_mix": 0.0,
    "clip": None,
    "output_shift": 0.0,
    "sign": 1,
}


def checked_study(function: Function, **options: float | None) -> dict[str, float | None]:
    """All options of a study, once the operator has taken them and the function."""
    unknown = options.keys() - STUDY.keys()
    if unknown:
        raise TypeError(f"derf: options must be among {', '.join(STUDY)}, but there is {min(unknown)!r}")
    study = STUDY | options
    for name, value in study.items():
        if (value is not None or name != "clip") and (
            not isinstance(value, numbers.Real) or isinstance(value, bool) or (name == "sign" and value != int(value))
        ):
            raise TypeError(f"derf: {name} must be a number, but is {value!r}")
        study[name] = value if value is None else (int if name == "sign" else float)(value)
    if isinstance(function, str):
        warned_of, checked = None, function
    elif callable(function) and not isinstance(function, type):
        warned_of, checked = function, "erf"
    else:
        raise TypeError(f"derf: function must be a name or a function of a tensor, but is {function!r}")
    nothing = torch.empty(0, device="meta", dtype=torch.float32)
    torch.ops.derf.pointwise_norm(nothing, nothing.new_empty(1), function=checked, **study)
    if warned_of is not None:
        warn_not_fused(warned_of)
    return study


class PointwiseNorm(nn.Module):
    r"""The layer :math:`y = \gamma \cdot f(\alpha x + s) + \beta`, in the place of a normalization layer.

    Args:
        normalized_shape: the number of channels, or the sizes of the last dimensions of the input, as in
            ``torch.nn.LayerNorm``.
        function: the name of f, one of those that :func:`derf.functions` lists; or a function of your own from tensor
            to tensor, element by element. Your own runs as plain PyTorch under autograd, and a warning says so once.
        alpha_init: where the learnable alpha starts.
        shift_init: where the learnable shift s starts.
        shift: whether there is a shift.
        per_channel: whether alpha and shift have an element for each channel instead of one for all.
        elementwise_affine: whether there are a weight (starts at 1) and a bias (starts at 0) for each channel.
        bias: whether there is a bias; of effect only where elementwise_affine is true.
        channel_dim: the input's dimension of the channels: -1 (default) for the last ones, 1 for [N, C, H, W].
        dead_zone: width of the range around 0 that is cut out of f's argument, to either side.
        input_shift: what is added to f's argument.
        linear_mix: the part of the result that is the argument itself instead of f.
        clip: the largest absolute value of that; None for no limit.
        output_shift: what is added to that.
        sign: 1, or -1 for the negative of it all. :func:`derf.functional.pointwise_norm` has these six as formulas.
        inplace: whether the output is written over the input, which saves memory and, on a CPU, most of the time of a
            large input. For inference, and only where nothing else reads the input: in a pre-norm Transformer the
            residual connection does. An error where a gradient is needed.
        device: where the parameters are.
        dtype: the parameters' dtype; the input has the same one, or a 16-bit one beside float32 parameters.

    Shape:
        Input and output: any shape whose last dimensions (or dimension channel_dim) are normalized_shape.

    Attributes:
        alpha: parameter of shape [1], or of normalized_shape where per_channel.
        shift: likewise, or None.
        weight: parameter of shape normalized_shape, or None.
        bias: parameter of shape normalized_shape, or None.
        eps: NaN. PyTorch's Transformer layers compute a LayerNorm with their norms' weights in evaluation mode, unless
            the eps of the two differ; NaN differs from itself.

    Raises:
        TypeError, ValueError: for arguments that cannot be; the message names the argument.

    Source: "Stronger Normalization-Free Transformers", arXiv 2512.10938.

    >>> import torch, derf
    >>> layer = derf.PointwiseNorm(4, "linear", shift=False, clip=1.0)
    >>> layer(torch.tensor([[-3.0, -1.0, 0.0, 2.0]])).detach()
    tensor([[-1.0000, -0.5000,  0.0000,  1.0000]])
    >>> derf.PointwiseNorm(16, "tanh", per_channel=True).alpha.shape
    torch.Size([16])
    """

    __constants__ = [
        *("normalized_shape", "function", "channel_dim", "alpha_init", "shift_init", "elementwise_affine"),
        *("per_channel", "dead_zone", "input_shift", "linear_mix", "clip", "output_shift", "sign", "inplace"),
    ]
    normalized_shape: tuple[int, ...]
    # With defaults for layers that an earlier version pickled.
    function: Function = "erf"
    channel_dim: int
    alpha_init: float
    shift_init: float
    elementwise_affine: bool
    per_channel: bool = False
    dead_zone: float = 0.0
    input_shift: float = 0.0
    linear_mix: float = 0.0
    clip: float | None = None
    output_shift: float = 0.0
    sign: int = 1
    inplace: bool = False
    eps: float = math.nan
    if TYPE_CHECKING:  # TorchScript would read them
        alpha: nn.Parameter
        shift: nn.Parameter | None
        weight: nn.Parameter | None
        bias: nn.Parameter | None
        origin: Any  # what replace_norm knows of the norm before

    def __init__(
        self,
        normalized_shape: int | Iterable[int],
        function: Function = "erf",
        *,
        alpha_init: float = 0.5,
        shift_init: float = 0.0,
        shift: bool = True,
        per_channel: bool = False,
        elementwise_affine: bool = True,
        bias: bool = True,
        channel_dim: int = -1,
        dead_zone: float = 0.0,
        input_shift: float = 0.0,
        linear_mix: float = 0.0,
        clip: float | None = None,
        output_shift: float = 0.0,
        sign: int = 1,
        inplace: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = _checked_shape(normalized_shape, channel_dim)
        alpha_init = checked_start(alpha_init, "alpha_init")
        shift_init = checked_start(shift_init, "shift_init")
        study = checked_study(
            function,
            dead_zone=dead_zone,
            input_shift=input_shift,
            linear_mix=linear_mix,
            clip=clip,
            output_shift=output_shift,
            sign=sign,
        )
        dtype = _checked_dtype(dtype)
        super().__init__()
        self.normalized_shape = shape
        self.function = function
        self.channel_dim = int(channel_dim)
        self.alpha_init = alpha_init
        self.shift_init = shift_init
        self.elementwise_affine = bool(elementwise_affine)
        self.per_channel = bool(per_channel)
        for name, value in study.items():
            setattr(self, name, value)
        self.inplace = bool(inplace)
        self.eps = math.nan  # TorchScript looks for it in the layer, not in the class

        def parameter(*sizes: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(sizes, device=device, dtype=dtype))

        scalars = shape if per_channel else (1,)
        self.alpha = parameter(*scalars)
        self.register_parameter("shift", parameter(*scalars) if shift else None)
        self.register_parameter("weight", parameter(*shape) if elementwise_affine else None)
        self.register_parameter("bias", parameter(*shape) if elementwise_affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set alpha and shift to their starts, weight to 1 and bias to 0."""
        nn.init.constant_(self.alpha, self.alpha_init)
        if self.shift is not None:
            nn.init.constant_(self.shift, self.shift_init)
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer; see :func:`derf.functional.pointwise_norm` for dtypes, layouts and errors."""
        if isinstance(self.function, str):
            if self.inplace:
                return torch.ops.derf.pointwise_norm_(
                    input,
                    self.alpha,
                    self.shift,
                    self.weight,
                    self.bias,
                    function=self.function,
                    channel_dim=self.channel_dim,
                    dead_zone=self.dead_zone,
                    input_shift=self.input_shift,
                    linear_mix=self.linear_mix,
                    clip=self.clip,
                    output_shift=self.output_shift,
                    sign=self.sign,
                )
            # Each option that is passed costs half a microsecond.
            unshifted = self.input_shift == 0.0 and self.output_shift == 0.0 and self.sign == 1
            if unshifted and self.dead_zone == 0.0 and self.linear_mix == 0.0 and self.clip is None:
                return torch.ops.derf.pointwise_norm(
                    input,
                    self.alpha,
                    self.shift,
                    self.weight,
                    self.bias,
                    function=self.function,
                    channel_dim=self.channel_dim,
                )
            return torch.ops.derf.pointwise_norm(
                input,
                self.alpha,
                self.shift,
                self.weight,
                self.bias,
                function=self.function,
                channel_dim=self.channel_dim,
                dead_zone=self.dead_zone,
                input_shift=self.input_shift,
                linear_mix=self.linear_mix,
                clip=self.clip,
                output_shift=self.output_shift,
                sign=self.sign,
            )
        return self._unfused(input)

    @torch.jit.unused
    def _unfused(self, input: Tensor) -> Tensor:
        function: Any = self.function
        parameters = self.alpha, self.shift, self.weight, self.bias
        study = {name: getattr(self, name) for name in STUDY}
        out = input if self.inplace else None
        return pointwise_norm_of(function, input, *parameters, channel_dim=self.channel_dim, out=out, **study)

    def _shown_function(self) -> list[str]:
        return [repr(self.function) if isinstance(self.function, str) else function_name(self.function)]

    def extra_repr(self) -> str:
        parts = [f"{self.normalized_shape}", *self._shown_function(), f"alpha_init={self.alpha_init}"]
        if self.shift is not None:
            parts.append(f"shift_init={self.shift_init}")
        elif not isinstance(self, DyT):
            parts.append("shift=False")
        if self.per_channel:
            parts.append("per_channel=True")
        if not self.elementwise_affine:
            parts.append("elementwise_affine=False")
        elif self.bias is None:
            parts.append("bias=False")
        if self.channel_dim != -1:
            parts.append(f"channel_dim={self.channel_dim}")
        parts += [f"{name}={getattr(self, name)}" for name in STUDY if getattr(self, name) != STUDY[name]]
        if self.inplace:
            parts.append("inplace=True")
        return ", ".join(parts)


class Derf(PointwiseNorm):
    r"""The layer :math:`y = \gamma \cdot \mathrm{erf}(\alpha x + s) + \beta`, in the place of a normalization layer.

    It is the :class:`PointwiseNorm` of erf.

    Args:
        normalized_shape: the number of channels, or the sizes of the last dimensions of the input, as in
            ``torch.nn.LayerNorm``.
        alpha_init: where the learnable scalar alpha starts.
        shift_init: where the learnable scalar shift starts.
        elementwise_affine: whether there are a weight (starts at 1) and a bias (starts at 0) for each channel.
        bias: whether there is a bias; of effect only where elementwise_affine is true.
        channel_dim: the input's dimension of the channels: -1 (default) for the last ones, 1 for [N, C, H, W].
        inplace: whether the output is written over the input, which saves memory and, on a CPU, most of the time of a
            large input. For inference, and only where nothing else reads the input: in a pre-norm Transformer the
            residual connection does. An error where a gradient is needed.
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

    def __init__(
        self,
        normalized_shape: int | Iterable[int],
        *,
        alpha_init: float = 0.5,
        shift_init: float = 0.0,
        elementwise_affine: bool = True,
        bias: bool = True,
        channel_dim: int = -1,
        inplace: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            normalized_shape,
            alpha_init=alpha_init,
            shift_init=shift_init,
            elementwise_affine=elementwise_affine,
            bias=bias,
            channel_dim=channel_dim,
            inplace=inplace,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer; see :func:`derf.functional.derf` for dtypes, layouts and errors."""
        if self.inplace:
            return torch.ops.derf.derf_(input, self.alpha, self.shift, self.weight, self.bias, self.channel_dim)
        return torch.ops.derf.derf(input, self.alpha, self.shift, self.weight, self.bias, self.channel_dim)

    def _shown_function(self) -> list[str]:
        return []


class DyT(PointwiseNorm):
    r"""The layer :math:`y = \gamma \cdot \tanh(\alpha x) + \beta` of "Transformers without Normalization".

    It is the :class:`PointwiseNorm` of tanh without a shift. Parameters have the names and shapes of its authors' own
    ``DynamicTanh`` (alpha [1], weight, bias), so that its checkpoints load.

    Args:
        normalized_shape: the number of channels, or the sizes of the last dimensions of the input.
        alpha_init: where the learnable scalar alpha starts.
        elementwise_affine, bias, channel_dim, inplace, device, dtype: as for :class:`PointwiseNorm`. Where their
            module says ``channels_last=False``, channel_dim is 1.

    Source: arXiv 2503.10622, github.com/jiachenzhu/DyT.

    >>> import torch, derf
    >>> list(derf.DyT(4).state_dict())
    ['alpha', 'weight', 'bias']
    """

    def __init__(
        self,
        normalized_shape: int | Iterable[int],
        alpha_init: float = 0.5,
        *,
        elementwise_affine: bool = True,
        bias: bool = True,
        channel_dim: int = -1,
        inplace: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            normalized_shape,
            "tanh",
            alpha_init=alpha_init,
            shift=False,
            elementwise_affine=elementwise_affine,
            bias=bias,
            channel_dim=channel_dim,
            inplace=inplace,
            device=device,
            dtype=dtype,
        )

    def _shown_function(self) -> list[str]:
        return []
