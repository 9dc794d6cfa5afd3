"""Transformers' models after replace_norm."""

import contextlib
import importlib
import inspect
import re
from pathlib import Path

import derf
import pytest
import torch
import zoo

transformers = zoo.library("transformers")

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = {**SIZES, "vocab_size": 50, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0}
TEXT |= {"pad_token_id": 0}
GROUPED = {**TEXT, "num_key_value_heads": 2, "head_dim": 8}
IMAGE = {**SIZES, "image_size": 16, "patch_size": 8}
SPEECH = {
    **SIZES,
    "conv_dim": (16, 16),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_feat_extract_layers": 2,
    "vocab_size": 30,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "layerdrop": 0.0,
    "apply_spec_augment": False,
}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50, "n_positions": 16}
T5 = {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 4, "d_kv": 8, "vocab_size": 50}
WHISPER = {
    "d_model": 32,
    **{
        f"{side}_{what}": number for side in ("encoder", "decoder") for what, number in (("layers", 2), ("ffn_dim", 64))
    },
    **{f"{side}_attention_heads": 4 for side in ("encoder", "decoder")},
    "vocab_size": 50,
    "max_source_positions": 20,
    "num_mel_bins": 8,
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
}
CLIP = {"text_config": {**TEXT, "projection_dim": 16}, "vision_config": {**IMAGE, "projection_dim": 16}}

# Model and configuration, its settings, the number of norms.
TEXT_MODELS = {
    "BERT": ("BertModel", "BertConfig", TEXT, 1 + 2 * 2),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", GPT2 | {"bos_token_id": 0, "eos_token_id": 0}, 2 * 2 + 1),
    "LLaMA": ("LlamaForCausalLM", "LlamaConfig", TEXT | {"num_key_value_heads": 2}, 2 * 2 + 1),
    "Mistral": ("MistralForCausalLM", "MistralConfig", GROUPED, 2 * 2 + 1),
    "Gemma 2": ("Gemma2ForCausalLM", "Gemma2Config", GROUPED, 2 * 4 + 1),
    "Gemma 3": ("Gemma3ForCausalLM", "Gemma3TextConfig", GROUPED, 2 * 4 + 1),
    "Qwen3": ("Qwen3ForCausalLM", "Qwen3Config", GROUPED, 2 * 2 + 1),
    "Mamba": ("MambaForCausalLM", "MambaConfig", TEXT | {"state_size": 4}, 2 + 1),
    "ModernBERT": ("ModernBertModel", "ModernBertConfig", TEXT | {"cls_token_id": 0, "sep_token_id": 0}, 1 + 3 + 1),
}
SPEECH_MODELS = {
    "wav2vec 2.0": ("Wav2Vec2ForCTC", "Wav2Vec2Config", SPEECH, 1 + 1 + 2 * 2),
    "wav2vec 2.0, norms first": ("Wav2Vec2ForCTC", "Wav2Vec2Config", SPEECH | STABLE, 2 + 1 + 1 + 2 * 2),
    "HuBERT": ("HubertModel", "HubertConfig", SPEECH, 1 + 1 + 2 * 2),
    "HuBERT, norms first": ("HubertModel", "HubertConfig", SPEECH | STABLE, 2 + 1 + 1 + 2 * 2),
}
IMAGE_MODELS = {
    "ViT": ("ViTModel", "ViTConfig", IMAGE, 2 * 2 + 1),
    "ConvNeXt": ("ConvNextModel", "ConvNextConfig", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}, 5),
}


def build(model, config, settings):
    return getattr(transformers, model)(getattr(transformers, config)(**settings))


def first_output(output):
    return output.logits if hasattr(output, "logits") else output[0]


@pytest.mark.parametrize("family", TEXT_MODELS)
def test_text(family):
    *what, norms = TEXT_MODELS[family]
    tokens = torch.randint(1, 50, (2, 9))
    zoo.check(build(*what), lambda model: first_output(model(input_ids=tokens)), norms)


