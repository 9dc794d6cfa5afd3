"""derf::pointwise_norm as a user would write it: the truth of its tests in float64, differentiated by autograd."""

import torch
from torch.nn import functional as F

FUNCTIONS = {"erf": torch.erf, "tanh": torch.tanh, "isru": lambda u: u * torch.rsqrt(u * u + 1)}
NAMES = ("input", "alpha", "shift", "weight", "bias")
STUDIES = {
    "nothing": {},
    "dead_zone": {"dead_zone": 0.3},
    "input_shift": {"input_shift": -0.4},
    "linear_mix": {"linear_mix": 0.25},
    "all linear": {"linear_mix": 1.0},
    "clip": {"clip": 0.4},
    "output_shift": {"output_shift": 0.7},
    "sign": {"sign": -1},
    "all": {"dead_zone": 0.2, "input_shift": 0.3, "linear_mix": 0.1, "clip": 0.6, "output_shift": -0.2, "sign": -1},
}


def beside(parameter, input, channel_dim):
    """A parameter of one element, of the channels or of groups, so that it broadcasts against input."""
    if parameter.numel() == 1 and parameter.dim() < 2:
        return parameter.reshape(())
    after = -1 - channel_dim if channel_dim < 0 else input.dim() - 1 - channel_dim
    return parameter.reshape(*parameter.shape, *[1] * after)


def pointwise_norm(
    input,
    alpha,
    shift=None,
    weight=None,
    bias=None,
    *,
    function="erf",
    channel_dim=-1,
    weight_offset=0.0,
    dead_zone=0.0,
    input_shift=0.0,
    linear_mix=0.0,
    clip=None,
    output_shift=0.0,
    sign=1,
):
    u = beside(alpha, input, channel_dim) * input
    if shift is not None:
        u = u + beside(shift, input, channel_dim)
    v = FUNCTIONS[function](F.softshrink(u, dead_zone) + input_shift)
    v = torch.lerp(v, u, linear_mix)
    if clip is not None:
        v = v.clamp(-clip, clip)
    v = sign * (v + output_shift)
    if weight is not None:
        v = v * (beside(weight, input, channel_dim) + weight_offset)
    return v if bias is None else v + beside(bias, input, channel_dim)


def _uniform(low, high, *shape):
    return torch.empty(shape, dtype=torch.float64).uniform_(low, high)


def _chunks(batch, channels, groups=6):
    """The chunks of adaLN's modulation, which lie side by side in [B, 6 C]."""
    return _uniform(-2, 2, batch, groups * channels).chunk(groups, dim=1)


def _call(shape, channel_dim=-1, alpha=(1,), weight=None, bias=None, **options):
    input = 2 * torch.randn(shape, dtype=torch.float64)
    scalars = _uniform(0.4, 1.2, *alpha), _uniform(-0.4, 0.4, *alpha)
    if options.pop("no_shift", False):
        scalars = scalars[0], None
    weight = _uniform(-2, 2, *weight) if isinstance(weight, tuple) else weight
    bias = _uniform(-1, 1, *bias) if isinstance(bias, tuple) else bias
    return (input, *scalars, weight, bias), {"channel_dim": channel_dim, **options}


def _adaln(batch=3, rows=4, channels=5):
    shift, scale = _chunks(batch, channels)[:2]
    return _call((batch, rows, channels), weight=scale[:, None], bias=shift[:, None], weight_offset=1.0)


# Each gives the tensors, in float64, and the options.
CALLS = {
    "one alpha": lambda: _call((3, 5), weight=(5,), bias=(5,)),
    "no shift": lambda: _call((3, 5), weight=(5,), bias=(5,), no_shift=True),
    "bare": lambda: _call((2, 3, 5)),
    "0-d": lambda: _call((), alpha=()),
    "for each channel": lambda: _call((3, 7), alpha=(7,), weight=(7,), bias=(7,)),
    "for each channel, no shift": lambda: _call((3, 7), alpha=(7,), bias=(7,), no_shift=True),
    "for each channel, bare": lambda: _call((3, 7), alpha=(7,)),
    "for each channel of two dimensions": lambda: _call((4, 2, 3), alpha=(2, 3), weight=(2, 3), bias=(2, 3)),
    "alpha of more dimensions than weight": lambda: _call((4, 2, 3), alpha=(2, 3), weight=(3,), bias=(3,)),
    "alpha of more dimensions, in groups": lambda: _call((4, 2, 3), alpha=(2, 3), weight=(4, 1, 3), bias=(1, 2, 3)),
    "for each channel of images": lambda: _call((2, 5, 3, 2), 1, alpha=(5,), weight=(5,), bias=(5,)),
    "images": lambda: _call((2, 5, 3, 2), 1, weight=(5,), bias=(5,), no_shift=True),
    "weight from 1": lambda: _call((3, 5), weight=(5,), bias=(5,), weight_offset=1.0),
    "adaLN": _adaln,
    "groups, for each channel": lambda: _call((3, 4, 5), alpha=(5,), weight=(3, 1, 5), bias=(3, 1, 5)),
    "groups of tokens": lambda: _call((2, 4, 5), weight=(2, 4, 5), bias=(1, 4, 5)),
    "groups of images": lambda: _call((3, 5, 4, 2), 1, weight=(3, 5), bias=(3, 5), weight_offset=1.0),
    "one group": lambda: _call((3, 4, 5), weight=(1, 1, 5), bias=(3, 1, 5)),
    "many rows": lambda: _call((64, 129), alpha=(129,), weight=(129,), bias=(129,)),
    "groups of many rows": lambda: _call((2, 37, 130), weight=(2, 1, 130), bias=(2, 1, 130), no_shift=True),
    "empty": lambda: _call((0, 4), alpha=(4,), weight=(4,), bias=(4,)),
}

# The same with sizes that 2 and 4 processes divide.
SHARDED = {
    "one alpha": lambda: _call((4, 8), weight=(8,), bias=(8,)),
    "no shift": lambda: _call((4, 8), weight=(8,), no_shift=True),
    "for each channel": lambda: _call((4, 8), alpha=(8,), weight=(8,), bias=(8,)),
    "for each channel, no shift": lambda: _call((4, 8), alpha=(8,), bias=(8,), no_shift=True),
    "adaLN": lambda: _adaln(4, 8, 12),
    "groups of tokens": lambda: _call((4, 8, 4), weight=(4, 8, 4), bias=(1, 8, 4)),
}
