"""derf.Monitor: its numbers against formulas in float64, what it costs, what it warns of, where it logs."""

import math
import sys

import derf
import pytest
import torch
from derf.health import STATISTICS, judge
from torch import nn


def network(alpha=0.5):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), derf.Derf(16, alpha_init=alpha), nn.Linear(16, 4), derf.Derf(4, bias=False))
    with torch.no_grad():
        model[1].weight.uniform_(0.5, 1.5)
        model[1].shift.fill_(0.25)
        model[1].bias.fill_(3.0)
    return model


def batch(rows=50, scale=3.0):
    return scale * torch.randn(rows, 8, generator=torch.Generator().manual_seed(1))


def quiet(warning):
    pass


def test_statistics_are_the_formulas():
    model, x = network(), batch()
    monitor = derf.Monitor(model, on_warning=quiet)
    model(x).square().sum().backward()
    layers = monitor.history()[0]["layers"]
    assert list(layers) == ["1", "3"] and list(layers["1"]) == list(STATISTICS)
    hidden = model[0](x).detach().double()
    for name, input in (("1", hidden), ("3", model[2](model[1](hidden.float())).detach().double())):
        layer = model.get_submodule(name)
        u = layer.alpha.double() * input + layer.shift.double()
        found = layers[name]
        assert found["saturated"] == pytest.approx((u.abs() > 2).double().mean().item(), abs=1e-6)
        assert found["gain"] == pytest.approx(layer.alpha.item() * input.square().mean().sqrt().item(), rel=1e-5)
        output = (layer.weight.double() * torch.erf(u)).square().mean().sqrt().item()
        assert found["output"] == pytest.approx(output, rel=1e-5)
        assert (found["alpha"], found["shift"]) == (layer.alpha.item(), layer.shift.item())
        for key in ("alpha", "shift", "weight"):
            gradient = getattr(layer, key).grad.double().norm().item()
            assert found[f"{key}_grad"] == pytest.approx(gradient, rel=1e-5)


def test_channel_dim_1_large_inputs_and_16_bits():
    model = nn.Sequential(derf.Derf(6, channel_dim=1, alpha_init=0.7)).to(torch.bfloat16)
    x = torch.randn(512, 6, 32, 32, dtype=torch.bfloat16)
    monitor = derf.Monitor(model, on_warning=quiet)
    model(x)
    found = monitor.history()[0]["layers"]["0"]
    u = model[0].alpha.item() * x.double()
    # A twelfth of the rows are looked at, 2^18 elements: five deviations of a share of so many.
    assert found["saturated"] == pytest.approx((u.abs() > 2).double().mean().item(), abs=5 * 0.5 / 2**9)
    assert found["output"] == pytest.approx(torch.erf(u).square().mean().sqrt().item(), rel=0.02)


