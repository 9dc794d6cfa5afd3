"""Every function of the family, value, slope and second derivative: on each instruction set, as CUDA's threads compute
it, and by PyTorch's own operations, against mpmath (float64) and float64 (float32).

The bounds: 4 ulp of the value (2 for erf and tanh) over all finite arguments, denormal ones too; the slope relatively
2^-19 (double: 2^-46) where it is at least 2^-20, and as much absolutely elsewhere.
"""

import functools
import math

import avx512_on_host
import cuda_on_host
import derf
import functions_reference as family
import pytest
import reference
import torch
from samples import SIXTEEN_BITS, dtype_name, every_value, float32_between, float32_samples, float64_samples
from tolerance import SLOPE_THRESHOLD, slope_bound

pytestmark = pytest.mark.skipif(derf._C is None, reason="this build of the package has no derf._C")

CAPABILITIES = derf._C.capabilities() if derf._C else []
ON_HOST = {"cuda": cuda_on_host, "avx512 on host": avx512_on_host}
needs_simde = pytest.mark.skipif(bool(avx512_on_host.WHY_NOT), reason=avx512_on_host.WHY_NOT)
TARGETS = [*CAPABILITIES, "cuda", pytest.param("avx512 on host", marks=needs_simde)]
each_target = pytest.mark.parametrize("target", TARGETS)
each_target_and_composite = pytest.mark.parametrize("target", [*TARGETS, "composite"])
each_function = pytest.mark.parametrize("name", family.NAMES)
WIDE = (torch.float64, torch.float32)
each_wide_dtype = pytest.mark.parametrize("dtype", WIDE, ids=dtype_name)

ULP = {name: 4 for name in family.NAMES} | {"erf": 2, "tanh": 2}
# Of tanh before the rounding to 16 bits: 0.01 ulp of these.
SHORT = {torch.float16: 2**-17.6, torch.bfloat16: 2**-14.6}


def composite(name, u, order):
    result = torch.full_like(u, torch.nan)
    derf._C.evaluate_composite(name, dtype_name(u.dtype), order, u.data_ptr(), result.data_ptr(), u.numel())
    return result


def evaluate(target, name, dtype, u):
    """Value, value as computed with the slope, and slope, for tensors of ``dtype``."""
    u = u.to(torch.float64 if dtype == torch.float64 else torch.float32).contiguous()
    if target == "composite":
        value = composite(name, u, 0)
        return value, value, composite(name, u, 1)
    if target in ON_HOST:
        return ON_HOST[target].library().evaluate(u, dtype, name)
    results = [torch.full_like(u, torch.nan) for _ in range(3)]
    derf._C.evaluate(name, target, dtype_name(dtype), *(t.data_ptr() for t in (u, *results)), u.numel())
    return results


@functools.cache
def float64_arguments():
    multiples = torch.tensor([1, 2, 3, 5, 100, 1e5, 1e7, 1e15, 1e200], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    near_one = 1 + 0.7 * torch.randn(60, dtype=torch.float64, generator=generator)
    return torch.cat([float64_samples(240), near_one, multiples * math.pi, multiples * (math.pi / 2)])


@functools.cache
def float32_arguments():
    dense = [float32_between(2.0**-10, 20.0, 3001), float32_between(20.0, 2.0**20, 15013)]
    ends = torch.tensor([1.0, math.e - 1, math.sqrt(math.e - 1), math.sinh(1), math.pi / 2])
    return torch.cat(
        [float32_samples(10), *dense, *(s * ends * (1 + k * 2**-23) for s in (1, -1) for k in range(-4, 5))]
    )


@functools.cache
def truth(name, dtype):
    """Arguments, and there the value and the rest of it in ulp, and the slope."""
    if dtype == torch.float64:
        u = float64_arguments()
        return u, *family.exact(name, u, 0), family.exact(name, u, 1)[0]
    u = float32_arguments()
    value, slope = family.values64(name, u)
    return u, value, torch.zeros(1).expand(u.shape), slope


def worst_of(error, u, what):
    error = error.nan_to_num(torch.inf)
    worst = int(error.argmax())
    return error[worst].item(), f"{what}: {error[worst]:.4g} at u = {u[worst].item()!r}"


@each_function
@each_target_and_composite
@each_wide_dtype
def test_value_and_slope(target, name, dtype):
    u, exact, rest, slope = truth(name, dtype)
    value, value_too, slope_found = evaluate(target, name, dtype, u)
    error, message = worst_of(reference.ulp_error(value, exact, dtype, rest), u, "ulp of the value")
    assert error <= ULP[name], message
    if name in ("erf", "tanh"):  # what is added up needs absolute accuracy only
        error, message = worst_of((value_too.double() - exact).abs(), u, "error of the value in sums")
        assert error <= (2**-52 if dtype == torch.float64 else 2**-21), message
    else:
        error, message = worst_of(reference.ulp_error(value_too, exact, dtype, rest), u, "ulp beside the slope")
        assert error <= ULP[name], message
    error = (slope_found.double() - slope).abs() / slope_bound(slope.abs(), dtype)
    if name in family.CLIPPED:  # what a value that rounds to 1 was before is tried below
        unclipped = family.values64(name.removesuffix("_clip"), u)[0].abs()
        error[(unclipped - 1).abs() <= ULP[name] * torch.finfo(dtype).eps] = 0
    error, message = worst_of(error, u, "slope")
    assert error <= 1, message
    assert torch.equal(value.signbit(), u.signbit()) or name in ("sin",)


@each_function
@each_target_and_composite
@each_wide_dtype
def test_where_no_ulp_counts(target, name, dtype):
    u = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, -torch.nan], dtype=dtype)
    limit, slope_at_limit = family.AT_INFINITY[name]
    expected = torch.tensor([0.0, -0.0, limit, -limit, torch.nan, torch.nan], dtype=dtype)
    at_0 = float(family.EXACT[name][1](0 * family.mp.mpf(1)))
    slopes = torch.tensor([at_0, at_0, slope_at_limit, slope_at_limit, torch.nan, torch.nan], dtype=dtype)
    value, value_too, slope = evaluate(target, name, dtype, u)
    assert torch.allclose(value, expected, rtol=0, atol=0, equal_nan=True), value
    assert torch.equal(value[:2].signbit(), expected[:2].signbit())
    assert limit != 0 or value[3].signbit()
    assert torch.allclose(value_too, expected, rtol=0, atol=2**-21, equal_nan=True), value_too
    assert torch.allclose(slope[:2], slopes[:2], rtol=2**-19, atol=0), slope
    assert torch.allclose(slope[2:], slopes[2:], rtol=0, atol=0, equal_nan=True), slope


