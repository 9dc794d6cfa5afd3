"""The family on every device: any function, alpha and shift for each channel, groups, studies, weight_offset, in every
layout, against float64. ``functions_reference`` has the functions; what is around them is written out here.
"""

import math
from dataclasses import dataclass

import functions_reference
import pytest
import torch
from reference import same_bits
from samples import dtype_name, grad_like

FORWARD, BACKWARD = torch.ops.derf.pointwise_norm, torch.ops.derf.pointwise_norm_backward
DTYPES = [
    (torch.float64,) * 3,
    (torch.float32,) * 3,
    (torch.float16, torch.float32, torch.float16),
    (torch.bfloat16, torch.bfloat16, torch.float32),
]
each_dtypes = pytest.mark.parametrize("dtypes", DTYPES, ids=dtype_name)
# What rounding may do, with some to spare: how exact a function is, is held elsewhere (test_functions.py).
TOLERANCE = {torch.float64: 1e-11, torch.float32: 3e-5, torch.float16: 4e-3, torch.bfloat16: 2e-2}


@dataclass
class Layout:
    """Shapes of a call; those of alpha and shift, weight, bias."""

    input: tuple
    alpha: tuple = (1,)
    weight: tuple | None = None
    bias: tuple | None = None
    channel_dim: int = -1


LAYOUTS = {
    "rows": Layout((211, 96), (1,), (96,), (96,)),
    "rows, alpha for each channel": Layout((211, 96), (96,), (96,), (96,)),
    "many rows, alpha for each channel": Layout((3001, 24), (24,), (24,), (24,)),
    "odd rows, alpha for each channel": Layout((67, 331), (331,), (331,), (331,)),
    "two dimensions of channels": Layout((19, 5, 48), (5, 48), (5, 48), (5, 48)),
    "alpha for each channel alone": Layout((65, 40), (40,)),
    "a row, alpha for each channel": Layout((1, 2056), (2056,), (2056,), (2056,)),
    "no channels": Layout((57, 33)),
    "channels first": Layout((3, 7, 32, 33), (7,), (7,), (7,), 1),
    "channels first, odd": Layout((2, 5, 19, 29), (5,), (5,), (5,), 1),
    "channels first, small": Layout((5, 24, 7, 7), (24,), (24,), (24,), 1),
    "channels first, pairs": Layout((57, 40, 2), (40,), (40,), (40,), 1),
    "channels outermost": Layout((6, 1003), (6,), (6,), (6,), 0),
    "groups": Layout((3, 211, 40), (1,), (3, 1, 40), (3, 1, 40)),
    "groups, alpha for each channel": Layout((3, 211, 40), (40,), (3, 1, 40), (3, 1, 40)),
    "groups share a bias": Layout((3, 35, 40), (1,), (3, 1, 40), (1, 1, 40)),
    "groups share a weight": Layout((3, 35, 37), (37,), (1, 1, 37), (3, 1, 37)),
    "groups of groups": Layout((2, 3, 9, 16), (1,), (2, 3, 1, 16), (2, 1, 1, 16)),
    "a group is a row": Layout((4, 25, 40), (1,), (4, 25, 40), (1, 1, 40)),
    "many small groups": Layout((703, 2, 3), (3,), (703, 1, 3), (703, 1, 3)),
    "groups, channels first": Layout((3, 7, 16, 20), (7,), (3, 7), (3, 7), 1),
    "groups, channels first, odd": Layout((3, 5, 19, 29), (1,), (3, 5), (3, 5), 1),
    "groups, channels first, small": Layout((3, 24, 7, 7), (24,), (3, 24), (1, 24), 1),
    "groups of one channel": Layout((5, 1001, 1), (1,), (5, 1, 1), (1, 1, 1)),
    "groups of one number": Layout((77, 1, 1), (1,), (77, 1, 1), (1, 1, 1)),
}

