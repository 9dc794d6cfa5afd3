"""derf::add_pointwise_norm beside the unfused sequence: value, bits, all derivatives; what it keeps; errors."""

import copy
import inspect
import os
import pickle

import cuda_on_host
import derf
import pytest
import torch
from add_reference import CALLS, NAMES, add_pointwise_norm, gate_beside
from pointwise_reference import FUNCTIONS
from reference import differentiated, double, same_bits
from samples import FLOATS, SIXTEEN_BITS, dtype_name
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, vmap

OPERATOR, BACKWARD = torch.ops.derf.add_pointwise_norm, torch.ops.derf.add_pointwise_norm_backward
each_function = pytest.mark.parametrize("function", FUNCTIONS)
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
SOME = ("no gate", "layer scale", "drop path", "adaLN", "images")
some_calls = pytest.mark.parametrize("call", [CALLS[name] for name in SOME], ids=SOME)


def mine(input, residual, alpha, shift=None, weight=None, bias=None, gate=None, **options):
    return derf.functional.add_pointwise_norm(input, residual, alpha, shift, weight, bias, gate=gate, **options)


def moved(tensors, device, dtype=None):
    return tuple(None if t is None else t.to(device, dtype) for t in tensors)


# CUDA has loops of erf's and tanh's own for sums in wide rows alone: elsewhere a value may round to the other side.
CUDA_KERNELS = cuda_on_host.VARIABLE in os.environ


def assert_same_bits(ours, theirs, what, device):
    if CUDA_KERNELS or device == "cuda":
        unit = torch.finfo(ours.dtype).eps
        torch.testing.assert_close(ours, theirs, rtol=4 * unit, atol=16 * unit, msg=lambda text: f"{what}: {text}")
    else:
        assert same_bits(ours, theirs), what


def random_grads(input, sum_dtype=None):
    first, second = torch.randn(2, *input.shape, dtype=torch.float64).to(input.device)
    return first.to(input.dtype), second.to(sum_dtype or input.dtype)


def compare(tensors, tolerance, used=(True, True), of=mine, **options):
    """Results and gradients beside the formula in float64, where both results, or one of them, are used."""
    wide = double(*tensors)
    grads = [g if u else None for g, u in zip(random_grads(tensors[0], tensors[1].dtype), used, strict=True)]
    results, found = differentiated(of, grads, tensors, **options)
    truths, expected = differentiated(add_pointwise_norm, double(*grads), wide, **options)
    assert results[0].dtype == tensors[0].dtype and results[1].dtype == tensors[1].dtype
    every = ("output", "sum", *NAMES), (*results, *found), (*truths, *expected), (*tensors[:2], *tensors)
    for name, a, b, t in zip(*every, strict=True):
        if a is None:
            assert b is None or not b.any(), name
        elif b is None:
            assert not a.any(), name
        else:
            assert a.shape == b.shape and a.dtype == t.dtype, name
            torch.testing.assert_close(a.double(), b, **tolerance, msg=lambda text, name=name: f"{name}: {text}")


# Sums of up to a few thousand terms of magnitude 1, in another order.
EXACT = {"rtol": 1e-11, "atol": 1e-11}
# A float32 value within 4 ulp and a slope within 2^-19, times weights up to 3 and sums up to 8, up to 2000 of them.
SINGLE = {"rtol": 4e-5, "atol": 4e-5}


@each_function
@each_call
def test_values(call, function, device):
    tensors, options = call()
    compare(moved(tensors, device), EXACT, function=function, **options)
    compare(moved(tensors, device, torch.float32), SINGLE, function=function, **options)


@pytest.mark.parametrize("used", [(True, False), (False, True)], ids=["output", "sum"])
@each_call
def test_one_result_is_used(call, used, device):
    tensors, options = call()
    compare(moved(tensors, device), EXACT, used, **options)


@each_function
@pytest.mark.parametrize("parameters", ["alike", "float32"])
@pytest.mark.parametrize("residual", ["alike", "float32"])
@pytest.mark.parametrize("dtype", SIXTEEN_BITS, ids=dtype_name)
def test_16_bits(dtype, residual, parameters, function, device):
    for name in ("layer scale", "drop path", "adaLN", "many rows in groups", "images", "large images"):
        tensors, options = CALLS[name]()
        of = lambda kind: torch.float32 if kind == "float32" else dtype  # noqa: E731
        input, beside, *rest = moved(tensors, device)
        tensors = (input.to(dtype), beside.to(of(residual)), *moved(rest, device, of(parameters)))
        # The sum, of magnitude 8, is rounded to half a unit in its last place before the function, whose slope times
        # weight and alpha is below 3; results to half a unit of magnitudes up to 16 in sums; before that 2^-14. Sums of
        # up to 700 rounded terms of random sign add sqrt(700) half units.
        unit = torch.finfo(dtype).eps
        compare(tensors, {"rtol": 0.52 * unit + 2.0**-13, "atol": 60 * unit}, function=function, **options)


