"""Output in memory of the caller's: `out=`, the operators that work in place, `inplace=True`."""

import derf
import pytest
import torch
from derf.functional import pointwise_norm
from hypothesis import given
from reference import same_bits
from samples import DTYPES, call, dtype_name
from test_layouts import calls
from torch.library import opcheck

DERF, DERF_ = torch.ops.derf.derf, torch.ops.derf.derf_
NORM, NORM_ = torch.ops.derf.pointwise_norm, torch.ops.derf.pointwise_norm_
each_dtypes = pytest.mark.parametrize("dtypes", DTYPES, ids=dtype_name)


def filled(like, strides=None):
    """Memory for an output, full of what must not stay."""
    out = torch.empty_like(like) if strides is None else torch.empty_strided(like.shape, strides, dtype=like.dtype)
    return out.to(like.device).fill_(77)


# The kernels are those of the operators that make their output, which are held to references elsewhere: the same bits.
@each_dtypes
@pytest.mark.parametrize("shape", [(), (0, 4), (3,), (5, 7, 67), (300, 768), (2, 33, 5, 9)], ids=str)
def test_the_same_bits_as_a_fresh_output(shape, dtypes, device):
    channel_dim = 1 if len(shape) == 4 else -1
    input, *rest = call(shape, dtypes, channel_dim, device=device)
    expected = DERF(input, *rest)
    out = filled(input)
    assert DERF.out(input, *rest, out=out) is out
    assert same_bits(out, expected)
    assert DERF_(input, *rest) is input
    assert same_bits(input, expected)


@pytest.mark.parametrize("function", ["erf", "tanh", "logsign", "sin"])
@pytest.mark.parametrize("options", [{}, {"dead_zone": 0.2, "linear_mix": 0.1, "clip": 0.7, "sign": -1}], ids=str)
@pytest.mark.parametrize("per_channel", [False, True])
def test_every_kind_of_loop(function, options, per_channel, device):
    input, alpha, shift, weight, bias, _ = call((9, 300), device=device)
    if per_channel:
        alpha, shift = alpha.expand(300).clone(), shift.expand(300).clone()
    arguments = alpha, shift, weight, bias
    expected = NORM(input, *arguments, function=function, **options)
    out = filled(input)
    NORM.out(input, *arguments, function=function, **options, out=out)
    assert same_bits(out, expected)
    assert same_bits(NORM_(input, *arguments, function=function, **options), expected)


@given(calls())
def test_any_layout_in_place(arguments):
    input, *rest = arguments
    expected = DERF(input, *rest)
    if input.numel() > 1 and any(s == 0 and n > 1 for s, n in zip(input.stride(), input.shape, strict=True)):
        with pytest.raises(RuntimeError, match="derf: input must have memory of its own for each element"):
            DERF_(input, *rest)
        return
    strides = input.stride()
    DERF_(input, *rest)
    assert same_bits(input, expected) and input.stride() == strides


@pytest.mark.parametrize("strides", [(240, 24, 4), (1, 4, 40), (1000, 3, 51), (60, 6, 1)], ids=str)
@pytest.mark.parametrize("contiguous", [True, False])
def test_any_layout_of_out(strides, contiguous, device):
    input, *rest = call((4, 10, 6), device=device)
    if not contiguous:
        input = input.transpose(0, 1).contiguous().transpose(0, 1)
    whole = torch.full((4000,), 77.0, device=device)
    out = whole.as_strided(input.shape, strides)
    DERF.out(input, *rest, out=out)
    assert same_bits(out, DERF(input, *rest))
    out.fill_(77)
    assert bool((whole == 77).all()), "wrote beside out"


def test_large_in_place(device):
    # Beyond every cache, where outputs of their own are written past it; several threads.
    input, *rest = call((9000, 1024), device=device)
    expected = DERF(input, *rest)
    assert same_bits(DERF_(input, *rest), expected)


def test_channels_last(device):
    input, *rest = call((2, 16, 5, 7), channel_dim=1, device=device)
    input = input.to(memory_format=torch.channels_last)
    expected = DERF(input, *rest)
    assert same_bits(DERF_(input, *rest), expected)
    assert input.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (torch.empty(3, 5), r"out must have the shape of input, \[3, 4\], but has shape \[3, 5\]"),
        (torch.empty(1, 3, 4), r"out must have the shape of input, \[3, 4\], but has shape \[1, 3, 4\]"),
        (torch.empty(3, 4, dtype=torch.float64), "out must have the dtype of input, Float, but has Double"),
        (torch.empty(3, 4, device="meta"), "out must be on the device of input, cpu, but is on meta"),
        (torch.empty(4).expand(3, 4), "out must have memory of its own for each element"),
        (torch.empty(6).as_strided((3, 4), (1, 1)), "out must have memory of its own for each element"),
    ],
    ids=["shape", "dimensions", "dtype", "device", "expanded", "overlapping"],
)
def test_an_out_that_does_not_fit(out, message):
    one = torch.ones(1)
    with pytest.raises(RuntimeError, match=message):
        DERF.out(torch.zeros(3, 4), one, one, out=out)


def test_memory_that_overlaps():
    one, x = torch.ones(1), torch.randn(40)
    before = x.clone()
    with pytest.raises(RuntimeError, match="out must be input itself or lie apart"):
        derf.derf(x[1:21], one, one, out=x[:20])
    with pytest.raises(RuntimeError, match="out must be input itself or lie apart"):  # every other element
        derf.derf(x[0:20:2], one, one, out=x[2:22:2])
    with pytest.raises(RuntimeError, match="out must lie apart from weight in memory"):
        derf.derf(torch.zeros(3, 8), one, one, x[20:28], None, out=x[:24].view(3, 8))
    with pytest.raises(RuntimeError, match="out must lie apart from bias in memory"):  # between each other's elements
        derf.derf(torch.zeros(3, 4), one, one, None, x[1:8:2], out=x[:24].view(3, 8)[:, ::2])
    with pytest.raises(RuntimeError, match="input must lie apart from alpha in memory"):
        DERF_(x, x[3:4], one)
    assert same_bits(x, before)
    derf.derf(x[:20], one, one, out=x[20:])  # neighbours do not
    derf.derf(x[::2], one, one, out=x[::2])


