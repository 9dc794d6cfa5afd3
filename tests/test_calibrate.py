"""derf.calibrate against least squares in float64 on activations that the test stores itself."""

import copy
import subprocess
import sys
from pathlib import Path

import derf
import pytest
import torch
from torch import nn


def norms_of(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, (nn.LayerNorm, nn.RMSNorm))}


def made_norm(norm):
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return norm


class Block(nn.Module):
    """Norm first, a residual stream that grows."""

    def __init__(self, width, norm):
        super().__init__()
        self.norm, self.up, self.down = made_norm(norm(width)), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return x + 2 * self.dropout(self.down(self.up(self.norm(x)).relu()))


def network(norm=nn.LayerNorm, width=12, depth=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, width), *(Block(width, norm) for _ in range(depth)), made_norm(norm(width)))


def batches(count=4, rows=200):
    random = torch.Generator().manual_seed(1)
    return [torch.randn(rows, 6, generator=random) * torch.rand(rows, 1, generator=random) for _ in range(count)]


@torch.no_grad()
def activations(model, data, names):
    """{name: (inputs, outputs)} in float64, over all batches."""
    seen = {name: ([], []) for name in names}

    def keep(name):
        def hook(module, inputs, output):
            seen[name][0].append(inputs[0].double().flatten(0, -2))
            seen[name][1].append(output.double().flatten(0, -2))

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    model.eval()
    for batch in data:
        model(batch)
    for handle in handles:
        handle.remove()
    return {name: (torch.cat(x), torch.cat(t)) for name, (x, t) in seen.items()}


def least_squares(x, t, alpha, with_bias=True):
    """weight, bias and the squared error of each channel's own regression, by QR and not by sums."""
    e = torch.erf(alpha * x)
    weights, biases = [], []
    for channel in range(x.shape[1]):
        columns = [e[:, channel]] + [torch.ones_like(e[:, channel])] * with_bias
        solution = torch.linalg.lstsq(torch.stack(columns, 1), t[:, channel : channel + 1]).solution.flatten()
        weights.append(solution[0])
        biases.append(solution[1] if with_bias else torch.tensor(0.0, dtype=torch.float64))
    weight, bias = torch.stack(weights), torch.stack(biases)
    return weight, bias, (weight * e + bias - t).square().mean(0)


def assert_fitted(layer, x, t):
    """The layer's weight and bias are the regression's, and no other alpha leaves much less."""
    with_bias = layer.bias is not None
    weight, bias, error = least_squares(x, t, layer.alpha.double().item(), with_bias)
    # The ridge is 1e-6 of the mean variance, and parameters and erf are float32: 2^-23 of values up to 5.
    torch.testing.assert_close(layer.weight.double(), weight, rtol=1e-4, atol=1e-5)
    if with_bias:
        torch.testing.assert_close(layer.bias.double(), bias, rtol=1e-4, atol=1e-5)
    assert layer.shift.item() == 0
    alphas = layer.alpha.item() * torch.logspace(-2, 2, 81, dtype=torch.float64)
    best = min(least_squares(x, t, alpha, with_bias)[2].sum().item() for alpha in alphas)
    # alpha is found on a sample and to 2 %, where the error is flat.
    assert error.sum().item() <= 1.02 * best + 1e-12


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_parallel_is_least_squares_on_the_original(norm):
    model, data = network(norm), batches()
    expected = activations(copy.deepcopy(model), data, norms_of(model))
    result, report = derf.calibrate(model, data, mode="parallel", progress=False, return_report=True)
    assert result is model and [layer.name for layer in report.layers] == list(expected)
    for entry in report.layers:
        layer = model.get_submodule(entry.name)
        assert type(layer) is derf.Derf and (layer.bias is None) == (norm is nn.RMSNorm)
        x, t = expected[entry.name]
        assert_fitted(layer, x, t)
        error = least_squares(x, t, layer.alpha.item(), layer.bias is not None)[2]
        variance = t.var(0, correction=0)
        assert entry.r2 == pytest.approx(1 - (error.sum() / variance.sum()).item(), abs=1e-4)
        assert entry.worst_r2 == pytest.approx((1 - error / variance).min().item(), abs=1e-4)
        assert entry.worst_channel == int((1 - error / variance).argmin())
        assert entry.gain == pytest.approx(layer.alpha.item() * x.square().mean().sqrt().item(), rel=1e-5)
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


