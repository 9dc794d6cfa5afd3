"""NaN gives NaN, ±Inf gives ±weight + bias, and gradients are 0 where the slope is 0, never NaN from 0 * Inf.

Each special number visits every position of rows of several lengths, so it meets vector bodies and tails.
"""

import pytest
import torch
from reference import gradients64
from samples import DTYPES, FLOATS, call, dtype_name, grad_like
from tolerance import assert_forward, assert_gradients, assert_within, backward_bounds

FORWARD, BACKWARD = torch.ops.derf.derf, torch.ops.derf.derf_backward
SIZES = (1, 7, 33, 70)
INF, NAN = torch.inf, torch.nan
each_dtypes = pytest.mark.parametrize("dtypes", DTYPES, ids=dtype_name)
each_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=dtype_name)
each_channel_dim = pytest.mark.parametrize("channel_dim", [-1, 0])


def with_diagonal(size, value, dtypes, channel_dim, device):
    """A call on [size, size] numbers with ``value`` at position i of row i."""
    input, *rest = call((size, size), dtypes, channel_dim, device=device)
    input.fill_diagonal_(value)
    return input, *rest


def steep(dtype):
    """Finite and infinite magnitudes of u at which the slope is 0 in float64 already."""
    return [30.0, 1000.0, torch.finfo(dtype).max, INF]


@each_dtypes
@each_channel_dim
def test_nan_in_input_gives_nan_there_and_nowhere_else(dtypes, channel_dim, device):
    for size in SIZES:
        input, *rest = with_diagonal(size, NAN, dtypes, channel_dim, device)
        here = torch.eye(size, dtype=torch.bool, device=device)
        output = FORWARD(input, *rest)
        assert torch.equal(output.isnan(), here)
        clean = torch.where(here, 0.0, input)
        assert_forward(torch.where(here, FORWARD(clean, *rest), output), clean, *rest)
        grad, alpha, shift, weight, bias = BACKWARD(grad_like(input), input, *rest, [True] * 5)
        assert torch.equal(grad.isnan(), here)
        assert alpha.isnan().all() and shift.isnan().all() and weight.isnan().all()
        assert bias.isfinite().all()


@each_dtypes
def test_a_nan_channel_leaves_the_others_alone(dtypes, device):
    for size in SIZES[1:]:
        input, *rest = call((5, size), dtypes, device=device)
        input[2, size - 1] = NAN
        weight = BACKWARD(grad_like(input), input, *rest, [True] * 5)[3]
        assert weight.isnan().nonzero().tolist() == [[size - 1]]
        rest[2][0] = NAN
        output = FORWARD(torch.zeros_like(input), *rest)
        assert torch.equal(output.isnan(), torch.arange(size, device=device).eq(0).expand(5, size))


@each_dtypes
@each_channel_dim
@pytest.mark.parametrize("sign", [1, -1])
def test_infinity_gives_weight_plus_bias_exactly(sign, dtypes, channel_dim, device):
    for size in SIZES:
        for factor in (1, -1):  # of alpha: -Inf then gives +weight + bias
            input, alpha, shift, weight, bias, _ = with_diagonal(size, sign * INF, dtypes, channel_dim, device)
            output = FORWARD(input, factor * alpha, shift, weight, bias, channel_dim)
            wide = torch.promote_types(dtypes[0], torch.float32)
            expected = (sign * factor * weight.to(wide) + bias.to(wide)).to(dtypes[0])
            assert torch.equal(output.diagonal(), expected)
            assert torch.equal(
                FORWARD(input, factor * alpha, shift).diagonal(), torch.full_like(expected, sign * factor)
            )


