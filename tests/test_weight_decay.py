"""Which parameters derf.parameter_groups and derf.no_weight_decay_names leave out of weight decay."""

import derf
import pytest
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 2), nn.LayerNorm((4, 5)), nn.BatchNorm2d(4), nn.Linear(5, 5))
        self.frozen = nn.Linear(5, 5).requires_grad_(False)
        self.tied = nn.Linear(5, 5, bias=False)
        self.tied.weight = self.inner[3].weight
        self.position = nn.Parameter(torch.zeros(1, 5))
        self.norm = self.inner[1]

    def no_weight_decay(self):
        return {"position"}


OF_THE_NORM = {"alpha", "shift", "weight", "bias"}


def test_names():
    model = derf.replace_norm(Network())
    expected = {f"{prefix}.{name}" for prefix in ("inner.1", "norm") for name in OF_THE_NORM}
    assert derf.no_weight_decay_names(model) == expected
    assert derf.no_weight_decay_names(derf.Derf(3)) == OF_THE_NORM
    assert derf.no_weight_decay_names(nn.LayerNorm(3)) == set()


def test_groups():
    model = derf.replace_norm(Network())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, others = derf.parameter_groups(model, weight_decay=0.1)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert [names[id(p)] for p in decayed["params"]] == ["inner.0.weight", "inner.3.weight"]
    expected = {"position", "inner.0.bias", "inner.2.weight", "inner.2.bias", "inner.3.bias"}
    expected |= {f"inner.1.{name}" for name in OF_THE_NORM}
    assert {names[id(p)] for p in others["params"]} == expected and len(others["params"]) == len(expected)


def test_only_what_is_decayed_shrinks():
    model = derf.replace_norm(Network())
    optimizer = torch.optim.AdamW(derf.parameter_groups(model, weight_decay=0.5), lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {"inner.0.weight", "inner.3.weight"}


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_wrong_weight_decay(value):
    with pytest.raises(ValueError, match="^derf: weight_decay must not be negative"):
        derf.parameter_groups(Network(), weight_decay=value)
