"""Whole models after replace_norm: PyTorch's Transformer layers, whose eval takes short cuts round the norm, and
Transformers' ViT, BERT and GPT-2. The truth is the same model with layers written by hand in place of every norm.
"""

import contextlib
import copy

import derf
import pytest
import torch
import transformers
from reference import EagerDerf, with_eager_derf
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

# Both models compute in float32 with roundings in another order. What is computed has magnitude about 1 and passes
# through tens of layers, each of which adds a few units of 2^-24 and passes errors on with a gain of about 1.
CLOSE = {"rtol": 1e-5, "atol": 64 * 2.0**-24}
MODES = {"train": (True, contextlib.nullcontext), "eval": (False, contextlib.nullcontext)}
MODES |= {"eval no_grad": (False, torch.no_grad), "eval inference_mode": (False, torch.inference_mode)}
each_mode = pytest.mark.parametrize(("training", "mode"), MODES.values(), ids=MODES)
each_order = pytest.mark.parametrize("norm_first", [False, True], ids=["norm last", "norm first"])
each_mask = pytest.mark.parametrize("masked", [False, True], ids=["no mask", "padding mask"])


def randomized(model):
    """The model with random norm parameters, so that a LayerNorm in their place, or a forgotten weight, is seen."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            for parameter in module.parameters():
                nn.init.normal_(parameter, 0.5, 0.5)
    return model


def both_ways(model):
    """(the model after replace_norm, a copy with layers written by hand, number of norms)."""
    eager = copy.deepcopy(randomized(model))
    norms = sum(isinstance(m, nn.LayerNorm) for m in model.modules())
    assert with_eager_derf(eager) == norms
    assert derf.replace_norm(model) is model
    assert sum(isinstance(m, derf.Derf) for m in model.modules()) == norms
    assert not any(isinstance(m, nn.LayerNorm) for m in model.modules())
    return model, eager, norms


def options(norm_first):
    return {
        "d_model": 16,
        "nhead": 4,
        "dim_feedforward": 32,
        "dropout": 0.0,
        "batch_first": True,
        "norm_first": norm_first,
    }


def padding(batch, length):
    """A key padding mask: every sequence but the first ends early."""
    lengths = torch.arange(length, length - batch, -1)
    return torch.arange(length) >= lengths[:, None]


def by_hand(layer, x, mask, norm1, norm2):
    """nn.TransformerEncoderLayer.forward, from its definition."""

    def attend(x):
        return layer.self_attn(x, x, x, key_padding_mask=mask, need_weights=False)[0]

    def feed(x):
        return layer.linear2(torch.relu(layer.linear1(x)))

    if layer.norm_first:
        x = x + attend(norm1(x))
        return x + feed(norm2(x))
    x = norm1(x + attend(x))
    return norm2(x + feed(x))


@each_mode
@each_order
@each_mask
def test_encoder_layer(training, mode, norm_first, masked, device):
    layer = randomized(nn.TransformerEncoderLayer(**options(norm_first))).to(device)
    eager = copy.deepcopy(layer).train()  # the attention's own eval short cut is not what is tested
    norms = EagerDerf(eager.norm1), EagerDerf(eager.norm2)
    derf.replace_norm(layer).train(training)
    input = torch.randn(3, 7, 16, device=device)
    mask = padding(3, 7).to(device) if masked else None
    with mode():
        output = layer(input, src_key_padding_mask=mask)
    torch.testing.assert_close(output.clone(), by_hand(eager, input, mask, *norms), **CLOSE)


@each_mode
@each_order
@each_mask
@pytest.mark.parametrize("nested", [True, False], ids=["nested tensors", "plain tensors"])
@pytest.mark.parametrize("last", [True, False], ids=["last norm", "no last norm"])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning", "ignore:.*nested tensors:UserWarning")
def test_encoder(training, mode, norm_first, masked, nested, last, device):
    layer = nn.TransformerEncoderLayer(**options(norm_first))
    encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16) if last else None, nested).to(device)
    eager = copy.deepcopy(randomized(encoder)).train()
    encoder = derf.replace_norm(encoder.train(training))
    assert sum(isinstance(m, derf.Derf) for m in encoder.modules()) == 4 + last
    input = torch.randn(3, 7, 16, device=device)
    mask = padding(3, 7).to(device) if masked else None
    with mode():
        output = encoder(input, src_key_padding_mask=mask)
    expected = input
    for layer in eager.layers:
        expected = by_hand(layer, expected, mask, EagerDerf(layer.norm1), EagerDerf(layer.norm2))
    if last:
        expected = EagerDerf(eager.norm)(expected)
    assert output.shape == expected.shape
    torch.testing.assert_close(output.clone(), expected, **CLOSE)


@each_mode
@each_order
def test_a_copy_takes_no_short_cut_either(training, mode, norm_first, device):
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**options(norm_first)), 2, nn.LayerNorm(16)).to(device)
    encoder = derf.replace_norm(randomized(encoder))
    twin = copy.deepcopy(encoder).train(training)
    input, mask = torch.randn(3, 7, 16, device=device), padding(3, 7).to(device)
    expected = encoder.train()(input, src_key_padding_mask=mask)
    with mode():
        output = twin(input, src_key_padding_mask=mask)
    torch.testing.assert_close(output.clone(), expected, **CLOSE)


def placed_by_hand(layer, kind):
    """The layer with norms of the user's own choice."""
    for name in ("norm1", "norm2"):
        norm = derf.Derf(16) if kind == "Derf" else derf.PointwiseNorm(16, clip=2.0)
        norm.load_state_dict({"alpha": norm.alpha, "shift": norm.shift, **getattr(layer, name).state_dict()})
        setattr(layer, name, norm)
    return layer