@each_dtypes
@each_channel_dim
@pytest.mark.parametrize("gradient", [1.0, INF, -INF])
def test_where_the_slope_is_0_so_are_the_gradients(gradient, dtypes, channel_dim, device):
    for size in SIZES:
        input, alpha, shift, weight, bias, _ = call((size, size), dtypes, channel_dim, device=device)
        parameters = alpha.new_full((1,), 2.0), shift, weight, bias, channel_dim
        here = torch.eye(size, dtype=torch.bool, device=device)
        grad_output = grad_like(input).fill_diagonal_(gradient)
        # Without the special elements, whose slope is 0; and with them where erf is 1, so that their gradient reaches
        # weight and bias.
        tame, clean = torch.where(here, 0.0, grad_output), torch.where(here, 0.0, input)
        truth, bounds = (of(tame, clean, *parameters) for of in (gradients64, backward_bounds))
        for sign in (1, -1):
            saturated = torch.where(here, 50.0 * sign, input)
            if gradient == 1:
                reached, reached_bounds = (
                    of(grad_output, saturated, *parameters) for of in (gradients64, backward_bounds)
                )
            for magnitude in steep(dtypes[0]):
                special = torch.where(here, magnitude * sign, input)
                grad, *sums = BACKWARD(grad_output, special, *parameters, [True] * 5)
                assert (grad.diagonal() == 0).all()
                assert_within(torch.where(here, 0.0, grad), truth[0], bounds[0], "gradient of input")
                assert_within(sums[0], truth[1], bounds[1], "gradient of alpha")
                assert_within(sums[1], truth[2], bounds[2], "gradient of shift")
                if gradient == 1:
                    assert_within(sums[2], reached[3], reached_bounds[3], "gradient of weight")
                    assert_within(sums[3], reached[4], reached_bounds[4], "gradient of bias")
                else:
                    assert torch.equal(sums[2], torch.full_like(sums[2], sign * gradient))
                    assert torch.equal(sums[3], torch.full_like(sums[3], gradient))


@each_dtypes
def test_infinite_inputs_leave_the_gradient_of_alpha_finite(dtypes, device):
    input, *rest = call((20, 70), dtypes, device=device)
    input[::3] = INF
    input[:, ::5] = -INF
    _, alpha, shift, weight, bias = BACKWARD(grad_like(input), input, *rest, [True] * 5)
    for gradient in (alpha, shift, weight, bias):
        assert gradient.isfinite().all()


@each_dtype
@pytest.mark.parametrize("sign", [1, -1])
def test_an_infinite_shift_saturates_everything(sign, dtype, device):
    input, alpha, _, weight, bias, _ = call((5, 33), (dtype,) * 3, device=device)
    shift = torch.full((1,), sign * INF, dtype=dtype, device=device)
    arguments = input, alpha, shift, weight, bias, -1
    assert torch.equal(FORWARD(*arguments), (sign * weight + bias).expand(5, 33))
    grad_output = grad_like(input)
    grad, grad_alpha, grad_shift, grad_weight, _ = BACKWARD(grad_output, *arguments, [True] * 5)
    assert (grad == 0).all() and grad_alpha == 0 and grad_shift == 0
    saturated = input, alpha, torch.full_like(shift, sign * 50), weight, bias, -1
    truth, bound = (of(grad_output, *saturated)[3] for of in (gradients64, backward_bounds))
    assert_within(grad_weight, truth, bound, "gradient of weight")


@each_dtype
def test_an_infinite_alpha_makes_a_step(dtype, device):
    _, _, shift, weight, bias, _ = call((1, 33), (dtype,) * 3, device=device)
    alpha = torch.full((1,), INF, dtype=dtype, device=device)
    input = torch.linspace(-2, 2, 33).to(device, dtype).expand(4, 33).contiguous()
    input[:, 16] = NAN  # Inf * 0 is NaN anyway
    output = FORWARD(input, alpha, shift, weight, bias)
    expected = input.sign() * weight + bias
    assert torch.equal(output[:, :16], expected[:, :16]) and torch.equal(output[:, 17:], expected[:, 17:])
    assert output[:, 16].isnan().all()
    input[:, 16] = 1
    grad, grad_alpha, grad_shift, _, _ = BACKWARD(grad_like(input), input, alpha, shift, weight, bias, -1, [True] * 5)
    # The slope is 0 everywhere, and 0 times the infinite alpha is still 0.
    assert (grad == 0).all() and grad_alpha == 0 and grad_shift == 0


@each_dtype
@pytest.mark.parametrize("sign", [1, -1])
def test_an_infinite_weight_makes_no_nan_where_the_slope_is_0(sign, dtype, device):
    input, alpha, shift, weight, bias, _ = call((5, 33), (dtype,) * 3, device=device)
    alpha.fill_(2)
    input[:, ::2] = 100
    weight[::2] = sign * INF
    assert (FORWARD(input, alpha, shift, weight, bias)[:, ::2] == sign * INF).all()
    grad, grad_alpha, grad_shift, _, _ = BACKWARD(grad_like(input), input, alpha, shift, weight, bias, -1, [True] * 5)
    assert (grad[:, ::2] == 0).all() and grad_alpha.isfinite() and grad_shift.isfinite()