@pytest.mark.parametrize("family, norms", [("Qwen3", 2 * 4 + 1), ("Gemma 3", 2 * 6 + 1)])
def test_query_and_key_norms_on_request(family, norms):
    *what, _ = TEXT_MODELS[family]
    tokens = torch.randint(1, 50, (2, 9))
    zoo.check(build(*what), lambda model: first_output(model(input_ids=tokens)), norms, include="*")


@pytest.mark.parametrize("family", SPEECH_MODELS)
def test_speech(family):
    *what, norms = SPEECH_MODELS[family]
    sound = torch.randn(2, 800)
    zoo.check(build(*what), lambda model: first_output(model(input_values=sound)), norms)


@pytest.mark.parametrize("family", IMAGE_MODELS)
def test_images(family):
    *what, norms = IMAGE_MODELS[family]
    images = torch.randn(2, 3, 16, 16)
    zoo.check(build(*what), lambda model: model(pixel_values=images).pooler_output, norms)


def test_t5():
    model = build("T5ForConditionalGeneration", "T5Config", T5 | {"decoder_start_token_id": 0})
    tokens, labels = torch.randint(1, 50, (2, 9)), torch.randint(1, 50, (2, 5))
    zoo.check(model, lambda model: model(input_ids=tokens, labels=labels).logits, (2 * 2 + 1) + (2 * 3 + 1))


def test_whisper():
    model = build("WhisperForConditionalGeneration", "WhisperConfig", WHISPER)
    sound, labels = torch.randn(2, 8, 40), torch.randint(1, 50, (2, 5))
    zoo.check(model, lambda model: model(input_features=sound, labels=labels).logits, (2 * 2 + 1) + (2 * 3 + 1))


def test_clip():
    model = build("CLIPModel", "CLIPConfig", CLIP | {"projection_dim": 16})
    tokens, images = torch.randint(1, 50, (2, 9)), torch.randn(2, 3, 16, 16)

    def call(model):
        output = model(input_ids=tokens, pixel_values=images)
        return torch.cat([output.text_embeds, output.image_embeds])

    zoo.check(model, call, (2 * 2 + 1) + (2 * 2 + 2))


def every_norm_class():
    """Each class of the library that calls itself a norm and can be built from its width alone."""
    for file in sorted((Path(transformers.__file__).parent / "models").glob("*/modeling_*.py")):
        if "Norm" not in file.read_text():
            continue
        try:
            module = importlib.import_module(f"transformers.models.{file.parent.name}.{file.stem}")
        except ImportError:  # wants a library that is not here
            continue
        for name, cls in vars(module).items():
            if isinstance(cls, type) and re.search(r"Norm(2d|1P|Gated)?$", name) and cls.__module__ == module.__name__:
                norm = None
                for sizes in ((16,), ()):
                    with contextlib.suppress(TypeError, AttributeError):
                        norm = norm or cls(*sizes)
                if norm is not None:
                    yield name, cls, norm


def test_every_norm_class_of_the_library():
    """Which are replaced, which weights count from 1 and where the channels are, against what the sources say."""
    replaced, left = {}, set()
    for name, cls, norm in every_norm_class():
        report = derf.replace_norm(norm, dry_run=True)
        if report.replaced:
            replaced[name] = report.replaced[0], inspect.getsource(cls)
        else:
            left.add(name)
    assert len(replaced) > 200 and not left & replaced.keys()
    # Two inputs; the reciprocal deviation alone; the weight before the norm; no size.
    assert {"Qwen3NextRMSNormGated", "HYV4UnweightedRMSNorm", "NanoChatRMSNorm"} <= left
    assert not [name for name in replaced if "Gated" in name or "Unweighted" in name]
    for name, (entry, text) in replaced.items():
        from_one = bool(re.search(r"1(\.0)? \+ self\.weight|self\.weight(\.float\(\))? \+ 1", text))
        assert ("weight + 1" in entry.copied) == from_one, name
        channels_first = "mean(1, " in text or "permute(0, 2, " in text
        if "data_format" in text:  # ConvNeXt's have both, and start with the channels last
            channels_first = False
        assert entry.new.channel_dim == (1 if channels_first else -1), name
    assert sum("weight + 1" in entry.copied for entry, _ in replaced.values()) > 10