@each_mode
@each_order
@each_mask
@pytest.mark.parametrize("kind", ["Derf", "PointwiseNorm"])
def test_layers_placed_by_hand(kind, training, mode, norm_first, masked, device):
    layer = randomized(nn.TransformerEncoderLayer(**options(norm_first)))
    eager = copy.deepcopy(layer).train().to(device)
    norms = EagerDerf(eager.norm1), EagerDerf(eager.norm2)
    layer = placed_by_hand(layer, kind).to(device).train(training)
    input = torch.randn(3, 7, 16, device=device)
    mask = padding(3, 7).to(device) if masked else None
    with mode():
        output = layer(input, src_key_padding_mask=mask)
    torch.testing.assert_close(output.clone(), by_hand(eager, input, mask, *norms), **CLOSE)


@each_mode
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning", "ignore:.*nested tensors:UserWarning")
def test_an_encoder_of_layers_placed_by_hand(training, mode, device):
    # Before the encoder is made, it sees that eps differs, and makes no nested tensors.
    layer = randomized(nn.TransformerEncoderLayer(**options(False)))
    eager = copy.deepcopy(layer).train().to(device)
    encoder = nn.TransformerEncoder(placed_by_hand(layer, "Derf"), 2).to(device).train(training)
    assert not encoder.use_nested_tensor
    input, mask = torch.randn(3, 7, 16, device=device), padding(3, 7).to(device)
    with mode():
        output = encoder(input, src_key_padding_mask=mask)
    expected = input
    for _ in range(2):
        expected = by_hand(eager, expected, mask, EagerDerf(eager.norm1), EagerDerf(eager.norm2))
    torch.testing.assert_close(output.clone(), expected, **CLOSE)


@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
def test_layers_placed_by_hand_into_an_encoder_give_no_wrong_result():
    # Afterwards it makes nested tensors, which the layer refuses, until use_nested_tensor is False.
    encoder = nn.TransformerEncoder(randomized(nn.TransformerEncoderLayer(**options(False))), 2).eval()
    for layer in encoder.layers:
        placed_by_hand(layer, "Derf").eval()
    input, mask = torch.randn(3, 7, 16), padding(3, 7)
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="'derf::derf' .* 'NestedTensorCPU' backend"):
            encoder(input, src_key_padding_mask=mask)
        encoder.use_nested_tensor = False
        output = encoder(input, src_key_padding_mask=mask)
        expected = encoder.train()(input, src_key_padding_mask=mask)
    torch.testing.assert_close(output, expected, **CLOSE)


@each_mode
@each_order
def test_decoder_layer_and_whole_transformer(training, mode, norm_first, device):
    decoder, eager_decoder, norms = both_ways(nn.TransformerDecoderLayer(**options(norm_first)).to(device))
    assert norms == 3
    model = nn.Transformer(num_encoder_layers=2, num_decoder_layers=2, **options(norm_first)).to(device)
    model, eager, norms = both_ways(model)
    assert norms == 2 * 2 + 1 + 2 * 3 + 1
    target, memory = torch.randn(3, 5, 16, device=device), torch.randn(3, 7, 16, device=device)
    decoder.train(training)
    model.train(training)
    with mode():
        outputs = decoder(target, memory).clone(), model(memory, target).clone()
    # In training mode PyTorch's layers call the norms as modules, so the layers by hand work there.
    torch.testing.assert_close(outputs[0], eager_decoder.train()(target, memory), **CLOSE)
    torch.testing.assert_close(outputs[1], eager.train()(memory, target), **CLOSE)


SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def vit():
    config = transformers.ViTConfig(image_size=16, patch_size=4, num_channels=1, num_labels=5, **SMALL, **NO_DROPOUT)
    inputs = {"pixel_values": torch.randn(2, 1, 16, 16), "labels": torch.tensor([1, 4])}
    return transformers.ViTForImageClassification(config), inputs, 2 * 3 + 1


def bert():
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=16, num_labels=3, **SMALL, **NO_DROPOUT)
    mask = torch.ones(2, 11, dtype=torch.int64)
    mask[1, 7:] = 0
    inputs = {"input_ids": torch.randint(0, 50, (2, 11)), "attention_mask": mask, "labels": torch.tensor([0, 2])}
    return transformers.BertForSequenceClassification(config), inputs, 1 + 2 * 3


def gpt2():
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    sizes = {"vocab_size": 50, "n_positions": 16, "n_embd": 32, "n_layer": 3, "n_head": 4}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    tokens = torch.randint(0, 50, (2, 11))
    config = transformers.GPT2Config(**sizes, **no_dropout, **ends)
    return transformers.GPT2LMHeadModel(config), {"input_ids": tokens, "labels": tokens}, 2 * 3 + 1


MODELS = {"ViT": vit, "BERT": bert, "GPT-2": gpt2}
each_model = pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)


@each_model
@each_mode
def test_models_of_transformers_match_layers_by_hand(build, training, mode):
    model, inputs, norms = build()
    model, eager, found = both_ways(model)
    assert found == norms
    model.train(training)
    eager.train(training)
    with mode():
        output, expected = model(**inputs), eager(**inputs)
    assert output.logits.isfinite().all()
    torch.testing.assert_close(output.logits, expected.logits, **CLOSE)
    torch.testing.assert_close(output.loss, expected.loss, **CLOSE)


@each_model
def test_every_parameter_has_eager_gradients_and_moves(build):
    model, inputs, norms = build()
    model, eager, _ = both_ways(model)
    for each in (model, eager):
        each.train()(**inputs).loss.backward()
    learned, expected = dict(model.named_parameters()), dict(eager.named_parameters())
    assert learned.keys() == expected.keys()
    # Rounding through all layers, against the largest gradient: those of the attention's key biases are rounding alone.
    largest = max(parameter.grad.abs().max() for parameter in expected.values())
    for name, parameter in learned.items():
        error = (parameter.grad - expected[name].grad).abs().max()
        assert error <= 1e-5 * largest, f"{name}: {error} of {largest}"
    names = {f"{name}.{p}" for name, m in model.named_modules() if isinstance(m, derf.Derf) for p in m.state_dict()}
    assert len(names) == 4 * norms
    before = {name: parameter.detach().clone() for name, parameter in learned.items()}
    # Adam's first step is about lr in every coordinate whose gradient is not 0, however small.
    torch.optim.Adam(model.parameters(), lr=1e-2, eps=1e-30).step()
    assert not [name for name in names if torch.equal(before[name], learned[name])]
    assert not [name for name in learned if torch.equal(before[name], learned[name]) and expected[name].grad.any()]


@each_model
def test_state_dicts_travel_between_replaced_models(build, tmp_path):
    model, inputs, _ = build()
    derf.replace_norm(randomized(model)).eval()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = derf.replace_norm(build()[0]).eval()
    other.load_state_dict(torch.load(tmp_path / "model.pt"), strict=True)
    assert torch.equal(other(**inputs).logits, model(**inputs).logits)


def test_generation_of_gpt2():
    model, inputs, _ = gpt2()
    model, eager, _ = both_ways(model)
    prompt = {"input_ids": inputs["input_ids"][:, :4], "attention_mask": torch.ones(2, 4, dtype=torch.int64)}
    mine, expected = (
        m.eval().generate(**prompt, max_new_tokens=8, do_sample=False, pad_token_id=0) for m in (model, eager)
    )
    assert torch.equal(mine, expected)


def test_a_compiled_vision_transformer_trains():
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8
    )
    model = derf.replace_norm(transformers.ViTModel(config, add_pooling_layer=False))
    eager = copy.deepcopy(model)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("inductor")
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    images = torch.randn(2, 3, 32, 32)
    for each in (compiled, eager):
        each(images).last_hidden_state.square().mean().backward()
    assert counter.frame_count == 1
    # Both compute in float32, with roundings in another order; the gradient of a key's bias is nothing but roundings.
    largest = max(parameter.grad.abs().max().item() for parameter in eager.parameters())
    for (name, mine), expected in zip(model.named_parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, expected.grad, rtol=1e-4, atol=1e-5 * largest, msg=name)
