"""derf.start: slopes, order of execution, errors; alpha's own learning rate in derf.parameter_groups."""

import copy
import math

import derf
import pytest
import torch
from torch import nn


def network(width=32, depth=3, scale=0.05, **options):
    """Linear layers that shrink what they get, each followed by a norm."""
    torch.manual_seed(0)
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.LayerNorm(width, **options), nn.Dropout(0.5)]
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for layer in model[::3]:
            layer.weight.mul_(scale)
            layer.bias.zero_()
    return model


def batch(rows=64, width=32):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def expected_inputs(model, x):
    """The root mean square of each norm's input, with the layers as they are, in float64 by hand."""
    sizes = []
    for index in range(0, len(model), 3):
        linear, layer = model[index], model[index + 1]
        x = (x.double() @ linear.weight.double().T) + linear.bias.double()
        sizes.append(x.square().mean().sqrt().item())
        x = layer.weight.double() * torch.erf(layer.alpha.double() * x + layer.shift.double()) + layer.bias.double()
    return sizes


@pytest.mark.parametrize(("gain", "bound"), [(1.0, 16.0), (0.5, 4.0)])
def test_slope_and_bound_of_each_layer(gain, bound):
    model = derf.replace_norm(network())
    assert derf.start(model, batch(), gain=gain, bound=bound) is model
    for layer, rms in zip(model[1::3], expected_inputs(model, batch()), strict=True):
        assert layer.weight.tolist() == [bound] * 32
        # erf is 1/16 at its inverse. Parameters are float32, and the sums are of float32 elements.
        slope = 1 / 16 / torch.erfinv(torch.tensor(1 / 16, dtype=torch.float64)).item()
        assert layer.alpha.item() == pytest.approx(gain / (bound * slope * rms), rel=1e-5)
        assert layer.shift.item() == 0 and layer.bias.abs().max() == 0


def test_defaults_make_the_output_as_large_as_a_norms():
    model = derf.start(derf.replace_norm(network()), batch())
    with torch.no_grad():
        output = model.eval()(batch())
    # Elements of a normal input reach 4 times its root mean square, 1/4, where erf has bent by 2 %.
    assert output.square().mean().sqrt().item() == pytest.approx(1, rel=0.02)


# What alpha rms(x) is for an output of 1/16, from each formula by hand; exproot and power23 are infinitely steep at 0,
# cubsign and logquad are flat there.
ARGUMENTS = {
    "tanh": math.atanh(1 / 16),
    "arctan": math.tan(math.pi / 32),
    "exproot": math.log(16 / 15) ** 2,
    "power23": (1 / 16) ** 1.5,
    "cubsign": (1 / 15) ** (1 / 3),
    "logquad": math.sqrt(math.exp(1 / 16) - 1),
    "dampx": 16 - math.sqrt(255),
    "linear": 1 / 16,
}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_other_functions(name, per_channel):
    model = derf.replace_norm(network(depth=1), function=name, per_channel=per_channel)
    derf.start(model, batch())
    (rms,) = expected_inputs(derf.replace_norm(network(depth=1)), batch())
    assert model[1].alpha.shape == ((32,) if per_channel else (1,))
    expected = ARGUMENTS[name] / rms
    assert model[1].alpha.tolist() == pytest.approx([expected] * len(model[1].alpha), rel=1e-5)
    output = model[1](torch.full((1, 32), rms))
    torch.testing.assert_close(output, torch.ones(1, 32), rtol=1e-4, atol=0)


def test_dyt_layers_of_ones_own_and_studies():
    (rms,) = expected_inputs(derf.replace_norm(network(depth=1)), batch())
    dyt = derf.start(nn.Sequential(network(depth=1)[0], derf.DyT(32)), batch())[1]
    assert dyt.alpha.item() == pytest.approx(math.atanh(1 / 16) / rms, rel=1e-5)
    with pytest.warns(UserWarning, match="not fused"):
        own = derf.PointwiseNorm(32, lambda u: u.relu() - 1)
    derf.start(nn.Sequential(network(depth=1)[0], own), batch())
    # Half of relu's slope: from one side of 0 to the other it moves half as far as linear.
    assert own.alpha.item() == pytest.approx(2 / (16 * rms), rel=1e-3)
    studied = derf.PointwiseNorm(32, "linear", dead_zone=0.25, sign=-1)
    derf.start(nn.Sequential(network(depth=1)[0], studied), batch())
    assert studied.alpha.item() == pytest.approx((0.25 + 1 / 16) / rms, rel=1e-5)
    shifted = derf.PointwiseNorm(32, "erf", shift_init=0.5)
    derf.start(nn.Sequential(network(depth=1)[0], shifted), batch())
    # erf's slope at .5 is e^-1/4 of that at 0; the line over a twentieth to both sides is 0.3 % off.
    slope = 2 / math.sqrt(math.pi) * math.exp(-0.25)
    assert shifted.alpha.item() == pytest.approx(1 / (16 * slope * rms), rel=0.005)


