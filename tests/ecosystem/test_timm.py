"""timm's models after replace_norm."""

import re

import derf
import pytest
import torch
import zoo
from derf import cli
from torch.utils.flop_counter import FlopCounterMode

timm = zoo.library("timm")

CLASSES = {"num_classes": 5}
VIT = {**CLASSES, "img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
SWIN = {"patch_size": 4, "window_size": 2, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 4)}
CONVNEXT = {**CLASSES, "depths": (1, 1, 1, 1), "dims": (8, 16, 16, 16)}
MAXVIT = {**CLASSES, "img_size": 64, "embed_dim": (32, 32), "depths": (1, 1), "stem_width": 16}

# Model: its settings, the side of an image, and the number of norms: per block, between stages, at the ends.
MODELS = {
    "vit_base_patch16_224": (VIT, 32, 2 * 2 + 1),
    "deit3_small_patch16_224": (VIT, 32, 2 * 2 + 1),
    "swin_tiny_patch4_window7_224": ({**CLASSES, "img_size": 32, **SWIN}, 32, 2 * 2 + 1 + 2),
    "convnext_tiny": (CONVNEXT, 64, 4 + 3 + 2),
    "convnextv2_tiny": (CONVNEXT, 64, 4 + 3 + 2),
    "maxvit_tiny_tf_224": ({**MAXVIT, "head_hidden_size": 32}, 64, 2 * 4 + 1),
    "maxxvit_rmlp_nano_rw_256": (MAXVIT, 64, 2 * 4 + 2 + 1),
    "eva02_tiny_patch14_224": (VIT, 32, 2 * 2 + 1),
    "cait_xxs24_224": (VIT, 32, 2 * 2 + 2 * 2 + 1),
    "beit_base_patch16_224": (VIT, 32, 2 * 2 + 1),
    "vit_base_patch16_rope_reg1_gap_256": (VIT, 32, 2 * 2 + 1),
}


@pytest.mark.parametrize("name", MODELS)
def test_model(name):
    settings, side, norms = MODELS[name]
    images = torch.randn(2, 3, side, side)
    zoo.check(timm.create_model(name, **settings), lambda model: model(images), norms)


def test_mlp_mixer():
    images = torch.randn(2, 3, 32, 32)
    model = timm.models.MlpMixer(**CLASSES, img_size=32, patch_size=8, num_blocks=2, embed_dim=32)
    zoo.check(model, lambda model: model(images), 2 * 2 + 1)


@pytest.mark.parametrize("include, norms", [(None, 2 * 2 + 1), ("*", 2 * 4 + 1)])
def test_query_and_key_norms_on_request(include, norms):
    images = torch.randn(2, 3, 32, 32)
    model = timm.create_model("vit_base_patch16_224", **VIT, qk_norm=True)
    zoo.check(model, lambda model: model(images), norms, include=include)


def test_command_line(capsys):
    cli.main(["replace", "--timm", "convnext_atto"])
    rows = {cells[0]: cells[1:] for cells in (re.split(r"\s{2,}", x) for x in capsys.readouterr().out.splitlines())}
    assert rows["stages.1.downsample.0"][:3] == ["LayerNorm2d", "Derf", "[40], channel_dim=1"]
    counter = FlopCounterMode(display=False, custom_mapping=derf.flops.norm_formulas())
    model = derf.replace_norm(timm.create_model("convnext_atto"))
    layers = [module for module in model.modules() if isinstance(module, derf.Derf)]
    flops = 0

    def count(layer, inputs, output):
        nonlocal flops
        with counter:
            type(layer).forward(layer, *inputs)
        flops += counter.get_total_flops()

    for layer in layers:
        layer.register_forward_hook(count)
    with torch.no_grad():
        model(torch.randn(1, 3, 224, 224))
    assert int(rows["FLOPs, forward"][1].replace(",", "")) == flops
    assert int(rows["parameters"][1].replace(",", "")) == sum(p.numel() for layer in layers for p in layer.parameters())


def test_set_fast_norm_and_init_weights():
    timm.layers.set_fast_norm(True)
    try:
        model = derf.replace_norm(timm.create_model("vit_base_patch16_224", **VIT))
    finally:
        timm.layers.set_fast_norm(False)
    layers = [module for module in model.modules() if isinstance(module, derf.Derf)]
    assert len(layers) == 5 and model(torch.randn(1, 3, 32, 32)).isfinite().all()
    for layer in layers:
        torch.nn.init.constant_(layer.alpha, 0.9)
    model.init_weights()
    assert {layer.alpha.item() for layer in layers} <= {0.9, 0.5}


def test_weight_decay_beside_no_weight_decay_of_the_model():
    model = derf.replace_norm(timm.create_model("vit_base_patch16_224", **VIT))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, others = (
        {names[id(p)] for p in group["params"]} for group in derf.parameter_groups(model, weight_decay=0.1)
    )
    assert decayed | others == set(names.values()) and not decayed & others
    assert model.no_weight_decay() and model.no_weight_decay() & set(names.values()) <= others
    assert derf.no_weight_decay_names(model) <= others
    assert decayed == {"patch_embed.proj.weight", "head.weight"} | {
        f"blocks.{block}.{layer}.weight"
        for block in (0, 1)
        for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }
    by_timm = zoo.library("timm.optim").param_groups_weight_decay(
        model, 0.1, no_weight_decay_list=model.no_weight_decay()
    )
    assert {names[id(p)] for group in by_timm if group["weight_decay"] for p in group["params"]} == decayed