@pytest.mark.parametrize("which", range(5))
def test_no_gradient_goes_through(which):
    arguments = list(call((3, 4)))
    arguments[which].requires_grad_()
    name = ("input", "alpha", "shift", "weight", "bias")[which]
    with pytest.raises(RuntimeError, match=f"derf: {name} must not require a gradient where the output is written to"):
        DERF.out(*arguments, out=torch.empty(3, 4))
    with torch.no_grad():
        DERF.out(*arguments, out=torch.empty(3, 4))
    with pytest.raises(RuntimeError, match="derf: out must not require a gradient"):
        DERF.out(*(a.detach() for a in arguments[:5]), out=torch.empty(3, 4, requires_grad=True))


def test_no_tangent_goes_through():
    input, *rest = call((3, 4))
    with pytest.raises(RuntimeError, match="derf: input must have no tangent"):
        torch.func.jvp(lambda x: DERF.out(x, *rest, out=torch.empty(3, 4)), (input,), (input,))


def test_autograd_sees_that_memory_changed():
    x = torch.randn(3, 4, requires_grad=True)
    y = x * 1
    z = y * y  # saves y
    one = torch.ones(1)
    with torch.no_grad():
        before = y._version
        DERF_(y, one, one)
        assert y._version == before + 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_inference_mode():
    one = torch.ones(1)
    usual = torch.randn(3, 4)
    before, expected = usual._version, derf.derf(usual, one, one)
    with torch.inference_mode():
        assert same_bits(DERF_(usual, one, one), expected)
        x = torch.zeros(3, 4)
        DERF_(x, one, one)
    assert usual._version == before + 1
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        DERF_(x, one, one)


@pytest.mark.parametrize("name", ["derf_", "derf.out", "pointwise_norm_", "pointwise_norm.out"])
def test_opcheck(name):
    input, *rest = call((3, 8))
    if name == "derf_":
        opcheck(DERF_.default, (input, *rest))
    elif name == "derf.out":
        opcheck(DERF.out, (input, *rest), {"out": torch.empty(3, 8)})
    elif name == "pointwise_norm_":
        opcheck(NORM_.default, (input, *rest[:-1]), {"function": "isru"})
    else:
        opcheck(NORM.out, (input, *rest[:-1]), {"function": "isru", "out": torch.empty(3, 8)})


def test_compiled_and_exported():
    layer = derf.Derf(16, inplace=True).requires_grad_(False)
    x, out = torch.randn(5, 16), torch.empty(5, 16)
    expected = derf.derf(x * 2, layer.alpha, layer.shift)

    def both(x, out):
        derf.derf(x * 2, layer.alpha, layer.shift, out=out)
        return layer(x * 2) + out

    result = torch.compile(both, fullgraph=True)(x, out)
    torch.testing.assert_close(result, 2 * expected)
    torch.testing.assert_close(out, expected)

    class Model(
        torch.nn.Module
    ):  # torch.export stumbles over arguments that are called "input", torch.nn.ReLU's as well
        def forward(self, x):
            return layer(x)

    program = torch.export.export(Model(), (x,)).run_decompositions()
    y = x.clone()
    torch.testing.assert_close(program.module()(y), derf.derf(x, layer.alpha, layer.shift))
    assert same_bits(y, DERF(x, layer.alpha, layer.shift)), "the exported layer does not work in place"


def test_vmap():
    x, one = torch.randn(3, 5, 4), torch.full((1,), 0.5)
    y = x.clone()
    result = torch.func.vmap(lambda t: DERF_(t, one, one))(y)
    assert same_bits(result, DERF(x, one, one)) and same_bits(y, result)


LAYERS = [
    derf.Derf(16, inplace=True),
    derf.DyT(16, inplace=True),
    derf.PointwiseNorm(16, "arctan", per_channel=True, inplace=True),
    derf.PointwiseNorm(16, "tanh", clip=0.5, inplace=True),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("scripted", [False, True])
def test_layers(layer, scripted):
    assert "inplace=True" in repr(layer)
    x = torch.randn(5, 16)
    layer.inplace = False
    with torch.no_grad():
        expected = layer(x)
    layer.inplace = True
    run = torch.jit.script(layer) if scripted else layer
    with torch.no_grad():
        result = run(x)
    assert same_bits(x, expected) and result.data_ptr() == x.data_ptr()
    with pytest.raises(RuntimeError, match="derf: alpha must not require a gradient"):
        run(x)


@pytest.mark.filterwarnings("ignore:derf. .* is not one of derf.functions:UserWarning")
def test_a_function_of_ones_own():
    layer = derf.PointwiseNorm(4, torch.sigmoid, inplace=True)
    x = torch.randn(3, 4)
    expected = torch.sigmoid(0.5 * x)
    with torch.no_grad():
        assert layer(x) is x
    torch.testing.assert_close(x, expected)
    one = torch.ones(1)
    with pytest.raises(RuntimeError, match="derf: out must have the shape of input"):
        pointwise_norm(x, one, function=torch.sigmoid, out=torch.empty(4))
    with pytest.raises(RuntimeError, match="must not require a gradient"):
        layer(x)


def test_old_pickles_work():
    layer = derf.Derf(4)
    del layer.__dict__["inplace"]
    assert layer(torch.zeros(2, 4)).shape == (2, 4)
