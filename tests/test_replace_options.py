"""Options of derf.replace_norm, its report, what it keeps and what it refuses."""

import copy
import pickle
import re
import warnings

import derf
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(4), nn.RMSNorm(4)
        self.q_norm, self.k_norm = nn.LayerNorm(4), nn.LayerNorm(4)

    def forward(self, x):
        return self.norm2(self.norm1(x)) + self.q_norm(x) * self.k_norm(x)


def network():
    model = nn.Sequential(Block(), Block(), nn.LayerNorm(4))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


BLOCK = ("0.norm1", "0.norm2", "1.norm1", "1.norm2")
QUERY_KEY = ("0.q_norm", "0.k_norm", "1.q_norm", "1.k_norm")


def derfs(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, derf.Derf)}


def unchanged(model):
    return not derfs(model) and sum(isinstance(m, (nn.LayerNorm, nn.RMSNorm)) for m in model.modules()) == 9


# Which


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {*BLOCK, "2"}),
        ({"include": "*"}, {*BLOCK, *QUERY_KEY, "2"}),
        ({"include": "*.norm1"}, {"0.norm1", "1.norm1"}),
        ({"include": ["0.*", "2"]}, {"0.norm1", "0.norm2", "0.q_norm", "0.k_norm", "2"}),
        ({"include": nn.RMSNorm}, {"0.norm2", "1.norm2"}),
        ({"include": lambda name, module: name == "2"}, {"2"}),
        ({"include": (nn.RMSNorm, "*.q_norm")}, {"0.norm2", "1.norm2", "0.q_norm", "1.q_norm"}),
        ({"exclude": "1.*"}, {"0.norm1", "0.norm2", "2"}),
        ({"exclude": [nn.RMSNorm, "2"]}, {"0.norm1", "1.norm1"}),
        ({"exclude": lambda name, module: name.startswith("0")}, {"1.norm1", "1.norm2", "2"}),
        ({"include": "*", "exclude": "?.norm?"}, {*QUERY_KEY, "2"}),
        ({"exclude": "nothing like it"}, {*BLOCK, "2"}),
    ],
    ids=lambda value: " ".join(sorted(value)) if isinstance(value, set) else None,
)
def test_include_and_exclude(options, expected):
    model = network()
    norms = {name for name, module in model.named_modules() if isinstance(module, (nn.LayerNorm, nn.RMSNorm))}
    _, report = derf.replace_norm(model, return_report=True, **options)
    assert set(derfs(model)) == expected == {entry.name for entry in report.replaced}
    assert {entry.name for entry in report.kept} == norms - expected


def test_a_shared_layer_is_meant_by_any_of_its_names():
    norm = nn.LayerNorm(4)
    model = nn.ModuleDict({"first": nn.Sequential(norm), "second": nn.Sequential(norm)})
    _, report = derf.replace_norm(model, include="second.*", return_report=True)
    assert model["first"][0] is model["second"][0] and type(model["first"][0]) is derf.Derf
    assert (report.replaced[0].name, report.replaced[0].aliases) == ("first.0", ("second.0",))


@pytest.mark.parametrize("argument", ["include", "exclude"])
@pytest.mark.parametrize("value", [3, [3], int, [None]], ids=repr)
def test_wrong_selectors(argument, value):
    model = network()
    with pytest.raises(TypeError, match=f"^derf: {argument} must hold"):
        derf.replace_norm(model, **{argument: value})
    assert unchanged(model)


@pytest.mark.parametrize("include", ["*.norm3", ["*.norm1", "typo"], nn.GroupNorm], ids=repr)
def test_include_that_matches_nothing(include):
    model = network()
    with pytest.raises(ValueError, match="^derf: include has .*matches no"):
        derf.replace_norm(model, include=include)
    assert unchanged(model)


# Starts


@pytest.mark.parametrize("argument, parameter", [("alpha", "alpha"), ("shift", "shift")])
@pytest.mark.parametrize(
    "value",
    [
        {"*.norm1": 0.8, "*.norm2": 0.2, "2": 1.5},
        {"*.norm1": 0.8, "2": 1.5, "*": 0.2},
        lambda name: 0.8 if name.endswith("norm1") else 0.2 if name.endswith("norm2") else 1.5,
    ],
    ids=["names", "first match counts", "function"],
)
def test_starts_by_name(argument, parameter, value):
    model = derf.replace_norm(network(), **{argument: value})
    found = {name: getattr(layer, parameter).item() for name, layer in derfs(model).items()}
    expected = {"0.norm1": 0.8, "0.norm2": 0.2, "1.norm1": 0.8, "1.norm2": 0.2, "2": 1.5}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"*.norm1": 0.8, "2": 1}, ValueError, "alpha must have a number for each .*'0.norm2'"),
        ({"*": 0.8, "*.norm3": 1}, ValueError, r"alpha has the key '\*.norm3', which matches no layer"),
        ({"*": "0.8"}, TypeError, "alpha must be a number, but is '0.8'"),
        (lambda name: None, TypeError, "alpha must be a number, but is None"),
        (float("nan"), ValueError, "alpha must be finite"),
        (True, TypeError, "alpha must be a number, but is True"),
    ],
)
def test_wrong_starts(value, error, message):
    model = network()
    with pytest.raises(error, match=f"^derf: {message}"):
        derf.replace_norm(model, alpha=value)
    assert unchanged(model)


