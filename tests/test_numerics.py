"""The numerics table of the contract: erf and its slope, for every instruction set and for CUDA, against mpmath and
float64.

``derf._C.evaluate``, and for what this machine lacks its source on the host, give value and slope of each accuracy tier
before any rounding to 16 bits; the same bounds are then tried on the operator as it runs by default and under each
instruction set in a process of its own.
"""

import functools

import avx512_on_host
import cuda_on_host
import derf
import neon_emulated
import pytest
import reference
import torch
from run_operator import in_process_with, run
from samples import FLOATS, SIXTEEN_BITS, dtype_name, every_value, float32_between, float32_samples, float64_samples
from tolerance import slope_bound

FORWARD_ULP = {torch.float64: 2, torch.float32: 2, torch.float16: 0.51, torch.bfloat16: 0.51}

CAPABILITIES = derf._C.capabilities() if derf._C else []
needs_evaluate = pytest.mark.skipif(derf._C is None, reason="this build of the package has no derf._C")
ON_HOST = {"cuda": cuda_on_host, "avx512 on host": avx512_on_host, "neon emulated": neon_emulated}
needs_simde = pytest.mark.skipif(bool(avx512_on_host.WHY_NOT), reason=avx512_on_host.WHY_NOT)
needs_emulator = pytest.mark.skipif(bool(neon_emulated.WHY_NOT), reason=neon_emulated.WHY_NOT)
each_target = pytest.mark.parametrize(
    "target",
    [
        *CAPABILITIES,
        "cuda",
        pytest.param("avx512 on host", marks=needs_simde),
        pytest.param("neon emulated", marks=needs_emulator),
    ],
)
each_capability = pytest.mark.parametrize("capability", CAPABILITIES or ["default"])
each_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=dtype_name)


# An absolute error of one term of a sum over the gradient times erf. Eager PyTorch rounds each erf to 2^-24 and, in 16
# bits, to 2^-12 and 2^-9.
IN_SUMS = {torch.float64: 2**-52, torch.float32: 2**-21, torch.float16: 2**-14.5, torch.bfloat16: 2**-14.5}


def evaluate(target, dtype, u):
    """Value and slope at u by one instruction set, or one of ``ON_HOST``, in one tier."""
    value, _, slope = evaluate_all(target, dtype, u)
    return value, slope


def evaluate_all(target, dtype, u):
    """Value, value for sums of gradients, and slope."""
    u = u.to(torch.float64 if dtype == torch.float64 else torch.float32).contiguous()
    if target in ON_HOST:
        value, *value_in_sums, slope = ON_HOST[target].library().evaluate(u, dtype)
        return value, *(value_in_sums or [value]), slope  # a GPU has one value for both
    results = [torch.full_like(u, torch.nan) for _ in range(3)]
    derf._C.evaluate("erf", target, dtype_name(dtype), *(t.data_ptr() for t in (u, *results)), u.numel())
    return results


def samples_of(dtype, thinning):
    """Finite arguments of the tier of ``dtype``."""
    if dtype == torch.float64:
        return float64_samples(20_000)
    if dtype == torch.float32:
        return float32_samples(thinning)
    u = every_value(dtype)
    return u[u.isfinite()]


@functools.cache
def exact(dtype, thinning=1):
    """Arguments, erf and slope, and the rest of erf in ulp: mpmath for float64, float64 for the other types."""
    u = samples_of(dtype, thinning)
    if dtype == torch.float64:
        return u, *reference.erf_exact(u), reference.slope_exact(u)[0]
    return u, reference.erf64(u), torch.zeros(1).expand(u.shape), reference.slope64(u)


def pieces(*tensors):
    """The tensors in pieces that stay in the cache, which is several times as fast."""
    return zip(*(t.split(2**19) for t in tensors), strict=True)


def assert_value(actual, u, truth, rest, dtype, allowed=None):
    allowed = FORWARD_ULP[dtype] if allowed is None else allowed
    for a, x, t, r in pieces(actual, u, truth, rest):
        error = reference.ulp_error(a, t, dtype, r).nan_to_num(torch.inf)
        worst = int(error.argmax())
        assert error[worst] <= allowed, f"{error[worst]:.4f} ulp at u = {x[worst].item()!r}: {a[worst].item()!r}"


def assert_slope(actual, u, truth, dtype, rounding=None):
    """Within the slope's bound, and for a slope rounded to a type within half its spacing more."""
    for a, x, t in pieces(actual, u, truth):
        bound = slope_bound(t, dtype)
        if rounding is not None:
            bound = bound + reference.spacing(t, rounding) / 2
        excess = ((a.double() - t).abs() / bound).nan_to_num(torch.inf)
        worst = int(excess.argmax())
        assert excess[worst] <= 1, (
            f"{excess[worst]:.4g} times the bound at u = {x[worst].item()!r}: {a[worst].item()!r}"
        )


@each_target
@each_dtype
def test_value(target, dtype):
    u, erf, rest, _ = exact(dtype)
    value, _ = evaluate(target, dtype, u)
    assert_value(value.to(dtype), u, erf, rest, dtype)


@each_target
@pytest.mark.parametrize("dtype", SIXTEEN_BITS, ids=dtype_name)
def test_value_of_16_bit_tiers_between_16_bit_numbers(target, dtype):
    # alpha x + shift falls anywhere: what is left of 0.51 ulp after the last rounding is 0.01 ulp.
    u = torch.cat([float32_between(2.0**-40, 16.0, 197), float32_between(0.5, 4.5, 61)])
    value, _ = evaluate(target, dtype, u)
    assert_value(value, u, reference.erf64(u), torch.zeros(1).expand(u.shape), dtype, 0.01)