def test_a_function_that_is_the_same_on_both_sides_of_0():
    with pytest.warns(UserWarning, match="not fused"):
        model = nn.Sequential(nn.Linear(32, 32), derf.PointwiseNorm(32, torch.cosh))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ValueError, match="^derf: the function of 1 must rise or fall from one side of 0 .* cosh does not"
    ):
        derf.start(model, batch())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_relative_sizes_of_the_weights_stay_and_a_second_call_changes_nothing():
    norms = network()
    with torch.no_grad():
        norms[1].weight.uniform_(0.5, 1.5)
    weight = norms[1].weight.detach().clone()
    model = derf.start(derf.replace_norm(norms), batch())
    torch.testing.assert_close(model[1].weight.detach(), weight * 16 / weight.square().mean().sqrt())
    first = copy.deepcopy(model.state_dict())
    derf.start(model, batch())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, first[name], rtol=1e-6, atol=0)


def test_replace_norm_with_a_batch():
    expected = derf.start(derf.replace_norm(network()), batch()).state_dict()
    assert all(torch.equal(v, expected[n]) for n, v in derf.replace_norm(network(), start=batch()).state_dict().items())
    model = network()
    with pytest.raises(ValueError, match="^derf: batch must be finite"):
        derf.replace_norm(model, start=batch() * math.nan)
    assert type(model[1]) is nn.LayerNorm
    with pytest.raises(ValueError, match="^derf: alpha and start"):
        derf.replace_norm(model, start=batch(), alpha=1.0)


def test_layers_without_weight():
    model = derf.start(derf.replace_norm(network(elementwise_affine=False)), batch(), gain=0.5)
    with torch.no_grad():
        rms = model[0](batch()).square().mean().sqrt().item()
    # The slope that erf has near 0, to its cube.
    assert model[1].alpha.item() == pytest.approx(0.5 * math.sqrt(math.pi) / 2 / rms, rel=1e-3)


def test_modes_and_gradients_are_restored():
    model = derf.replace_norm(network()).train()
    model[2].eval()
    modes = [module.training for module in model.modules()]
    derf.start(model, {"x": batch()}, forward=lambda m, b: m(b["x"]))
    assert [module.training for module in model.modules()] == modes and torch.is_grad_enabled()
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("given", ["tensor", "tuple", "mapping"])
def test_ways_to_give_a_batch(given):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(8)

        def forward(self, x, scale=1.0):
            return self.norm(x * scale)

    data = {"tensor": batch(9, 8), "tuple": (batch(9, 8), 2.0), "mapping": {"x": batch(9, 8), "scale": 2.0}}[given]
    layer = derf.start(derf.replace_norm(Two()), data).norm
    rms = batch(9, 8).square().mean().sqrt().item() * (1 if given == "tensor" else 2)
    assert layer.alpha.item() == pytest.approx(torch.erfinv(torch.tensor(1 / 16)).item() / rms, rel=1e-5)


def test_what_cannot_be_set_is_named():
    model = derf.replace_norm(network())
    with torch.no_grad():
        model[0].weight.zero_()
        model[4].weight.zero_()
    model[0].register_module("unused", derf.Derf(3))
    with pytest.warns(UserWarning, match="^derf: start left") as caught:
        derf.start(model, batch())
    reasons = sorted(str(warning.message).removeprefix("derf: start left ") for warning in caught)
    assert [text.partition(" ")[0] for text in reasons] == ["0.unused", "1", "4", "7"]
    assert "does not run" in reasons[0] and "sees zeros alone" in reasons[1] and "sees zeros" in reasons[2]


