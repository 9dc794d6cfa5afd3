"""derf.calibrate against least squares in float64 on activations that the test stores itself."""

import copy

import derf
import pytest
import torch
from calibration import ChannelNorm, activations, assert_fitted, batches, least_squares, made_norm, network, norms_of
from torch import nn


@pytest.mark.parametrize(("norm", "bias"), [(nn.LayerNorm, True), (nn.RMSNorm, True), (nn.RMSNorm, False)])
def test_parallel_is_least_squares_on_the_original(norm, bias):
    model, data = network(norm), batches()
    expected = activations(copy.deepcopy(model), data, norms_of(model))
    result, report = derf.calibrate(model, data, mode="parallel", bias=bias, progress=False, return_report=True)
    assert result is model and [layer.name for layer in report.layers] == list(expected)
    for entry in report.layers:
        layer = model.get_submodule(entry.name)
        assert type(layer) is derf.Derf and (layer.bias is not None) == bias
        x, t = expected[entry.name]
        assert_fitted(layer, x, t)
        error = least_squares(x, t, layer.alpha.item(), layer.bias is not None)[2]
        variance = t.var(0, correction=0)
        assert entry.r2 == pytest.approx(1 - (error.sum() / variance.sum()).item(), abs=1e-4)
        assert entry.worst_r2 == pytest.approx((1 - error / variance).min().item(), abs=1e-4)
        assert entry.worst_channel == int((1 - error / variance).argmin())
        assert entry.gain == pytest.approx(layer.alpha.item() * x.square().mean().sqrt().item(), rel=1e-5)
        assert entry.added == (("bias",) if norm is nn.RMSNorm and bias else ())
        assert entry.rows == 800 and entry.weight == pytest.approx(layer.weight.abs().mean().item(), rel=1e-5)


def test_sequential_is_least_squares_on_the_converted_model():
    # One batch, which the sample holds whole: then the first fit is the last, and layers see what they will see.
    model, data = network(), batches(1, 600)
    targets = activations(copy.deepcopy(model), data, norms_of(model))
    derf.calibrate(model, data, progress=False)
    inputs = activations(model, data, targets)
    for name, (_, t) in targets.items():
        assert_fitted(model.get_submodule(name), inputs[name][0], t)


def test_sequential_uses_all_batches():
    # The inputs of the second pass are those of the first fit's model, which is off by the error of its sample.
    model, data = network(), batches(6, 512)
    targets = activations(copy.deepcopy(model), data, norms_of(model))
    derf.calibrate(model, data, progress=False)
    inputs = activations(model, data, targets)
    for name, (_, t) in targets.items():
        layer, x = model.get_submodule(name), inputs[name][0]
        mine = (layer.weight * torch.erf(layer.alpha * x) + layer.bias - t).square().mean().item()
        assert mine <= 1.02 * least_squares(x, t, layer.alpha.item())[2].mean().item()


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_the_model_goes_on_computing_what_it_did(mode):
    model, data, fresh = network(), batches(), batches(5)[-1]
    expected = model.eval()(fresh)
    plain = derf.replace_norm(copy.deepcopy(model))(fresh)
    model = derf.calibrate(model, data, mode=mode, progress=False)
    error = (model(fresh) - expected).square().mean() / expected.var()
    assert error < 0.3 and error < 0.2 * (plain - expected).square().mean() / expected.var()


def test_a_model_that_replace_norm_converted():
    model, data = network(), batches()
    expected = derf.calibrate(copy.deepcopy(model), data, progress=False)
    replaced = derf.replace_norm(model)
    layer = replaced[1].norm
    assert derf.calibrate(replaced, data, progress=False) is replaced and replaced[1].norm is layer
    for name, parameter in expected.state_dict().items():
        torch.testing.assert_close(replaced.state_dict()[name], parameter, rtol=0, atol=0)
    with pytest.raises(ValueError, match="^derf: 1.norm was trained, started or calibrated"):
        derf.calibrate(replaced, data, progress=False)


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_an_alpha_for_each_channel_is_never_worse(norm, mode):
    data = batches(1, 500)  # the sample that finds alpha holds them all
    common = derf.calibrate(network(norm), data, mode=mode, progress=False, return_report=True)[1]
    model = network(norm)
    expected = activations(copy.deepcopy(model), data, norms_of(model))
    _, report = derf.calibrate(model, data, mode=mode, per_channel=True, progress=False, return_report=True)
    seen = activations(model, data, expected) if mode == "sequential" else expected
    for entry, other in zip(report.layers, common.layers, strict=True):
        layer = model.get_submodule(entry.name)
        assert type(layer) is derf.PointwiseNorm and layer.function == "erf" and layer.alpha.shape == (12,)
        x, t = seen[entry.name][0], expected[entry.name][1]
        alpha = layer.alpha.detach().double()
        weight, bias, error = least_squares(x, t, alpha)
        torch.testing.assert_close(layer.weight.double(), weight, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.bias.double(), bias, rtol=1e-4, atol=1e-5)
        assert layer.shift.abs().max() == 0
        # In parallel both have the same inputs; in sequence an earlier layer's better fit changes them a little.
        assert entry.r2 >= other.r2 - (1e-7 if mode == "parallel" else 2e-3)
        assert entry.alpha == pytest.approx(alpha.mean().item())
        assert entry.gain == pytest.approx((alpha * x).square().mean().sqrt().item(), rel=1e-4)
        found = torch.stack([least_squares(x, t, alpha * factor)[2] for factor in torch.logspace(-2, 2, 81).tolist()])
        # A channel's alpha is found to 2 %, where its error is flat; a second dip of that is far away and no better
        # than the common alpha.
        assert (error <= 1.05 * found.amin(0) + 1e-12).double().mean() > 0.9
    assert report.layers[0].r2 > common.layers[0].r2


def test_an_alpha_for_each_channel_of_other_layouts():
    images = nn.Sequential(nn.Conv2d(3, 5, 3), ChannelNorm(5))
    layer = derf.calibrate(images, [torch.randn(8, 3, 9, 9)], per_channel=True, progress=False)[1]
    assert layer.channel_dim == 1 and layer.alpha.shape == (5,) and len(set(layer.alpha.tolist())) > 1
    several = nn.Sequential(nn.Linear(6, 6), made_norm(nn.LayerNorm((4, 6))))
    layer = derf.calibrate(several, [torch.randn(300, 4, 6)], per_channel=True, progress=False)[1]
    assert layer.alpha.shape == layer.shift.shape == layer.weight.shape == (4, 6)
    zeros = torch.randn(300, 6) * torch.tensor([0.0, *[1.0] * 5])
    layer = derf.calibrate(nn.Sequential(made_norm(nn.RMSNorm(6))), [zeros], per_channel=True, progress=False)[0]
    assert layer.alpha.isfinite().all() and layer(zeros).isfinite().all()


def test_a_derf_has_one_alpha():
    model = derf.replace_norm(network())
    with pytest.raises(ValueError, match="^derf: per_channel needs norms, but 1.norm is a Derf, which has one alpha"):
        derf.calibrate(model, batches(), per_channel=True, progress=False)
