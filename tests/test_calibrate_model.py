"""derf.calibrate and the model around the norms: what stays as it was, reports, forwards, memory, errors."""

import copy

import derf
import pytest
import torch
from calibration import batches, made_norm, network
from torch import nn


def test_modes_requires_grad_hooks_and_parameters_are_kept():
    model = network().train()
    model[1].eval()
    model[4].weight.requires_grad_(False)
    calls = []
    model[4].register_forward_hook(lambda module, inputs, output: calls.append(type(module)))
    modes = {name: module.training for name, module in model.named_modules()}
    others = {name: p.clone() for name, p in model.named_parameters() if "norm" not in name and name[0] != "4"}
    fast = torch.backends.mha.get_fastpath_enabled()
    derf.calibrate(model, batches(), progress=False)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert not model[4].weight.requires_grad and model[4].bias.requires_grad and model[4].alpha.requires_grad
    assert all(torch.equal(dict(model.named_parameters())[name], p) for name, p in others.items())
    assert torch.backends.mha.get_fastpath_enabled() == fast and torch.is_grad_enabled()
    del calls[:]
    model(batches()[0]).sum().backward()
    assert calls == [derf.Derf] and model[1].norm.alpha.grad is not None
    assert not any("calibrate" in str(hook) for m in model.modules() for hook in m._forward_hooks.values())


def test_torchs_encoder_with_its_fast_path():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    data = [torch.randn(16, 40, 16)]
    with torch.no_grad():
        expected = model(data[0])
        _, report = derf.calibrate(model, data, progress=False, return_report=True)
        assert [entry.name for entry in report.layers] == [f"layers.{i}.norm{j}" for i in (0, 1) for j in (1, 2)]
        assert (model(data[0]) - expected).square().mean() < 0.2 * expected.var()


def test_the_loss_is_reported_before_and_after():
    model, data = network(), batches()
    original = copy.deepcopy(model).eval()
    result, report = derf.calibrate(
        model,
        iter(data),
        forward=lambda m, batch: {"loss": m(batch).square().mean()},
        progress=False,
        return_report=True,
    )
    with torch.no_grad():
        count = report.loss_batches
        before = sum(original(batch).square().mean().item() for batch in data[:count]) / count
        after = sum(result.eval()(batch).square().mean().item() for batch in data[:count]) / count
    assert report.batches == 4 and report.loss_before == pytest.approx(before, rel=1e-5)
    assert report.loss_after == pytest.approx(after, rel=1e-5)
    assert f"loss {report.loss_before:.4g} before, {report.loss_after:.4g} after" in str(report)


def test_layers_that_do_not_run_or_are_not_chosen_stay():
    model = network()
    model[0].register_module("unused", nn.LayerNorm(4))
    _, report = derf.calibrate(model, batches(), exclude="2.*", progress=False, return_report=True)
    kept = {entry.name: entry.reason for entry in report.kept}
    assert kept == {"0.unused": "it did not run in the first batches", "2.norm": "exclude names it"}
    assert type(model[0].unused) is type(model[2].norm) is nn.LayerNorm and type(model[4]) is derf.Derf
    assert "0.unused  LayerNorm  it did not run" in str(report)
    report = derf.calibrate(network(), batches(), include="4", progress=False, return_report=True)[1]
    assert [entry.name for entry in report.layers] == ["4"]
    replaced = derf.replace_norm(network())
    report = derf.calibrate(replaced, batches(), include="*.norm", progress=False, return_report=True)[1]
    assert [entry.name for entry in report.layers] == ["1.norm", "2.norm", "3.norm"]


def test_a_model_that_is_a_norm():
    norm = made_norm(nn.LayerNorm(6))
    layer = derf.calibrate(norm, batches(), progress=False)
    assert type(layer) is derf.Derf and type(norm) is nn.LayerNorm


def test_each_batch_is_taken_once_and_runs_at_most_thrice():
    model, taken, runs = network(), [], []
    model.register_forward_pre_hook(lambda *_: runs.append(1))

    def stream():
        for index, batch in enumerate(batches(8, 600)):
            taken.append(index)
            yield batch

    derf.calibrate(model, stream(), progress=False)
    # The first batch twice for the first fit, then each twice: inputs of the converted model, targets of the original.
    assert taken == list(range(8)) and len(runs) == 2 + 2 * 8
    del runs[:]
    model = network()
    model.register_forward_pre_hook(lambda *_: runs.append(1))
    derf.calibrate(model, batches(8, 600), mode="parallel", progress=False)
    assert len(runs) == 1 + 8


