"""Shapes that cut the work in every way: tall and narrow, short and wide, images, odd sizes and addresses."""

import pytest
import torch
from samples import call, dtype_name, grad_like
from tolerance import assert_forward, assert_gradients

FORWARD, BACKWARD = torch.ops.derf.derf, torch.ops.derf.derf_backward
DTYPES = [
    (torch.float64,) * 3,
    (torch.float32,) * 3,
    (torch.float16, torch.float32, torch.float16),
    (torch.bfloat16, torch.bfloat16, torch.float32),
]
SHAPES = {
    "one number": ((1, 1), -1),
    "one row": ((1, 768), -1),
    "one odd row": ((1, 771), -1),
    "a model's rows": ((211, 1152), -1),
    "rows of a few vectors": ((1031, 24), -1),
    "rows of one vector": ((5003, 8), -1),
    "rows of less than a vector": ((5003, 3), -1),
    "tall": ((20011, 16), -1),
    "wide": ((3, 20008), -1),
    "wide and odd": ((3, 20011), -1),
    "very wide": ((1, 16384), -1),
    "odd channels": ((67, 1001), -1),
    "two dimensions of channels": ((37, 5, 48), -1, 2),
    "channels first, large": ((3, 7, 32, 33), 1),
    "channels first, large and odd": ((2, 5, 19, 29), 1),
    "channels first, small": ((5, 24, 7, 7), 1),
    "channels first, pairs": ((57, 40, 2), 1),
    "channels first, one image": ((1, 3, 65, 64), 1),
    "channels outermost": ((6, 5003), 0),
    "one channel": ((4, 1, 6007), 1),
}


def arguments_of(name, dtypes, device, **options):
    shape, channel_dim, *weight_dims = SHAPES[name]
    return call(shape, dtypes, channel_dim, *weight_dims, device=device, **options)


@pytest.mark.parametrize("dtypes", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("name", SHAPES)
def test_shape(name, dtypes, device):
    arguments = arguments_of(name, dtypes, device)
    assert_forward(FORWARD(*arguments), *arguments)
    grad_output = grad_like(arguments[0])
    assert_gradients(BACKWARD(grad_output, *arguments, [True] * 5), grad_output, *arguments)


@pytest.mark.parametrize("dtypes", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("shape", [(1,), (7,), (4096,), (40_003,), (70, 1024), (8, 9, 1111)], ids=str)
def test_without_channels(shape, dtypes, device):
    arguments = call(shape, dtypes, weight=False, bias=False, device=device)
    assert_forward(FORWARD(*arguments), *arguments)
    grad_output = grad_like(arguments[0])
    results = BACKWARD(grad_output, *arguments, [True, True, True, False, False])
    assert_gradients(results, grad_output, *arguments)


@pytest.mark.parametrize("dtypes", DTYPES, ids=dtype_name)
@pytest.mark.parametrize("name", ["a model's rows", "channels first, large"])
def test_odd_addresses(name, dtypes, device):
    # Loads of several numbers at once need an aligned address: of input, and of its gradient.
    input, *rest = arguments_of(name, dtypes, device)
    grad_output = grad_like(input)

    def moved(tensor, offset):
        storage = tensor.new_empty(tensor.numel() + offset)
        return storage[offset:].view(tensor.shape).copy_(tensor)

    for input_offset, gradient_offset in ((1, 0), (0, 1), (3, 5)):
        x, g = moved(input, input_offset), moved(grad_output, gradient_offset)
        assert_forward(FORWARD(x, *rest), x, *rest)
        assert_gradients(BACKWARD(g, x, *rest, [True] * 5), g, x, *rest)


@pytest.mark.parametrize("dtypes", DTYPES[1:], ids=dtype_name)
@pytest.mark.parametrize("name", ["a model's rows", "channels first, large", "channels first, small", "odd channels"])
@pytest.mark.parametrize("which", range(5))
def test_one_gradient_alone(name, which, dtypes, device):
    arguments = arguments_of(name, dtypes, device)
    grad_output = grad_like(arguments[0])
    mask = [i == which for i in range(5)]
    results = BACKWARD(grad_output, *arguments, mask)
    # What is not asked for is None in Python, or an undefined tensor's stand-in.
    assert_gradients([r if m else None for r, m in zip(results, mask, strict=True)], grad_output, *arguments)
    everything = BACKWARD(grad_output, *arguments, [True] * 5)
    assert torch.equal(results[which], everything[which])
