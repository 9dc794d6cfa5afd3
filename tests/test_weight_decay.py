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


class Wrapper(nn.Module):
    """As DistributedDataParallel, DataParallel and others: a module called module."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        return self.module(*inputs)


WRAPPED = {
    "plain": lambda model: model,
    "compiled": torch.compile,
    "DataParallel": nn.DataParallel,
    "wrapped": Wrapper,
    "compiled, then wrapped": lambda model: Wrapper(torch.compile(model)),
    "wrapped, then compiled": lambda model: torch.compile(Wrapper(model)),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_what_a_model_names_is_found_in_its_wrappers(wrap):
    model = derf.replace_norm(Network())
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    expected = [[names[id(p)] for p in group["params"]] for group in derf.parameter_groups(model, weight_decay=0.1)]
    found = [[names[id(p)] for p in group["params"]] for group in derf.parameter_groups(wrap(model), weight_decay=0.1)]
    assert found == expected and "position" in found[1]


def test_ddp(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(derf.replace_norm(Network()))
        assert any(p is model.module.position for p in derf.parameter_groups(model, weight_decay=0.1)[1]["params"])
    finally:
        torch.distributed.destroy_process_group()


def test_parts_that_are_compiled_or_checkpointed():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = torch.compile(Network())
            self.module = nn.Linear(3, 3)  # no wrapper

        def no_weight_decay(self):
            return {"part.inner.3.weight", "module.weight"}

    model = Model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = [names[id(p)] for p in derf.parameter_groups(model, weight_decay=0.1)[0]["params"]]
    assert "part._orig_mod.inner.3.weight" not in decayed and "module.weight" not in decayed
    assert "part._orig_mod.inner.0.weight" in decayed


def test_names_of_every_layer_of_the_family():
    model = nn.Sequential(derf.DyT((2, 3)), derf.PointwiseNorm((2, 3), per_channel=True, bias=False))
    assert derf.no_weight_decay_names(model) == {"0.alpha", "0.weight", "0.bias", "1.alpha", "1.shift", "1.weight"}
    assert not derf.parameter_groups(model, weight_decay=0.1)[0]["params"]