@each_dtype
@pytest.mark.parametrize("which", ["alpha", "shift"])
def test_a_nan_parameter_gives_nan_everywhere(which, dtype, device):
    input, alpha, shift, weight, bias, _ = call((5, 33), (dtype,) * 3, device=device)
    (alpha if which == "alpha" else shift).fill_(NAN)
    assert FORWARD(input, alpha, shift, weight, bias).isnan().all()


@each_dtype
def test_a_nan_gradient_is_not_lost(dtype, device):
    for size in SIZES:
        input, *rest = call((size, size), (dtype,) * 3, device=device)
        grad_output = grad_like(input).fill_diagonal_(NAN)
        grad, *sums = BACKWARD(grad_output, input, *rest, [True] * 5)
        assert torch.equal(grad.isnan(), torch.eye(size, dtype=torch.bool, device=device))
        assert all(gradient.isnan().all() for gradient in sums)


@each_dtype
def test_the_largest_finite_numbers_overflow_quietly(dtype, device):
    # u and its square overflow: the value is 1 and the slope 0, as for infinity.
    largest = torch.finfo(dtype).max
    input = torch.tensor([largest, -largest] * 35, dtype=dtype, device=device)
    scalars = torch.full((1,), 2.0, dtype=dtype, device=device), torch.zeros(1, dtype=dtype, device=device)
    assert FORWARD(input, *scalars).tolist() == [1.0, -1.0] * 35
    results = BACKWARD(torch.ones_like(input), input, *scalars, None, None, -1, [True, True, True, False, False])
    assert all((gradient == 0).all() for gradient in results[:3])


@each_dtype
def test_a_zero_gradient_gives_zero_gradients(dtype, device):
    arguments = call((7, 33), (dtype,) * 3, device=device)
    assert_gradients(
        BACKWARD(torch.zeros_like(arguments[0]), *arguments, [True] * 5), torch.zeros_like(arguments[0]), *arguments
    )
    assert all((g == 0).all() for g in BACKWARD(torch.zeros_like(arguments[0]), *arguments, [True] * 5))


def transforms(arguments):
    """The gradients of a sum by every way to them other than the plain backward."""
    tensors = arguments[:5]
    ones = [torch.ones_like(t) for t in tensors]

    def total(*t):
        return torch.ops.derf.derf(*t).sum()

    def directional(t, d):
        return torch.func.jvp(lambda x: total(*tensors[:d], x, *tensors[d + 1 :]), (t,), (ones[d],))[1]

    return {
        "func.grad": torch.func.grad(total, argnums=(0, 1, 2, 3, 4))(*tensors),
        "jvp": [directional(t, d) for d, t in enumerate(tensors)],
        "vmap": torch.vmap(torch.func.grad(total, argnums=(0, 1, 2, 3, 4)))(*(t.expand(2, *t.shape) for t in tensors)),
    }


@each_dtype
@pytest.mark.parametrize("way", ["func.grad", "jvp", "vmap"])
def test_infinite_inputs_under_function_transforms(way, dtype, device):
    input, *rest = call((33,), (dtype,) * 3, device=device)
    input[::4] = INF
    input[1::4] = -INF
    results = transforms((input, *rest))[way]
    for gradient in results:
        assert gradient.isfinite().all()
    if way != "jvp":
        assert (results[0][..., ::4] == 0).all() and (results[0][..., 1::4] == 0).all()


