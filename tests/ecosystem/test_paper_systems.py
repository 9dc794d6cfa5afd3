"""The systems that the paper trains, and LLaMA, each through replace_norm(model, recipe=…): what the recipe sets, and a
forward, a backward and an optimizer step that agree with layers by hand.
"""

import copy
import math

import derf
import dna_models
import pytest
import torch
import zoo
from derf.recipes import RECIPES, EmbeddingScale, ScaledEmbedding
from torch import nn
from torch.nn import functional as F

diffusers, timm, transformers = zoo.library("diffusers"), zoo.library("timm"), zoo.library("transformers")
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def vit():
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
    model = timm.create_model("vit_base_patch16_224", **sizes, num_classes=5, global_pool="avg")
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([1, 4])
    return model, lambda model: F.cross_entropy(model(images), labels)


def dit():
    model = diffusers.DiTTransformer2DModel(2, 16, 4, 8, num_layers=2, sample_size=8, num_embeds_ada_norm=10)
    images, times, labels = torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.tensor([1, 7])
    noise = torch.randn(2, 8, 8, 8)
    return model, lambda model: F.mse_loss(model(images, times, labels).sample, noise)


def wav2vec2():
    config = transformers.Wav2Vec2Config(
        **SIZES,
        conv_dim=(16, 16),
        conv_stride=(5, 2),
        conv_kernel=(10, 3),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        layerdrop=0.0,
        apply_spec_augment=False,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
        num_codevectors_per_group=8,
        codevector_dim=16,
        proj_codevector_dim=16,
    )
    sound = torch.randn(2, 800)
    masked = torch.zeros(2, 79, dtype=torch.bool)
    masked[:, 10:30] = True
    others = torch.randint(10, 30, (2, 79, 4))

    def loss(model):
        output = model(sound, mask_time_indices=masked, sampled_negative_indices=others)
        return output.loss / masked.sum()

    return transformers.Wav2Vec2ForPreTraining(config), loss


def next_base(build):
    tokens = torch.randint(0, dna_models.BASES, (2, 24))
    return build(), lambda model: F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def hyena():
    return next_base(dna_models.HyenaDNA)


def caduceus():
    return next_base(dna_models.Caduceus)


def gpt2():
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=50, n_positions=16, **ends)
    tokens = torch.randint(0, 50, (2, 11))
    return transformers.GPT2LMHeadModel(config), lambda model: model(input_ids=tokens, labels=tokens).loss


def llama():
    config = transformers.LlamaConfig(**SIZES, vocab_size=50, tie_word_embeddings=True)
    tokens = torch.randint(0, 50, (2, 11))
    return transformers.LlamaForCausalLM(config), lambda model: model(input_ids=tokens, labels=tokens).loss


class ScaledByHand(nn.Module):
    def __init__(self, inner, before):
        super().__init__()
        self.inner, self.before = inner, before
        self.by_hand = nn.Parameter(torch.full((1,), math.sqrt(32)))

    def forward(self, x):
        return self.inner(x * self.by_hand) if self.before else self.inner(x) * self.by_hand


def scale_by_hand(model, path, before):
    parent, _, name = path.rpartition(".")
    parent = model.get_submodule(parent)
    setattr(parent, name, ScaledByHand(getattr(parent, name), before))


# System: how it is built, its recipe, and the starts of alpha by name.
BLOCKS = (0, 1)
SYSTEMS = {
    "ViT": (vit, "vit", dict.fromkeys([f"blocks.{i}.norm{j}" for i in BLOCKS for j in (1, 2)] + ["fc_norm"], 0.5)),
    "DiT": (
        dit,
        "dit",
        dict.fromkeys([f"transformer_blocks.{i}.{n}" for i in BLOCKS for n in ("norm1.norm", "norm3")], 0.5)
        | {"norm_out": 0.5},
    ),
    "wav2vec 2.0": (
        wav2vec2,
        "wav2vec2",
        {"wav2vec2.encoder.layer_norm": 0.5}
        | {f"wav2vec2.encoder.layers.{i}.{n}": 0.5 for i in BLOCKS for n in ("layer_norm", "final_layer_norm")},
    ),
    "HyenaDNA": (hyena, "dna", {f"layers.{i}.norm{j}": 0.5 for i in BLOCKS for j in (1, 2)} | {"ln_f": 0.5}),
    "Caduceus": (caduceus, "dna", {"layers.0.norm": 0.5, "layers.1.norm": 0.5, "norm_f": 0.5}),
    "GPT-2": (
        gpt2,
        "gpt2",
        {f"transformer.h.{i}.ln_{j}": 1.0 for i in BLOCKS for j in (1, 2)} | {"transformer.ln_f": 1.0},
    ),
    "LLaMA": (
        llama,
        "llama",
        {f"model.layers.{i}.input_layernorm": 0.8 for i in BLOCKS}
        | {f"model.layers.{i}.post_attention_layernorm": 0.2 for i in BLOCKS}
        | {"model.norm": 0.2},
    ),
}
SCALED = {"GPT-2": ("transformer.drop", True), "LLaMA": ("model.embed_tokens", False)}


