"""diffusers' models after replace_norm: most of their norms have no weight and stand inside an AdaLayerNorm."""

import pytest
import torch
import zoo

diffusers = zoo.library("diffusers")

SIZES = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "sample_size": 8, "patch_size": 2}


def test_dit():
    model = diffusers.DiTTransformer2DModel(**SIZES, in_channels=4, out_channels=8, num_embeds_ada_norm=10)
    images, times, labels = torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.tensor([1, 7])
    zoo.check(model, lambda model: model(images, times, labels).sample, 2 * 2 + 1)


def test_pixart():
    model = diffusers.PixArtTransformer2DModel(
        **SIZES, in_channels=4, out_channels=8, cross_attention_dim=32, caption_channels=16
    )
    images, times, text = torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.randn(2, 5, 16)
    sizes = {"resolution": None, "aspect_ratio": None}
    zoo.check(model, lambda model: model(images, text, timestep=times, added_cond_kwargs=sizes).sample, 2 * 2 + 1)


@pytest.mark.parametrize("qk_norm, include, norms", [(None, None, 8), ("rms_norm", None, 8), ("rms_norm", "*", 8 + 8)])
def test_stable_diffusion_3(qk_norm, include, norms):
    widths = dict.fromkeys(("joint_attention_dim", "caption_projection_dim", "pooled_projection_dim"), 32)
    model = diffusers.SD3Transformer2DModel(
        **SIZES, **widths, in_channels=4, out_channels=4, pos_embed_max_size=16, qk_norm=qk_norm
    )
    images, times, text, pooled = (
        torch.randn(2, 4, 8, 8),
        torch.tensor([3, 500]),
        torch.randn(2, 5, 32),
        torch.randn(2, 32),
    )
    unused = ("blocks.1.attn.norm_added_q",)  # the last block asks no questions of the text
    zoo.check(model, lambda model: model(images, text, pooled, times).sample, norms, unused, include=include)


def test_unet():
    model = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    images, times, text = torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.randn(2, 5, 32)
    zoo.check(model, lambda model: model(images, times, text).sample, 3 * (1 + 1 + 2))
