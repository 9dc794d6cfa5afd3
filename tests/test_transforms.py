"""torch.func keeps the fused kernels: what vmap, grad and their nestings dispatch, and what they compute."""

import derf
import pytest
import reference
import torch
from samples import call
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

DOUBLE = (torch.float64,) * 3
FORWARD, BACKWARD = torch.ops.derf.derf.default, torch.ops.derf.derf_backward.default


class Calls(TorchDispatchMode):
    """The operators that reach a device."""

    def __init__(self):
        super().__init__()
        self.operators = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.operators.append(function)
        return function(*arguments, **(options or {}))


def fused_calls(function, *arguments):
    with Calls() as calls:
        function(*arguments)
    # derf.function is what the composite is made of: an elementwise operator, no fused call.
    return [op for op in calls.operators if op.namespace == "derf" and op != torch.ops.derf.function.default]


def tensors(shape=(4, 3, 5), device="cpu"):
    return call(shape, DOUBLE, device=device)[:5]


def close(mine, expected):
    torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)


def over_input(function, argnums=(0, 1, 2, 3, 4)):
    """Per-sample gradients of a function of the five tensors."""
    return vmap(grad(lambda *t: function(*t).sin().sum(), argnums), (0, None, None, None, None))


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_vmap_over_input_is_one_call(dim, device):
    x, *parameters = call((4, 3, 5, 6), DOUBLE, device=device)[:5]
    x = x.movedim(0, dim)
    mapped = vmap(derf.derf, (dim, None, None, None, None))
    assert fused_calls(mapped, x, *parameters) == [FORWARD]
    close(mapped(x, *parameters), vmap(reference.derf, (dim, None, None, None, None))(x, *parameters))


@pytest.mark.parametrize("channel_dim", [0, 1, -1, -2, -3])
def test_channels_are_those_of_a_sample(channel_dim, device):
    size = (5, 3, 2)[channel_dim % 3]
    x, alpha, shift, weight, bias = call((4, 5, 3, size), DOUBLE, device=device)[:5]
    x = torch.randn(4, 5, 3, 2, device=device, dtype=torch.float64)

    def layer(of):
        return lambda x: of(x, alpha, shift, weight, bias, channel_dim % 3 if of is reference.derf else channel_dim)

    assert fused_calls(vmap(layer(derf.derf)), x) == [FORWARD]
    close(vmap(layer(derf.derf))(x), vmap(layer(reference.derf))(x))


def test_a_sample_may_be_a_scalar_or_all_channels(device):
    x, alpha, shift, weight, bias = call((4, 5), DOUBLE, device=device)[:5]
    close(vmap(vmap(lambda x: derf.derf(x, alpha, shift)))(x), reference.derf(x, alpha, shift))
    close(vmap(lambda x: derf.derf(x, alpha, shift, weight, bias))(x), reference.derf(x, alpha, shift, weight, bias))
    with pytest.raises(RuntimeError, match=r"derf: weight must .*\[\], but has shape \[4\]"):
        vmap(lambda x: derf.derf(x, alpha, shift, torch.ones(4, device=device).double()))(x[:, 0])


def test_grad_is_one_call_each_way(device):
    function = grad(lambda *t: derf.derf(*t).sin().sum(), (0, 1, 2, 3, 4))
    arguments = tensors(device=device)
    assert fused_calls(function, *arguments) == [FORWARD, BACKWARD]
    close(function(*arguments), grad(lambda *t: reference.derf(*t).sin().sum(), (0, 1, 2, 3, 4))(*arguments))


@pytest.mark.parametrize("argnums", [(0,), (3,), (0, 1, 2, 3, 4)], ids=["input", "weight", "all"])
def test_per_sample_gradients(argnums, device):
    arguments = tensors(device=device)
    # The gradient of input is one call for all samples; those of parameters, one a sample, are ATen's.
    expected = [FORWARD, BACKWARD] if 0 in argnums else [FORWARD]
    assert fused_calls(over_input(derf.derf, argnums), *arguments) == expected
    close(over_input(derf.derf, argnums)(*arguments), over_input(reference.derf, argnums)(*arguments))