# The same bits as the unfused sequence


def unfused(input, residual, alpha, shift, weight, bias, gate, *, channel_dim=-1, **options):
    """ATen's addition, then derf::pointwise_norm; what is computed in float32 is rounded as the fused sum is."""
    if gate is None:
        sum = input + residual
    else:
        wide = torch.promote_types(input.dtype, torch.float32)
        product = gate_beside(gate, input, channel_dim).to(wide) * input.to(wide)
        sum = (residual.to(wide) + product).to(residual.dtype)
    options["channel_dim"] = channel_dim
    return derf.functional.pointwise_norm(sum, alpha, shift, weight, bias, **options), sum


@each_function
@pytest.mark.parametrize("dtype", FLOATS, ids=dtype_name)
@each_call
def test_bits_of_the_forward(call, dtype, function, device):
    tensors, options = call()
    tensors = moved(tensors, device, dtype)
    for ours, theirs in zip(
        mine(*tensors, function=function, **options), unfused(*tensors, function=function, **options), strict=True
    ):
        assert_same_bits(ours, theirs, "forward", device)


@each_function
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=dtype_name)
@each_call
def test_bits_of_the_backward(call, dtype, function, device):
    # 16-bit gradients are rounded once, not after each step. Sums of parameters are in the unfused backward's order
    # where a gate makes no groups; those of a gate are ATen's there.
    tensors, options = call()
    tensors = moved(tensors, device, dtype)
    grads = random_grads(tensors[0])
    (_, ours), (_, theirs) = (differentiated(f, grads, tensors, function=function, **options) for f in (mine, unfused))
    for name, a, b in zip(NAMES[:6], ours, theirs, strict=False):
        if a is not None and (tensors[6] is None or name in ("input", "residual")):
            assert_same_bits(a, b, name, device)


@pytest.mark.parametrize("dtype", SIXTEEN_BITS, ids=dtype_name)
def test_a_sum_of_16_bits_is_rounded_before_it_is_used(dtype, device):
    # 1 + 2^-12 rounds to 1 in both types: an output of what is not rounded would see the difference at this alpha.
    one = torch.ones(4, 64, dtype=dtype, device=device)
    small, alpha = one * 2.0**-12, torch.full((1,), 2.0**9, device=device)
    shift = torch.full((1,), -(2.0**9), device=device)
    output, sum = mine(small, one, alpha, shift)
    assert (sum == 1).all() and (output == 0).all()
    output, sum = mine(small, one.float(), alpha, shift)
    assert (sum == 1 + 2.0**-12).all() and (output != 0).all()


def test_one_gradient_for_input_and_residual(device):
    tensors = [t.requires_grad_() for t in moved(CALLS["no gate"]()[0][:2], device)]
    output, sum = mine(*tensors, torch.ones(1, device=device).double())
    first, second = torch.autograd.grad([output, sum], tensors, [torch.ones_like(output)] * 2)
    assert first.data_ptr() == second.data_ptr()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_name)
def test_results_do_not_depend_on_the_number_of_threads(dtype, threads, set_threads):
    shapes = {"rows": ((300, 257), {}, (257,)), "images": ((3, 5, 60, 61), {"channel_dim": 1}, (3, 5))}
    for shape, options, gate in shapes.values():
        torch.manual_seed(1)
        channels = shape[options.get("channel_dim", -1)]
        tensors = (*torch.randn(2, *shape), torch.ones(1), torch.zeros(1), *torch.randn(2, channels), torch.randn(gate))
        tensors, grads = [t.to(dtype) for t in tensors], random_grads(tensors[0])
        set_threads(2)
        expected = differentiated(mine, grads, tensors, **options)
        set_threads(threads)
        found = differentiated(mine, grads, tensors, **options)
        for ours, theirs in zip(found, expected, strict=True):
            assert all(same_bits(a, b) for a, b in zip(ours, theirs, strict=True))


# Layouts