OPTIONS = {
    "arctan": {"function": "arctan"},
    "erf, weight from 1": {"function": "erf", "weight_offset": 1.0},
    "tanh, studied": {"function": "tanh", "dead_zone": 0.2, "input_shift": 0.3, "clip": 0.7, "output_shift": -0.1},
    "tanh": {"function": "tanh"},
    "logsign, studied": {"function": "logsign", "linear_mix": 0.3, "dead_zone": 0.5, "sign": -1, "weight_offset": -0.5},
    "linear_clip": {"function": "linear_clip", "output_shift": 0.25},
}


class Known(torch.autograd.Function):
    """A function of the family in float64."""

    @staticmethod
    def forward(ctx, u, name):
        value, slope = functions_reference.values64(name, u)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None


def studied(u, o):
    """The function and what the options put around it, as the issue has it."""
    d, m = o.get("dead_zone", 0.0), o.get("linear_mix", 0.0)
    before = (u.sign() * (u.abs() - d).clamp(min=0) if d else u) + o.get("input_shift", 0.0)
    v = (1 - m) * Known.apply(before, o["function"]) + m * u
    if "clip" in o:
        v = v.clamp(-o["clip"], o["clip"])
    return o.get("sign", 1) * (v + o.get("output_shift", 0.0))


def along(parameter, layout):
    """A parameter beside input: its last dimension along channel_dim."""
    if parameter is None:
        return None
    after = len(layout.input) - 1 - layout.channel_dim % len(layout.input)
    return parameter if parameter.numel() == 1 else parameter.reshape(parameter.shape + (1,) * after)


def preactivation(layout, input, alpha, shift):
    u = input * along(alpha, layout)
    return u if shift is None else u + along(shift, layout)


def reference(layout, options, input, alpha, shift, weight, bias):
    y = studied(preactivation(layout, input, alpha, shift), options)
    if weight is not None:
        y = y * (along(weight, layout) + options.get("weight_offset", 0.0))
    return y if bias is None else y + along(bias, layout)


def random_call(layout, dtypes, device, shift=True, strided=False):
    """(input, alpha, shift, weight, bias)"""

    def uniform(shape, low, high, dtype):
        if shape is None:
            return None
        wide = torch.empty(shape[:-1] + (3 * shape[-1] if strided else shape[-1],)).uniform_(low, high)
        wide = wide.to(device, dtype)
        return wide[..., shape[-1] : 2 * shape[-1]] if strided else wide

    return (
        (2 * torch.randn(layout.input)).to(device, dtypes[0]),
        uniform(layout.alpha, 0.4, 1.2, dtypes[1]),
        uniform(layout.alpha, -0.4, 0.4, dtypes[1]) if shift else None,
        uniform(layout.weight, -2, 2, dtypes[2]),
        uniform(layout.bias, -1, 1, dtypes[2]),
    )


def away_from_kinks(layout, options, grad_output, input, alpha, shift):
    """grad_output, and 0 where the slope jumps nearby: which side a rounded number is on is nobody's promise."""
    u = preactivation(layout, *(None if t is None else t.double() for t in (input, alpha, shift)))
    # As far as the rounding of u, and beyond: float16 and bfloat16 arguments are exact.
    delta = 1e-5 * (1 + u.abs())

    def slope(at):
        at = at.detach().requires_grad_()
        return torch.autograd.grad(studied(at, options).sum(), at)[0]

    low, high = slope(u - delta), slope(u + delta)
    return torch.where((low - high).abs() > 1e-3 * (low.abs() + high.abs()), 0, grad_output)


def assert_close(actual, truth, dtype, what, noise=None):
    assert actual.shape == truth.shape and actual.dtype == dtype, f"{what}: {actual.shape}, {actual.dtype}"
    scale = truth.abs() + (truth.abs().mean() if noise is None else noise)
    error = (actual.double() - truth).abs() / scale.clamp(min=1e-300)
    error = torch.where(error.isnan(), torch.inf, error)
    assert error.numel() == 0 or error.max() <= TOLERANCE[dtype], f"{what}: {error.max():.3g} of its scale"


