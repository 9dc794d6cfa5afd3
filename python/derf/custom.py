"""A user's own function in place of one of the family: the same formula in plain PyTorch, under autograd."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Function = str | Callable[[Tensor], Tensor]

_warned: set[str] = set()


def function_name(function: Function) -> str:
    """What a function is called, of the family or a user's own."""
    return function if isinstance(function, str) else getattr(function, "__name__", type(function).__name__)


def warn_not_fused(function: Callable[[Tensor], Tensor]) -> None:
    """Say once of each function, by its name, that it runs unfused."""
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    if name not in _warned:
        _warned.add(name)
        warnings.warn(
            f"derf: {name} is not one of derf.functions(): it is not fused and runs as plain PyTorch",
            stacklevel=4,
        )


def pointwise_norm_of(
    function: Callable[[Tensor], Tensor],
    input: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
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
    """What :func:`derf.functional.pointwise_norm` is for a function that has no kernel; the operator checks it all."""
    tensors = input, alpha, shift, weight, bias
    options = {"channel_dim": channel_dim, "weight_offset": weight_offset, "dead_zone": dead_zone, "clip": clip}
    options |= {"input_shift": input_shift, "linear_mix": linear_mix, "output_shift": output_shift, "sign": sign}
    with torch.no_grad():
        torch.ops.derf.pointwise_norm(*(None if t is None else t.to("meta") for t in tensors), **options)

    dtype = torch.promote_types(input.dtype, torch.float32)
    dimensions_after = -1 - channel_dim if channel_dim < 0 else input.dim() - 1 - channel_dim

    def beside(parameter: Tensor) -> Tensor:
        parameter = parameter.to(dtype)
        if parameter.numel() == 1 and parameter.dim() < 2:
            return parameter.reshape(())
        return parameter.reshape(*parameter.shape, *[1] * dimensions_after)

    u = input.to(dtype) * beside(alpha)
    u = u if shift is None else u + beside(shift)
    v = u - u.clamp(-dead_zone, dead_zone) if dead_zone else u
    v = function(v + input_shift)
    if not isinstance(v, Tensor) or v.shape != u.shape:
        came = list(v.shape) if isinstance(v, Tensor) else repr(v)
        raise ValueError(
            f"derf: function must return a tensor of its argument's shape {list(u.shape)}, but gave {came}"
        )
    if linear_mix:
        v = (1 - linear_mix) * v + linear_mix * u
    if clip is not None:
        v = v.clamp(-clip, clip)
    v = (v + output_shift) * sign
    v = v if weight is None else v * (beside(weight) + weight_offset)
    v = v if bias is None else v + beside(bias)
    v = v.to(input.dtype)
    if out is None:
        return v
    one = v.new_ones(1)  # a copy by the operator, which checks out
    return torch.ops.derf.pointwise_norm.out(v, one, function="linear", out=out)
