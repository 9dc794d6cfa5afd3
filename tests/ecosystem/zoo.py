"""What every model of every library must pass, and the truth it is compared with: layers written by hand, put in by a
plain loop that knows the classes by name. Nothing here asks the package under test what a norm is.
"""

import copy
import importlib
import pickle

import derf
import pytest
import reference
import torch
from torch import nn
from torch.nn.utils import parametrize


def library(name):
    """Import a library; skip the module that asks for it, visibly, where the extra is not installed."""
    for part_of_the_extra in (
        "accelerate",
        "diffusers",
        "kernels",
        "rattler_build",
        "timm",
        "torchvision",
        "transformers",
    ):
        pytest.importorskip(part_of_the_extra, reason="needs pip install '.[ecosystem]'")
    return importlib.import_module(name)


LAST, CHANNELS, FROM_ONE = {}, {"channel_dim": 1}, {"offset": 1.0}

# Class name: how its weight and its channels are laid out.
NORMS = {
    # torch, timm, torchvision
    "LayerNorm": LAST,
    "RMSNorm": LAST,
    "LayerNormFp32": LAST,
    "RmsNorm": LAST,
    "LayerNorm2d": CHANNELS,
    "LayerNorm2dFp32": CHANNELS,
    "RmsNorm2d": CHANNELS,
    # Transformers
    "LlamaRMSNorm": LAST,
    "MistralRMSNorm": LAST,
    "Qwen3RMSNorm": LAST,
    "T5LayerNorm": LAST,
    "MambaRMSNorm": LAST,
    "ConvNextLayerNorm": LAST,
    "Gemma2RMSNorm": FROM_ONE,
    "Gemma3RMSNorm": FROM_ONE,
    # diffusers
    "FP32LayerNorm": LAST,
}
QUERY_KEY = ("q_norm", "k_norm", "norm_q", "norm_k", "norm_added_q", "norm_added_k")

# Two models in float32 with roundings in another order; what they compute has magnitude about 1 and passes through tens
# of layers, each of which adds a few units of 2^-24 and passes errors on with a gain of about 1.
CLOSE = {"rtol": 1e-4, "atol": 256 * 2.0**-24}


class EagerDerf(nn.Module):
    """The layer by hand, with the parameters of the norm of which it takes the place."""

    eps = float("nan")  # nn.TransformerEncoderLayer compares it before it computes a LayerNorm of its own

    def __init__(self, norm, channel_dim=-1, offset=0.0, alpha=0.5):
        super().__init__()
        weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
        self.channel_dim = channel_dim
        self.alpha = nn.Parameter(torch.full((1,), alpha))
        self.shift = nn.Parameter(torch.zeros(1))
        self.weight = weight if weight is None or not offset else nn.Parameter(weight.detach() + offset)
        self.bias = bias

    def forward(self, input):
        y = reference.derf(input, self.alpha, self.shift, self.weight, self.bias, self.channel_dim)
        return y.to(input.dtype)


def find_norms(model, query_key):
    """{qualified name: (module, layout)} of the norms, those of queries and keys only where they are asked for."""
    found = {}
    for name, module in model.named_modules():
        layout = NORMS.get(type(module).__name__)
        if getattr(module, "data_format", None) == "channels_first":
            layout = CHANNELS
        if layout is not None and (query_key or not name.endswith(QUERY_KEY)):
            found[name] = (module, layout)
    return found


def randomize(model, norms):
    """Parameters that show: a norm in the place of a Derf, a forgotten weight, one that counts from 1.

    What starts at 0, as some heads do, would hide everything before it.
    """
    for module, _ in norms.values():
        for parameter in module.parameters():
            nn.init.normal_(parameter, 0.5, 0.2)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, 0.0, 0.1)


def by_hand(model, norms):
    """A copy of the model with layers by hand."""
    model = copy.deepcopy(model)
    for name, (_, layout) in norms.items():
        norm = model.get_submodule(name)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, EagerDerf(norm, **layout))
    return model


def outputs(model, call):
    torch.manual_seed(0)
    with torch.no_grad():
        return call(model.eval())


