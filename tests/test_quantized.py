"""derf::quantized_pointwise_norm, and the layers on it, against the unfused sequence in float64."""

import derf
import pytest
import torch
from add_reference import CALLS, add_pointwise_norm
from derf.functional import quantized_pointwise_norm
from pointwise_reference import pointwise_norm
from reference import same_bits
from torch.library import opcheck

OPERATOR = torch.ops.derf.quantized_pointwise_norm
DTYPES = [torch.int8, torch.float8_e4m3fn, torch.float8_e5m2]
LARGEST = {torch.int8: 127, torch.float8_e4m3fn: 448, torch.float8_e5m2: 57344}
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
each_float = pytest.mark.parametrize("float_dtype", FLOATS, ids=lambda d: str(d)[6:])


def nearest(x, dtype):
    """float64 numbers in an 8-bit type, by PyTorch's own conversion; saturated, to nearest even."""
    if dtype == torch.int8:
        return x.round().clamp(-128, 127).nan_to_num(0).to(dtype)
    # From float64 PyTorch rounds twice, through float32: its ties are among our neighbours, see assert_nearest.
    return x.clamp(-LARGEST[dtype], LARGEST[dtype]).to(dtype)


def assert_nearest(quantized, x, tolerance):
    """That each element is what some number within ``tolerance`` of x rounds to: rounding is monotone."""
    low, high = (nearest(x + sign * tolerance, quantized.dtype).double() for sign in (-1, 1))
    found = quantized.double()
    assert bool(((low <= found) & (found <= high) | (found.isnan() & x.isnan())).all())


def of_float(tensors, dtype, device="cpu"):
    return [None if t is None else t.to(device, dtype) for t in tensors]


def error_of(output, dtype, weight):
    """What the output itself may err by: 0.51 ulp of 16-bit types and 4 of float32 (float64: 2^-40 is plenty), each of
    weight * f before bias is added, and the rounding of that sum."""
    relative = {torch.float64: 2**-40, torch.float32: 2**-20, torch.float16: 2**-11, torch.bfloat16: 2**-8}[dtype]
    factor = torch.ones((), dtype=torch.float64) if weight is None else weight.double().abs()
    return relative * (factor + output.abs())


def scale_of(output, dtype, channels=None):
    """A scale at which a few numbers saturate; one for each channel, or one for all."""
    most = output.abs().max().item() if output.numel() else 1.0
    one = max(0.8 * most, 1e-3) / LARGEST[dtype]
    return torch.tensor([one]) if channels is None else one * torch.empty(channels).uniform_(0.5, 1.5)