def check(layout, options, dtypes, arguments, grad_output, mask=(True,) * 5):
    """Output and gradients of a call against float64."""
    options = dict(options)
    if arguments[3] is None:
        options.pop("weight_offset", None)
    leaves = [None if t is None else t.detach().double().requires_grad_() for t in arguments]
    truth = reference(layout, options, *leaves)
    output = FORWARD(*arguments, channel_dim=layout.channel_dim, **options)
    assert_close(output, truth.detach(), dtypes[0], "output")
    grad_output = away_from_kinks(layout, options, grad_output, *arguments[:3])
    present = [t for t in leaves if t is not None]
    truths = iter(torch.autograd.grad(truth, present, grad_output.double()))
    truths = [None if t is None else next(truths) for t in leaves]
    study = {
        "dead_zone": 0.0,
        "input_shift": 0.0,
        "linear_mix": 0.0,
        "clip": None,
        "output_shift": 0.0,
        "sign": 1,
        "weight_offset": 0.0,
    } | options
    results = BACKWARD(
        grad_output,
        *arguments,
        layout.channel_dim,
        study["function"],
        *(
            study[k]
            for k in ("weight_offset", "dead_zone", "input_shift", "linear_mix", "clip", "output_shift", "sign")
        ),
        [m and t is not None for m, t in zip(mask, arguments, strict=True)],
    )
    for name, result, expected, belongs_to, wanted in zip(
        ("input", "alpha", "shift", "weight", "bias"), results, truths, arguments, mask, strict=True
    ):
        if belongs_to is not None and wanted:
            # Terms of a sum cancel: its error is that of its terms, and they are as many as share the parameter.
            terms = arguments[0].numel() / max(1, belongs_to.numel())
            arithmetic = TOLERANCE[torch.float64 if dtypes[0] == torch.float64 else torch.float32]
            noise = expected.abs().mean() + math.sqrt(terms) * arithmetic / TOLERANCE[belongs_to.dtype]
            assert_close(result, expected, belongs_to.dtype, f"gradient of {name}", noise)
    return output, results


@each_dtypes
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layout(layout, options, dtypes, device):
    arguments = random_call(layout, dtypes, device)
    check(layout, options, dtypes, arguments, grad_like(arguments[0]))


@pytest.mark.parametrize("dtypes", DTYPES[1:4:2], ids=dtype_name)
@pytest.mark.parametrize("name", functions_reference.NAMES)
def test_function(name, dtypes, device):
    for layout in (LAYOUTS["rows"], LAYOUTS["channels first, odd"]):
        arguments = random_call(layout, dtypes, device)
        check(layout, {"function": name}, dtypes, arguments, grad_like(arguments[0]))


@each_dtypes
@pytest.mark.parametrize("options", ["arctan", "tanh, studied"])
@pytest.mark.parametrize(
    "name", ["rows, alpha for each channel", "groups", "groups, channels first, odd", "channels first"]
)
def test_parameters_that_are_parts_of_others(name, options, dtypes, device):
    # The chunks of [B, 6 C] that modulate, read where they lie.
    arguments = random_call(LAYOUTS[name], dtypes, device, strided=True)
    check(LAYOUTS[name], OPTIONS[options], dtypes, arguments, grad_like(arguments[0]))


@each_dtypes
@pytest.mark.parametrize("options", ["arctan", "tanh", "logsign, studied"])
@pytest.mark.parametrize("name", ["rows", "rows, alpha for each channel", "groups", "channels first", "no channels"])
def test_without_a_shift(name, options, dtypes, device):
    arguments = random_call(LAYOUTS[name], dtypes, device, shift=False)
    check(LAYOUTS[name], OPTIONS[options], dtypes, arguments, grad_like(arguments[0]))


