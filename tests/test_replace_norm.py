"""derf.replace_norm on plain models: what is replaced, what is kept, what is refused."""

import copy

import derf
import pytest
import torch
from reference import with_eager_derf
from samples import FLOATS, dtype_name
from tolerance import assert_forward
from torch import nn
from torch.nn.utils import parametrize


def made(*shape, **options):
    """A LayerNorm with random weight and bias."""
    norm = nn.LayerNorm(shape, **options)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm


def same_value(mine, theirs):
    """Both absent, or equal in value, dtype, device and requires_grad."""
    if theirs is None:
        return mine is None
    same = mine.dtype == theirs.dtype and mine.device == theirs.device and mine.requires_grad == theirs.requires_grad
    return same and torch.equal(mine, theirs)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5)])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"elementwise_affine": False}, {"eps": 0.1}], ids=str)
def test_the_root_module(shape, options, device):
    norm = made(*shape, **options).to(device)
    before = copy.deepcopy(norm)
    module = derf.replace_norm(norm).to(device)  # a norm without parameters is on no device
    assert type(module) is derf.Derf
    assert module.normalized_shape == shape and module.channel_dim == -1
    assert module.elementwise_affine == before.elementwise_affine
    assert same_value(module.weight, before.weight) and same_value(module.bias, before.bias)
    assert module.alpha.tolist() == [0.5] and module.shift.tolist() == [0.0]
    assert module.alpha.shape == module.shift.shape == (1,)
    assert module.alpha.requires_grad and module.shift.requires_grad
    input = torch.randn(4, *shape, device=device)
    assert_forward(module(input), input, module.alpha, module.shift, before.weight, before.bias)


@pytest.mark.parametrize("dtype", FLOATS, ids=dtype_name)
def test_dtype_and_requires_grad_of_each_parameter_are_kept(dtype, device):
    norm = made(5, dtype=dtype).to(device)
    norm.weight.requires_grad_(False)
    model = derf.replace_norm(nn.Sequential(norm))
    assert same_value(model[0].weight, norm.weight) and same_value(model[0].bias, norm.bias)
    assert {p.dtype for p in model.parameters()} == {dtype} and {p.device.type for p in model.parameters()} == {device}
    assert model(torch.randn(2, 5, device=device, dtype=dtype)).dtype == dtype