@pytest.mark.parametrize("name", [n for n in family.NAMES if n.endswith("_clip")])
@each_target_and_composite
@each_wide_dtype
def test_a_slope_is_0_just_where_the_value_is_clipped(target, name, dtype):
    end = {"linear": 1, "logsign": math.e - 1, "logquad": math.sqrt(math.e - 1), "power23": 1, "arcsinh": math.sinh(1)}
    edge = torch.tensor(end[name.removesuffix("_clip")], dtype=dtype)
    spacing = torch.finfo(dtype).eps
    u = torch.cat([edge * (1 + torch.arange(-40, 41, dtype=dtype) * spacing)])
    u = torch.cat([u, -u])
    value, value_too, slope = evaluate(target, name, dtype, u)
    unclipped = evaluate(target, name.removesuffix("_clip"), dtype, u)
    assert (value.abs() <= 1).all()
    inner = slope == unclipped[2]
    assert (inner | (slope == 0)).all() and inner[value_too.abs() < 1].all()
    beside = ULP[name] * spacing * 4
    assert inner[u.abs() < edge * (1 - beside)].all() and (slope[u.abs() > edge * (1 + beside)] == 0).all()
    if name == "linear_clip":
        assert torch.equal(slope == 1, u.abs() <= 1)
    inside = torch.tensor(0.5, dtype=dtype) * edge
    assert evaluate(target, name, dtype, inside.reshape(1))[2] > 0.1


@pytest.mark.parametrize("name", ["exproot", "power23", "power23_clip"])
@each_target_and_composite
def test_steep_slopes_are_finite_beside_0(target, name):
    for dtype, smallest in ((torch.float32, 1.4e-45), (torch.float64, 5e-324)):
        u = torch.tensor([smallest, -smallest, torch.finfo(dtype).tiny], dtype=dtype)
        slope = evaluate(target, name, dtype, u)[2]
        assert slope.isfinite().all() and (slope > 100).all()


@pytest.mark.parametrize("dtype", SIXTEEN_BITS, ids=dtype_name)
@each_target
def test_tanh_of_16_bit_tensors(target, dtype):
    u = torch.cat([every_value(dtype).float(), float32_between(2.0**-40, 16.0, 1973), float32_between(0.25, 9.5, 613)])
    u = u[u.isfinite()]
    value, value_in_sums, slope = evaluate(target, "tanh", dtype, u)
    exact, exact_slope = family.values64("tanh", u)
    error, message = worst_of((value.double() - exact).abs() / (exact.abs() * SHORT[dtype] + 2.0**-149), u, "value")
    assert error <= 1, message
    error, message = worst_of((value_in_sums.double() - exact).abs(), u, "value in sums")
    assert error <= 2**-14.5, message
    error, message = worst_of((slope.double() - exact_slope).abs() / slope_bound(exact_slope, dtype), u, "slope")
    assert error <= 1, message
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan])
    value, _, slope = evaluate(target, "tanh", dtype, special)
    assert value[:4].tolist() == [0, 0, 1, -1] and value[1].signbit() and value[4].isnan()
    assert slope[2:4].tolist() == [0, 0] and slope[4].isnan() and abs(slope[0] - 1) <= 2**-14


