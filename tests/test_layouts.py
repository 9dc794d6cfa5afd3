"""Any shape and strides: values, strides of the results, arguments left alone, bits that do not depend on the place."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, note
from reference import same_bits
from samples import DTYPES, call, dtype_name, grad_like, parameters
from tolerance import assert_forward, assert_gradients

FORWARD, BACKWARD = torch.ops.derf.derf, torch.ops.derf.derf_backward
each_dtypes = pytest.mark.parametrize("dtypes", DTYPES, ids=dtype_name)


@st.composite
def strided(draw, dtype):
    """A tensor of 0 to 4 dimensions: any order in memory, steps, gaps, expanded dimensions, any offset."""
    dims = draw(st.integers(0, 4))
    sizes = [
        draw(st.sampled_from([0, 1, 1, 2, 3, 5, 8, 17] if dims > 2 else [0, 1, 2, 7, 16, 33, 70])) for _ in range(dims)
    ]
    order = draw(st.permutations(range(dims)))
    strides, extent = [0] * dims, 1
    for d in order:
        if draw(st.integers(0, 9)) == 0:
            continue  # expanded: stride 0
        step = draw(st.sampled_from([1, 1, 1, 1, 2, 3]))
        strides[d] = extent * step
        extent *= max(1, sizes[d]) * step + draw(st.sampled_from([0, 0, 0, 0, 1, 4]))
    offset = draw(st.integers(0, 5))
    last = offset + sum((max(1, n) - 1) * s for n, s in zip(sizes, strides, strict=True))
    storage = (2 * torch.randn(last + 1)).to(dtype)
    return storage.as_strided(sizes, strides, offset)


@st.composite
def calls(draw):
    """Arguments of the operator for a strided input; weight and bias are strided as well."""
    dtypes = draw(st.sampled_from(DTYPES))
    input = draw(strided(dtypes[0]))
    dims = input.dim()
    channel_dim, weight, bias = -1, False, False
    channel_shape = ()
    if dims:
        weight, bias = draw(st.booleans()), draw(st.booleans())
        channel_dim = draw(st.integers(-dims, dims - 1))
        last = channel_dim in (-1, dims - 1)
        channel_shape = input.shape[draw(st.integers(0, dims - 1)) :] if last else (input.shape[channel_dim],)
    scalars_and_channels = list(
        parameters(input, channel_shape, dtypes, weight, bias, draw(st.sampled_from([(), (1,)])))
    )
    if draw(st.booleans()):  # every other element of something wider
        scalars_and_channels = [
            t if t is None or not t.dim() else torch.stack([t, t], -1)[..., 0] for t in scalars_and_channels
        ]
    return (input, *scalars_and_channels, channel_dim)


def describe(arguments):
    note([(t.dtype, tuple(t.shape), t.stride()) if isinstance(t, torch.Tensor) else t for t in arguments])


@given(arguments=calls())
def test_forward_of_any_layout(arguments, device):
    describe(arguments)
    arguments = (
        [t.to(device) if isinstance(t, torch.Tensor) else t for t in arguments] if device != "cpu" else arguments
    )
    before = [t.clone() if isinstance(t, torch.Tensor) else t for t in arguments]
    output = FORWARD(*arguments)
    assert_forward(output, *arguments)
    assert output.stride() == torch.empty_like(arguments[0]).stride()
    for now, then in zip(arguments[:5], before[:5], strict=True):
        assert now is None or same_bits(now, then)


@given(arguments=calls(), data=st.data())
def test_backward_of_any_layout(arguments, data, device):
    describe(arguments)
    input = arguments[0]
    grad_output = data.draw(st.sampled_from(["like input", "contiguous", "expanded", "another order"]))
    if grad_output == "like input":
        grad_output = grad_like(input)
    elif grad_output == "contiguous":
        grad_output = torch.randn(input.shape).to(input.dtype)
    elif grad_output == "expanded":
        grad_output = torch.randn(()).to(input.dtype).expand(input.shape)
    else:
        grad_output = torch.randn(input.shape[::-1]).to(input.dtype).permute(tuple(reversed(range(input.dim()))))
    arguments = (
        [t.to(device) if isinstance(t, torch.Tensor) else t for t in arguments] if device != "cpu" else arguments
    )
    results = BACKWARD(
        grad_output.to(device), *arguments, [True, True, True, arguments[3] is not None, arguments[4] is not None]
    )
    assert_gradients(results, grad_output.to(device), *arguments)
    assert results[0].stride() == torch.empty_like(arguments[0]).stride()


@each_dtypes
@pytest.mark.parametrize("channel_dim", [1, -1])
def test_channels_last(dtypes, channel_dim, device):
    for shape, layout in (((2, 19, 7, 5), torch.channels_last), ((2, 19, 3, 2, 5), torch.channels_last_3d)):
        input, *rest = call(shape, dtypes, channel_dim, device=device)
        input = input.contiguous(memory_format=layout)
        output = FORWARD(input, *rest)
        assert output.is_contiguous(memory_format=layout)
        assert_forward(output, input, *rest)
        grad_output = grad_like(input)
        results = BACKWARD(grad_output, input, *rest, [True] * 5)
        assert results[0].is_contiguous(memory_format=layout)
        assert_gradients(results, grad_output, input, *rest)


@each_dtypes
def test_every_size_round_a_vector_and_every_alignment(dtypes, device):
    # Widest vector: 64 bytes, 32 numbers of 16 bits; 70 passes two of them.
    for size in range(1, 71):
        offset = size % 5
        input, *rest = call((2, size), dtypes, device=device)
        input = torch.cat([input.new_zeros(offset), input.reshape(-1)])[offset:].view(2, size)
        assert_forward(FORWARD(input, *rest), input, *rest, what=f"output of [2, {size}] at offset {offset}")
        grad_output = grad_like(input)
        assert_gradients(
            BACKWARD(grad_output, input, *rest, [True] * 5), grad_output, input, *rest, what=f"[2, {size}]"
        )


@each_dtypes
def test_an_element_has_the_same_bits_wherever_it_stands(dtypes, device):
    # In a vector body, in a tail, in a longer tensor, at another alignment.
    input, alpha, shift, _, _, _ = call((200,), dtypes, device=device)
    gain, offset = torch.tensor([1.3, -0.4], device=device).to(dtypes[2])
    whole = FORWARD(input, alpha, shift, gain.expand(200), offset.expand(200))
    grad_output = grad_like(input)
    slope = BACKWARD(grad_output, input, alpha, shift, gain.expand(200), None, -1, [True] + [False] * 4)[0]
    for start in range(4):
        for size in range(71):
            part = slice(start, start + size)
            channels = gain.expand(size), offset.expand(size)
            assert same_bits(FORWARD(input[part], alpha, shift, *channels), whole[part])
            mine = BACKWARD(grad_output[part], input[part], alpha, shift, channels[0], None, -1, [True] + [False] * 4)[
                0
            ]
            assert same_bits(mine, slope[part])


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3), (0, 0)])
@pytest.mark.parametrize("channel_dim", [0, -1])
def test_nothing_in_gives_zero_gradients(shape, channel_dim, device):
    arguments = call(shape, channel_dim=channel_dim, device=device)
    output = FORWARD(*arguments)
    assert output.shape == shape and output.stride() == torch.empty_like(arguments[0]).stride()
    input, *sums = BACKWARD(torch.empty_like(output), *arguments, [True] * 5)
    assert input.shape == shape
    for gradient, belongs_to in zip(sums, arguments[1:5], strict=True):
        assert torch.equal(gradient, torch.zeros_like(belongs_to))


def test_scalars_of_no_dimension(device):
    input, alpha, shift, _, _, _ = call((), device=device)
    for a, s in ((alpha, shift), (alpha[0], shift[0]), (alpha, shift[0])):
        output = FORWARD(input, a, s)
        assert output.shape == ()
        assert_forward(output, input, a, s)
        results = BACKWARD(torch.ones_like(input), input, a, s, None, None, -1, [True, True, True, False, False])
        assert [r.shape for r in results[:3]] == [(), a.shape, s.shape]
        assert_gradients(results, torch.ones_like(input), input, a, s)


def test_broadcast_views_and_shared_storage(device):
    # input, weight and bias may overlap in memory: nothing is written to any of them.
    storage = torch.randn(64, device=device)
    input, weight, bias = storage.view(8, 8), storage[:8], storage[4:12]
    arguments = input, storage[:1], storage[1:2], weight, bias
    assert_forward(FORWARD(*arguments), *arguments)
