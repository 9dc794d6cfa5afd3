"""derf.PointwiseNorm and derf.DyT: parameters, options, copies, a function of one's own, bad arguments."""

import copy
import inspect
import io
import pickle

import derf
import pytest
import torch
from pointwise_reference import STUDIES, pointwise_norm
from samples import values
from torch import nn

KINDS = {
    "tanh": {"function": "tanh"},
    "isru for each channel": {"function": "isru", "per_channel": True, "shift": False},
    "studied": {"function": "erf", "bias": False, **STUDIES["all"]},
    "images": {"function": "tanh", "channel_dim": 1, "per_channel": True},
    "bare": {"function": "isru", "elementwise_affine": False, "clip": 0.5},
    "DyT": {"function": "tanh", "shift": False},
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
OPTIONS_OF_FORWARD = ("function", "channel_dim", *STUDIES["all"])


def of_kind(kind, **options):
    module = derf.DyT(6, **options) if kind is KINDS["DyT"] else derf.PointwiseNorm(6, **kind, **options)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.4, 1.2)
    return module


def expected_of(module, input):
    options = {name: getattr(module, name) for name in OPTIONS_OF_FORWARD}
    return pointwise_norm(*(t if t is None else t.double() for t in (input, *values(module))), **options)


@each_kind
def test_layers_of_the_family(kind, device):
    module = of_kind(kind, device=device)
    input = torch.randn(4, 6, 3, device=device) if kind.get("channel_dim") == 1 else torch.randn(4, 3, 6, device=device)
    # Rounding of float32 in values below 3.
    torch.testing.assert_close(module(input).double(), expected_of(module, input), rtol=1e-6, atol=2e-6)
    module(input).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())
    shape = (6,) if kind.get("per_channel") else (1,)
    assert module.alpha.shape == shape and (module.shift is None or module.shift.shape == shape)


@each_kind
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save", "state_dict", "functional_call", "meta"])
def test_layers_of_the_family_are_copied(how, kind):
    module = of_kind(kind)
    if how == "deepcopy":
        other = copy.deepcopy(module)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(module))
    elif how == "torch.save":
        stream = io.BytesIO()
        torch.save(module, stream)
        stream.seek(0)
        other = torch.load(stream, weights_only=False)
    elif how == "meta":
        with torch.device("meta"):
            other = of_kind(kind)
        assert other(torch.empty(2, 6, 6, device="meta")).shape == (2, 6, 6)
        other.to_empty(device="cpu").load_state_dict(module.state_dict())
    else:
        other = of_kind(kind)
        if how == "state_dict":
            other.load_state_dict(module.state_dict())
    input = torch.randn(2, 6, 6)
    if how == "functional_call":
        output = torch.func.functional_call(other, dict(module.named_parameters()), (input,))
    else:
        output = other(input)
    assert torch.equal(output, module(input))
    assert repr(other) == repr(module)


def test_derf_and_dyt_are_cases_of_one_layer():
    assert issubclass(derf.Derf, derf.PointwiseNorm) and issubclass(derf.DyT, derf.PointwiseNorm)
    input = torch.randn(3, 6)
    assert torch.equal(derf.Derf(6)(input), derf.PointwiseNorm(6)(input))
    assert torch.equal(derf.DyT(6, 0.3)(input), derf.PointwiseNorm(6, "tanh", shift=False, alpha_init=0.3)(input))
    assert repr(derf.DyT(6)) == "DyT((6,), alpha_init=0.5)"
    shown = repr(derf.PointwiseNorm(6, "isru", shift=False, per_channel=True, clip=0.5, sign=-1, channel_dim=1))
    options = "alpha_init=0.5, shift=False, per_channel=True, channel_dim=1, clip=0.5, sign=-1"
    assert shown == f"PointwiseNorm((6,), 'isru', {options})"


class DynamicTanh(nn.Module):
    """The layer of DyT's authors by its names and shapes (arXiv 2503.10622)."""

    def __init__(self, normalized_shape, channels_last, alpha_init_value=0.5):
        super().__init__()
        self.channels_last = channels_last
        self.alpha = nn.Parameter(torch.full((1,), alpha_init_value))
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))

    def forward(self, x):
        after = () if self.channels_last else (1, 1)
        return torch.tanh(self.alpha * x) * self.weight.reshape(-1, *after) + self.bias.reshape(-1, *after)