def test_channel_dim_1():
    class ChannelNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.rand(5) + 0.5), nn.Parameter(torch.rand(5))

        def forward(self, x):
            x = x - x.mean(1, keepdim=True)
            x = x * (x.square().mean(1, keepdim=True) + 1e-6).rsqrt()
            return x * self.weight[:, None, None] + self.bias[:, None, None]

    model = nn.Sequential(nn.Conv2d(3, 5, 3), ChannelNorm())
    data = [torch.randn(8, 3, 9, 9) for _ in range(3)]
    with torch.no_grad():
        x = torch.cat([model[0](batch) for batch in data]).double()
        t = model[1](x.float()).double()
    derf.calibrate(model, data, progress=False)
    assert model[1].channel_dim == 1
    assert_fitted(model[1], x.movedim(1, -1).reshape(-1, 5), t.movedim(1, -1).reshape(-1, 5))


def test_several_dimensions():
    model = nn.Sequential(nn.Linear(6, 6), made_norm(nn.LayerNorm((4, 6))))
    data = [torch.randn(300, 4, 6)]
    with torch.no_grad():
        x = model[0](data[0]).double()
        t = model[1](x.float()).double()
    derf.calibrate(model, data, progress=False)
    layer = model[1]
    assert layer.weight.shape == (4, 6)
    weight, bias, _ = least_squares(x.flatten(1), t.flatten(1), layer.alpha.item())
    torch.testing.assert_close(layer.weight.double(), weight.reshape(4, 6), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.bias.double(), bias.reshape(4, 6), rtol=1e-4, atol=1e-5)


class Shared(nn.Module):
    """One norm under two names, called three times with inputs of different sizes."""

    def __init__(self):
        super().__init__()
        self.norm = made_norm(nn.LayerNorm(6))
        self.alias = self.norm
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        return self.norm(4 * self.linear(self.alias(self.linear(self.norm(x)))))


def test_shared_and_repeated_calls_are_pooled():
    model, data = Shared(), batches(2, 300)
    x, t = activations(copy.deepcopy(model), data, ["norm"])["norm"]
    _, report = derf.calibrate(model, data, mode="parallel", progress=False, return_report=True)
    assert model.norm is model.alias and len(report.layers) == 1 and report.layers[0].rows == 3 * 600
    assert_fitted(model.norm, x, t)
    assert derf.calibrate(Shared(), data, progress=False).norm.alpha > 0


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(10, 6), made_norm(nn.LayerNorm(6)), nn.LayerNorm(6)
        with torch.no_grad():
            self.embed.weight[0] = 50.0

    def forward(self, tokens, attention_mask=None):
        return self.head(self.norm(self.embed(tokens)).mean(1))


@pytest.mark.parametrize("how", ["key", "function"])
def test_padding_does_not_count(how):
    torch.manual_seed(0)
    model, tokens = Padded(), torch.randint(1, 10, (60, 20))
    mask = torch.arange(20) < torch.randint(5, 20, (60, 1))
    data = [{"tokens": tokens * mask, "attention_mask": mask.long()}]
    x, t = activations(copy.deepcopy(model), [tokens * mask], ["norm"])["norm"]
    chosen = "attention_mask" if how == "key" else lambda batch: batch["attention_mask"]
    _, report = derf.calibrate(model, data, mask=chosen, progress=False, return_report=True)
    assert report.layers[0].rows == mask.sum() and report.layers[1].rows == 60
    assert_fitted(model.norm, x[mask.flatten()], t[mask.flatten()])
    assert report.notes == ["head: its input has not the mask's shape, so all of it counted"]


@pytest.mark.parametrize("bias", [True, False])
def test_a_norm_without_affine_gets_one(bias):
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8, elementwise_affine=False))
    expected = model(batches()[0])
    _, report = derf.calibrate(model, batches(), progress=False, return_report=True)
    assert model[1].elementwise_affine and "1: weight and bias added" in str(report)
    assert (model(batches()[0]) - expected).square().mean() < 0.2