@pytest.mark.parametrize("batched", [(0, None), (None, 0), (0, 0), (1, 2)], ids=str)
@pytest.mark.parametrize("mask", [(1, 0, 0, 0, 0), (1, 1, 1, 1, 1), (0, 1, 0, 1, 0)], ids=str)
def test_the_backward_operator_under_vmap(batched, mask, device):
    x, *parameters = tensors((2, 3, 5), device)
    samples = [torch.randn(4, 2, 3, 5, device=device, dtype=torch.float64) for _ in range(2)]  # grad_output, input

    def gradients(g, x):
        results = torch.ops.derf.derf_backward(g, x, *parameters, -1, list(map(bool, mask)))
        return tuple(r for r in results if r is not None)

    arguments = [s[0] if d is None else s.movedim(0, d) for s, d in zip(samples, batched, strict=True)]
    mine = vmap(gradients, batched)(*arguments)
    for i in range(4):
        one = [s[0 if d is None else i] for s, d in zip(samples, batched, strict=True)]
        expected = [r for r, wanted in zip(reference.gradients(*one, *parameters), mask, strict=True) if wanted]
        close([m[i] for m in mine], expected)


PER_INPUT = (0, None, None, None, None)


def total(function):
    return lambda *t: function(*t).sin().sum()


def gradient(function, argnums=(0, 1, 2, 3, 4)):
    return grad(total(function), argnums)


NESTED = {
    "vmap of vmap": lambda f: vmap(vmap(f, PER_INPUT), PER_INPUT),
    "outer vmap over weight": lambda f: vmap(vmap(f, PER_INPUT), (None, None, None, 0, None)),
    "vmap of jvp": lambda f: vmap(lambda x, *p: jvp(lambda x: f(x, *p), (x,), (x,)), PER_INPUT),
    "jvp of vmap": lambda f: lambda *t: jvp(vmap(f, PER_INPUT), t, t),
    "grad of vmap": lambda f: gradient(vmap(f, PER_INPUT)),
    "grad of grad": lambda f: grad(lambda *t: sum(g.sin().sum() for g in gradient(f, (0, 3))(*t)), (0, 1, 2, 3)),
    "jvp of grad": lambda f: lambda *t: jvp(gradient(f), t, t),
    "grad of jvp": lambda f: gradient(lambda *t: jvp(f, t, t)[1]),
    "vmap of grad": over_input,
    "vmap of hessian": lambda f: vmap(hessian(total(f)), PER_INPUT),
}


@pytest.mark.parametrize("nested", NESTED.values(), ids=NESTED)
def test_nested(nested, device):
    arguments = list(tensors((2, 3, 5), device))
    if nested is NESTED["outer vmap over weight"]:
        arguments[3] = torch.randn(4, 5, device=device, dtype=torch.float64)
    close(nested(derf.derf)(*arguments), nested(reference.derf)(*arguments))


@pytest.mark.parametrize("first", [jacrev, jacfwd], ids=lambda t: t.__name__)
@pytest.mark.parametrize("second", [jacrev, jacfwd], ids=lambda t: t.__name__)
def test_second_jacobians_of_every_pair(first, second, device):
    arguments = tensors((2, 3), device)
    every = (0, 1, 2, 3, 4)
    mine, expected = (
        second(first(lambda *t, of=of: of(*t).sin().sum(), every), every)(*arguments)
        for of in (derf.derf, reference.derf)
    )
    close(mine, expected)
    close(jacrev(derf.derf, every)(*arguments), jacfwd(reference.derf, every)(*arguments))


def test_many_gradients_at_once(device):
    leaves = [t.requires_grad_() for t in tensors((3, 5), device)]
    vectors = torch.randn(7, 3, 5, device=device, dtype=torch.float64)
    mine, expected = (
        torch.autograd.grad(of(*leaves), leaves, vectors, is_grads_batched=True) for of in (derf.derf, reference.derf)
    )
    close(mine, expected)


def test_gradients_reach_through_vmap(device):
    leaves = [t.requires_grad_() for t in tensors(device=device)]
    mapped = (vmap(of, (0, *[None] * 4))(*leaves).sin().sum() for of in (derf.derf, reference.derf))
    mine, expected = (torch.autograd.grad(total, leaves) for total in mapped)
    close(mine, expected)


def test_ensembles(device):
    layers = [derf.Derf(5, alpha_init=0.2 * (i + 1), device=device, dtype=torch.float64) for i in range(3)]
    stacked, _ = torch.func.stack_module_state(layers)
    x = torch.randn(4, 5, device=device, dtype=torch.float64)
    mine = vmap(lambda state: torch.func.functional_call(layers[0], state, (x,)))(stacked)
    close(mine, torch.stack([layer(x) for layer in layers]))
