"""timm's models after replace_norm."""

import pytest
import torch
import zoo

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