@each_function
@each_target
def test_other_functions_of_16_bit_tensors_run_in_float32(target, name):
    u = float32_between(0.01, 10.0, 50021)
    if name not in ("erf", "tanh"):
        for dtype in SIXTEEN_BITS:
            for a, b in zip(evaluate(target, name, dtype, u), evaluate(target, name, torch.float32, u), strict=True):
                assert reference.same_bits(a, b)


@each_function
def test_second_derivative(name):
    u = float64_arguments()
    exact = family.exact(name, u, 2)[0]
    found = composite(name, u, 2)
    assert found.isfinite().all()
    # Beside a zero of the second derivative of order 1 at 1 or so, an absolute error of 1e-15.
    bound = 1e-9 * exact.abs() + 1e-15 * (u.abs() < 100) + torch.finfo(torch.float64).tiny
    assert (found[~exact.isfinite()] == 0).all()  # as where it is infinite
    error = torch.where(exact.isfinite(), (found - exact).abs() / bound, 0)
    error, message = worst_of(error, u, "second derivative")
    assert error <= 1, message
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan], dtype=torch.float64)
    found = composite(name, special, 2)
    assert found[:2].tolist() == [0, 0] and found[4].isnan()
    assert name == "sin" or found[2:4].isfinite().all()
    u = float32_arguments()
    assert composite(name, u, 2).isfinite().all()


@pytest.mark.parametrize("name", family.CLIPPED)
def test_second_derivatives_are_0_at_kinks_and_beyond(name):
    u = torch.tensor([1.0, -1.0, 3.0, -3.0], dtype=torch.float64)
    if name not in ("linear_clip", "power23_clip"):
        u = u[2:]
    assert (composite(name, u, 2) == 0).all()


def test_facts():
    facts = {name: rest for name, *rest in derf._C.functions()}
    assert list(facts) == family.NAMES
    words = dict.fromkeys(("abs", "sign", "sqrt", "exp", "log", "erf", "tanh", "atan", "sin", "asinh"))
    words = {word: getattr(torch, word) for word in words} | {"clip": torch.clip, "pi": math.pi, "e": math.e}
    u = torch.linspace(-6, 6, 2001, dtype=torch.float64)
    for name, (formula, bound, ulp, monotone, source) in facts.items():
        expected = family.values64(name, u)[0]
        found = eval(formula, {"__builtins__": {}}, words | {"u": u})  # as ONNX export and users read it
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
        large = torch.tensor([-1e30, -1e9, 1e9, 1e30], dtype=torch.float64)
        largest = torch.cat([family.values64(name, x)[0].abs() for x in (u, large)]).max()
        assert largest <= bound * (1 + 1e-15) and (bound != math.inf or largest > 3)
        assert bound == math.inf or largest > 0.9 * bound
        assert monotone == bool((expected.diff() >= 0).all())
        assert 0 <= ulp <= ULP[name] and "arXiv" in source


def test_unknown_names_are_told_the_known_ones():
    for call in (
        lambda: derf._C.evaluate("relu", CAPABILITIES[0], "float32", 0, 0, 0, 0, 0),
        lambda: derf._C.evaluate_composite("relu", "float32", 0, 0, 0, 0),
    ):
        with pytest.raises((ValueError, RuntimeError), match="erf, tanh, arctan.*dampexp.*relu"):
            call()


def test_the_float64_formulas_are_what_mpmath_says():
    u = float32_arguments()[:: len(float32_arguments()) // 150]
    for name in family.NAMES:
        value, slope = family.values64(name, u)
        for found, order in ((value, 0), (slope, 1)):
            exact = family.exact(name, u, order)[0]
            bound = 1e-12 * exact.abs().clamp(min=SLOPE_THRESHOLD if order else 1e-300)
            error, message = worst_of((found - exact).abs() / bound, u, f"{name}, order {order}")
            assert error <= 1, message


@pytest.mark.parametrize(
    ("u", "options", "message"),
    [
        (torch.ones(3, dtype=torch.float16), {"function": "erf"}, "u must have dtype Float or Double, but has Half"),
        (torch.ones(3).to_sparse(), {"function": "erf"}, "u must be a strided tensor, but has layout Sparse"),
        (torch.ones(3), {"function": "erf", "order": 3}, "order must be 0, 1 or 2, but is 3"),
        (torch.ones(3), {"function": "Erf"}, "function must be one of erf, tanh"),
    ],
    ids=["dtype", "layout", "order", "function"],
)
def test_wrong_arguments_of_the_operator_of_functions(u, options, message):
    for operator in (torch.ops.derf.function, torch.ops.derf.function_composite):
        with pytest.raises((RuntimeError, ValueError), match=f"^derf: {message}"):
            operator(u, **options)