WRONG = {
    "gain": (ValueError, {"gain": 0}, "^derf: gain must be positive, but is 0"),
    "bound": (ValueError, {"bound": -1.0}, "^derf: bound must be positive"),
    "bound's type": (TypeError, {"bound": "large"}, "^derf: bound must be a number"),
    "NaN": (ValueError, {"batch": batch() * math.nan}, "^derf: batch must be finite"),
    "infinite": (ValueError, {"batch": batch() * math.inf}, "^derf: the input of 1 must be finite"),
    "empty": (ValueError, {"batch": torch.zeros(0, 32)}, "^derf: batch must not be empty"),
    "device": (ValueError, {"batch": torch.zeros(1, 32, device="meta")}, "^derf: batch must be on the model's device"),
    "later": (RuntimeError, {"forward": lambda model, x: model(x) @ x}, "shapes"),
}


@pytest.mark.parametrize(("error", "options", "message"), WRONG.values(), ids=WRONG)
def test_after_an_error_the_model_is_as_it_was(error, options, message):
    model = derf.replace_norm(network())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=message):
        derf.start(model, **{"batch": batch(), **options})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training and not module._forward_pre_hooks for module in model.modules())


def test_models_that_cannot_be():
    with pytest.raises(
        ValueError,
        match="^derf: model must have a derf.Derf, DyT or PointwiseNorm, but has none. Call replace_norm first",
    ):
        derf.start(network(), batch())
    with pytest.raises(TypeError, match="^derf: model must be a torch.nn.Module"):
        derf.start(None, batch())
    with pytest.raises(TypeError, match="compiled by torch.compile. Call start first"):
        derf.start(torch.compile(derf.replace_norm(network())), batch())


def test_a_deep_stack_that_stands_still_without_it_learns():
    """A task for 60 steps: the alphas of .5 hand on a hundredth of what they get."""

    def loss_after(start):
        model = derf.replace_norm(network(depth=4, scale=0.1)).eval()
        if start:
            derf.start(model, batch())
        groups = derf.parameter_groups(model, weight_decay=0.0, lr=3e-3, alpha_lr_scale=10)
        optimizer = torch.optim.Adam(groups)
        target = batch(64, 32).roll(1, 1).sign()
        for _ in range(60):
            optimizer.zero_grad()
            loss = (model(batch()) - target).square().mean()
            loss.backward()
            optimizer.step()
        return loss.item()

    assert loss_after(True) < 0.6 * loss_after(False)


def test_alphas_learning_rate_is_relative_to_its_size():
    model = derf.replace_norm(network(), alpha={"1": 0.25, "4": 4.0, "7": 0.25})
    groups = derf.parameter_groups(model, weight_decay=0.1, lr=0.01, alpha_lr_scale=20)
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(3, 0.1), (12, 0), (2, 0), (1, 0)]
    assert [group["lr"] for group in groups] == pytest.approx([0.01, 0.01, 0.01 * 20 * 0.25, 0.01 * 20 * 4])
    every = [parameter for group in groups for parameter in group["params"]]
    assert len(every) == len(set(every)) == len(list(model.parameters()))
    optimizer = torch.optim.Adam(groups)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    # Adam's first step is the learning rate: a fifth of each alpha.
    assert [layer.alpha.item() for layer in model[1::3]] == pytest.approx([0.2, 3.2, 0.2], rel=1e-4)
    with torch.no_grad():
        model[1].alpha.zero_()
    model[7].alpha.requires_grad_(False)
    groups = derf.parameter_groups(model, weight_decay=0.1, lr=0.01, alpha_lr_scale=20)
    assert [group["lr"] for group in groups[2:]] == pytest.approx([0.01, 0.01 * 20 * 3.2])
    assert [group.get("lr") for group in derf.parameter_groups(model, weight_decay=0.1, lr=0.5)] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "^derf: lr must be positive"),
        ({"lr": 0.1, "alpha_lr_scale": -1}, "^derf: alpha_lr_scale must be positive"),
        ({"alpha_lr_scale": 10}, "^derf: lr must be given beside alpha_lr_scale"),
    ],
)
def test_wrong_learning_rates(options, message):
    with pytest.raises(ValueError, match=message):
        derf.parameter_groups(network(), weight_decay=0.0, **options)
