"""derf::pointwise_norm: every option, one alpha or one for each channel, groups, dtypes, derivatives, errors."""

import inspect
import re

import derf
import pytest
import torch
from pointwise_reference import CALLS, FUNCTIONS, NAMES, STUDIES, pointwise_norm
from reference import differentiated, same_bits
from samples import FLOATS, dtype_name
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jacfwd, jacrev, vmap

OPERATOR, BACKWARD = torch.ops.derf.pointwise_norm, torch.ops.derf.pointwise_norm_backward
mine = derf.functional.pointwise_norm
each_function = pytest.mark.parametrize("function", FUNCTIONS)
each_study = pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
SOME = ("no shift", "for each channel", "adaLN")
some_calls = pytest.mark.parametrize("call", [CALLS[name] for name in SOME], ids=SOME)


def moved(tensors, device):
    return tuple(None if t is None else t.to(device) for t in tensors)


def compare(tensors, tolerance, **options):
    """Output and gradients beside the formula in float64."""
    wide = [None if t is None else t.double() for t in tensors]
    grad_output = torch.randn(wide[0].shape, dtype=torch.float64).to(wide[0].device)
    output, found = differentiated(mine, grad_output.to(tensors[0].dtype), tensors, **options)
    truth, expected = differentiated(pointwise_norm, grad_output.to(tensors[0].dtype).double(), wide, **options)
    every = ("output", *NAMES), (output, *found), (truth, *expected), (tensors[0], *tensors)
    for name, a, b, t in zip(*every, strict=True):
        if a is not None:
            assert a.shape == b.shape and a.dtype == t.dtype, name
            torch.testing.assert_close(a.double(), b, **tolerance, msg=lambda text, name=name: f"{name}: {text}")


# Sums of up to a few thousand terms of magnitude 1, in another order.
EXACT = {"rtol": 1e-11, "atol": 1e-11}
# A float32 value within 4 ulp and a slope within 2^-19, times weights up to 3 and inputs up to 8.
SINGLE = {"rtol": 2e-5, "atol": 2e-5}


@each_function
@each_study
def test_options(study, function, device):
    for call in (CALLS["one alpha"], CALLS["for each channel of images"], CALLS["adaLN"]):
        tensors, options = call()
        compare(moved(tensors, device), EXACT, function=function, **study, **options)
        single = moved([None if t is None else t.float() for t in tensors], device)
        compare(single, SINGLE, function=function, **study, **options)


@each_function
@each_call
def test_shapes(call, function, device):
    tensors, options = call()
    compare(moved(tensors, device), EXACT, function=function, **options)
    compare(moved([None if t is None else t.float() for t in tensors], device), SINGLE, function=function, **options)


