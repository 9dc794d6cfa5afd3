"""FLOPs that PyTorch's counter finds in a Derf, and in a LayerNorm on the same terms."""

import derf
import pytest
import torch
from coefficient_scripts import script
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

SHAPE = (5, 3, 8)
ELEMENTS = 5 * 3 * 8
# By hand, for an element. alpha x + s; erf as u + u p(t) with p of degree 6, in sums of gradients as p(t) alone; its
# slope as exp with p of degree 3.
INNER, ERF, IN_SUMS, SLOPE = 2, 18, 15, 13


def count(function):
    with FlopCounterMode(display=False, custom_mapping=derf.flops.norm_formulas()) as counter:
        function()
    return counter.get_total_flops() / ELEMENTS


@pytest.mark.parametrize(
    ("options", "forward", "backward"),
    [
        ({}, INNER + ERF + 2, INNER + SLOPE + (1 + 1) + 1 + 2 + 1 + (IN_SUMS + 2) + 1),
        ({"bias": False}, INNER + ERF + 1, INNER + SLOPE + (1 + 1) + 1 + 2 + 1 + (IN_SUMS + 2)),
        ({"elementwise_affine": False}, INNER + ERF, INNER + SLOPE + 1 + 1 + 2 + 1),
    ],
    ids=str,
)
def test_derf(options, forward, backward):
    layer, input = derf.Derf(8, **options), torch.randn(SHAPE, requires_grad=True)
    assert count(lambda: layer(input)) == forward
    output = layer(input)
    assert count(lambda: output.sum().backward()) == backward


def test_gradients_that_nobody_asks_for_cost_nothing():
    layer, input = derf.Derf(8), torch.randn(SHAPE)
    layer.requires_grad_(False)
    layer.bias.requires_grad_(True)
    output = layer(input)
    # A sum of PyTorch's own, for which no input is saved, and which its counter takes for nothing.
    assert count(lambda: output.sum().backward()) == 0
    layer.weight.requires_grad_(True)
    output = layer(input)
    assert count(lambda: output.sum().backward()) == INNER + IN_SUMS + 2 + 1


def test_layer_norm_on_the_same_terms():
    norm, input = nn.LayerNorm(8), torch.randn(SHAPE, requires_grad=True)
    # The mean; the deviation; the sum of squares; scaling; weight and bias.
    assert count(lambda: norm(input)) == 1 + 1 + 2 + 1 + 2
    output = norm(input)
    # Normalized again; g w; two sums over the row; what they take off, and scaling; weight; bias.
    assert count(lambda: output.sum().backward()) == 2 + 1 + (1 + 2) + 4 + 2 + 1
    assert derf.flops.norm_flops(ELEMENTS, centered=False, weight=True, bias=False) == ELEMENTS * (2 + 1 + 1)


def test_the_counter_of_torch_is_left_as_it_was():
    norm = nn.LayerNorm(8)
    with FlopCounterMode(display=False) as counter:
        norm(torch.randn(SHAPE))
    assert counter.get_total_flops() == 0


def test_the_polynomials_are_those_of_the_kernels():
    made = script("coefficients")
    # For AVX2, which alone takes 8 pieces: the number of lanes.
    (value,) = (degree for ctype, pieces, degree, *_ in made.VALUE if (ctype, pieces) == ("float", 8))
    (in_sums,) = (degree for pieces, degree, *_ in made.CENTRAL if pieces == 8)
    (slope,) = (degree for *kind, degree, short, _ in made.SLOPE if kind == ["float", 8] and not short)
    assert derf.flops.ERF == ERF == 2 * value + 6
    assert derf.flops.ERF_IN_SUMS == IN_SUMS == 2 * in_sums + 3
    assert derf.flops.SLOPE == SLOPE == 2 * slope + 7


# By hand from the formulas, for an element; a square root counts as one, an exponential as its polynomial.
OF_THE_FAMILY = {
    "tanh": (ERF, IN_SUMS, SLOPE),
    "isru": (4, 4, 4),  # u / sqrt(u**2 + 1)
    "smoothsign": (2, 2, 2),  # u / (1 + abs(u))
    "expsign": (2 + IN_SUMS,) * 3,  # sign(u) * (1 - exp(-abs(u)))
    "linear_clip": (0, 0, 0),
}


@pytest.mark.parametrize(("function", "costs"), OF_THE_FAMILY.items(), ids=OF_THE_FAMILY)
def test_the_family(function, costs):
    value, in_sums, slope = costs
    layer, input = derf.PointwiseNorm(8, function), torch.randn(SHAPE, requires_grad=True)
    assert count(lambda: layer(input)) == INNER + value + 2
    output = layer(input)
    expected = INNER + slope + (1 + 1) + 1 + 2 + 1 + (in_sums + 2) + 1
    assert count(lambda: output.sum().backward()) == expected
    bare = derf.PointwiseNorm(8, function, shift=False, elementwise_affine=False, clip=0.5, output_shift=1.0)
    assert count(lambda: bare(input)) == 1 + value + 1


def test_every_function_has_a_count():
    for name in derf.functions():
        assert all(isinstance(flops, int) and flops >= 0 for flops in derf.flops.function_flops(name))