@each_dtype
@each_float
@pytest.mark.parametrize("function", ["erf", "tanh", "isru"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("shape", [(3, 7), (5, 300), (2, 3, 64), (9, 1), (0, 4)], ids=str)
def test_numbers(shape, per_channel, function, float_dtype, dtype, device):
    channels = shape[-1]
    tensors = [3 * torch.randn(shape), torch.full((1,), 0.7), torch.full((1,), 0.1), *2 * torch.randn(2, channels)]
    tensors = of_float(tensors, float_dtype)
    expected = pointwise_norm(*(t.double() for t in tensors), function=function)
    scale = scale_of(expected, dtype, channels if per_channel else None)
    arguments = of_float(tensors, float_dtype, device)
    quantized, output = quantized_pointwise_norm(
        arguments[0], scale.to(device), *arguments[1:], dtype=dtype, unquantized=True, function=function
    )
    assert quantized.dtype == dtype and quantized.shape == shape
    fused = derf.functional.pointwise_norm(*arguments, function=function)
    if float_dtype.itemsize > 2 and function != "tanh":
        assert same_bits(output, fused)
    else:  # another loop, whose approximation is another one
        assert bool(((output - fused).abs().cpu() <= 2 * error_of(expected, float_dtype, tensors[3])).all())
    tolerance = (error_of(expected, float_dtype, tensors[3]) / scale).double()
    assert_nearest(quantized.cpu(), expected / scale.double(), tolerance + 1e-6 * (expected / scale.double()).abs())
    alone = quantized_pointwise_norm(arguments[0], scale.to(device), *arguments[1:], dtype=dtype, function=function)
    assert torch.equal(alone.view(torch.uint8), quantized.view(torch.uint8))


@each_dtype
@pytest.mark.parametrize("name", [n for n, make in CALLS.items() if "one channel" not in n])
def test_with_a_residual(name, dtype, device):
    tensors, options = CALLS[name]()
    tensors = of_float(tensors, torch.float32)
    expected, _ = add_pointwise_norm(*(None if t is None else t.double() for t in tensors), **options)
    scale = scale_of(expected, dtype)
    input, residual, *parameters, gate = of_float(tensors, torch.float32, device)
    quantized, output, sum = quantized_pointwise_norm(
        input, scale.to(device), *parameters, residual=residual, gate=gate, dtype=dtype, unquantized=True, **options
    )
    fused = derf.functional.add_pointwise_norm(input, residual, *parameters, gate=gate, **options)
    assert same_bits(output, fused[0]) and same_bits(sum, fused[1])
    # float32: the sum's rounding passes through a slope of at most |weight| alpha 2/sqrt(pi) <= 6.
    x = expected / scale.double()
    assert_nearest(quantized.cpu(), x, (2**-18 * (expected.abs() + 8) / scale.double()) + 1e-6 * x.abs())


# Every float32 exponent and both signs, ties among them; the identity makes the numbers the argument's own.
@each_dtype
def test_rounding_and_saturation(dtype, device):
    steps = torch.arange(-(2**31), 2**31, 2**15 - 1, dtype=torch.int64).to(torch.int32).view(torch.float32)
    codes = torch.arange(256, dtype=torch.int64).to(torch.uint8).view(dtype).float()
    codes = codes[codes.isfinite()].sort().values
    ties = (codes[1:] + codes[:-1]) / 2
    x = torch.cat([steps[steps.isfinite()], codes, ties, ties.nextafter(codes[1:]), ties.nextafter(codes[:-1])])
    one = torch.ones(1, device=device)
    found = quantized_pointwise_norm(x.to(device), one, one, dtype=dtype, function="linear").cpu()
    expected = nearest(x, dtype)
    # A negative zero: the kernels add a shift of +0.
    differs = (found.view(torch.uint8) != expected.view(torch.uint8)) & (x != 0)
    assert not bool(differs.any()), x[differs]


@each_dtype
@pytest.mark.parametrize("float_dtype", FLOATS[:2])
def test_not_finite(dtype, float_dtype, device):
    x = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=float_dtype, device=device)
    alpha, scale = torch.ones(1, dtype=float_dtype, device=device), torch.ones(1, device=device)
    found = quantized_pointwise_norm(x, scale, alpha, dtype=dtype, function="linear").float().tolist()
    largest = LARGEST[dtype]
    if dtype == torch.int8:
        assert found == [0, 127, -128]
    else:
        assert found[0] != found[0] and found[1:] == [largest, -largest]


@each_dtype
def test_layouts(dtype, device):
    x = torch.randn(2, 16, 5, 7, device=device).to(memory_format=torch.channels_last)
    alpha, weight = torch.ones(1, device=device), torch.randn(16, device=device)
    scale = torch.rand(16, device=device) + 0.5
    call = {"weight": weight, "channel_dim": 1, "dtype": dtype, "unquantized": True}
    last = quantized_pointwise_norm(x, scale, alpha, **call)
    first = quantized_pointwise_norm(x.contiguous(), scale, alpha, **call)
    strided = quantized_pointwise_norm(torch.stack([x, x], -1)[..., 0], scale, alpha, **call)
    for a, b, c in zip(last, first, strided, strict=True):
        assert a.is_contiguous(memory_format=torch.channels_last) and b.is_contiguous()
        assert torch.equal(a.float(), b.float()) and torch.equal(a.float(), c.float())
    without = quantized_pointwise_norm(x, scale, alpha, channel_dim=1, dtype=dtype)  # channels by scale alone
    ones = quantized_pointwise_norm(x, scale, alpha, weight=torch.ones_like(weight), channel_dim=1, dtype=dtype)
    assert torch.equal(without.float(), ones.float())


@each_dtype
def test_an_input_without_dimensions(dtype, device):
    x, one = torch.tensor(0.5, device=device), torch.ones(1, device=device)
    for operator in (OPERATOR, torch.ops.derf.quantized_pointwise_norm_composite):
        found = operator(x, one, one, dtype=dtype)[0]
        assert found.shape == () and found.float() == nearest(torch.erf(x.cpu()).double(), dtype).float()


def test_several_dimensions_of_channels(device):
    x, alpha = torch.randn(4, 3, 5, device=device), torch.ones(1, device=device)
    weight, scale = torch.randn(3, 5, device=device), torch.rand(5, device=device) + 0.5
    found = quantized_pointwise_norm(x, scale, alpha, weight=weight, dtype=torch.int8)
    expected = nearest((weight * torch.erf(x)).double().cpu() / scale.double().cpu(), torch.int8)
    assert torch.equal(found.cpu(), expected)


def test_any_number_of_threads(set_threads):
    x, one, weight = torch.randn(600, 333), torch.ones(1), torch.randn(333)
    results = []
    for threads in (1, 2, 3):
        set_threads(threads)
        results.append(quantized_pointwise_norm(x, one / 50, one, weight=weight, dtype=torch.int8))
    assert all(torch.equal(r, results[0]) for r in results)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dtype": torch.int16}, RuntimeError, "dtype must be int8, float8_e4m3fn or float8_e5m2, but is Short"),
        ({"scale": torch.zeros(1)}, ValueError, "scale must be positive and finite, but is 0"),
        ({"scale": torch.tensor([1.0, -2.0, 1.0, 1.0])}, ValueError, "scale must be positive and finite, but is -2"),
        ({"scale": torch.full((1,), torch.inf)}, ValueError, "scale must be positive and finite, but is inf"),
        ({"scale": torch.full((4,), torch.nan)}, ValueError, "scale must be positive and finite, but is nan"),
        ({"scale": torch.ones(3)}, RuntimeError, r"scale must have one element, or .* but has shape \[3\]"),
        ({"scale": torch.ones(2, 4)}, RuntimeError, r"scale must have one element, or .* but has shape \[2, 4\]"),
        ({"scale": torch.ones(1).double()}, RuntimeError, "scale must have dtype Float, but has Double"),
        ({"scale": torch.ones(1, device="meta")}, RuntimeError, "scale must be on the device of input, cpu, but is on"),
        ({"gate": torch.ones(4)}, RuntimeError, "gate must be absent where residual is"),
        ({"residual": torch.ones(3, 4)}, RuntimeError, "residual must have the shape of input"),
        (
            {"alpha": torch.ones(1, requires_grad=True)},
            RuntimeError,
            "alpha must not require a gradient where the outp",
        ),
        ({"function": "erff"}, ValueError, "erff"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_input(change, error, message):
    call = {"input": torch.zeros(2, 4), "scale": torch.ones(1), "alpha": torch.ones(1), "dtype": torch.int8} | change
    with pytest.raises(error, match=message):
        quantized_pointwise_norm(**call)


@each_dtype
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("unquantized", [False, True])
def test_opcheck(dtype, residual, unquantized):
    x, one = torch.randn(3, 8), torch.ones(1)
    further = {"residual": torch.randn(3, 8), "gate": torch.randn(8)} if residual else {}
    opcheck(OPERATOR.default, (x, one, one), further | {"dtype": dtype, "unquantized": unquantized})


@each_dtype
@pytest.mark.parametrize("float_dtype", FLOATS)
def test_composite(dtype, float_dtype):
    x, weight = torch.randn(5, 40).to(float_dtype), torch.randn(40).to(float_dtype)
    one, scale = torch.ones(1, dtype=float_dtype), torch.rand(40) / 50 + 0.01
    call = {"weight": weight, "residual": x / 2, "dtype": dtype, "unquantized": True}
    kernel, composite = (
        OPERATOR(x, scale, one, **call),
        torch.ops.derf.quantized_pointwise_norm_composite(x, scale, one, **call),
    )
    assert same_bits(kernel[2], composite[2])
    y = composite[1].double()
    # Two computations of one number: what separates them is what each may err by.
    tolerance = 2 * error_of(y, float_dtype, weight) / scale.double() + 1e-6 * (y / scale).abs()
    assert bool(((kernel[0].double() - composite[0].double()).abs() <= tolerance + step_of(composite[0])).all())


def step_of(quantized):
    """The distance to the next 8-bit number."""
    if quantized.dtype == torch.int8:
        return 1.0
    mantissa, smallest = (3, 2**-6) if quantized.dtype == torch.float8_e4m3fn else (2, 2**-14)
    return torch.exp2(quantized.double().abs().clamp(min=smallest).log2().floor() - mantissa)


def test_compiled_exported_and_vmapped():
    norm = derf.QuantizedNorm(derf.Derf(16)).requires_grad_(False)
    x = torch.randn(5, 16)
    expected = norm(x)
    assert torch.equal(torch.compile(norm, fullgraph=True)(x), expected)
    program = torch.export.export(norm, (x,))
    assert torch.equal(program.module()(x), expected)
    batch = torch.randn(3, 5, 16)
    assert torch.equal(torch.func.vmap(norm)(batch), norm(batch))


def test_flops():
    x, one = torch.randn(3, 8), torch.ones(1)
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        quantized_pointwise_norm(x, one, one, dtype=torch.int8)
    with torch.utils.flop_counter.FlopCounterMode(display=False) as plain:
        derf.functional.pointwise_norm(x, one)
    assert counter.get_total_flops() == plain.get_total_flops() + x.numel()


BOUNDED = [
    derf.Derf(6),
    derf.DyT(6),
    derf.Derf(6, bias=False),
    derf.PointwiseNorm(6, "sin", elementwise_affine=False),
    derf.PointwiseNorm(6, "linear", clip=0.7, output_shift=-0.2, linear_mix=0.0),
    derf.PointwiseNorm(6, "erf", linear_mix=0.5, clip=1.5),
    derf.PointwiseNorm(6, "arctan"),
]


@pytest.mark.parametrize("layer", BOUNDED, ids=repr)
def test_output_bound(layer):
    for name, parameter in layer.named_parameters():
        if name in ("weight", "bias"):
            torch.nn.init.normal_(parameter)
    x = torch.linspace(-1e4, 1e4, 20001)[:, None].expand(-1, 6) ** 3 / 1e4
    bound = derf.output_bound(layer)
    largest = layer(x).detach().abs().amax(0)
    assert bound.shape == (6,)
    assert bool((largest <= bound * (1 + 2**-22)).all()), "exceeded"
    assert bool((largest >= bound * 0.6).all()), "far from what is reached"  # |f| need not reach both of its ends


@pytest.mark.parametrize(
    "layer",
    [
        derf.PointwiseNorm(6, "linear"),
        derf.PointwiseNorm(6, linear_mix=0.1),
        derf.PointwiseNorm(6, "arcsinh"),
    ],
    ids=repr,
)
def test_no_bound(layer):
    with pytest.raises(ValueError, match="layer must have a bounded function, or a clip, but is"):
        derf.output_bound(layer)


@each_dtype
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("lead", [(33,), (2, 20)])
def test_a_linear_after_it(dtype, per_channel, lead):
    layer, linear = derf.Derf(64), torch.nn.Linear(64, 48)
    torch.nn.init.uniform_(layer.weight, 0.1, 3)
    torch.nn.init.uniform_(layer.bias, -0.5, 0.5)
    norm = derf.QuantizedNorm(layer, dtype, per_channel=per_channel)
    quantized = derf.QuantizedLinear(linear, norm)
    x = 2 * torch.randn(*lead, 64)
    with torch.no_grad():
        found, expected = quantized(norm(x)), linear(layer(x))
        # From the 8-bit numbers themselves, in float64: what is left is the rounding of the product.
        exact = norm(x).double() @ quantized.weight.double().t() * quantized.weight_scale.double() + linear.bias
    assert found.shape == expected.shape and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=2**-7, atol=2**-7)  # float8 products come as bfloat16
    # int8 steps are 1/127 of the bound, those of e4m3 1/16 and of e5m2 1/8 of the number; over 64 independent errors.
    relative = (found - expected).norm() / expected.norm()
    assert relative < {torch.int8: 0.02, torch.float8_e4m3fn: 0.05, torch.float8_e5m2: 0.1}[dtype]


def test_with_a_residual_in_the_layer():
    layer = derf.Derf(8).requires_grad_(False)
    norm = derf.QuantizedNorm(layer)
    x, residual = torch.randn(2, 3, 8)
    quantized, sum = norm(x, residual)
    assert same_bits(sum, x + residual) and torch.equal(quantized, norm(sum))


def test_bad_layers():
    with pytest.raises(TypeError, match="layer must be a derf.PointwiseNorm, but is a LayerNorm"):
        derf.QuantizedNorm(torch.nn.LayerNorm(4))
    with pytest.raises(TypeError, match="dtype must be int8"):
        derf.QuantizedNorm(derf.Derf(4), torch.int16)
    with pytest.raises(ValueError, match="layer must have no study"):
        derf.QuantizedNorm(derf.PointwiseNorm(4, dead_zone=0.1))
    with pytest.raises(ValueError, match="layer must have a normalized_shape of one dimension"):
        derf.QuantizedNorm(derf.Derf((2, 4)))
    norm = derf.QuantizedNorm(derf.Derf(4))
    with pytest.raises(ValueError, match="linear must read norm's 4 channels as its last dimension, but has in_feat"):
        derf.QuantizedLinear(torch.nn.Linear(8, 4), norm)
    with pytest.raises(TypeError, match="linear must be a torch.nn.Linear"):
        derf.QuantizedLinear(torch.nn.Conv2d(4, 4, 1), norm)
    with pytest.raises(TypeError, match="input must have dtype torch.int8, but has torch.float32"):
        derf.QuantizedLinear(torch.nn.Linear(4, 4), norm)(torch.zeros(2, 4))