@each_function
@pytest.mark.parametrize("parameters", ["alike", "float32"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=dtype_name)
@pytest.mark.parametrize("call", [CALLS["for each channel"], CALLS["adaLN"]], ids=["for each channel", "adaLN"])
def test_16_bits(call, dtype, parameters, function, device):
    (input, *rest), options = call()
    kind = dtype if parameters == "alike" else torch.float32
    tensors = moved([input.to(dtype), *(None if t is None else t.to(kind) for t in rest)], device)
    # Half a unit in the last place of the result, of magnitude up to 16 in sums; before it 2^-14.
    unit = torch.finfo(dtype).eps
    compare(tensors, {"rtol": 0.52 * unit + 2.0**-13, "atol": 2.0**-11}, function=function, **STUDIES["all"], **options)


def test_derf_is_the_case_erf(device):
    for name in ("one alpha", "images", "0-d"):
        tensors, options = CALLS[name]()
        tensors = moved([torch.zeros(1).double() if t is None and i == 2 else t for i, t in enumerate(tensors)], device)
        assert same_bits(mine(*tensors, **options), derf.derf(*tensors, **options))


def test_defaults_are_the_operators():
    ours = inspect.signature(mine).parameters
    schema = {argument.name: argument for argument in OPERATOR.out._schema.arguments}
    assert list(ours) == list(schema)
    for name, argument in schema.items():
        assert (ours[name].kind is ours[name].KEYWORD_ONLY) == argument.kwarg_only
        if argument.has_default_value():
            assert ours[name].default == argument.default_value


@each_function
def test_infinities_give_limits_and_no_gradient_of_nothing(function, device):
    input = torch.tensor([torch.inf, -torch.inf, 1e30, -1e30, torch.nan], device=device)
    alpha, weight = torch.ones(1, device=device), torch.full((5,), 3.0, device=device)
    output, found = differentiated(
        lambda x, a, w: mine(x, a, weight=w, function=function), torch.ones(5, device=device), (input, alpha, weight)
    )
    torch.testing.assert_close(output, 3 * torch.tensor([1, -1, 1, -1, torch.nan], device=device), equal_nan=True)
    assert found[0][:4].eq(0).all() and found[0][4].isnan()
    assert found[2][:4].isfinite().all()


# Derivatives


def leaves(tensors):
    return [None if t is None else t.detach().clone().requires_grad_() for t in tensors]


@each_function
@some_calls
def test_gradcheck(call, function, device):
    tensors, options = call()
    arguments = leaves(moved(tensors, device))

    def of(*tensors):
        return mine(*tensors, function=function, **options)

    assert gradcheck(of, arguments, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(of, arguments, check_fwd_over_rev=True)


@each_function
@pytest.mark.parametrize("name", ["dead_zone", "linear_mix", "clip", "all"])
def test_gradcheck_of_studies(name, function, device):
    tensors, options = CALLS["for each channel"]()
    arguments = leaves(moved(tensors, device))

    def of(*tensors):
        return mine(*tensors, function=function, **STUDIES[name], **options)

    assert gradcheck(of, arguments, check_forward_ad=True)
    assert gradgradcheck(of, arguments)


@each_function
@some_calls
@pytest.mark.parametrize("batched", range(5), ids=NAMES)
def test_vmap(batched, call, function, device):
    tensors, options = call()
    tensors = list(moved(tensors, device))
    if tensors[batched] is None:
        return
    tensors[batched] = torch.stack([tensors[batched] * scale for scale in (1.0, 0.5, -1.5)])
    dims = tuple(0 if i == batched else None for i in range(5))

    def of(function_of, *tensors):
        return vmap(lambda *t: function_of(*t, function=function, **options), dims)(*tensors)

    torch.testing.assert_close(of(mine, *tensors), of(pointwise_norm, *tensors), **EXACT)


@each_function
def test_func_transforms(function, device):
    tensors = moved(CALLS["for each channel"]()[0], device)
    every = tuple(range(5))
    options = {"function": function, **STUDIES["all"]}

    def transformed(of):
        def total(*t):
            return of(*t, **options).sin().sum()

        yield jacrev(total, every)(*tensors)
        yield jacfwd(total, every)(*tensors)
        yield jacfwd(jacrev(total, every), every)(*tensors)
        yield vmap(grad(total, every), (0, None, None, None, None))(*tensors)

    for found, expected in zip(transformed(mine), transformed(pointwise_norm), strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


@each_function
@some_calls
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=dtype_name)
def test_opcheck(dtype, call, function, device):
    tensors, options = call()
    arguments = leaves([None if t is None else t.to(device, dtype) for t in tensors])
    options |= {"function": function, **STUDIES["all"]}
    assert set(torch.library.opcheck(OPERATOR.default, arguments, options).values()) == {"SUCCESS"}
    order = [a.name for a in BACKWARD.default._schema.arguments][6:-1]
    given = {a.name: a.default_value for a in OPERATOR.default._schema.arguments if a.kwarg_only} | options
    rest = [given[name] for name in order]
    grad_output = torch.randn_like(arguments[0]).requires_grad_()
    mask = [t is not None for t in arguments]
    assert set(torch.library.opcheck(BACKWARD, (grad_output, *arguments, *rest, mask)).values()) == {"SUCCESS"}


def test_saved_for_backward_is_nothing_of_inputs_size_but_input(device):
    tensors = [t.to(device) for t in leaves(CALLS["adaLN"]()[0])]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        mine(*tensors, function="isru", clip=0.5)
    assert sum(t.numel() >= tensors[0].numel() for t in saved) == 1


# A function of the user's own


def my_isru(u):
    return u * torch.rsqrt(u * u + 1)


@pytest.mark.filterwarnings("ignore:derf. .*my_isru is not one of")
@each_study
@pytest.mark.parametrize("dtype", FLOATS, ids=dtype_name)
def test_a_function_of_ones_own_computes_the_same(dtype, study, device):
    for call in (CALLS["no shift"], CALLS["for each channel of images"], CALLS["adaLN"]):
        tensors, options = call()
        tensors = [None if t is None else t.to(device, dtype) for t in tensors]
        # Both round once to the output's dtype, and may fall to either side; what is added up before is of magnitude 4.
        unit = torch.finfo(dtype).eps
        before = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
        found, expected = (mine(*tensors, function=f, **study, **options) for f in (my_isru, "isru"))
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=2 * unit, atol=16 * before)


def test_a_function_of_ones_own_is_warned_of_once_and_checked(device):
    def cube(u):
        return u**3

    one = torch.ones(1, device=device)
    with pytest.warns(UserWarning, match=r"^derf: .*cube is not one of derf.functions\(\): it is not fused") as warned:
        for _ in range(3):
            mine(one, one, function=cube)
    assert len(warned) == 1
    assert gradcheck(lambda *t: mine(*t, function=cube), leaves(CALLS["one alpha"]()[0]))
    with pytest.raises(RuntimeError, match="derf: alpha must have the dtype of input, Double"):
        mine(one.double(), one, function=cube)
    with pytest.raises(ValueError, match=r"derf: function must return a tensor of its argument's shape \[1\]"):
        with pytest.warns(UserWarning, match="not fused"):
            mine(one, one, function=lambda u: u.sum())


# Wrong arguments

X, W = torch.ones(2, 3, 4), torch.ones(4)
A = torch.ones(1)
WRONG = {
    "function": (ValueError, {"function": "gelu"}, ["function", "gelu", "erf, tanh"]),
    "dead_zone": (ValueError, {"dead_zone": -0.5}, ["dead_zone", "-0.5", "not negative"]),
    "dead_zone inf": (ValueError, {"dead_zone": float("inf")}, ["dead_zone", "inf", "finite"]),
    "input_shift": (ValueError, {"input_shift": float("nan")}, ["input_shift", "nan", "finite"]),
    "linear_mix": (ValueError, {"linear_mix": 1.5}, ["linear_mix", "1.5", "[0, 1]"]),
    "linear_mix of linear": (ValueError, {"linear_mix": 0.5, "function": "linear"}, ["linear_mix", "0.5", "linear"]),
    "clip": (ValueError, {"clip": 0.0}, ["clip", "0", "positive"]),
    "output_shift": (ValueError, {"output_shift": float("inf")}, ["output_shift", "inf", "finite"]),
    "sign": (ValueError, {"sign": 0}, ["sign", "0", "1 or -1"]),
    "weight_offset": (ValueError, {"weight": None, "weight_offset": 1.0}, ["weight_offset", "1", "weight"]),
    "channel_dim": (IndexError, {"channel_dim": 3}, ["channel_dim", "3", "[-3, 2]"]),
    "alpha for other channels": (RuntimeError, {"alpha": torch.ones(3)}, ["alpha", "[3]", "[2, 3, 4]", "one element"]),
    "alpha in groups": (RuntimeError, {"alpha": torch.ones(2, 1, 4)}, ["alpha", "[2, 1, 4]"]),
    "shift unlike alpha": (RuntimeError, {"shift": W}, ["shift", "alpha", "[1]", "[4]"]),
    "alpha unlike shift": (RuntimeError, {"alpha": W, "shift": A}, ["shift", "alpha", "[4]", "[1]"]),
    "group of another size": (RuntimeError, {"weight": torch.ones(3, 1, 4)}, ["weight", "[2, 3, 4]", "[3, 1, 4]"]),
    "bias of other dimensions": (RuntimeError, {"bias": torch.ones(2, 1, 4)}, ["bias", "weight", "[4]", "[2, 1, 4]"]),
    "group of channels in the middle": (
        RuntimeError,
        {"channel_dim": 1, "weight": torch.ones(3, 3)},
        ["weight", "channel_dim", "[3, 3]"],
    ),
    "dtype of shift": (RuntimeError, {"shift": A.double()}, ["shift", "Double"]),
    "dtype of weight": (RuntimeError, {"weight": W.half()}, ["weight", "Half", "Float"]),
}


@pytest.mark.parametrize(("error", "change", "parts"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("on", ["cpu", "meta"])
def test_wrong_arguments(on, error, change, parts):
    given = {"input": X, "alpha": A, "weight": W} | change
    given = {name: value.to(on) if isinstance(value, torch.Tensor) else value for name, value in given.items()}
    with torch.inference_mode(), pytest.raises(error) as raised:
        mine(**given)
    text = str(raised.value)
    assert text.startswith("derf: ")
    for part in parts:
        assert part in text, f"no {part!r} in: {text}"


def test_functions_are_listed():
    known = derf.functions()
    assert len(known) == 24 and {*FUNCTIONS, "linear_clip", "dampexp"} <= known.keys()
    for name, function in known.items():
        assert function.name == name and function.source and re.fullmatch(r"[\w\s()*/+,.-]+", function.formula)
        value = mine(torch.tensor([0.0, 0.5, 60.0]), torch.ones(1), function=name)
        assert value[0] == 0 and value.abs().max() <= function.bound
