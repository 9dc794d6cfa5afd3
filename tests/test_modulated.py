"""derf.ModulatedDerf: scale and shift beside the input, against the formula in float64."""

import copy
import pickle

import derf
import pytest
import torch
from samples import FLOATS, dtype_name
from torch.profiler import ProfilerActivity, profile

B, T, C = 3, 19, 40  # rows enough for a loop of erf's own, and not a multiple of what it takes at once

# scale and shift, from one Linear's output [B, 6 C] or a tensor for each token.
CHUNKS = {
    "[B, C]": lambda c: c.chunk(6, dim=1)[1:3],
    "[B, 1, C]": lambda c: [t[:, None] for t in c.chunk(6, dim=1)[1:3]],
    "[B, T, C]": lambda c: c[:, None].expand(B, T, 6 * C).contiguous().chunk(6, dim=2)[1:3],
    "[1, T, C]": lambda c: c[None, :1].expand(1, T, 6 * C).contiguous().chunk(6, dim=2)[1:3],
}
each_chunks = pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)


def truth(layer, input, scale, shift):
    """The formula in float64, each operation by itself."""
    alpha, s = layer.alpha.double(), layer.shift.double()
    y = torch.special.erf(alpha * input.double() + s)
    y = y if layer.weight is None else y * layer.weight.double()
    y = y if layer.bias is None else y + layer.bias.double()
    scale, shift = (t if t is None else (t[:, None] if t.dim() == 2 else t).double() for t in (scale, shift))
    y = y if scale is None else y * (1 + scale)
    return y if shift is None else y + shift


def sample(chunks, device, dtype=torch.float32, **options):
    layer = derf.ModulatedDerf(C, device=device, dtype=dtype, **options)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, 0.5, 0.2)
    input = torch.randn(B, T, C, device=device, dtype=dtype, requires_grad=True)
    condition = torch.randn(B, 6 * C, device=device, dtype=dtype, requires_grad=True)
    return layer, input, condition, chunks(condition)


@each_chunks
@pytest.mark.parametrize("options", [{}, {"elementwise_affine": True}, {"elementwise_affine": True, "bias": False}])
@pytest.mark.parametrize("given", ["scale and shift", "scale", "shift", "neither"])
def test_values_and_gradients(chunks, options, given, device):
    layer, input, condition, (scale, shift) = sample(chunks, device, **options)
    scale, shift = (t if n in given else None for t, n in ((scale, "scale"), (shift, "shift")))
    output = layer(input, scale, shift)
    expected = truth(layer, input, scale, shift)
    # Values of magnitude 10 at most from some ten operations, each with an error of 2^-24.
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=100 * 2.0**-24)
    leaves = [input, *layer.parameters(), condition]
    gradient = torch.randn_like(output)
    actual = torch.autograd.grad(output, leaves, gradient, allow_unused=True)
    exact = torch.autograd.grad(expected, leaves, gradient.double(), allow_unused=True)
    for leaf, mine, right in zip(leaves, actual, exact, strict=True):
        if right is None:
            assert mine is None or not mine.any()
        else:  # sums of B T C terms of magnitude 10 at most, summed pairwise or better
            assert mine.shape == leaf.shape and mine.dtype == leaf.dtype
            torch.testing.assert_close(mine, right, rtol=2.0**-16, atol=B * T * 2.0**-18)


@each_chunks
@pytest.mark.parametrize("dtype", FLOATS, ids=dtype_name)
def test_dtypes(chunks, dtype, device):
    layer, input, condition, (scale, shift) = sample(chunks, device, dtype)
    output = layer(input, scale, shift)
    assert output.dtype == dtype and output.shape == input.shape
    # The contract's error of f in this type times |1 + scale| < 8, and one rounding of the result.
    of_f = {torch.float64: 2.0**-50, torch.float32: 2.0**-20, torch.float16: 2.0**-17.6, torch.bfloat16: 2.0**-14.6}
    expected = truth(layer, input, scale, shift)
    torch.testing.assert_close(output.double(), expected, rtol=0.51 * torch.finfo(dtype).eps, atol=8 * of_f[dtype])


def test_double_backward(device):
    layer, input, condition, _ = sample(CHUNKS["[B, C]"], device, torch.float64)
    call = lambda input, condition: layer(input, *CHUNKS["[B, C]"](condition))  # noqa: E731
    small = input[:1, :2].detach().requires_grad_(), condition[:1].detach().requires_grad_()
    assert torch.autograd.gradcheck(call, small) and torch.autograd.gradgradcheck(call, small)