LAYOUTS = {
    "transposed": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
    "strided": lambda t: torch.stack([t, t], dim=-1)[..., 0],
    "expanded": lambda t: t[:1].expand(t.shape),
    "offset": lambda t: torch.cat([t.new_zeros(1), t.reshape(-1)])[1:].view(t.shape),
    "contiguous": lambda t: t.contiguous(),
}


@pytest.mark.parametrize("residual", LAYOUTS)
@pytest.mark.parametrize("input", LAYOUTS)
@pytest.mark.parametrize("name", ["gate in groups", "images", "drop path of images"])
def test_layouts(name, input, residual, device):
    tensors, options = CALLS[name]()
    if name == "drop path of images" and input == "contiguous":
        tensors = (tensors[0].to(memory_format=torch.channels_last), *tensors[1:])
    x, r, *rest = moved(tensors, device)
    tensors = (LAYOUTS[input](x) if input != "contiguous" else x, LAYOUTS[residual](r), *rest)
    plain = tuple(None if t is None else t.contiguous() for t in tensors)
    for ours, expected in zip(mine(*tensors, **options), mine(*plain, **options), strict=True):
        assert torch.equal(ours, expected)
        assert ours.stride() == torch.empty_like(tensors[0]).stride()
    grads = random_grads(x)
    grads = grads[0].transpose(-1, -2).contiguous().transpose(-1, -2), LAYOUTS["strided"](grads[1])
    leaves = [t.detach().requires_grad_() for t in tensors]
    found = torch.autograd.grad(mine(*leaves, **options), leaves, grads)
    _, expected = differentiated(mine, grads, plain, **options)
    for ours, truth in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, truth, **EXACT)


def test_a_gate_is_read_where_it_lies(device):
    gate = torch.randn(3, 6 * 8, device=device).chunk(6, dim=1)[2][:, None]
    x, residual = torch.randn(2, 3, 5, 8, device=device)
    _, sum = mine(x, residual, torch.ones(1, device=device), gate=gate)
    assert torch.equal(sum, residual + gate * x)


# What it computes with infinities and NaN


@pytest.mark.parametrize("dtype", FLOATS, ids=dtype_name)
@each_function
def test_non_finite(function, dtype, device):
    special = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, -0.0, 1e30, 2.0], device=device).to(dtype)
    input, residual = special.repeat(special.numel(), 1), special[:, None].repeat(1, special.numel())
    alpha, weight = torch.ones(1, device=device).to(dtype), torch.full((7,), 3.0, device=device).to(dtype)
    tensors = input, residual, alpha, None, weight, None, None
    grads = torch.ones_like(input), torch.ones_like(input)
    (ours, found), (theirs, expected) = (differentiated(f, grads, tensors, function=function) for f in (mine, unfused))
    # The unfused sequence rounds a 16-bit gradient twice.
    twice = torch.finfo(dtype).eps if dtype in SIXTEEN_BITS else 0
    for a, b in zip([*ours, *found[:2]], [*theirs, *expected[:2]], strict=True):
        torch.testing.assert_close(a, b, rtol=0 if a is ours[0] or a is ours[1] else twice, atol=0, equal_nan=True)
    assert found[0].isnan().equal(ours[1].isnan())


# Derivatives


def leaves_of(tensors):
    return [None if t is None else t.detach().clone().requires_grad_() for t in tensors]


