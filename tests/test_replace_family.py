"""derf.replace_norm with other functions than erf: classes, starts, recipes, the way back, checkpoints of DyT."""

import copy

import derf
import pytest
import torch
import transformers
from derf.recipes import DYT_RECIPES
from torch import nn


def network(channels=4):
    model = nn.Sequential(nn.LayerNorm(channels, eps=0.5), nn.Linear(channels, channels), nn.RMSNorm(channels))
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


OPTIONS = {
    "derf": ({}, derf.Derf),
    "tanh": ({"function": "tanh"}, derf.PointwiseNorm),
    "DyT": ({"function": "tanh", "shift": False}, derf.DyT),
    "erf without shift": ({"shift": False}, derf.PointwiseNorm),
    "for each channel": ({"function": "isru", "per_channel": True, "alpha": 0.25, "shift": 0.125}, derf.PointwiseNorm),
    "studied": ({"clip": 0.5, "sign": -1}, derf.PointwiseNorm),
    "DyT for each channel": ({"function": "tanh", "per_channel": True, "shift": False}, derf.PointwiseNorm),
}
each_option = pytest.mark.parametrize(("options", "expected"), OPTIONS.values(), ids=OPTIONS)


@each_option
def test_what_a_norm_becomes(options, expected):
    model = network()
    before = [(norm.weight, getattr(norm, "bias", None)) for norm in (model[0], model[2])]
    replaced, report = derf.replace_norm(model, return_report=True, **options)
    for layer, (weight, bias) in zip((replaced[0], replaced[2]), before, strict=True):
        assert type(layer) is expected
        assert layer.function == options.get("function", "erf") and layer.per_channel == options.get(
            "per_channel", False
        )
        assert layer.weight is weight and layer.bias is bias
        shape = (4,) if layer.per_channel else (1,)
        assert layer.alpha.shape == shape and layer.alpha.eq(options.get("alpha", 0.5)).all()
        if options.get("shift") is False:
            assert layer.shift is None
        else:
            assert layer.shift.shape == shape and layer.shift.eq(options.get("shift", 0.0)).all()
        for name in ("clip", "sign"):
            assert getattr(layer, name) == options.get(name, getattr(derf.PointwiseNorm, name))
    shown = expected.__name__ + (f" {options.get('function', 'erf')}" if expected is derf.PointwiseNorm else "")
    assert shown in str(report) and ("none" in str(report)) == (options.get("shift") is False)
    input = torch.randn(3, 4)
    assert torch.equal(copy.deepcopy(replaced)(input), replaced(input))
    names = {name for name, _ in replaced.named_parameters() if not name.startswith("1.")}
    assert derf.no_weight_decay_names(replaced) == names


@each_option
def test_the_way_back(options, expected):
    model = network()
    before = copy.deepcopy(model)
    checkpoint = model.state_dict()
    derf.replace_norm(model, **options)
    model.load_state_dict(derf.convert_state_dict(checkpoint, model), strict=True)
    back = derf.convert_state_dict(model.state_dict(), before)
    assert back.keys() == checkpoint.keys() and all(torch.equal(back[name], checkpoint[name]) for name in back)
    restored = derf.restore_norm(model)
    input = torch.randn(3, 4)
    assert type(restored[0]) is nn.LayerNorm and torch.equal(restored(input), before(input))


@each_option
def test_a_second_time_changes_nothing(options, expected):
    # The classes of these layers have Norm in their names.
    model = derf.replace_norm(network(), **options)
    layers = list(model)
    derf.replace_norm(model)
    assert list(model) == layers


def test_a_function_of_ones_own():
    def saw(u):
        return u - u.round()

    with pytest.warns(UserWarning, match="saw is not one of .* not fused") as warned:
        model, report = derf.replace_norm(network(), function=saw, return_report=True)
    assert len(warned) == 1 and "PointwiseNorm saw" in str(report)
    assert model[0].function is saw and model(torch.randn(3, 4)).shape == (3, 4)
    assert type(derf.restore_norm(model)[0]) is nn.LayerNorm


@pytest.mark.parametrize(
    ("error", "options", "parts"),
    [
        (ValueError, {"function": "gelu"}, ["function", "gelu", "erf, tanh"]),
        (TypeError, {"function": None}, ["function", "None"]),
        (ValueError, {"clip": -1.0}, ["clip", "-1"]),
        (TypeError, {"dead": 1.0}, ["dead_zone", "'dead'"]),
        (TypeError, {"shift": "none"}, ["shift", "none"]),
    ],
)
def test_wrong_options_change_nothing(error, options, parts):
    model = network()
    with pytest.raises(error) as raised:
        derf.replace_norm(model, **options)
    assert str(raised.value).startswith("derf: ") and all(part in str(raised.value) for part in parts)
    assert type(model[0]) is nn.LayerNorm


# Recipes of DyT's authors


def test_the_recipe_of_vit():
    config = transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    model, report = derf.replace_norm(
        transformers.ViTModel(config, add_pooling_layer=False), function="tanh", recipe="vit", return_report=True
    )
    layers = [entry.new for entry in report.replaced]
    assert len(layers) == 3 and all(type(layer) is derf.DyT and layer.alpha.item() == 0.5 for layer in layers)


def test_the_recipe_of_llama():
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = transformers.LlamaModel(transformers.LlamaConfig(vocab_size=20, **sizes))
    derf.replace_norm(model, function="tanh", recipe="llama")
    starts = {name: m.alpha.item() for name, m in model.named_modules() if isinstance(m, derf.DyT)}
    expected = {"layers.0.input_layernorm": 0.8, "layers.0.post_attention_layernorm": 0.2, "norm": 0.2}
    assert starts == pytest.approx(expected)
    assert model.embed_tokens.scale.item() == 4.0


def test_recipes_go_with_functions():
    for recipe in DYT_RECIPES.values():
        assert "jiachenzhu/DyT" in recipe.source and recipe.training and not recipe.shift
    # Where DyT's authors have none, and for other functions, the starts are those of erf, with a shift.
    assert type(derf.replace_norm(network(), function="tanh", recipe="dit")[0]) is derf.PointwiseNorm
    assert derf.replace_norm(network(), function="isru", recipe="vit")[0].shift is not None
    assert derf.replace_norm(network(), function="tanh", recipe="vit", shift=0.1)[0].shift.item() == pytest.approx(0.1)
    assert type(derf.replace_norm(network(), recipe="vit")[0]) is derf.Derf
