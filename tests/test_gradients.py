"""Gradients: by finite differences in float64, against float64 truth in every dtype, and of every order and mode."""

import itertools

import derf
import pytest
import reference
import torch
from samples import DTYPES, call, dtype_name, grad_like
from tolerance import assert_forward, assert_gradients
from torch.autograd import gradcheck, gradgradcheck

DOUBLE = (torch.float64,) * 3
BACKWARD = torch.ops.derf.derf_backward

# Shape, and how weight and bias lie along it.
LAYOUTS = {
    "vector": {"shape": (7,)},
    "rows": {"shape": (3, 5)},
    "sequence": {"shape": (2, 3, 9)},
    "trailing": {"shape": (2, 3, 4), "weight_dims": 2},
    "everything": {"shape": (3, 4), "weight_dims": 2},
    "images": {"shape": (2, 5, 3, 2), "channel_dim": 1},
    "from the end": {"shape": (2, 5, 3), "channel_dim": -2},
    "first": {"shape": (4, 3), "channel_dim": 0},
    "last by number": {"shape": (4, 3), "channel_dim": 1},
    "one row": {"shape": (1, 17)},
    "one channel": {"shape": (6, 1)},
    "none": {"shape": (3, 5), "weight": False, "bias": False},
    "weight alone": {"shape": (3, 5), "bias": False},
    "bias alone": {"shape": (2, 5, 3), "weight": False, "channel_dim": 1},
    "scalar": {"shape": ()},
    "empty": {"shape": (0, 4)},
    "no channels": {"shape": (3, 0)},
}
MASKS = list(itertools.product([False, True], repeat=5))
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
each_dtypes = pytest.mark.parametrize("dtypes", DTYPES, ids=dtype_name)


def leaves(arguments, which=(True,) * 5):
    """The operator's arguments with fresh tensors, those selected requiring grad."""
    tensors = [
        None if t is None else t.detach().clone().requires_grad_(wanted)
        for t, wanted in zip(arguments[:5], which, strict=True)
    ]
    return [*tensors, *arguments[5:]]


@each_layout
def test_gradcheck(layout, device):
    arguments = leaves(call(dtypes=DOUBLE, device=device, **layout))
    assert gradcheck(derf.derf, arguments, check_forward_ad=True, check_batched_grad=True)


@pytest.mark.parametrize("which", MASKS, ids=lambda w: "".join("01"[b] for b in w))
def test_gradcheck_of_every_subset_of_inputs(which, device):
    arguments = leaves(call((3, 2, 4), DOUBLE, channel_dim=1, device=device), which)
    if any(which):
        assert gradcheck(derf.derf, arguments)
    else:
        assert not derf.derf(*arguments).requires_grad


@pytest.mark.parametrize("layout", ["rows", "trailing", "images", "none", "bias alone", "scalar"])
def test_gradgradcheck(layout, device):
    arguments = leaves(call(dtypes=DOUBLE, device=device, **LAYOUTS[layout]))
    assert gradgradcheck(derf.derf, arguments, check_fwd_over_rev=True, check_rev_over_rev=True)


def test_the_backward_operator_is_differentiable(device):
    input, *rest = leaves(call((3, 4), DOUBLE, device=device))
    grad_output = torch.randn_like(input).requires_grad_()
    for mask in ([True] * 5, [True, False, False, True, False]):

        def kept(*tensors, mask=mask):
            return tuple(t for t in BACKWARD(*tensors, -1, mask) if t is not None)

        assert gradcheck(kept, (grad_output, input, *rest[:4]))