def test_meta_device_is_kept():
    model = derf.replace_norm(nn.Sequential(nn.LayerNorm(5, device="meta")))
    assert all(p.is_meta for p in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_training_mode_is_kept(training):
    model = derf.replace_norm(nn.Sequential(nn.LayerNorm(5), nn.Dropout()).train(training))
    assert [m.training for m in model.modules()] == [training] * 3
    model = nn.Sequential(nn.LayerNorm(5), nn.LayerNorm(5))
    model[1].eval()
    assert [m.training for m in derf.replace_norm(model)] == [True, False]


def test_starting_values():
    model = derf.replace_norm(nn.Sequential(nn.LayerNorm(5)), alpha=0.25, shift=-1)
    assert model[0].alpha.tolist() == [0.25] and model[0].shift.tolist() == [-1.0]
    assert (model[0].alpha_init, model[0].shift_init) == (0.25, -1)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = made(5)
        self.inner = nn.ModuleDict(
            {"a": nn.Sequential(nn.Linear(5, 5), made(5)), "b": nn.ModuleList([made(5), nn.ReLU()])}
        )
        self.others = nn.ModuleList([nn.BatchNorm1d(5), nn.GroupNorm(1, 5), nn.InstanceNorm1d(5)])

    def forward(self, x):
        return x + self.inner["b"][0](self.inner["a"](self.norm(x)))


def test_nested_modules_in_place_and_nothing_else():
    model = Residual()
    eager = copy.deepcopy(model)
    kept = {name: module for name, module in model.named_modules() if not isinstance(module, nn.LayerNorm)}
    names = [name for name, _ in model.named_modules()]
    assert with_eager_derf(eager) == 3
    assert derf.replace_norm(model) is model
    assert [name for name, _ in model.named_modules()] == names
    assert all(module is kept[name] for name, module in model.named_modules() if name in kept)
    assert sum(isinstance(m, derf.Derf) for m in model.modules()) == 3
    assert not any(isinstance(m, nn.LayerNorm) for m in model.modules())
    input = torch.randn(4, 5)
    torch.testing.assert_close(model(input), eager(input))


def test_a_shared_module_stays_shared():
    norm = made(5)
    model = nn.Sequential(norm, nn.Linear(5, 5), norm, nn.Sequential(norm))
    derf.replace_norm(model)
    assert model[0] is model[2] is model[3][0] and type(model[0]) is derf.Derf


def test_shared_parameters_stay_shared():
    model = nn.Sequential(made(5), made(5))
    model[1].weight = model[0].weight
    derf.replace_norm(model)
    assert model[0].weight is model[1].weight


def test_a_second_time_changes_nothing():
    model = derf.replace_norm(nn.Sequential(made(5)))
    layer = model[0]
    assert derf.replace_norm(model)[0] is layer
    plain = nn.Sequential(nn.Linear(5, 5))
    linear = plain[0]
    assert derf.replace_norm(plain) is plain and plain[0] is linear


def test_state_dict_round_trip():
    model = derf.replace_norm(Residual())
    other = derf.replace_norm(Residual())
    assert other.load_state_dict(model.state_dict(), strict=True).missing_keys == []
    input = torch.randn(4, 5)
    assert torch.equal(model(input), other(input))


def test_a_replaced_model_trains():
    model = derf.replace_norm(nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 1)))
    input, target = torch.randn(64, 8), torch.randn(64, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(50):
        loss = (model(input) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert model[1].alpha.item() != 0.5 and model[1].shift.item() != 0.0


class Centered(nn.LayerNorm):
    def forward(self, input):
        return super().forward(input) - 1


def test_a_subclass_with_its_own_forward_is_not_silently_another_layer():
    # It is not nn.LayerNorm: either it stays, or replace_norm says so.
    model = nn.Sequential(Centered(5))
    try:
        derf.replace_norm(model)
    except (TypeError, ValueError) as error:
        assert "Centered" in str(error)
    else:
        assert type(model[0]) is Centered


@pytest.mark.parametrize("value", [3, None, "model", torch.ones(3), nn.LayerNorm, [nn.LayerNorm(3)]], ids=str)
def test_what_is_no_module_is_refused(value):
    with pytest.raises(TypeError, match="^derf: .*model"):
        derf.replace_norm(value)


@pytest.mark.parametrize("name", ["alpha", "shift"])
@pytest.mark.parametrize("value", ["x", [0.5], 1j], ids=str)
def test_starting_values_must_be_numbers(name, value):
    model = nn.Sequential(nn.LayerNorm(5))
    with pytest.raises(TypeError, match=f"^derf: .*{name}"):
        derf.replace_norm(model, **{name: value})
    assert type(model[0]) is nn.LayerNorm  # nothing was done


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["script", "trace", "inside"])
def test_scripted_modules_are_refused(how):
    model = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 5))
    if how == "trace":
        scripted = torch.jit.trace(model, torch.randn(2, 5))
    else:
        scripted = torch.jit.script(model)
    if how == "inside":
        scripted = nn.Sequential(nn.LayerNorm(5), scripted)
    with pytest.raises((TypeError, ValueError), match="^derf: .*(?i:script)"):
        derf.replace_norm(scripted)
    assert how != "inside" or type(scripted[0]) is nn.LayerNorm


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward"])
def test_hooks_are_kept_or_refused_but_not_lost(kind):
    model = nn.Sequential(made(5))
    called = []
    getattr(model[0], f"register_{kind}_hook")(lambda *_: called.append(kind))
    try:
        derf.replace_norm(model)
    except (TypeError, ValueError) as error:
        assert "hook" in str(error)
    else:
        model(torch.randn(2, 5, requires_grad=True)).sum().backward()
        assert called == [kind]


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_a_parametrized_norm_is_refused_or_keeps_its_value():
    model = nn.Sequential(made(5))
    parametrize.register_parametrization(model[0], "weight", Doubled())
    effective = model[0].weight.detach().clone()
    try:
        derf.replace_norm(model)
    except (TypeError, ValueError) as error:
        assert "parametri" in str(error)
    else:
        assert torch.equal(model[0].weight, effective)
