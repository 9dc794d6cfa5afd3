"""Gradients of alpha, shift, weight and bias: their error is no larger than eager PyTorch's in the same dtype.

Both errors are random, so their root mean squares over seeds (and channels) are compared. The logarithm of the ratio of
two root mean squares of n independent errors each has a standard deviation of about 1/sqrt(n); equally good code is
beyond three of them once in 700 times. The seeds are fixed, so a result that is inside stays inside.

Two kinds of grad_output: "random" has terms of both signs, so the rounding of each term decides; "aligned" is the
output itself, as of the loss sum(y^2)/64, so terms pile up, and the way of summing and systematic errors of the slope
decide.
"""

import math

import numpy
import pytest
import reference
import torch
from samples import dtype_name

NAMES = ("alpha", "shift", "weight", "bias")


def draw(shape, dtype, kind, seed):
    """(grad_output, input, alpha, shift, weight, bias) of a matrix of the given shape."""
    torch.manual_seed(seed)
    wide = torch.promote_types(dtype, torch.float32)
    input = torch.randn(shape, dtype=wide).to(dtype)
    alpha, shift = (torch.empty(1, dtype=wide).uniform_(*ends).to(dtype) for ends in ((0.4, 1.2), (-0.3, 0.3)))
    weight, bias = (torch.randn(2, shape[1], dtype=wide) * 0.1 + torch.tensor([[1], [0]])).to(dtype)
    arguments = input, alpha, shift, weight, bias
    if kind == "random":
        return torch.randn(shape, dtype=wide).to(dtype), *arguments
    # A 32nd of the output, or float16 could not hold the sum.
    return reference.derf(*arguments) / 32, *arguments


def ours(grad_output, *arguments):
    return torch.ops.derf.derf_backward(grad_output, *arguments, -1, [False, True, True, True, True])[1:]


def eager(grad_output, *arguments):
    return reference.gradients(grad_output, *arguments)[1:]


def truth(grad_output, input, alpha, shift, weight, bias):
    """float64, or on float64 itself the 64-bit mantissa of x87 for all but the weight, whose erf numpy lacks."""
    if input.dtype != torch.float64:
        return reference.parameter_gradients64(grad_output, input, alpha, shift, weight)
    g, x, a, s, w = (t.numpy().astype(numpy.longdouble) for t in (grad_output, input, alpha, shift, weight))
    h = g * w * numpy.exp(-numpy.square(a * x + s)) * 2 / numpy.sqrt(numpy.arccos(numpy.longdouble(-1)))
    return [(h * x).sum(keepdims=True), h.sum(keepdims=True), None, g.sum(0)]


def difference(result, exact):
    """result - exact in float64; exact may be a longdouble array."""
    if isinstance(exact, torch.Tensor):
        return (result.double() - exact).reshape(-1)
    difference = (result.numpy().astype(numpy.longdouble) - exact.reshape(result.shape)).astype(numpy.float64)
    return torch.from_numpy(difference).reshape(-1)


def compare(draws, device):
    """Fail where the error of a gradient exceeds eager's by more than three standard deviations."""
    errors = {name: ([], []) for name in NAMES}
    for arguments in draws:
        exact = truth(*arguments)
        there = [tensor.to(device) for tensor in arguments]
        for side, results in enumerate((ours(*there), eager(*there))):
            for name, result, value in zip(NAMES, results, exact, strict=True):
                if value is not None:
                    errors[name][side].append(difference(result.cpu(), value))
    for name, (mine, theirs) in errors.items():
        if mine:
            mine, theirs = torch.cat(mine), torch.cat(theirs)
            ratio = (mine.square().mean() / theirs.square().mean()).sqrt().item()
            allowed = math.exp(3 / math.sqrt(len(mine)))
            assert ratio <= allowed, (
                f"gradient of {name}: {ratio:.3f} times eager's error, {allowed:.3f} is allowed for {len(mine)} errors"
            )


@pytest.mark.parametrize("kind", ["random", "aligned"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=dtype_name)
def test_a_small_batch(dtype, kind, device):
    compare((draw((64, 768), dtype, kind, seed) for seed in range(60)), device)


@pytest.mark.parametrize("kind", ["random", "aligned"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=dtype_name)
def test_a_million_elements(dtype, kind, device):
    compare((draw((1999, 501), dtype, kind, seed) for seed in range(20)), device)


@pytest.mark.skipif(numpy.finfo(numpy.longdouble).nmant < 60, reason="no floating-point type wider than float64")
@pytest.mark.parametrize("kind", ["random", "aligned"])
@pytest.mark.parametrize("shape", [(64, 768), (499, 211), (1499, 301)], ids=str)
def test_float64(shape, kind, device):
    compare((draw(shape, torch.float64, kind, seed) for seed in range(15)), device)


@pytest.mark.parametrize("kind", ["random", "aligned"])
def test_ten_million_elements(kind, device):
    compare((draw((20_011, 499), torch.float32, kind, seed) for seed in range(4)), device)


@pytest.mark.parametrize("kind", ["random", "aligned"])
def test_a_hundred_million_elements(kind, need_memory, device):
    need_memory(6)
    compare((draw((100_003, 1000), torch.float32, kind, seed) for seed in range(2)), device)