@pytest.mark.parametrize("mask", MASKS, ids=lambda m: "".join("01"[b] for b in m))
@pytest.mark.parametrize("channel_dim", [-1, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_name)
def test_every_mask_gives_the_same_bits_and_nothing_else(mask, channel_dim, dtype, device):
    # 37 and 19 leave tails in every vector; 40,000 elements make several blocks of work.
    arguments = call((60, 37, 19), (dtype,) * 3, channel_dim=channel_dim, device=device)
    grad_output = grad_like(arguments[0])
    full = BACKWARD(grad_output, *arguments, [True] * 5)
    for kept, part, whole in zip(mask, BACKWARD(grad_output, *arguments, list(mask)), full, strict=True):
        if kept:
            assert torch.equal(part, whole)
        else:
            assert part is None


@each_dtypes
@each_layout
def test_against_float64(layout, dtypes, device):
    arguments = leaves(call(dtypes=dtypes, device=device, **layout))
    output = derf.derf(*arguments)
    grad_output = grad_like(output)
    present = [t for t in arguments[:5] if t is not None]
    results = iter(torch.autograd.grad(output, present, grad_output))
    results = [None if t is None else next(results) for t in arguments[:5]]
    assert_gradients(results, grad_output, *[t.detach() if torch.is_tensor(t) else t for t in arguments])
    for result, belongs_to in zip(results, arguments[:5], strict=True):
        if result is not None:
            assert result.shape == belongs_to.shape
            assert result.stride() == torch.empty_like(belongs_to).stride()
            assert not result.requires_grad


@each_dtypes
@pytest.mark.parametrize("channel_dim", [-1, 1])
@pytest.mark.parametrize("shape", [(3, 1000, 7), (1, 4099, 65), (517, 33, 5)])
def test_against_float64_on_many_rows(shape, channel_dim, dtypes, device):
    arguments = call(shape, dtypes, channel_dim=channel_dim, device=device)
    grad_output = grad_like(arguments[0])
    assert_gradients(BACKWARD(grad_output, *arguments, [True] * 5), grad_output, *arguments)


def grad_outputs(shape, **options):
    """Gradients as they come from what follows the operator, none of them plainly contiguous."""
    batch, rows, columns = shape

    def random(*sizes):
        return torch.randn(sizes).to(**options)

    return {
        "from sum": random(1, 1, 1).expand(shape),
        "from sum over rows": random(batch, 1, columns).expand(shape),
        "transposed": random(columns, rows, batch).permute(2, 1, 0),
        "sliced": random(batch, 2 * rows, 3 * columns)[:, ::2, 1 : 1 + columns],
        "every third": random(batch, rows, 3 * columns)[..., ::3],
        "misaligned": random(batch * rows * columns + 1)[1:].view(shape),
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=dtype_name)
@pytest.mark.parametrize("dense", [True, False], ids=["contiguous input", "transposed input"])
@pytest.mark.parametrize("kind", grad_outputs((1, 1, 1)))
def test_grad_output_of_any_strides(kind, dense, dtype, device):
    arguments = call((4, 6, 35), (dtype,) * 3, channel_dim=1, device=device)
    if not dense:
        arguments = (arguments[0].permute(2, 1, 0).contiguous().permute(2, 1, 0), *arguments[1:])
    grad_output = grad_outputs((4, 6, 35), device=device, dtype=dtype)[kind]
    results = BACKWARD(grad_output, *arguments, [True] * 5)
    assert_gradients(results, grad_output, *arguments)
    assert results[0].stride() == torch.empty_like(arguments[0]).stride()


def test_sum_backward_fills_grad_of_every_leaf(device):
    arguments = leaves(call((5, 8), device=device))
    derf.derf(*arguments).sum().backward()
    assert_gradients([t.grad for t in arguments[:5]], torch.ones(5, 8, device=device), *arguments)


def test_forward_mode_matches_reverse_mode(device):
    arguments = call((3, 5), DOUBLE, device=device)
    tangents = tuple(torch.randn_like(t) for t in arguments[:5])
    _, directional = torch.func.jvp(lambda *t: derf.derf(*t), arguments[:5], tangents)
    _, expected = torch.func.jvp(lambda *t: reference.derf(*t), arguments[:5], tangents)
    torch.testing.assert_close(directional, expected, rtol=1e-12, atol=1e-12)


def test_dual_numbers_keep_their_tangent(device):
    # An autograd formula without forward mode would lose the tangent silently.
    input, *parameters = call((3, 5), DOUBLE, device=device)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(input, torch.ones_like(input))
        tangent = torch.autograd.forward_ad.unpack_dual(derf.derf(dual, *parameters)).tangent
    (expected, *_) = reference.gradients64(torch.ones_like(input), input, *parameters)
    torch.testing.assert_close(tangent, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "transform", [torch.func.jacrev, torch.func.jacfwd, torch.func.hessian], ids=lambda t: t.__name__
)
def test_jacobians(transform, device):
    input, *parameters = call((2, 3), DOUBLE, device=device)
    for argument in range(3):
        mine = transform(lambda *t: derf.derf(*t).square().sum(0), argnums=argument)(input, *parameters[:4])
        expected = transform(lambda *t: reference.derf(*t).square().sum(0), argnums=argument)(input, *parameters[:4])
        torch.testing.assert_close(mine, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "in_dims",
    [
        (0, None, None, None, None),
        (1, None, None, None, None),
        (0, 0, 0, 0, 0),
        (None, None, 0, None, 0),
        (0, None, None, 1, None),
    ],
    ids=str,
)
def test_vmap(in_dims, device):
    input, alpha, shift, weight, bias, _ = call((4, 5), DOUBLE, device=device)
    tensors = [
        t if d is None else torch.stack([t * (1 + 0.1 * i) for i in range(3)], dim=d)
        for t, d in zip((input, alpha, shift, weight, bias), in_dims, strict=True)
    ]
    mine = torch.vmap(derf.derf, in_dims)(*tensors)
    expected = torch.vmap(reference.derf, in_dims)(*tensors)
    torch.testing.assert_close(mine, expected, rtol=1e-13, atol=1e-13)


@each_dtypes
def test_vmap_is_as_exact_as_the_operator(dtypes, device):
    input, *parameters = call((6, 33), dtypes, device=device)
    input[0] = torch.logspace(-7, 0, 33)  # near 0 the error is a relative one
    output = torch.vmap(lambda x: derf.derf(x, *parameters))(input)
    assert_forward(output, input, *parameters)


def test_vmap_along_a_channel_dimension(device):
    input, *parameters = call((6, 5, 4), DOUBLE, channel_dim=1, device=device)
    batched = torch.vmap(lambda x: derf.derf(x, *parameters[:4], 0))(input)
    torch.testing.assert_close(batched, reference.derf(input, *parameters), rtol=1e-13, atol=1e-13)


def test_per_sample_gradients(device):
    module = derf.Derf(6, device=device, dtype=torch.float64)
    parameters = dict(module.named_parameters())
    samples = torch.randn(4, 3, 6, device=device, dtype=torch.float64)

    def loss(parameters, sample):
        return torch.func.functional_call(module, parameters, (sample,)).square().sum()

    per_sample = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, samples)
    for i, sample in enumerate(samples):
        alone = torch.autograd.grad(loss(parameters, sample), list(parameters.values()))
        for name, gradient in zip(parameters, alone, strict=True):
            torch.testing.assert_close(per_sample[name][i], gradient, rtol=1e-12, atol=1e-12)


def test_inside_checkpoint(device):
    arguments = leaves(call((5, 8), device=device))
    plain = torch.autograd.grad(derf.derf(*arguments).square().sum(), arguments[:5])
    output = torch.utils.checkpoint.checkpoint(derf.derf, *arguments, use_reentrant=False)
    again = torch.autograd.grad(output.square().sum(), arguments[:5])
    for mine, expected in zip(again, plain, strict=True):
        assert torch.equal(mine, expected)
