"""derf.compile_passes in models of other libraries: how many fusions, and that results stay."""

import derf
import pytest
import torch
import zoo
from compiled_graphs import Eager
from test_fuse_models import bert, gpt2, llama, vit

diffusers = zoo.library("diffusers")


def dit():
    model = diffusers.DiTTransformer2DModel(
        num_layers=2, num_attention_heads=2, attention_head_dim=16, sample_size=8, patch_size=2, in_channels=4,
        out_channels=8, num_embeds_ada_norm=10,
    )  # fmt: skip
    torch.nn.init.normal_(model.proj_out_2.weight)
    timestep, class_labels = torch.tensor([3, 500]), torch.tensor([1, 7])
    return model, {"hidden_states": torch.randn(2, 4, 8, 8), "timestep": timestep, "class_labels": class_labels}


# Two blocks each. The sum before the first layer of a model is one with positions, which are broadcast.
MODELS = {
    "ViT": (vit, {"add": 4}),
    "ViT with LayerScale": (lambda: vit(init_values=0.1), {"gated add": 4}),
    "GPT-2": (gpt2, {"add": 4}),
    "LLaMA": (llama, {"add": 4}),
    "BERT": (bert, {"add": 4}),
    "DiT": (dit, {"gated add": 3}),  # patches come transposed, so that the first sum has operands of two layouts
}


def loss(model, function, inputs):
    model.zero_grad()
    output = function(**inputs)
    output = output if isinstance(output, torch.Tensor) else output[0]
    torch.manual_seed(2)
    (output * torch.randn_like(output)).mean().backward()
    return output.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("make", "counts"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("fused", [False, True], ids=["as it is", "fused"])
def test_counts(make, counts, fused):
    model, inputs = make()
    derf.replace_norm(model.eval())
    expected = loss(model, model, inputs)
    if fused:
        derf.fuse(model)
    torch._dynamo.reset()
    backend = Eager()
    with derf.compile_passes() as passes:
        output, gradients = loss(model, torch.compile(model, backend=backend, fullgraph=True), inputs)
    if not fused:
        assert dict(passes.fused) == counts
    total = sum(counts.values())
    calls = backend.look.of_ours()
    assert calls.count(torch.ops.derf.add_pointwise_norm.default) == total
    assert calls.count(torch.ops.derf.add_pointwise_norm_backward.default) == total
    torch.testing.assert_close(output, expected[0], **zoo.CLOSE)
    largest = max(float(gradient.abs().max()) for gradient in expected[1].values())
    for name, gradient in expected[1].items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-5 * largest, msg=name)