# What is taken over


def test_affine_anew():
    model = network()
    model[0].norm1.weight.requires_grad_(False)
    old = model[0].norm1
    derf.replace_norm(model, keep_affine=False)
    for layer in derfs(model).values():
        assert layer.weight.eq(1).all() and (layer.bias is None or layer.bias.eq(0).all())
    layer = model[0].norm1
    assert layer.weight is not old.weight and not layer.weight.requires_grad and layer.bias.requires_grad


def test_a_bias_on_request():
    model = nn.Sequential(nn.RMSNorm(4), nn.RMSNorm(4, elementwise_affine=False))
    derf.replace_norm(model, bias=True)
    assert model[0].bias.eq(0).all() and model[0].bias.requires_grad
    assert model[1].weight is None and model[1].bias is None
    restored = derf.restore_norm(model)
    assert list(restored.state_dict()) == ["0.weight"]


def test_a_frozen_layer_stays_frozen():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.LayerNorm(4, elementwise_affine=False))
    derf.replace_norm(model.requires_grad_(False))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    model = derf.replace_norm(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4, elementwise_affine=False)))
    assert model[1].alpha.requires_grad and model[1].shift.requires_grad


def test_dtype_and_device_of_a_layer_without_parameters_are_those_around_it():
    block = nn.Sequential(nn.Linear(4, 4, dtype=torch.bfloat16), nn.LayerNorm(4, elementwise_affine=False))
    model = nn.Sequential(nn.Embedding(3, 4, dtype=torch.float64), block)
    model[1][0].register_parameter("scales", nn.Parameter(torch.ones(2).to(torch.float8_e4m3fn), requires_grad=False))
    derf.replace_norm(model)
    assert {parameter.dtype for parameter in model[1][1].parameters()} == {torch.bfloat16}
    alone = derf.replace_norm(nn.LayerNorm(4, elementwise_affine=False))
    assert alone.alpha.dtype == torch.float32


