"""derf::add_pointwise_norm as a user would write it, unfused: the truth of its tests in float64."""

import torch
from pointwise_reference import _chunks, _uniform, pointwise_norm

NAMES = ("input", "residual", "alpha", "shift", "weight", "bias", "gate")


def gate_beside(gate, input, channel_dim):
    """A gate, so that it broadcasts against input."""
    after = -1 - channel_dim if channel_dim < 0 else input.dim() - 1 - channel_dim
    return gate if gate.dim() in (0, input.dim()) else gate.reshape(*gate.shape, *[1] * after)


def add_pointwise_norm(
    input, residual, alpha, shift=None, weight=None, bias=None, gate=None, *, channel_dim=-1, **options
):
    """Output and sum, of pointwise_norm as the reference has it."""
    sum = residual + (input if gate is None else gate_beside(gate, input, channel_dim) * input)
    return pointwise_norm(sum, alpha, shift, weight, bias, channel_dim=channel_dim, **options), sum


def _call(shape, *, channel_dim=-1, alpha=(1,), channels=None, gate=None, shift=True, **options):
    input, residual = torch.randn(2, *shape, dtype=torch.float64)
    scalars = _uniform(0.4, 1.2, *alpha), _uniform(-0.4, 0.4, *alpha) if shift else None
    of_channels = (_uniform(-2, 2, *channels), _uniform(-1, 1, *channels)) if channels is not None else (None, None)
    gate = _uniform(-2, 2, *gate) if isinstance(gate, tuple) else gate
    return (input, residual, *scalars, *of_channels, gate), {"channel_dim": channel_dim, **options}


def _adaln(batch=3, rows=4, channels=5):
    gate, shift, scale = _chunks(batch, channels)[2:5]
    tensors, options = _call((batch, rows, channels), gate=gate[:, None], weight_offset=1.0)
    return (*tensors[:4], scale[:, None], shift[:, None], gate[:, None]), options


# Each gives the tensors, in float64, and the options.
CALLS = {
    "no gate": lambda: _call((3, 5), channels=(5,)),
    "bare": lambda: _call((2, 3, 5), shift=False),
    "layer scale": lambda: _call((2, 3, 5), channels=(5,), gate=(5,)),
    "layer scale, bare": lambda: _call((2, 3, 5), gate=(5,)),
    "drop path": lambda: _call((3, 4, 5), channels=(5,), gate=(3, 1, 1)),
    "drop path, bare": lambda: _call((3, 4, 5), gate=(3, 1, 1)),
    "adaLN": _adaln,
    "gate in groups": lambda: _call((3, 4, 5), channels=(5,), gate=(3, 1, 5)),
    "gate of tokens": lambda: _call((3, 4, 5), channels=(5,), gate=(1, 4, 1)),
    "gate of everything": lambda: _call((3, 4, 5), channels=(5,), gate=(3, 4, 5)),
    "one gate": lambda: _call((3, 5), channels=(5,), gate=()),
    "one gate of one dimension": lambda: _call((3, 5), channels=(5,), gate=(1,)),
    "0-d": lambda: _call((), alpha=(), gate=()),
    "for each channel": lambda: _call((3, 7), alpha=(7,), channels=(7,), gate=(7,)),
    "two dimensions of channels": lambda: _call((4, 2, 3), channels=(2, 3), gate=(2, 3)),
    "gate of some channels": lambda: _call((4, 2, 3), channels=(2, 3), gate=(4, 1, 3)),
    "gate of the first channels": lambda: _call((4, 2, 3), channels=(2, 3), gate=(2, 1)),
    "gate beside two dimensions of channels": lambda: _call((4, 2, 3), channels=(2, 3), gate=(4, 1, 1)),
    "images": lambda: _call((2, 5, 3, 2), channel_dim=1, channels=(5,), gate=(5,)),
    "drop path of images": lambda: _call((2, 5, 3, 2), channel_dim=1, channels=(5,), gate=(2, 1, 1, 1)),
    "gate of images, all dimensions": lambda: _call((2, 5, 3, 2), channel_dim=1, channels=(5,), gate=(1, 5, 1, 1)),
    "groups of images": lambda: _call((3, 5, 4, 2), channel_dim=1, channels=(3, 5), gate=(3, 5), weight_offset=1.0),
    "many rows": lambda: _call((64, 129), channels=(129,), gate=(129,)),
    "many rows in groups": lambda: _call((2, 37, 130), channels=(130,), gate=(2, 1, 130), shift=False),
    "many rows, drop path": lambda: _call((3, 37, 130), channels=(130,), gate=(3, 1, 1)),
    "large images": lambda: _call((2, 3, 20, 17), channel_dim=1, channels=(3,), gate=(2, 3)),
    "one channel": lambda: _call((37, 1), channels=(1,), gate=(1,)),
    "empty": lambda: _call((0, 4), channels=(4,), gate=(4,)),
    "empty groups": lambda: _call((2, 0, 4), channels=(4,), gate=(2, 1, 1)),
}
