"""The references themselves: float64 against mpmath, ulp distances against known spacings."""

import mpmath
import pytest
import reference
import torch
from samples import FLOATS, dtype_name, float32_samples, float64_samples


def test_float64_erf_is_within_1e_15_of_mpmath():
    u = float32_samples()
    u = u[torch.randperm(len(u))[:5000]].double()
    exact, rest = reference.erf_exact(u)
    error = reference.ulp_error(reference.erf64(u), exact, torch.float64, rest) * reference.spacing(
        exact, torch.float64
    )
    assert (error <= 1e-15 * exact.abs()).all()


def test_float64_slope_is_within_its_bound_of_mpmath():
    u = torch.cat([float64_samples(3000), torch.linspace(0, 8, 3000, dtype=torch.float64)])
    u = u[u.abs() <= 8]
    exact, rest = reference.slope_exact(u)
    error = reference.ulp_error(reference.slope64(u), exact, torch.float64, rest) * reference.spacing(
        exact, torch.float64
    )
    assert (error <= (u * u * 2.0**-52 + 1e-15) * exact).all()


def test_the_rest_of_an_exact_value_is_a_fraction_of_an_ulp():
    _, rest = reference.erf_exact(float64_samples(900))
    assert 0.4 < rest.abs().max() < 1
    with mpmath.workdps(50):
        one = reference.erf_exact(torch.tensor([1.0]))
        assert abs(mpmath.mpf(one[0].item()) + mpmath.mpf(one[1].item()) * mpmath.mpf(2) ** -53 - mpmath.erf(1)) < 1e-30


@pytest.mark.parametrize("dtype", FLOATS, ids=dtype_name)
def test_spacing_is_the_distance_to_the_next_number(dtype):
    info = torch.finfo(dtype)
    integer = {8: torch.int64, 4: torch.int32, 2: torch.int16}[info.bits // 8]
    values = torch.tensor([0.0, info.smallest_normal, 0.75, 1.0, 1.5, 3.0, info.max / 3], dtype=dtype)
    after = (values.view(integer) + 1).view(dtype)
    assert torch.equal(reference.spacing(values.double(), dtype), after.double() - values.double())
    assert torch.equal(reference.spacing(-values.double(), dtype), reference.spacing(values.double(), dtype))


def test_gradients_by_autograd_match_finite_differences():
    input = torch.randn(3, 4, 5, dtype=torch.float64)
    alpha, shift = torch.tensor([0.7], dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)
    weight, bias = torch.randn(2, 4, dtype=torch.float64)
    leaves = [t.requires_grad_() for t in (input, alpha, shift, weight, bias)]
    assert torch.autograd.gradcheck(lambda *t: reference.derf(*t, 1), leaves)


def test_parameter_gradients_in_blocks_match_autograd():
    input, grad_output = torch.randn(2, 3000, 200)
    alpha, shift, weight = torch.tensor([0.7]), torch.tensor([0.1]), torch.randn(200)
    blocks = reference.parameter_gradients64(grad_output, input, alpha, shift, weight)
    whole = reference.gradients64(grad_output, input, alpha, shift, weight, torch.zeros(200))[1:]
    for mine, truth in zip(blocks, whole, strict=True):
        assert (mine - truth).abs().max() <= 1e-12 * truth.abs().max()