@each_dtype
def test_infinite_inputs_in_the_second_derivative(dtype, device):
    input, *rest = call((33,), (dtype,) * 3, device=device)
    input[::4] = INF
    leaves = [t.requires_grad_() for t in (input, *rest[:4])]
    first = torch.autograd.grad(FORWARD(*leaves).sum(), leaves[:4], create_graph=True)
    second = torch.autograd.grad(sum(g.sum() for g in first), leaves[:4])
    assert (second[0][::4] == 0).all()
    assert all(gradient.isfinite().all() for gradient in second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_largest_alpha_is_no_infinity(dtype, device):
    input = torch.tensor([0.0, -0.0, 1.0, -1.0], dtype=dtype, device=device).repeat(20, 1)
    alpha = torch.full((1,), torch.finfo(dtype).max, dtype=dtype, device=device)
    shift, weight, bias = torch.zeros(1).to(alpha), torch.ones(4).to(alpha), torch.zeros(4).to(alpha)
    output = torch.ops.derf.derf(input, alpha, shift, weight, bias)
    assert torch.equal(output, input)
    results = torch.ops.derf.derf_backward(
        torch.ones_like(input), input, alpha, shift, weight, bias, -1, [False, True, True, True, True]
    )
    assert all(result.isfinite().all() for result in results[1:])


@each_dtype
@pytest.mark.parametrize("inner", [1, 5, 37], ids=str)
def test_an_infinite_weight_of_a_channel_of_few_elements(inner, dtype, device):
    # Lanes past the end of a stretch must not count, whatever they are multiplied with.
    input = torch.full((1, 2, inner), 100.0, dtype=dtype, device=device)
    one, zero = torch.ones(1, dtype=dtype, device=device), torch.zeros(1, dtype=dtype, device=device)
    weight = torch.tensor([INF, 1.0], dtype=dtype, device=device)
    mask = [True] * 4 + [False]
    results = torch.ops.derf.derf_backward(torch.ones_like(input), input, one, zero, weight, None, 1, mask)
    assert all((result == 0).all() for result in results[:3])
    # erf(100) = 1 in each term, to the absolute 2^-14 that 16 bits have in sums, and a rounding.
    torch.testing.assert_close(
        results[3], torch.full_like(weight, inner), rtol=2**-7 if input.element_size() == 2 else 2**-14, atol=0
    )


@each_dtype
def test_the_second_derivative_of_an_infinite_gradient_is_0_where_the_slope_is(dtype, device):
    input = torch.full((3,), 30.0, dtype=dtype, device=device, requires_grad=True)
    one, zero = torch.ones(1, dtype=dtype, device=device), torch.zeros(1, dtype=dtype, device=device)
    grad_output = torch.full((3,), INF, dtype=dtype, device=device)
    (first,) = torch.autograd.grad(FORWARD(input, one, zero), input, grad_output, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), input)
    assert (first == 0).all() and (second == 0).all()


@each_dtype
def test_0_times_infinity_is_nan_in_the_kernels_and_in_the_composite(dtype, device):
    # alpha = 0 and an infinite input: as alpha * input in PyTorch.
    input = torch.tensor([INF, -INF, 1.0], dtype=dtype, device=device)
    alpha = torch.zeros(1, dtype=dtype, device=device)
    for operator in (torch.ops.derf.pointwise_norm, torch.ops.derf.pointwise_norm_composite):
        output = operator(input, alpha)
        assert output.isnan().tolist() == [True, True, False] and output[2] == 0
    settings = (-1, "erf", 0.0, 0.0, 0.0, 0.0, None, 0.0, 1, [True, True, False, False, False])
    for operator in (torch.ops.derf.pointwise_norm_backward, torch.ops.derf.pointwise_norm_backward_composite):
        of_input, of_alpha, *_ = operator(torch.ones_like(input), input, alpha, None, None, None, *settings)
        assert of_input.isnan().tolist() == [True, True, False] and of_alpha.isnan().all()


@each_dtype
@pytest.mark.parametrize("function", ["erf", "tanh"])
def test_the_largest_alpha_is_finite_in_every_unit(function, dtype, device):
    # The kernels multiply alpha by a unit of their own, which must not make 0 * Inf of 0 times the largest number.
    largest = torch.finfo(dtype).max
    input, alpha = torch.zeros(3, 33, dtype=dtype, device=device), torch.full((1,), largest, dtype=dtype, device=device)
    input[:, ::2] = 1
    input.requires_grad_(), alpha.requires_grad_()
    output = torch.ops.derf.pointwise_norm(input, alpha, function=function)
    assert torch.equal(output, input)
    slope = 2 / torch.pi**0.5 if function == "erf" else 1
    of_input, of_alpha = torch.autograd.grad(output, [input, alpha], torch.full_like(output, 0.5))
    torch.testing.assert_close(of_input, 0.5 * slope * largest * (1 - input.detach()))
    assert of_alpha == 0


@each_dtype
@pytest.mark.parametrize("function", ["erf", "tanh"])
def test_the_largest_shift_keeps_its_place_beside_alpha_times_input(function, dtype, device):
    # alpha x + shift is half the largest number and more; in a unit of the kernels' own both parts would be beyond it.
    largest = torch.finfo(dtype).max
    for sign in (1, -1):
        input = torch.full((3, 33), -0.9 * sign * largest, dtype=dtype, device=device, requires_grad=True)
        alpha, shift = (torch.tensor([x], dtype=dtype, device=device) for x in (0.4, 0.98 * sign * largest))
        output = torch.ops.derf.pointwise_norm(input, alpha, shift, function=function)
        assert torch.equal(output, torch.full_like(output, sign))
        assert not torch.autograd.grad(output.sum(), input)[0].any()