@pytest.fixture
def float64():
    """Whatever is built or drawn is float64, where roundings hide nothing."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_step_of_training_agrees_with_layers_by_hand(system, float64):
    build, recipe, alphas = SYSTEMS[system]
    model, loss = build()
    eager = copy.deepcopy(model)
    for name, alpha in alphas.items():
        parent, _, child = name.rpartition(".")
        parent = eager.get_submodule(parent)
        layer = zoo.EagerDerf(getattr(parent, child), alpha=alpha)
        if recipe == "dna" and layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros_like(layer.weight))
        setattr(parent, child, layer)
    if system in SCALED:
        scale_by_hand(eager, *SCALED[system])

    assert derf.replace_norm(model, recipe=recipe) is model
    layers = {name: module for name, module in model.named_modules() if isinstance(module, derf.Derf)}
    assert {name: round(layer.alpha.item(), 6) for name, layer in layers.items()} == alphas
    assert all(layer.shift.item() == 0 for layer in layers.values())
    assert (recipe == "dna") <= all(layer.bias is not None for layer in layers.values())

    losses, new = [], [parameter for name, layer in layers.items() for parameter in layer.parameters()]
    new += [module.scale for module in model.modules() if isinstance(module, (EmbeddingScale, ScaledEmbedding))]
    for each in (model, eager):
        torch.manual_seed(0)
        losses.append(loss(each.train()))
        losses[-1].backward()
    torch.testing.assert_close(*losses, rtol=1e-9, atol=1e-9)
    theirs = [parameter for name in layers for parameter in eager.get_submodule(name).parameters()]
    theirs += [parameter for name, parameter in eager.named_parameters() if name.endswith("by_hand")]
    assert len(new) == len(theirs)
    largest = max(parameter.grad.abs().max() for parameter in theirs)
    for mine, expected in zip(new, theirs, strict=True):
        torch.testing.assert_close(mine.grad, expected.grad, rtol=1e-7, atol=1e-7 * largest.item())

    before = [parameter.detach().clone() for parameter in new]
    torch.optim.AdamW(derf.parameter_groups(model, weight_decay=0.1), lr=1e-2, eps=1e-30).step()
    assert not any(torch.equal(old, parameter) for old, parameter in zip(before, new, strict=True))
    assert loss(model).isfinite()
    assert {id(parameter) for parameter in new} <= {
        id(model.get_parameter(name)) for name in derf.no_weight_decay_names(model)
    }


def test_every_recipe_is_tested():
    assert {recipe for _, recipe, _ in SYSTEMS.values()} == set(RECIPES)


def test_wav2vec2_keeps_the_norms_of_the_feature_extractor():
    model, _ = wav2vec2()
    report = derf.replace_norm(model, recipe="wav2vec2", dry_run=True)
    kept = {entry.name for entry in report.kept}
    assert {f"wav2vec2.feature_extractor.conv_layers.{i}.layer_norm" for i in (0, 1)} <= kept
    assert "wav2vec2.feature_projection.layer_norm" in kept


def test_arguments_go_before_the_recipe():
    model, _ = gpt2()
    derf.replace_norm(model, recipe="gpt2", alpha={"*.ln_1": 0.75, "*": 0.25}, shift=0.5)
    assert model.transformer.h[0].ln_1.alpha.item() == 0.75 and model.transformer.ln_f.alpha.item() == 0.25
    assert model.transformer.ln_f.shift.item() == 0.5


@pytest.mark.parametrize("system, key", [("GPT-2", "transformer.drop.0.scale"), ("LLaMA", "model.embed_tokens.scale")])
def test_the_scale_of_embeddings(system, key):
    build, recipe, _ = SYSTEMS[system]
    model, loss = build()
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    plain = copy.deepcopy(model)
    _, report = derf.replace_norm(model, recipe=recipe, return_report=True)
    assert any("scale" in change for change in report.changes)
    assert model.state_dict()[key].item() == pytest.approx(math.sqrt(32))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight and tied
    again, report = derf.replace_norm(model, recipe=recipe, return_report=True)  # once is enough
    assert not report.changes and sum(name.endswith(".scale") for name in model.state_dict()) == 1
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.get_parameter(key).fill_(0.0)
    assert model.state_dict()[key].item() > 0 and loss(model.eval()) != loss(twin.eval())
    # A checkpoint of the authors' has it at the root; one of the model with norms not at all.
    theirs = {name: tensor for name, tensor in model.state_dict().items() if name != key}
    converted = derf.convert_state_dict({**theirs, "shared_scale": torch.tensor([3.0])}, model)
    model.load_state_dict(converted, strict=True)
    assert model.state_dict()[key].item() == 3.0
    model.load_state_dict(derf.convert_state_dict(plain.state_dict(), model), strict=True)


@pytest.mark.parametrize(
    "recipe, message", [("gpt2", "wte, wpe and drop"), ("llama", "embed_tokens"), ("wav2vec2", "include")]
)
def test_a_recipe_of_another_family_is_refused(recipe, message):
    model, _ = vit()
    with pytest.raises(ValueError, match=f"^derf: .*{message}"):
        derf.replace_norm(model, recipe=recipe)
    assert not any(isinstance(module, derf.Derf) for module in model.modules())


@pytest.mark.parametrize("build", [dna_models.HyenaDNA, dna_models.Caduceus])
def test_dna_models_pass_what_every_model_must(build):
    tokens = torch.randint(0, dna_models.BASES, (2, 12))
    zoo.check(build(), lambda model: model(tokens), 2 * 2 + 1 if build is dna_models.HyenaDNA else 2 + 1)