def test_memory_does_not_grow_with_the_number_of_batches():
    def held(count):
        """Most bytes of tensors alive at a time at the end of a norm's forward, by torch's own allocator's profile."""
        model, sizes = network(width=64), []
        data = (torch.randn(600, 6, generator=torch.Generator().manual_seed(i)) for i in range(count))
        with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            derf.calibrate(model, data, progress=False)
        now = 0
        for event in profile.profiler.kineto_results.events():
            if event.name() == "[memory]":
                now += event.nbytes()
                sizes.append(now)
        return max(sizes)

    few, many = held(2), held(12)
    assert many < 1.1 * few


WRONG = {
    "no batch": (ValueError, [], {}, "^derf: batches must not be empty"),
    "an empty batch": (ValueError, [torch.zeros(0, 6)], {}, r"^derf: batches must not be empty, but has .* \[0, 6\]"),
    "NaN": (ValueError, [torch.full((4, 6), float("nan"))], {}, "^derf: batches must be finite"),
    "a NaN later": (ValueError, [*batches(3), torch.full((4, 6), float("nan"))], {}, "^derf: batches must be finite"),
    "infinite": (ValueError, [torch.full((4, 6), float("inf"))], {}, "outputs of 1.norm must be finite"),
    "infinite later": (ValueError, [*batches(3), torch.full((4, 6), float("inf"))], {}, "1.norm must be finite"),
    "one row": (ValueError, [torch.ones(1, 6)], {}, "^derf: the inputs of 1.norm must vary, but do not over 1 rows"),
    "equal rows": (ValueError, [torch.ones(9, 6)], {}, "inputs of 1.norm must vary"),
    "another device": (ValueError, [torch.zeros(4, 6, device="meta")], {}, "must be on the model's device, cpu"),
    "a tensor": (TypeError, torch.zeros(4, 6), {}, "^derf: batches must be an iterable of batches, but is a Tensor"),
    "a mapping": (TypeError, {"x": torch.zeros(4, 6)}, {}, "but is a dict"),
    "a number": (TypeError, 5, {}, "but is a int"),
    "mode": (ValueError, batches(), {"mode": "both"}, "^derf: mode must be"),
    "per_channel": (TypeError, batches(), {"per_channel": 2}, "^derf: per_channel must be a bool, but is 2"),
    "bias": (TypeError, batches(), {"bias": None}, "^derf: bias must be a bool, but is None"),
    "refine": (ValueError, batches(), {"refine": -1}, "^derf: refine must be 0 or more"),
    "refine's type": (TypeError, batches(), {"refine": 0.5}, "^derf: refine must be an int"),
    "mask": (TypeError, batches(), {"mask": 1}, "^derf: mask must be"),
    "mask's key": (ValueError, batches(), {"mask": "attention_mask"}, "'attention_mask' is not one"),
    "mask's value": (TypeError, batches(), {"mask": lambda batch: [1]}, "gave a list"),
    "include": (ValueError, batches(), {"include": "norm5"}, "include has 'norm5'"),
    "nothing runs": (ValueError, batches(), {"forward": lambda model, batch: batch}, "no norm of the model ran"),
    "a wrong shape": (RuntimeError, [*batches(2), torch.zeros(4, 7)], {}, "shapes"),
}


@pytest.mark.parametrize(("error", "data", "options", "message"), WRONG.values(), ids=WRONG)
def test_after_an_error_the_model_is_as_it_was(error, data, options, message):
    model = network()
    before, types = copy.deepcopy(model.state_dict()), [type(module) for module in model.modules()]
    with pytest.raises(error, match=message):
        derf.calibrate(model, data, progress=False, **options)
    assert [type(module) for module in model.modules()] == types
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_models_that_cannot_be():
    with pytest.raises(ValueError, match="(?s)^derf: model must have a norm .*1: it computes neither"):
        derf.calibrate(nn.Sequential(nn.Linear(6, 6), nn.GroupNorm(2, 6)), batches(), progress=False)
    with pytest.raises(TypeError, match="^derf: model must be a torch.nn.Module"):
        derf.calibrate("model", batches())
    with pytest.raises(TypeError, match="compiled by torch.compile. Call calibrate first"):
        derf.calibrate(torch.compile(network()), batches())