# Where the slope is .0245 of what it is over [-1, 1], by hand; None where it never is for good.
LIMITS = {
    "erf": 2.0,
    "tanh": math.acosh(1 / math.sqrt(0.0245 * math.tanh(1))),
    "arctan": math.sqrt(4 / (0.0245 * math.pi) - 1),
    "expsign": -math.log(0.0245 * (1 - math.exp(-1))),
    "smoothsign": math.sqrt(2 / 0.0245) - 1,
    "linear_clip": 1.0,
    "linear": None,
    "sin": None,
    "power23": None,  # beyond 1000
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_saturates_depends_on_the_function(name):
    layer = derf.PointwiseNorm(4, name)
    monitor, limit = derf.Monitor(layer, on_warning=quiet), LIMITS[name]
    # Numbers from 0 to 50: the share beyond the limit, alpha being .5.
    x = torch.linspace(0, 50, 40001)
    layer(x[:, None].expand(-1, 4))
    share = 0 if limit is None else 1 - limit / 25
    assert monitor.history()[0]["layers"][""]["saturated"] == pytest.approx(share, abs=1e-4 + 0.003 * (1 - share))


@pytest.mark.parametrize("channel_dim", [-1, 1])
def test_alpha_and_shift_for_each_channel_and_studies(channel_dim):
    shape = (20, 6, 5, 3) if channel_dim == 1 else (20, 5, 3, 6)
    layer = derf.PointwiseNorm(6, "tanh", per_channel=True, channel_dim=channel_dim, clip=0.5, sign=-1)
    with torch.no_grad():
        layer.alpha.uniform_(0.5, 4)
        layer.shift.uniform_(-1, 1)
        layer.weight.uniform_(0.5, 1.5)
    x = torch.randn(shape)
    monitor = derf.Monitor(layer, on_warning=quiet)
    layer(x)
    found = monitor.history()[0]["layers"][""]
    last = x.double().movedim(channel_dim, -1)
    au = layer.alpha.double() * last
    u = au + layer.shift.double()
    # Clipped where tanh is .5: no slope from atanh(.5) = .5493 on.
    share = [(u.abs() > edge).double().mean().item() for edge in (0.545, 0.555)]
    assert share[1] <= found["saturated"] <= share[0]
    assert found["gain"] == pytest.approx(au.square().mean().sqrt().item(), rel=1e-5)
    output = layer.weight.double() * torch.tanh(u).clamp(-0.5, 0.5)
    assert found["output"] == pytest.approx(output.square().mean().sqrt().item(), rel=1e-5)
    assert found["alpha"] == pytest.approx(layer.alpha.mean().item())


def test_dyt_has_no_shift_and_its_sentence_its_own_limit():
    model, said = nn.Sequential(nn.Linear(8, 16), derf.DyT(16, 30.0)), []
    monitor = derf.Monitor(model, on_warning=said.append)
    model(batch()).sum().backward()
    row = monitor.history()[0]["layers"]["1"]
    assert row["shift"] == 0 and math.isnan(row["shift_grad"]) and row["alpha_grad"] > 0
    assert [warning.kind for warning in said] == ["saturated"] and "of |u| > 2.67. Lower" in said[0].text
    assert not list(judge(1, {"a": look(gain=1.9)}, {"a": 2.67})) and list(judge(1, {"a": look(gain=1.9)}))


def test_every_so_many_training_steps_only():
    model, x = network(), batch()
    monitor = derf.Monitor(model, every=3, on_warning=quiet)
    for _ in range(7):
        model(x).sum().backward()
        with torch.no_grad():  # neither count
            model(x)
        model.eval()(x)
        model.train()
    assert [look["step"] for look in monitor.history()] == [1, 4, 7]
    model(x).sum().backward()
    monitor.close()
    model(x).sum().backward()
    assert [look["step"] for look in monitor.history()] == [1, 4, 7]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not any(parameter._backward_hooks for parameter in model.parameters())


def test_before_the_backward_gradients_are_left_out_and_come_later():
    model = network()
    with derf.Monitor(model, on_warning=quiet) as monitor:
        assert monitor.as_dict() == {} and monitor.history() == []
        output = model(batch())
        assert "derf/1/gain" in monitor.as_dict() and "derf/1/alpha_grad" not in monitor.as_dict()
        output.sum().backward()
        assert monitor.as_dict()["derf/1/alpha_grad"] > 0
        assert len(monitor.history()) == 1
        model(batch()).sum().backward()
    found = monitor.as_dict(prefix="health/")
    assert found["health/mean/gain"] == pytest.approx((found["health/1/gain"] + found["health/3/gain"]) / 2)
    assert all(isinstance(value, float) for value in found.values())


def test_nothing_is_read_until_asked():
    """On tensors without data whatever needs a value fails."""
    model = network().to("meta")
    monitor = derf.Monitor(model, every=1, on_warning=quiet)
    for _ in range(3):
        model(torch.empty(5, 8, device="meta")).sum().backward()
    with pytest.raises((NotImplementedError, RuntimeError)):
        monitor.as_dict()


def test_other_steps_do_no_work():
    def operators(every):
        model, x = network(), batch()
        monitor = derf.Monitor(model, every=every, on_warning=quiet) if every else None
        model(x).sum().backward()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            model(x).sum().backward()
        del monitor
        return sorted((event.key, event.count) for event in profile.key_averages())

    assert operators(10) == operators(None) != operators(1)


def look(**values):
    row = {"saturated": 0.01, "gain": 0.3, "output": 0.5, "alpha": 0.5, "shift": 0.0}
    return {**row, **dict.fromkeys(("alpha_grad", "shift_grad", "weight_grad"), 0.1), **values}


WARNINGS = {
    "saturated": ({"a": look(saturated=0.81), "b": look(saturated=0.2)}, "layer a is saturated: 81% of |u| > 2"),
    "gain": ({"a": look(gain=3.0), "b": look(gain=0.5)}, "layer a sees inputs that are too large"),
    "faint": ({"a": look(output=0.05), "b": look(output=0.08)}, "layer a passes on next to nothing"),
    "dead": ({"a": look(output=0.0), "b": look()}, "layer a is dead: its output before bias is 0"),
    "dead by saturation": ({"a": look(saturated=0.999), **{k: look() for k in "bcde"}}, "layer a is dead: 99.9%"),
    "not finite": ({"a": look(gain=math.nan), "b": look()}, "layer a has a NaN or infinite"),
    "healthy": ({"a": look(), "b": look(saturated=0.5, gain=2.0, output=0.05)}, None),
    "one layer": ({"": look(saturated=0.4)}, "the layer is saturated: 40% of |u| > 2. Lower"),
}


@pytest.mark.parametrize(("layers", "text"), WARNINGS.values(), ids=WARNINGS)
def test_sentences(layers, text):
    found = [str(warning) for warning in judge(7, layers)]
    assert found == [] if text is None else len(found) == 1 and found[0].startswith(f"step 7: {text}")


def test_warnings_come_once_when_numbers_are_read():
    model, said = network(alpha=30.0), []
    monitor = derf.Monitor(model, every=1, on_warning=said.append)
    for _ in range(3):
        model(batch()).sum().backward()
    assert not said
    monitor.as_dict()
    assert [warning.kind for warning in said] == ["saturated"] and said == monitor.warnings
    monitor.history()
    assert len(said) == 1
    model = network(alpha=30.0)
    monitor = derf.Monitor(model)
    model(batch())
    with pytest.warns(UserWarning, match="^derf: step 1: layer 1 is saturated"):
        monitor.as_dict()


def test_table_and_plot(tmp_path, monkeypatch):
    pytest.importorskip("rich")
    pytest.importorskip("matplotlib")
    model = network()
    monitor = derf.Monitor(model, every=1, on_warning=quiet)
    assert monitor.table().row_count == 0
    for _ in range(3):
        model(batch()).sum().backward()
    assert monitor.table().row_count == 3
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=140)
    console.print(monitor.table())
    assert "saturated" in console.file.getvalue() and "mean" in console.file.getvalue()
    monitor.plot(tmp_path / "health.png")
    assert (tmp_path / "health.png").read_bytes()[:4] == b"\x89PNG"
    monkeypatch.setitem(sys.modules, "rich.table", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="^derf: Monitor.table needs the package rich: pip install rich"):
        monitor.table()
    with pytest.raises(ImportError, match="^derf: Monitor.plot needs the package matplotlib"):
        monitor.plot(tmp_path / "health.png")