@each_target
@each_dtype
def test_value_in_sums(target, dtype):
    u, erf, rest, _ = exact(dtype)
    _, value, _ = evaluate_all(target, dtype, u)
    for v, x, e, r in pieces(value, u, erf, rest):
        error = (v.double() - e - r.double() * reference.spacing(e, torch.float64)).abs().nan_to_num(torch.inf)
        worst = int(error.argmax())
        assert error[worst] <= IN_SUMS[dtype], f"{error[worst]:.4g} at u = {x[worst].item()!r}: {v[worst].item()!r}"


@each_target
@each_dtype
def test_slope(target, dtype):
    u, _, _, truth = exact(dtype)
    _, slope = evaluate(target, dtype, u)
    assert_slope(slope, u, truth, dtype)


@each_target
@pytest.mark.parametrize("dtype", SIXTEEN_BITS, ids=dtype_name)
def test_slope_of_16_bit_tiers_between_16_bit_numbers(target, dtype):
    u = float32_between(2.0**-20, 32.0, 397)
    _, slope = evaluate(target, dtype, u)
    assert_slope(slope, u, reference.slope64(u), dtype)


@each_target
@each_dtype
def test_value_and_slope_where_no_ulp_counts(target, dtype):
    u = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, -torch.nan])
    for count in (len(u), 41):  # in a tail and in vector bodies
        value, slope = evaluate(target, dtype, u.repeat(count)[: count * 5 + 1])
        for start in range(0, len(value) - 5, 6):
            v, s = value[start : start + 6], slope[start : start + 6]
            assert v[:4].tolist() == [0, 0, 1, -1]
            assert v[:4].signbit().tolist() == [False, True, False, True]
            assert s[2:4].tolist() == [0, 0]
            assert v[4:].isnan().all() and s[4:].isnan().all()
            assert_slope(s[:2], u[:2], reference.slope64(u[:2]), dtype)


@needs_evaluate
@each_capability
@each_dtype
def test_odd_counts_and_offsets_give_the_same_bits_and_write_nothing_else(capability, dtype):
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    u = torch.linspace(-5, 5, 200, dtype=wide)
    full = evaluate_all(capability, dtype, u)
    for count in range(71):
        for offset in (0, 1, 3):
            results = torch.full((3, 100), 7.0, dtype=wide)
            addresses = [t[offset:].data_ptr() for t in (u, *results)]
            derf._C.evaluate("erf", capability, dtype_name(dtype), *addresses, count)
            for result, expected in zip(results, full, strict=True):
                assert torch.equal(result[offset : offset + count], expected[offset : offset + count])
                assert (result[:offset] == 7).all() and (result[offset + count :] == 7).all()


@needs_evaluate
def test_evaluate_refuses_names_it_does_not_know():
    for names in (("exp", CAPABILITIES[0], "float32"), ("erf", "mmx", "float32"), ("erf", CAPABILITIES[0], "int8")):
        with pytest.raises((ValueError, RuntimeError)):
            derf._C.evaluate(*names, 0, 0, 0, 0, 0)


# The operator is tried on fewer float32 than the functions: its arguments travel to other processes.
THINNING = 5


def operator_calls():
    """Forward and backward calls whose results are erf(u) and its slope, and forward calls on what is not finite."""
    calls = []
    for dtype in FLOATS:
        u = exact(dtype, THINNING)[0].to(dtype)
        one, minus_zero = torch.ones(1, dtype=dtype), -torch.zeros(1, dtype=dtype)  # shift = -0 keeps the sign of zero
        calls.append((u, one, minus_zero, None, None, -1))
        calls.append((torch.ones_like(u), u, one, minus_zero, None, None, -1, [True, False, False, False, False]))
        special = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, -0.0], dtype=dtype).repeat(100, 1)
        gamma, beta = torch.tensor([[1.7], [-0.3]], dtype=dtype).repeat(1, 5)
        calls.append((special, one, minus_zero, gamma, beta, -1))
        calls.append((special, one, minus_zero, None, None, -1))
    return calls


def check_operator(results):
    results = iter(results)
    for dtype in FLOATS:
        forward, backward, special, bare = next(results), next(results)[0], next(results), next(results)
        u, erf, rest, slope = exact(dtype, THINNING)
        assert_value(forward, u, erf, rest, dtype)
        assert torch.equal(forward.signbit(), u.signbit())
        # The gradient of input is the slope, rounded to the output type.
        assert_slope(backward, u, slope, dtype, dtype if dtype in SIXTEEN_BITS else None)
        gamma, beta = torch.tensor([1.7, -0.3], dtype=dtype)
        assert (special[:, 0] == gamma + beta).all() and (special[:, 1] == beta - gamma).all()
        assert special[:, 2].isnan().all() and (special[:, 3:] == beta).all()
        assert (bare[:, 0] == 1).all() and (bare[:, 1] == -1).all() and bare[:, 2].isnan().all()
        assert (bare[:, 3:] == 0).all() and bare[:, 4].signbit().all() and not bare[:, 3].signbit().any()


def test_operator_here(device):
    results = run([[a.to(device) if isinstance(a, torch.Tensor) else a for a in call] for call in operator_calls()])
    check_operator([[r[0].cpu()] if isinstance(r, tuple) else r.cpu() for r in results])


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_operator_under_each_instruction_set(capability):
    name, results = in_process_with(capability, operator_calls())
    assert name == capability
    check_operator(results)


def test_the_machines_best_instruction_set_is_the_default():
    name, _ = in_process_with(None, [])
    assert name == (CAPABILITIES or [name])[-1]
