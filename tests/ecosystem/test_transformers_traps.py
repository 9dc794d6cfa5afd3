"""Where Transformers does more with a model than call it: initialize, save, load, checkpoint, generate, train."""

import copy
import warnings

import derf
import pytest
import torch
import zoo

transformers = zoo.library("transformers")
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIG = {"vocab_size": 50, **SIZES, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


class DerfLlama(transformers.LlamaForCausalLM):
    """How a class of models with Derf is written, so that from_pretrained builds it."""

    def __init__(self, config):
        super().__init__(config)
        derf.replace_norm(self)


def config():
    return transformers.LlamaConfig(**CONFIG)


def trained(model):
    """As if trained: no parameter of a Derf is where it starts."""
    for module in model.modules():
        if isinstance(module, derf.Derf):
            for parameter in module.parameters():
                torch.nn.init.uniform_(parameter, 0.3, 0.7)
    return model.eval()


@pytest.fixture
def tokens():
    return torch.randint(1, 50, (2, 9))


def logits(model, tokens):
    with torch.no_grad():
        return model(input_ids=tokens).logits


def layers(model):
    return [module for module in model.modules() if isinstance(module, derf.Derf)]


def test_save_and_load(tmp_path, tokens):
    model = trained(DerfLlama(config()))
    model.save_pretrained(tmp_path)
    loaded, info = DerfLlama.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert len(layers(loaded)) == 5
    assert torch.equal(logits(loaded.eval(), tokens), logits(model, tokens))


def test_load_then_convert(tmp_path, tokens):
    plain = transformers.LlamaForCausalLM(config())
    plain.save_pretrained(tmp_path)
    model = derf.replace_norm(transformers.LlamaForCausalLM.from_pretrained(tmp_path)).eval()
    expected = derf.replace_norm(copy.deepcopy(plain)).eval()
    assert torch.equal(logits(model, tokens), logits(expected, tokens))
    assert {layer.alpha.item() for layer in layers(model)} == {0.5}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_16_bit(dtype, tmp_path, tokens):
    model = trained(DerfLlama(config()))
    model.save_pretrained(tmp_path)
    half = DerfLlama.from_pretrained(tmp_path, dtype=dtype).eval()
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}
    output = logits(half, tokens)
    assert output.dtype == dtype
    assert torch.equal(logits(model.to(dtype), tokens), output)


def test_initialization_does_not_reach_into_a_derf():
    model = trained(DerfLlama(config()))
    before = [parameter.detach().clone() for layer in layers(model) for parameter in layer.parameters()]
    model.post_init()
    model.init_weights()
    after = [parameter for layer in layers(model) for parameter in layer.parameters()]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_gradient_checkpointing(tokens):
    model = trained(DerfLlama(config())).train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for mine, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, expected)


def test_generation(tokens):
    model = trained(DerfLlama(config()))
    settings = {"max_new_tokens": 5, "do_sample": False, "attention_mask": torch.ones_like(tokens)}
    with_cache = model.generate(tokens, use_cache=True, **settings)
    assert torch.equal(with_cache, model.generate(tokens, use_cache=False, **settings))
    assert torch.equal(with_cache[:, :9], tokens)


def test_trainer_with_parameter_groups(tmp_path, tokens):
    """Trainer goes by names of modules, so it would decay alpha; it takes an optimizer that does not."""
    model = DerfLlama(config())
    optimizer = torch.optim.AdamW(derf.parameter_groups(model, weight_decay=0.1), lr=1e-3)
    data = [{"input_ids": row, "labels": row} for row in tokens]
    settings = transformers.TrainingArguments(
        tmp_path, max_steps=2, report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True, logging_steps=10
    )
    trainer = transformers.Trainer(model, settings, train_dataset=data, optimizers=(optimizer, None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Trainer's own, about memory that no accelerator pins
        trainer.train()
    assert all(layer.alpha.item() != 0.5 for layer in layers(model))
    decayed = {id(parameter) for parameter in optimizer.param_groups[0]["params"]}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert not decayed & {id(parameter) for layer in layers(model) for parameter in layer.parameters()}


def test_norms_that_accelerate_has_hooked_are_refused():
    hooks = zoo.library("accelerate.hooks")
    model = transformers.LlamaForCausalLM(config())
    hooks.add_hook_to_module(model.model.norm, hooks.ModelHook())
    with pytest.raises(ValueError, match="^derf: the forward of model.norm was replaced"):
        derf.replace_norm(model)
    hooks.remove_hook_from_module(model.model.norm)
    assert len(layers(derf.replace_norm(model))) == 5
