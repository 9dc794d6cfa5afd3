"""derf.fold in models of other libraries: which layers, and that outputs stay."""

import copy

import derf
import pytest
import torch
import zoo
from torch import nn

timm, transformers = zoo.library("timm"), zoo.library("transformers")

VIT = {"num_classes": 5, "img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
TEXT = {"vocab_size": 64, "use_cache": False, "bos_token_id": 0, "eos_token_id": 0}
TOKENS = torch.arange(16).reshape(2, 8)


def gpt2():
    config = transformers.GPT2Config(n_layer=2, n_embd=32, n_head=2, **TEXT)
    return transformers.GPT2LMHeadModel(config), {"input_ids": TOKENS}


def llama():
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **TEXT)), {"input_ids": TOKENS}


def bert():
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
    return transformers.BertModel(transformers.BertConfig(vocab_size=64, **sizes)), {"input_ids": TOKENS}


def vit():
    return timm.create_model("vit_base_patch16_224", **VIT), {"x": torch.randn(2, 3, 32, 32)}


def convnext():
    model = timm.create_model("convnext_tiny", num_classes=5, depths=(1, 1, 1, 1), dims=(8, 16, 16, 16))
    return model, {"x": torch.randn(2, 3, 64, 64)}


# The number of layers that are folded, and names of those that stay.
MODELS = {
    "ViT": (vit, 5, []),
    "ConvNeXt": (convnext, 3 + 4 + 1, ["stem.1"]),  # the stem is a residual
    "GPT-2": (gpt2, 4, ["transformer.ln_f"]),  # the head is the embedding
    "LLaMA": (llama, 5, []),
    "BERT": (bert, 0, None),  # norms behind the residual, which is read again
}


@pytest.mark.parametrize("build, folded, left", MODELS.values(), ids=MODELS)
def test_fold(build, folded, left):
    model, inputs = build()
    derf.replace_norm(model).eval()
    for layer in model.modules():
        if isinstance(layer, derf.Derf):
            for parameter in layer.parameters():
                nn.init.normal_(parameter, 0.5, 0.3)
    before = zoo.outputs(copy.deepcopy(model), lambda model: first(model(**inputs)))
    report = derf.fold(model, **inputs)
    assert len(report.folded) == folded, str(report)
    if left is not None:
        assert [entry.name for entry in report.left] == left, str(report)
    torch.testing.assert_close(zoo.outputs(model, lambda model: first(model(**inputs))), before, **zoo.CLOSE)


def first(output):
    return output if isinstance(output, torch.Tensor) else output[0]
