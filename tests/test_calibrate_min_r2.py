"""derf.calibrate with min_r2: norms that no Derf can follow stay."""

import copy

import derf
import pytest
import torch
from calibration import batches, network
from torch import nn


def with_rows_of_two_sizes():
    """The first norm takes away a size of the rows that differs by a factor of 100; the second sees none of it."""
    torch.manual_seed(0)
    return nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 64), nn.LayerNorm(64), nn.Linear(64, 4)).eval()


def rows(seed):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(600, 16, generator=random) * torch.logspace(-1, 1, 600)[:, None]


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_a_norm_that_no_derf_can_follow_stays(mode):
    original, data, held_out = with_rows_of_two_sizes(), [rows(seed) for seed in range(3)], rows(9)

    def converted(mode=mode, **options):
        return derf.calibrate(copy.deepcopy(original), data, mode=mode, progress=False, return_report=True, **options)

    def distance(model):
        with torch.no_grad():
            found, wanted = model(held_out), original(held_out)
        return ((found - wanted).square().mean() / wanted.var()).item()

    everything, before = converted()
    model, report = converted(min_r2=0.9)
    assert [type(module) for module in everything[::2]] == [derf.Derf, derf.Derf]
    assert [type(module) for module in model[::2]] == [nn.LayerNorm, derf.Derf]
    assert [layer.name for layer in report.layers] == ["2"] and report.layers[0].r2 > 0.9
    (kept,) = report.kept
    assert kept.name == "0" and kept.old is nn.LayerNorm
    # The share that a Derf explains in the original, which is what the parallel mode fits.
    r2 = converted("parallel")[1].layers[0].r2
    assert float(kept.reason.split()[3]) == pytest.approx(r2, abs=0.02)  # of the first batch alone
    assert kept.reason in str(report)
    assert distance(model) < 0.1 < 0.2 < distance(everything)
    for name, parameter in original[0].named_parameters():
        assert torch.equal(parameter, dict(model[0].named_parameters())[name])
    # The layer that is replaced is fitted as if the norm before it had been excluded.
    excluded = derf.calibrate(copy.deepcopy(original), data, mode=mode, exclude="0", progress=False)
    for name, value in excluded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_where_all_are_good_enough_nothing_changes():
    plain = derf.calibrate(network(), batches(), progress=False)
    model, report = derf.calibrate(network(), batches(), min_r2=0.1, progress=False, return_report=True)
    assert not report.kept
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_refine_leaves_what_stays_alone():
    original, data = with_rows_of_two_sizes(), [rows(seed) for seed in range(3)]
    model = derf.calibrate(copy.deepcopy(original), data, min_r2=0.9, refine=3, progress=False)
    assert type(model[0]) is nn.LayerNorm and type(model[2]) is derf.Derf
    assert torch.equal(model[0].weight, original[0].weight) and torch.equal(model[0].bias, original[0].bias)


def test_errors():
    with pytest.raises(ValueError, match="^derf: min_r2 must be less than the R² of a norm, but is 0.999,"):
        derf.calibrate(network(), batches(), min_r2=0.999, progress=False)
    with pytest.raises(ValueError, match="^derf: min_r2 needs norms, but 1.norm is a Derf"):
        derf.calibrate(derf.replace_norm(network()), batches(), min_r2=0.5, progress=False)
    for value in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"^derf: min_r2 must be in \[0, 1\), but is"):
            derf.calibrate(network(), batches(), min_r2=value, progress=False)
    for value in (True, "0.9", None):
        with pytest.raises(TypeError, match="^derf: min_r2 must be a float, but is"):
            derf.calibrate(network(), batches(), min_r2=value, progress=False)