@each_dtypes
@pytest.mark.parametrize("name", ["rows, alpha for each channel", "groups", "channels first", "channels outermost"])
def test_odd_addresses(name, dtypes, device):
    layout = LAYOUTS[name]
    input, *rest = random_call(layout, dtypes, device)
    grad_output = grad_like(input)

    def moved(tensor, offset):
        storage = tensor.new_empty(tensor.numel() + offset)
        return storage[offset:].view(tensor.shape).copy_(tensor)

    for input_offset, gradient_offset in ((1, 0), (0, 1)):
        arguments = (moved(input, input_offset), *rest)
        check(layout, OPTIONS["arctan"], dtypes, arguments, moved(grad_output, gradient_offset))


@pytest.mark.parametrize("dtypes", DTYPES[1:], ids=dtype_name)
@pytest.mark.parametrize(
    "name", ["groups, alpha for each channel", "channels first", "many rows, alpha for each channel"]
)
@pytest.mark.parametrize("which", range(5))
def test_one_gradient_alone(name, which, dtypes, device):
    layout = LAYOUTS[name]
    arguments = random_call(layout, dtypes, device)
    grad_output = grad_like(arguments[0])
    mask = [i == which for i in range(5)]
    _, alone = check(layout, OPTIONS["arctan"], dtypes, arguments, grad_output, mask)
    _, everything = check(layout, OPTIONS["arctan"], dtypes, arguments, grad_output)
    assert same_bits(alone[which], everything[which])


def backward(grad_output, arguments, function, channel_dim=-1, clip=None):
    mask = [t is not None for t in arguments]
    return BACKWARD(grad_output, *arguments, channel_dim, function, 0.0, 0.0, 0.0, 0.0, clip, 0.0, 1, mask)


def ones(*shape, device, value=1.0):
    return torch.full(shape, value, device=device)


@pytest.mark.parametrize("function", ["tanh", "linear_clip", "arctan"])
@pytest.mark.parametrize("channels", [1, 6])
def test_where_the_slope_is_0_so_are_the_gradients(function, channels, device):
    x = ones(2, 5, 6, device=device, value=math.inf)
    alpha = ones(channels, device=device)
    arguments = (x, alpha, alpha * 0, ones(6, device=device, value=math.inf), None)
    results = backward(torch.full_like(x, 3e38), arguments, function)
    for result in results[:3]:
        assert torch.equal(result, torch.zeros_like(result))


@pytest.mark.parametrize("function", ["erf", "tanh", "linear_clip", "isru"])
@pytest.mark.parametrize("channels", [1, 6])
def test_alpha_0_times_an_infinite_input_is_nan(function, channels, device):
    x = ones(4, 6, device=device)
    x[1, 2] = math.inf
    alpha = ones(channels, device=device, value=0.0)
    arguments = (x, alpha, None, None, None)
    output = FORWARD(x, alpha, function=function)
    assert output.isnan().nonzero().tolist() == [[1, 2]]
    assert backward(torch.ones_like(x), arguments, function)[0].isnan().nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("function", ["tanh", "relsign", "sin"])
@pytest.mark.parametrize("channels", [1, 6])
def test_nan_stays_where_it_is(function, channels, device):
    x = ones(4, 6, device=device)
    x[3, 1] = math.nan
    alpha = ones(channels, device=device)
    weight = ones(6, device=device)
    arguments = (x, alpha, alpha * 0, weight, weight * 0)
    output = FORWARD(*arguments, function=function, clip=0.5)
    assert output.isnan().nonzero().tolist() == [[3, 1]]
    results = backward(torch.ones_like(x), arguments, function, clip=0.5)
    assert results[0].isnan().nonzero().tolist() == [[3, 1]]
    if channels == 6:
        assert all(r.isnan().nonzero().tolist() == [[1]] for r in results[1:4])


def test_bits_repeat_from_run_to_run(device):
    layout = LAYOUTS["groups, alpha for each channel"]
    arguments = random_call(layout, DTYPES[1], device)
    grad_output = grad_like(arguments[0])
    first = backward(grad_output, arguments, "logquad")
    assert all(same_bits(a, b) for a, b in zip(backward(grad_output, arguments, "logquad"), first, strict=True))
