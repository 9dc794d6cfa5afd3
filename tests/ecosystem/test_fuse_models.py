"""derf.fuse in models of other libraries: which sums, and that outputs are the same bits."""

import copy
import pickle

import derf
import pytest
import torch
import zoo
from torch.utils._python_dispatch import TorchDispatchMode

timm, transformers = zoo.library("timm"), zoo.library("transformers")

VIT = {"num_classes": 5, "img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
SMALL = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
TEXT = {"vocab_size": 64, "use_cache": False, "bos_token_id": 0, "eos_token_id": 0}
TOKENS = torch.arange(16).reshape(2, 8)
FUSED = torch.ops.derf.add_pointwise_norm.default


class Gates(TorchDispatchMode):
    """Collects the gates of fused calls, None where there is none."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is FUSED:
            self.seen.append(args[6] if len(args) > 6 else None)
        return func(*args, **(kwargs or {}))


def vit(**options):
    return timm.create_model("vit_base_patch16_224", **VIT, **options), {"x": torch.randn(2, 3, 32, 32)}


def gpt2():
    config = transformers.GPT2Config(n_layer=2, n_embd=32, n_head=2, **TEXT)
    return transformers.GPT2LMHeadModel(config), {"input_ids": TOKENS}


def gpt2_with_cross_attention():
    model, inputs = gpt2()
    config = transformers.GPT2Config(n_layer=2, n_embd=32, n_head=2, add_cross_attention=True, **TEXT)
    return transformers.GPT2LMHeadModel(config), {**inputs, "encoder_hidden_states": torch.randn(2, 4, 32)}


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, **TEXT)), {"input_ids": TOKENS}


def bert():
    return transformers.BertModel(transformers.BertConfig(vocab_size=64, **SMALL)), {"input_ids": TOKENS}


def encoder(norm_first):
    layer = torch.nn.TransformerEncoderLayer(32, 2, 48, norm_first=norm_first)
    return torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), {"src": torch.randn(5, 2, 32)}


# Model and the layers that read a sum, for blocks 0 and 1.
MODELS = {
    "ViT": (vit, ["blocks.{}.norm2"]),
    "ViT with LayerScale": (lambda: vit(init_values=0.1), ["blocks.{}.norm2"]),
    "GPT-2": (gpt2, ["transformer.h.{}.ln_2"]),
    "GPT-2 with cross-attention": (gpt2_with_cross_attention, ["transformer.h.{}.ln_2"]),
    "LLaMA": (llama, ["model.layers.{}.post_attention_layernorm"]),
    "BERT": (bert, ["encoder.layer.{}.attention.output.LayerNorm", "encoder.layer.{}.output.LayerNorm"]),
    "pre-norm encoder": (lambda: encoder(True), ["layers.{}.norm2"]),
    "post-norm encoder": (lambda: encoder(False), ["layers.{}.norm1", "layers.{}.norm2"]),
}


def loss(model, inputs):
    torch.manual_seed(2)
    output = model(**inputs)
    output = output if isinstance(output, torch.Tensor) else output[0]
    return output, (output * torch.randn_like(output)).sum()


def assert_same(model, original, inputs, layers, dtype=torch.float32):
    """Outputs in both modes have the same bits. Gradients differ by the roundings of sums of two gradients, a few for
    each of the fused layers, which later sums of some tens of terms pass on."""
    for train in (False, True):
        each = [loss(m.train(train), inputs) for m in (model, original)]
        assert torch.equal(each[0][0], each[1][0])
    for m, (_, value) in zip((model, original), each, strict=True):
        m.zero_grad()
        value.backward()
    expected = dict(original.named_parameters())
    largest = max(float(p.grad.abs().max()) for p in expected.values() if p.grad is not None)
    for name, parameter in model.named_parameters():
        if expected[name].grad is not None:
            bound = 16 * layers * torch.finfo(dtype).eps * largest
            torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=0, atol=bound)


@pytest.mark.parametrize(("make", "names"), MODELS.values(), ids=MODELS)
def test_same_bits(make, names):
    model, inputs = make()
    types = [type(module) for module in model.modules()]
    derf.replace_norm(model)
    original = copy.deepcopy(model)
    report = derf.fuse(model)
    expected = [name.format(block) for block in range(2) for name in names]
    fused = [entry.name for entry in report.fused if "embeddings" not in entry.name]
    assert sorted(fused) == sorted(expected)
    layers = [name for name, module in model.named_modules() if isinstance(module, derf.PointwiseNorm)]
    assert sorted([entry.name for entry in report.fused] + [entry.name for entry in report.left]) == sorted(layers)
    with Gates() as gates:
        loss(model.train(), inputs)
    assert gates.seen == [None] * len(expected)  # the positions of BERT's embeddings are broadcast
    assert_same(model, original, inputs, len(report.fused))
    assert_same(pickle.loads(pickle.dumps(model)), original, inputs, len(report.fused))
    assert [type(module) for module in derf.restore_norm(model).modules()] == types


@pytest.mark.parametrize("make", [gpt2, llama], ids=["GPT-2", "LLaMA"])
def test_bfloat16(make):
    model, inputs = make()
    original = copy.deepcopy(derf.replace_norm(model.bfloat16()))
    assert_same(model, original, inputs, len(derf.fuse(model).fused), torch.bfloat16)


@pytest.mark.parametrize("make", [gpt2, llama, bert], ids=["GPT-2", "LLaMA", "BERT"])
def test_gradient_checkpointing(make):
    model, inputs = make()
    original = copy.deepcopy(derf.replace_norm(model))
    layers = len(derf.fuse(model).fused)
    model.gradient_checkpointing_enable()
    with Gates() as gates:
        loss(model.train(), inputs)[1].backward()
    assert len(gates.seen) > layers  # once more in the backward
    assert_same(model, original, inputs, layers)


def test_checkpointing_of_timm():
    model, inputs = vit()
    original = copy.deepcopy(derf.replace_norm(model))
    layers = len(derf.fuse(model).fused)
    model.set_grad_checkpointing()
    assert_same(model, original, inputs, layers)


def test_generation():
    model, inputs = gpt2()
    derf.replace_norm(model.eval())
    expected = model.generate(**inputs, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert derf.fuse(model).fused
    assert torch.equal(model.generate(**inputs, max_new_tokens=4, do_sample=False, pad_token_id=0), expected)


@pytest.mark.parametrize("train", [False, True])
def test_gates(train):
    """LayerScale and DropPath in the operator: the same random numbers, and one rounding less for each product."""
    model, inputs = vit(init_values=0.1, drop_path_rate=0.5)
    derf.replace_norm(model).train(train)
    original = copy.deepcopy(model)
    report = derf.fuse(model, gates=True)
    assert report.fused[1].gates == ("drop_path1", "drop_path2", "ls1", "ls2")
    with Gates() as gates:
        mine = loss(model, inputs)
    # The first block has a drop rate of 0. gamma for each channel, or for each sample too.
    assert [tuple(gate.shape) for gate in gates.seen] == [(32,), (2, 1, 32) if train else (32,)]
    theirs = loss(original, inputs)
    torch.testing.assert_close(mine[0], theirs[0], rtol=0, atol=2.0**-20)  # magnitudes below 4, some ten roundings
    mine[1].backward()
    theirs[1].backward()
    expected = dict(original.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-5, msg=name)


def test_gates_with_hooks_are_called():
    model, inputs = vit(init_values=0.1)
    derf.replace_norm(model).eval()
    for block in model.blocks:
        block.ls1.register_forward_hook(lambda module, args, output: 2 * output)
    expected = model(**inputs)
    assert derf.fuse(model, gates=True).fused
    with Gates() as gates:
        assert torch.equal(model(**inputs), expected)
    assert gates.seen == []


def test_gates_of_another_dtype_are_called():
    """float32 gamma beside a bfloat16 branch promotes it: not what the operator does."""
    model, inputs = vit(init_values=0.1)
    derf.replace_norm(model).eval()
    with torch.autocast("cpu", torch.bfloat16):
        expected = model(**inputs)
        assert derf.fuse(model, gates=True).fused
        assert torch.equal(model(**inputs), expected)


@pytest.mark.parametrize("make", [vit, gpt2, llama, bert], ids=["ViT", "GPT-2", "LLaMA", "BERT"])
def test_compiles_without_graph_breaks(make):
    model, inputs = make()
    derf.replace_norm(model.eval())
    expected = loss(model, inputs)[0]
    derf.fuse(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(loss(compiled, inputs)[0], expected, **zoo.CLOSE)