def test_no_copy_of_the_chunks(device):
    """scale and shift are read, and saved for the backward, inside the Linear's output."""
    layer, input, condition, (scale, shift) = sample(CHUNKS["[B, C]"], device)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        output = layer(input, scale, shift)
    places = {t.untyped_storage().data_ptr() for t in saved}
    known = {t.untyped_storage().data_ptr() for t in (input, condition, *layer.parameters())}
    assert condition.untyped_storage().data_ptr() in places and places <= known
    activities = [ProfilerActivity.CPU]
    with profile(activities=activities) as seen:
        layer(input, scale, shift)
    names = {event.name for event in seen.events()}
    assert "derf::pointwise_norm" in names
    assert not names & {"aten::copy_", "aten::clone", "aten::contiguous", "aten::_to_copy", "aten::add", "aten::mul"}
    gradients = torch.autograd.grad(output, [scale, shift], torch.ones_like(output))
    assert all(g.shape == (B, C) and g.is_contiguous() for g in gradients)


def test_autocast(device):
    """Under autocast a float32 input meets a 16-bit scale, as the Linear before it gives."""
    layer, input, condition, _ = sample(CHUNKS["[B, C]"], device)
    linear = torch.nn.Linear(6 * C, 2 * C, device=device)
    with torch.autocast(device, torch.bfloat16):
        scale, shift = linear(condition).chunk(2, dim=1)
        assert scale.dtype == torch.bfloat16
        output = layer(input, scale, shift)
        half = layer(input.bfloat16(), scale, shift)
    assert output.dtype == torch.float32 and half.dtype == torch.bfloat16
    torch.testing.assert_close(output.double(), truth(layer, input, scale, shift), rtol=0, atol=100 * 2.0**-24)
    output.sum().backward()
    assert linear.weight.grad.dtype == torch.float32 and linear.weight.grad.any()


def test_scale_and_shift_of_different_dtypes(device):
    layer, input, condition, (scale, shift) = sample(CHUNKS["[B, C]"], device, torch.bfloat16)
    output = layer(input, scale.float(), shift)
    torch.testing.assert_close(
        output.double(), truth(layer, input, scale, shift), rtol=0.51 * 2.0**-7, atol=8 * 2.0**-14.6
    )


def test_images_and_rows(device):
    layer = derf.ModulatedDerf(C, device=device)
    for shape in ((B, C), (B, 4, 5, C), (B, 2, 2, 2, C)):
        input = torch.randn(shape, device=device)
        scale, shift = torch.randn(2, B, C, device=device)
        beside = [t.reshape(B, *[1] * (len(shape) - 2), C) for t in (scale, shift)]
        expected = layer(input) * (1 + beside[0]) + beside[1]
        torch.testing.assert_close(layer(input, scale, shift), expected, rtol=0, atol=100 * 2.0**-24)
    row = torch.randn(C, device=device)  # one for all
    torch.testing.assert_close(layer(row, row, row), layer(row) * (1 + row) + row, rtol=0, atol=100 * 2.0**-24)


@pytest.mark.parametrize("shape", [(B, C - 1), (B + 1, C), (B, 2, C), (C,), (B, T, 1), (1, B, 1, C), ()])
@pytest.mark.parametrize("name", ["scale", "shift"])
def test_shapes_that_do_not_fit(shape, name, device):
    layer, input, *_ = sample(CHUNKS["[B, C]"], device)
    with pytest.raises(
        ValueError, match=rf"derf: {name} must have shape .* but is .* beside an input of \[3, 19, 40\]"
    ):
        layer(input, **{name: torch.zeros(shape, device=device)})


def test_normalized_shape_is_one_number():
    with pytest.raises(ValueError, match=r"normalized_shape must be one number of channels, but is \[2, 3\]"):
        derf.ModulatedDerf((2, 3))


def test_a_layer_like_others():
    layer = derf.ModulatedDerf(4, alpha_init=0.8, elementwise_affine=True)
    assert isinstance(layer, derf.Derf) and list(layer.state_dict()) == ["alpha", "shift", "weight", "bias"]
    assert list(derf.ModulatedDerf(4).state_dict()) == ["alpha", "shift"]
    input, scale = torch.randn(2, 3, 4), torch.randn(2, 4)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(input, scale), layer(input, scale))
    plain = derf.Derf(4, alpha_init=0.8)
    assert torch.equal(layer(input), plain(input))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(input, scale, scale), layer(input, scale, scale))
    scripted = torch.jit.trace(layer, (input, scale, scale))
    assert torch.equal(scripted(input, scale, scale), layer(input, scale, scale))