@each_function
@some_calls
def test_gradcheck(call, function, device):
    tensors, options = call()
    arguments = leaves_of(moved(tensors, device))

    def of(*tensors):
        return mine(*tensors, function=function, **options)

    assert gradcheck(of, arguments, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(of, arguments, check_fwd_over_rev=True)


def test_second_derivatives_where_one_result_is_used(device):
    tensors, options = CALLS["layer scale"]()
    arguments = leaves_of(moved(tensors, device))
    for i in range(2):
        assert gradgradcheck(lambda *t, i=i: mine(*t, **options)[i], arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_name)
@some_calls
def test_gradients_of_a_graph_are_the_same(call, dtype, device):
    tensors, options = call()
    leaves = leaves_of(moved(tensors, device, dtype))
    wanted = [t for t in leaves if t is not None]
    results = mine(*leaves, **options)
    grads = random_grads(results[0])
    once = torch.autograd.grad(results, wanted, grads, retain_graph=True)
    again = torch.autograd.grad(results, wanted, grads, create_graph=True)
    for a, b in zip(once, again, strict=True):
        # The same terms, added in another order for a gate; bfloat16's slope is the float32 one there.
        unit = torch.finfo(dtype).eps
        torch.testing.assert_close(a, b.detach(), rtol=unit + 2.0**-13, atol=16 * unit)


@some_calls
@pytest.mark.parametrize("batched", range(7), ids=NAMES)
def test_vmap(batched, call, device):
    tensors, options = call()
    tensors = list(moved(tensors, device))
    if tensors[batched] is None:
        return
    tensors[batched] = torch.stack([tensors[batched] * scale for scale in (1.0, 0.5, -1.5)])
    dims = tuple(0 if i == batched else None for i in range(7))

    def of(function_of):
        return vmap(lambda *t: function_of(*t, **options), dims)(*tensors)

    torch.testing.assert_close(of(mine), of(add_pointwise_norm), **EXACT)


def test_func_transforms(device):
    tensors = moved(CALLS["layer scale"]()[0], device)
    every = tuple(range(7))

    def transformed(of):
        def total(*t):
            output, sum = of(*t)
            return output.sin().sum() + sum.cos().sum()

        yield jacrev(total, every)(*tensors)
        yield jacfwd(total, every)(*tensors)
        yield jacfwd(jacrev(total, every), every)(*tensors)
        yield vmap(grad(total, every), (0, 0, *[None] * 5))(*tensors)

    for found, expected in zip(transformed(mine), transformed(add_pointwise_norm), strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


@each_function
@some_calls
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_name)
def test_opcheck(dtype, call, function, device):
    tensors, options = call()
    arguments = leaves_of(moved(tensors, device, dtype))
    options |= {"function": function}
    assert set(torch.library.opcheck(OPERATOR, arguments, options).values()) == {"SUCCESS"}
    input, _, *parameters = arguments
    grad_output, grad_sum, sum = (torch.randn_like(input).requires_grad_() for _ in range(3))
    rest = options["channel_dim"], function, options.get("weight_offset", 0.0)
    for mask in ([t is not None for t in arguments], [False, True, *[False] * 5]):
        given = (grad_output, grad_sum, input, sum, *parameters, *rest, mask)
        assert set(torch.library.opcheck(BACKWARD, given).values()) == {"SUCCESS"}


@pytest.mark.parametrize(("gated", "of_inputs_size"), [(False, 1), (True, 2)], ids=["gate", "gate with a gradient"])
def test_saved_for_backward(gated, of_inputs_size, device):
    tensors = leaves_of(moved(CALLS["gate in groups"]()[0], device))
    tensors[-1].requires_grad_(gated)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        output, sum = mine(*tensors)
    large = [t for t in saved if t.numel() >= output.numel()]
    assert len(large) == of_inputs_size and any(t.data_ptr() == sum.data_ptr() for t in large)


def test_a_result_that_was_changed_is_noticed(device):
    tensors = leaves_of(moved(CALLS["layer scale"]()[0], device))
    output, sum = mine(*tensors)
    sum.data  # noqa: B018 - reading is allowed
    with torch.no_grad():
        sum.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_a_bias_alone_keeps_nothing(device):
    tensors = list(moved(CALLS["no gate"]()[0], device))
    tensors[5].requires_grad_()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        output, sum = mine(*tensors)
    assert all(t.numel() < output.numel() for t in saved)
    (found,) = torch.autograd.grad(output, [tensors[5]], torch.ones_like(output))
    torch.testing.assert_close(found, torch.full_like(found, 3))


# The module


def test_module(device):
    layer, plain = derf.AddDerf(5, bias=False).to(device), derf.Derf(5, bias=False).to(device)
    plain.load_state_dict(layer.state_dict())
    x, residual = torch.randn(2, 3, 5, device=device)
    output, sum = layer(x, residual)
    assert torch.equal(sum, x + residual) and torch.equal(output, plain(sum))
    gate = torch.randn(5, device=device)
    assert torch.equal(layer(x, residual, gate)[1], residual + gate * x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.jit.script(layer)):
        assert torch.equal(other(x, residual)[0], output)
    assert repr(layer) == "AddDerf((5,), alpha_init=0.5, shift_init=0.0, bias=False)"


def test_defaults_are_the_operators():
    ours = inspect.signature(derf.functional.add_pointwise_norm).parameters
    schema = {argument.name: argument for argument in OPERATOR.default._schema.arguments}
    assert list(ours) == list(schema)
    for name, argument in schema.items():
        assert (ours[name].kind is ours[name].KEYWORD_ONLY) == (argument.kwarg_only or name == "gate")
        if argument.has_default_value():
            assert ours[name].default == argument.default_value


# Wrong arguments

X, A, W = torch.ones(2, 3, 4), torch.ones(1), torch.ones(4)
WRONG = {
    "residual": (RuntimeError, {"residual": torch.ones(2, 1, 4)}, ["residual", "[2, 3, 4]", "[2, 1, 4]"]),
    "dimensions of residual": (RuntimeError, {"residual": torch.ones(3, 4)}, ["residual", "[2, 3, 4]", "[3, 4]"]),
    "dtype of residual": (RuntimeError, {"residual": X.double()}, ["residual", "Float", "Double"]),
    "narrow residual": (RuntimeError, {"residual": X.bfloat16()}, ["residual", "Float", "BFloat16"]),
    "other 16 bits": (
        RuntimeError,
        {"input": X.half(), "residual": X.bfloat16()},
        ["residual", "Half, or Float", "BFloat16"],
    ),
    "gate": (RuntimeError, {"gate": torch.ones(3)}, ["gate", "[3]", "[2, 3, 4]", "or 1"]),
    "gate of groups": (RuntimeError, {"gate": torch.ones(3, 1, 4)}, ["gate", "[3, 1, 4]", "[2, 3, 4]"]),
    "dimensions of gate": (RuntimeError, {"gate": torch.ones(1, 1, 1, 4)}, ["gate", "[1, 1, 1, 4]", "[2, 3, 4]"]),
    "gate after the channels": (
        RuntimeError,
        {"gate": torch.ones(2, 3, 4), "weight": torch.ones(3), "channel_dim": 1},
        ["gate", "[2, 3, 4]", "channel_dim"],
    ),
    "dtype of gate": (RuntimeError, {"gate": W.half()}, ["gate", "Half", "Float"]),
    "alpha": (RuntimeError, {"alpha": torch.ones(3)}, ["alpha", "[3]", "[2, 3, 4]"]),
    "function": (ValueError, {"function": "gelu"}, ["function", "gelu", "erf, tanh"]),
    "weight_offset": (ValueError, {"weight": None, "weight_offset": 1.0}, ["weight_offset", "1", "weight"]),
    "channel_dim": (IndexError, {"channel_dim": 3}, ["channel_dim", "3", "[-3, 2]"]),
}


@pytest.mark.parametrize(("error", "change", "parts"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("on", ["cpu", "meta"])
def test_wrong_arguments(on, error, change, parts):
    given = {"input": X, "residual": X, "alpha": A, "weight": W} | change
    given = {name: value.to(on) if isinstance(value, torch.Tensor) else value for name, value in given.items()}
    with torch.inference_mode(), pytest.raises(error) as raised:
        derf.functional.add_pointwise_norm(**given)
    text = str(raised.value)
    assert text.startswith("derf: ")
    for part in parts:
        assert part in text, f"no {part!r} in: {text}"


BACKWARD_WRONG = {
    "grad_output": ({"grad_output": torch.ones(2, 4)}, ["sum", "[2, 4]", "[2, 3, 4]"]),
    "grad_sum": ({"grad_sum": torch.ones(2, 4)}, ["grad_sum", "[2, 4]", "[2, 3, 4]"]),
    "dtype of grad_sum": ({"grad_sum": X.double()}, ["grad_sum", "Double", "Float"]),
    "dtype of sum": ({"sum": X.half()}, ["sum", "Half", "Float"]),
    "input": ({"input": torch.ones(2, 4)}, ["[2, 4]", "[2, 3, 4]"]),
    "no input": ({"input": None}, ["input", "gate", "absent"]),
}


@pytest.mark.parametrize(("change", "parts"), BACKWARD_WRONG.values(), ids=BACKWARD_WRONG)
def test_wrong_arguments_of_the_backward(change, parts):
    given = {"grad_output": X, "grad_sum": X, "input": None, "sum": X, "alpha": A, "shift": None, "weight": W}
    given |= {"bias": None, "gate": None, "channel_dim": -1, "function": "erf", "weight_offset": 0.0}
    given |= {"output_mask": [True] * 7}
    if "input" in change:
        given |= {"gate": W, "input": X}
    with pytest.raises(RuntimeError) as raised:
        BACKWARD(**(given | change))
    assert all(part in str(raised.value) for part in ("derf: ", *parts)), str(raised.value)