def test_wrong_arguments():
    with pytest.raises(TypeError, match="^derf: model must be a torch.nn.Module"):
        derf.Monitor("model")
    with pytest.raises(ValueError, match="^derf: model must have a derf.Derf, DyT or PointwiseNorm, but has none"):
        derf.Monitor(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="^derf: every must be positive, but is 0"):
        derf.Monitor(network(), every=0)
    with pytest.raises(TypeError, match="^derf: every must be an int, but is 2.5"):
        derf.Monitor(network(), every=2.5)
    with pytest.raises(TypeError, match="^derf: model must not be compiled"):
        derf.Monitor(torch.compile(network()))


def test_trainer_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = network()

        def forward(self, x=None, labels=None):
            output = self.layers(x)
            return {"loss": (output - labels).square().mean(), "logits": output}

    data = [{"x": batch(1)[0], "labels": torch.zeros(4)} for _ in range(16)]
    options = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no"}
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=4, per_device_train_batch_size=4, logging_steps=2, **options
    )
    callback = derf.callbacks.for_transformers(every=2, on_warning=quiet)
    trainer = transformers.Trainer(Model(), arguments, train_dataset=data, callbacks=[callback])
    trainer.train()
    assert [entry["step"] for entry in callback.monitor.history()] == [1, 3]
    assert trainer.state.log_history[0]["derf/layers.1/gain"] > 0
    assert not any(module._forward_hooks for module in trainer.model.modules())


def test_lightning(monkeypatch):
    """Against a stand-in with Lightning's names, where the package is not there."""
    from types import ModuleType, SimpleNamespace

    stand_in = ModuleType("lightning.pytorch")
    stand_in.Callback = type("Callback", (), {})
    monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", stand_in)
    callback = derf.callbacks.for_lightning(every=2, on_warning=quiet)
    assert isinstance(callback, stand_in.Callback)
    model, logged = network(), []
    module = nn.Sequential(model)
    module.log_dict = logged.append
    callback.on_train_start(SimpleNamespace(), module)
    for index in range(4):
        callback.on_train_batch_start(SimpleNamespace(), module, None, index)
        model(batch()).sum().backward()  # a part of the module: its own forward is not called
        callback.on_train_batch_end(SimpleNamespace(), module, None, None, index)
    callback.on_train_end(SimpleNamespace(), module)
    assert len(logged) == 2 and logged[0]["derf/0.1/alpha_grad"] > 0
    for name in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="^derf: for_lightning needs the package lightning"):
        derf.callbacks.for_lightning()
