"""diffusers' models after replace_norm: most of their norms have no weight and are modulated in the forward around."""

import copy

import derf
import pytest
import torch
import zoo

diffusers = zoo.library("diffusers")

normalization = zoo.library("diffusers.models.normalization")

SIZES = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "sample_size": 8, "patch_size": 2}


def modulated(model):
    """How many layers get scale and shift with their input, in a converted copy of the model."""
    model = derf.restore_norm(copy.deepcopy(model))
    return sum(isinstance(module, derf.ModulatedDerf) for module in derf.replace_norm(model).modules())


def test_dit():
    model = diffusers.DiTTransformer2DModel(**SIZES, in_channels=4, out_channels=8, num_embeds_ada_norm=10)
    images, times, labels = torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.tensor([1, 7])
    zoo.check(model, lambda model: model(images, times, labels).sample, 2 * 2 + 1)
    assert modulated(model) == 2 * 2 + 1


def test_pixart():
    model = diffusers.PixArtTransformer2DModel(
        **SIZES, in_channels=4, out_channels=8, cross_attention_dim=32, caption_channels=16
    )
    images, times, text = torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.randn(2, 5, 16)
    sizes = {"resolution": None, "aspect_ratio": None}
    zoo.check(model, lambda model: model(images, text, timestep=times, added_cond_kwargs=sizes).sample, 2 * 2 + 1)
    assert modulated(model) == 2 * 2 + 1


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
    assert modulated(model) == 8


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
    assert modulated(model) == 0  # the same class of blocks as DiT's, in another mode


def test_flux():
    model = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    tokens, text, pooled, times = torch.randn(2, 6, 4), torch.randn(2, 5, 32), torch.randn(2, 32), torch.rand(2)
    places = {"img_ids": torch.randn(6, 3), "txt_ids": torch.randn(5, 3)}
    inputs = {"encoder_hidden_states": text, "pooled_projections": pooled, "timestep": times, **places}
    zoo.check(model, lambda model: model(tokens, **inputs).sample, 4 + 1 + 1)
    assert modulated(model) == 6


MODULATED = {  # the class, what it is called with behind x, and whether its modulation is found
    "AdaLayerNorm": (lambda n: n.AdaLayerNorm(16, output_dim=32, chunk_dim=1), {"temb": (2, 16)}, True),
    "AdaLayerNormZero": (lambda n: n.AdaLayerNormZero(16), {"emb": (2, 16)}, True),
    "AdaLayerNormZeroSingle": (lambda n: n.AdaLayerNormZeroSingle(16), {"emb": (2, 16)}, True),
    "AdaLayerNormContinuous": (lambda n: n.AdaLayerNormContinuous(16, 8), {"conditioning_embedding": (2, 8)}, True),
    "AdaLayerNormContinuous, RMSNorm": (
        lambda n: n.AdaLayerNormContinuous(16, 8, norm_type="rms_norm"),
        {"conditioning_embedding": (2, 8)},
        True,
    ),
    "LuminaLayerNormContinuous": (
        lambda n: n.LuminaLayerNormContinuous(16, 8),
        {"conditioning_embedding": (2, 8)},
        True,
    ),
    "LuminaRMSNormZero": (lambda n: n.LuminaRMSNormZero(16, 1e-5, True), {"emb": (2, 16)}, True),
    "SD35AdaLayerNormZeroX": (lambda n: n.SD35AdaLayerNormZeroX(16), {"emb": (2, 16)}, False),
}


@pytest.mark.parametrize("build, arguments, found", MODULATED.values(), ids=MODULATED)
def test_adaptive_norms(build, arguments, found):
    """Each class beside its own forward with a layer by hand, in float64."""
    model = build(normalization)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.5, 0.2)
    by_hand = copy.deepcopy(model)
    by_hand.norm = zoo.EagerDerf(by_hand.norm)
    by_hand.double()
    derf.replace_norm(model)
    assert isinstance(model.norm, derf.ModulatedDerf) == found

    x, given = torch.randn(2, 5, 16), {name: torch.randn(shape) for name, shape in arguments.items()}
    output, expected = model(x, **given), by_hand(x.double(), **{name: t.double() for name, t in given.items()})
    output, expected = (each[0] if isinstance(each, tuple) else each for each in (output, expected))
    # Some ten roundings of values below 64, of scales that are themselves sums of 16 products.
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=64 * 32 * 2.0**-24)
    gradient = torch.randn_like(output)
    (output * gradient).sum().backward()
    (expected * gradient.double()).sum().backward()
    others = dict(by_hand.named_parameters())
    for name, parameter in model.named_parameters():
        right = others[name].grad
        if parameter.grad is None:
            assert right is None or not right.any()
        else:
            largest = max(1.0, right.abs().max().item())
            torch.testing.assert_close(parameter.grad.double(), right, rtol=0, atol=2.0**-15 * largest)