class QuantizedLinear(nn.Module):
    """A linear layer as quantizing loaders leave it: integers and a scale."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randint(-127, 128, (4, 4), dtype=torch.int8), requires_grad=False)
        self.register_buffer("scale", torch.full((4, 1), 0.01, dtype=torch.bfloat16))

    def forward(self, x):
        return x @ (self.weight * self.scale).T


def test_a_quantized_model():
    model = nn.Sequential(
        QuantizedLinear(), nn.RMSNorm(4, dtype=torch.bfloat16), nn.LayerNorm(4, elementwise_affine=False)
    )
    derf.replace_norm(model)
    assert {parameter.dtype for layer in derfs(model).values() for parameter in layer.parameters()} == {torch.bfloat16}
    assert model(torch.randn(2, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_dtype_that_a_derf_cannot_have_is_left():
    norm = nn.LayerNorm(4).to(torch.float8_e4m3fn)
    report = derf.replace_norm(nn.Sequential(norm), dry_run=True)
    assert "float8" in report.kept[0].reason


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
@pytest.mark.parametrize("when", ["before", "restored"])
def test_hooks_that_run_in_a_call_are_kept(kind, when):
    model = nn.Sequential(nn.LayerNorm(4))
    called = []
    handle = getattr(model[0], f"register_{kind}_hook")(lambda *_: called.append(kind))
    derf.replace_norm(model)
    if when == "restored":
        derf.restore_norm(model)
    model(torch.randn(2, 4, requires_grad=True)).sum().backward()
    assert called == [kind]
    handle.remove()  # still the handle of that hook
    model(torch.randn(2, 4, requires_grad=True)).sum().backward()
    assert called == [kind]


def test_hooks_with_keywords_are_kept():
    model = nn.Sequential(nn.LayerNorm(4))
    seen = []
    model[0].register_forward_hook(lambda *arguments: seen.append(len(arguments)), with_kwargs=True)
    derf.replace_norm(model)(torch.randn(2, 4))
    assert seen == [4]  # module, args, kwargs, output


def test_hooks_that_cannot_be_kept_are_named():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    model[1].register_state_dict_post_hook(lambda *_: None)
    model[1].register_load_state_dict_pre_hook(lambda *_: None)
    report = derf.replace_norm(model, dry_run=True)
    with warnings.catch_warnings(), pytest.raises(UserWarning):
        warnings.simplefilter("error")
        derf.replace_norm(model)
    assert not derfs(model)
    with pytest.warns(UserWarning, match="^derf: 1 had state_dict_hooks, load_state_dict_pre_hooks"):
        derf.replace_norm(model)
    assert any("state_dict_hooks" in change for change in report.changes)


# The report


def test_a_dry_run_changes_nothing():
    model = network()
    twin = copy.deepcopy(model)
    report = derf.replace_norm(model, dry_run=True, recipe="vit")
    assert unchanged(model) and isinstance(report, derf.Report)
    assert [entry.name for entry in report.replaced] == [*BLOCK[:2], *BLOCK[2:], "2"]
    for (name, mine), (_, theirs) in zip(model.state_dict().items(), twin.state_dict().items(), strict=True):
        assert torch.equal(mine, theirs), name
    assert all(p.requires_grad for p in model.parameters())
    assert [type(m) for m in model.modules()] == [type(m) for m in twin.modules()]


def test_the_report_prints_a_table():
    norm = nn.LayerNorm(4, bias=False)
    model = nn.ModuleDict(
        {"a": norm, "b": norm, "c": nn.LayerNorm(3, elementwise_affine=False), "q_norm": nn.RMSNorm(4)}
    )
    _, report = derf.replace_norm(model, alpha={"a": 0.8, "*": 0.25}, return_report=True)
    lines = [re.split(r"\s{2,}", line) for line in str(report).splitlines()]
    assert lines[0] == ["name", "was", "becomes", "shape", "alpha", "shift", "takes over"]
    assert lines[2] == ["a = b", "LayerNorm", "Derf", "[4]", "0.8", "0", "weight"]
    assert lines[3] == ["c", "LayerNorm", "Derf", "[3]", "0.25", "0", "nothing"]
    assert lines[5] == ["name", "stays", "because"]
    assert lines[7][:2] == ["q_norm", "RMSNorm"] and "queries or keys" in lines[7][2]
    assert str(derf.replace_norm(nn.Linear(2, 2), dry_run=True)) == "no normalization layer to replace"
    root = derf.replace_norm(nn.LayerNorm(2), dry_run=True)
    assert "(model)" in str(root) and root.replaced[0].new.normalized_shape == (2,)


# What is refused


@pytest.fixture
def process_group():
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield
    torch.distributed.destroy_process_group()


def wrapped(how):
    model = network()
    if how == "DistributedDataParallel":
        return nn.parallel.DistributedDataParallel(model)
    if how == "fully_shard":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        return fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    if how == "compiled":
        return torch.compile(model)
    model[0].compile()
    return model


@pytest.mark.parametrize("how", ["DistributedDataParallel", "fully_shard", "compiled", "compiled in place"])
@pytest.mark.parametrize("inside", [False, True])
def test_wrapped_models_are_refused(how, inside, process_group):
    model = wrapped(how)
    model = nn.Sequential(nn.LayerNorm(4), model) if inside else model
    before = [type(module) for module in model.modules()]
    with pytest.raises(
        TypeError, match=rf"(?s)^derf: model must be neither.* is .*{how.split()[0]}.*replace_norm first"
    ):
        derf.replace_norm(model)
    assert [type(module) for module in model.modules()] == before


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_a_parametrized_norm_is_refused_unless_it_stays():
    model = network()
    parametrize.register_parametrization(model[0].norm1, "weight", Doubled())
    with pytest.raises(ValueError, match="^derf: 0.norm1 has parametrizations of weight"):
        derf.replace_norm(model)
    derf.replace_norm(model, exclude="0.norm1")
    assert set(derfs(model)) == {"0.norm2", "1.norm1", "1.norm2", "2"}


def test_a_norm_with_a_forward_of_its_own_is_refused():
    model = network()
    model[2].forward = lambda x: x
    with pytest.raises(ValueError, match="^derf: the forward of 2 was replaced"):
        derf.replace_norm(model)
    assert unchanged(model)


def test_a_fused_add_and_norm_is_refused():
    model = network()
    model[1].fused_add_norm = True
    with pytest.raises(ValueError, match="^derf: 1 has fused_add_norm=True"):
        derf.replace_norm(model)
    assert unchanged(model)


def test_unknown_recipe():
    for value in ("vgg", ["vit"]):
        with pytest.raises(ValueError, match="^derf: recipe must be one of 'vit', .*'llama', but is .*v"):
            derf.replace_norm(network(), recipe=value)


# Afterwards


def test_a_replaced_model_is_copied_and_pickled():
    model = derf.replace_norm(network())
    input = torch.randn(3, 4)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(input), model(input))
        assert twin[0].norm1.alpha is not model[0].norm1.alpha
        assert type(derf.restore_norm(twin)[0].norm1) is nn.LayerNorm


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_replaced_layer_is_scripted():
    model = derf.replace_norm(nn.Sequential(nn.LayerNorm(4)))
    input = torch.randn(3, 4)
    assert torch.equal(torch.jit.script(model)(input), model(input))