def assert_layers_learn(model, eager, call, unused):
    """Gradients are those of the layers by hand, and one step moves every parameter of every replaced layer."""
    losses = []
    for each in (model, eager):
        torch.manual_seed(0)
        output = call(each.train())
        losses.append((output * torch.randn_like(output)).mean())
        losses[-1].backward()
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-6)
    expected = dict(eager.named_parameters())
    mine = {
        f"{layer}.{name}": parameter
        for layer, module in model.named_modules()
        if isinstance(module, derf.Derf)
        for name, parameter in module.named_parameters()
    }
    mine = {name: parameter for name, parameter in mine.items() if not any(part in name for part in unused)}
    largest = max(parameter.grad.abs().max() for parameter in expected.values() if parameter.grad is not None)
    for name, parameter in mine.items():
        assert parameter.grad is not None, f"{name} has no gradient"
        error = (parameter.grad - expected[name].grad).abs().max()
        assert error <= 1e-4 * largest, f"{name}: {error} of {largest}"
    before = {name: parameter.detach().clone() for name, parameter in mine.items()}
    # Adam's first step is about lr in every coordinate whose gradient is not 0, however small.
    torch.optim.Adam(mine.values(), lr=1e-2, eps=1e-30).step()
    still = [name for name, parameter in mine.items() if torch.equal(before[name], parameter)]
    assert not still, f"did not move: {still}"


def assert_compiles(model, original, call):
    """The model compiles without a graph break, where the original does. Dynamo alone: kernels are not the question."""

    def compiles(each):
        torch._dynamo.reset()
        try:
            return outputs(torch.compile(each, backend="eager", fullgraph=True), call)
        except Exception as error:  # whatever Dynamo says
            return error

    result = compiles(model)
    if isinstance(result, Exception):
        assert isinstance(compiles(original), Exception), f"the original compiles, but: {result}"
    else:
        torch.testing.assert_close(result, outputs(model, call), **CLOSE)


def check(model, call, expected, unused=(), **options):
    """Everything that a model must pass.

    call(model) gives its output; expected is the number of norms, from the architecture; unused are parts of names of
    layers that the output does not depend on.
    """
    norms = find_norms(model, query_key=options.get("include") == "*")
    assert len(norms) == expected
    randomize(model, norms)
    original, eager = copy.deepcopy(model), by_hand(model, norms)
    result, report = derf.replace_norm(model, return_report=True, **options)
    assert result is model
    derfs = [name for name, module in model.named_modules() if isinstance(module, derf.Derf)]
    assert derfs == list(norms) == [entry.name for entry in report.replaced]
    assert not set(find_norms(model, True)) - set(find_norms(original, True)).difference(norms)

    output = outputs(model, call)
    assert output.isfinite().all()
    torch.testing.assert_close(output, outputs(eager, call), **CLOSE)

    other = derf.replace_norm(copy.deepcopy(original), **options)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(model.state_dict(), strict=True)
    twins = [other, copy.deepcopy(model)]
    if any(parametrize.is_parametrized(module) for module in original.modules()):  # PyTorch pickles none of these
        with pytest.raises(RuntimeError, match="parametrized"):
            pickle.dumps(original)
    else:
        twins.append(pickle.loads(pickle.dumps(model)))
    for twin in twins:
        assert torch.equal(outputs(twin, call), output)

    assert_compiles(model, original, call)

    restored = derf.restore_norm(copy.deepcopy(model))
    assert [type(m) for m in restored.modules()] == [type(m) for m in original.modules()]
    torch.testing.assert_close(outputs(restored, call), outputs(original, call), **CLOSE)
    checkpoint = derf.convert_state_dict(original.state_dict(), model)
    model.load_state_dict(checkpoint, strict=True)
    torch.testing.assert_close(outputs(model, call), output, **CLOSE)
    back = derf.convert_state_dict(model.state_dict(), original)
    assert back.keys() == original.state_dict().keys()
    for name, tensor in original.state_dict().items():
        torch.testing.assert_close(back[name], tensor, rtol=0, atol=2.0**-22)

    assert_layers_learn(model, eager, call, unused)