@pytest.mark.parametrize("channels_last", [True, False])
def test_checkpoints_of_dyts_authors_load(channels_last):
    theirs = DynamicTanh(6, channels_last)
    for parameter in theirs.parameters():
        nn.init.uniform_(parameter, 0.4, 1.2)
    mine = derf.DyT(6, channel_dim=-1 if channels_last else 1)
    mine.load_state_dict(theirs.state_dict(), strict=True)
    input = torch.randn(2, 6, 6, 6)
    torch.testing.assert_close(mine(input), theirs(input))


def square_root(u):
    return u.sign() * u.abs().sqrt()


def test_a_function_of_ones_own(device):
    with pytest.warns(UserWarning, match="square_root is not one of .* not fused") as warned:
        layers = [derf.PointwiseNorm(6, square_root, clip=0.9, per_channel=True, device=device) for _ in range(3)]
    assert len(warned) == 1
    input = torch.randn(4, 6, device=device, requires_grad=True)
    layers[0](input).sum().backward()
    torch.testing.assert_close(layers[0](input), square_root(input / 2).clamp(-0.9, 0.9))
    assert torch.equal(copy.deepcopy(layers[0])(input), layers[0](input))
    assert torch.equal(pickle.loads(pickle.dumps(layers[0]))(input), layers[0](input))
    assert repr(layers[0]).startswith("PointwiseNorm((6,), square_root, alpha_init=0.5")
    compiled = torch.compile(layers[0], backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(input), layers[0](input))


def test_signature_of_the_family():
    parameters = list(inspect.signature(derf.PointwiseNorm).parameters.values())
    expected = (
        "normalized_shape, function='erf', *, alpha_init=0.5, shift_init=0.0, shift=True, per_channel=False, "
        "elementwise_affine=True, bias=True, channel_dim=-1, dead_zone=0.0, input_shift=0.0, linear_mix=0.0, "
        "clip=None, output_shift=0.0, sign=1, inplace=False, device=None, dtype=None"
    )
    bare = [p.replace(annotation=p.empty) for p in parameters]
    assert str(inspect.Signature(bare))[1:-1] == expected
    assert all(p.annotation is not p.empty for p in parameters)


def test_layers_that_an_earlier_version_pickled():
    # It had neither a function nor options of studies.
    layer = derf.Derf(6)
    for name in ("function", "per_channel", *STUDIES["all"], "eps"):
        layer.__dict__.pop(name)
    other = pickle.loads(pickle.dumps(layer))
    input = torch.randn(3, 6)
    assert torch.equal(other(input), derf.Derf(6)(input)) and repr(other) == repr(derf.Derf(6))


OF_THE_FAMILY = {
    "unknown function": (ValueError, {"function": "gelu"}, ["function", "gelu", "erf, tanh"]),
    "a class": (TypeError, {"function": nn.GELU}, ["function", "GELU"]),
    "a number": (TypeError, {"function": 3}, ["function", "3"]),
    "dead_zone": (ValueError, {"dead_zone": -1.0}, ["dead_zone", "-1"]),
    "dead_zone string": (TypeError, {"dead_zone": "wide"}, ["dead_zone", "wide"]),
    "clip": (ValueError, {"clip": -1.0}, ["clip", "-1", "positive"]),
    "clip bool": (TypeError, {"clip": True}, ["clip", "True"]),
    "sign": (ValueError, {"sign": 2}, ["sign", "2", "1 or -1"]),
    "sign fraction": (TypeError, {"sign": 0.5}, ["sign", "0.5"]),
    "mix of linear": (ValueError, {"function": "linear", "linear_mix": 0.5}, ["linear_mix", "0.5"]),
}


@pytest.mark.parametrize(("error", "options", "parts"), OF_THE_FAMILY.values(), ids=OF_THE_FAMILY)
def test_wrong_options_of_the_family(error, options, parts):
    with pytest.raises(error) as raised:
        derf.PointwiseNorm(3, **options)
    text = str(raised.value)
    assert text.startswith("derf: ")
    for part in parts:
        assert part in text, f"no {part!r} in: {text}"
