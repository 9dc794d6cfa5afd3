"""derf.calibrate on norms of every kind: layouts, shared, masked, without parameters, of several dtypes."""

import copy

import derf
import pytest
import torch
from calibration import ChannelNorm, activations, assert_fitted, batches, least_squares, made_norm, network
from torch import nn


def test_channel_dim_1():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), ChannelNorm(5))
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


def test_a_norm_without_affine_gets_one():
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