def test_weight_that_counts_from_1():
    class Norm(nn.RMSNorm):
        def forward(self, x):
            return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + self.weight)

    model = nn.Sequential(nn.Linear(6, 8), Norm(8))
    nn.init.uniform_(model[1].weight, -0.5, 0.5)
    x, t = activations(copy.deepcopy(model), batches(), ["1"])["1"]
    for each in (copy.deepcopy(model), derf.replace_norm(copy.deepcopy(model))):
        derf.calibrate(each, batches(), mode="parallel", progress=False)
        assert_fitted(each[1], x, t)


def test_norms_that_share_a_weight():
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.LayerNorm(8))
    model[3].weight, held = model[1].weight, model[1].weight
    derf.calibrate(model, batches(), progress=False)
    assert not torch.equal(model[1].weight, model[3].weight)
    assert torch.equal(held, torch.ones(8))  # whoever holds the old parameter sees no change


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes(dtype):
    model, data = network().to(dtype), [batch.to(dtype) for batch in batches()]
    expected = model.eval()(data[0]).double()
    derf.calibrate(model, data, progress=False)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert (model(data[0]).double() - expected).square().mean() < 0.3 * expected.var()


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


class WithLogits(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network(norm=nn.RMSNorm, depth=4)

    def forward(self, x):
        return {"logits": self.body(x)}


@pytest.mark.parametrize("logits", [False, True])
def test_refine_brings_the_output_nearer_and_moves_derfs_alone(logits):
    def made():
        return WithLogits() if logits else network(norm=nn.RMSNorm, depth=4)

    def distance(model, x):
        found, wanted = model.eval()(x), original(x)
        if not logits:
            return ((found - wanted).square().mean() / wanted.var()).item()
        found, wanted = found["logits"].softmax(-1), wanted["logits"].softmax(-1)
        return (wanted * (wanted / found).log()).sum(-1).mean().item()

    original, data, fresh = made().eval(), batches(4, 200), batches(5, 200)[-1]
    plain = derf.calibrate(made(), data, progress=False)
    refined, report = derf.calibrate(made(), data, refine=30, progress=False, return_report=True)
    # A small random network leaves little to win, all of it at held-out data.
    assert distance(refined, fresh) < 0.9 * distance(plain, fresh)
    assert report.notes[0].startswith("refined in 30 steps: distance")
    said = [float(word) for word in report.notes[0].replace(",", "").split() if word[0].isdigit()][1:]
    for model, value in zip((plain, refined), said, strict=True):
        # The report's digits; float32 sums.
        assert value == pytest.approx(sum(distance(model, x) for x in data) / 4, rel=0.01)
    for name, parameter in original.named_parameters():
        if "norm" not in name and ".5" not in name and name[0] != "5":
            assert torch.equal(parameter, dict(refined.named_parameters())[name])
    assert all(parameter.grad is None for parameter in refined.parameters())


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
    "refine": (ValueError, batches(), {"refine": -1}, "^derf: refine must be 0 or more"),
    "refine's type": (TypeError, batches(), {"refine": 0.5}, "^derf: refine must be an int"),
    "mask": (TypeError, batches(), {"mask": 1}, "^derf: mask must be"),
    "mask's key": (ValueError, batches(), {"mask": "attention_mask"}, "'attention_mask' is none"),
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


def test_every_process_gets_the_same(tmp_path):
    """Two processes with half of the batches each, and one with all of them."""
    program = f"""
import sys, torch, derf
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_calibrate import batches, network
rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method="file://{tmp_path}/store", rank=rank, world_size=2)
model = derf.calibrate(network(), batches(4, 2048)[rank::2], mode=sys.argv[2], progress=False)
torch.save(model.state_dict(), f"{tmp_path}/{{sys.argv[2]}}{{rank}}.pt")
try:
    derf.calibrate(network(), batches() if rank else [], progress=False)
except (RuntimeError, ValueError) as error:
    assert "must not be empty" in str(error), error
    import os
    os._exit(0)  # after all results are written: gloo's threads abort at exit now and then
raise AssertionError("an empty share of the batches was taken")
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(rank), "parallel"], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    first, second = (torch.load(tmp_path / f"parallel{rank}.pt") for rank in range(2))
    # One process takes batch 0 first as well, so it finds the same alpha.
    alone = derf.calibrate(network(), batches(4, 2048), mode="parallel", progress=False).state_dict()
    for name, value in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-6)
