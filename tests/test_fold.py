"""derf.fold: weight and bias in what reads a layer; outputs as before, and all that is left, with its reason."""

import copy

import derf
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

C = 6


class Model(nn.Module):
    """The layer, and what a test makes of its output."""

    def __init__(self, forward, norm=None, **modules):
        super().__init__()
        self.norm = norm or derf.Derf(C)
        for name, module in modules.items():
            setattr(self, name, module)
        self.how = forward

    def forward(self, *inputs):
        return self.how(self, *inputs)


def prepared(model, dtype=torch.float64):
    for layer in model.modules():
        if isinstance(layer, derf.PointwiseNorm):
            for parameter in layer.parameters():
                nn.init.normal_(parameter, 0.7, 0.3)
    return model.to(dtype).eval()


def fold_and_compare(model, *inputs, dtype=torch.float64):
    """The report, once outputs are seen to be as before: a few roundings of each of the products that a sum has."""
    model = prepared(model, dtype)
    inputs = [x.to(dtype) for x in inputs]
    before = copy.deepcopy(model).double()
    report = derf.fold(model, *inputs)
    with torch.no_grad():
        expected, actual = before(*(x.double() for x in inputs)), model(*inputs)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=64 * eps * max(1, expected.abs().max().item()))
    return report


def rows(*shape):
    return torch.randn(*shape, C)


IMAGE = torch.randn(2, C, 7, 8)


def conv(*args, d=2, **kwargs):
    return getattr(nn, f"Conv{d}d")(C, *args, **kwargs)


def of_channels():
    return derf.Derf(C, channel_dim=1)


ONE = {
    "Linear": lambda: (Model(lambda m, x: m.a(m.norm(x)), a=nn.Linear(C, 4)), rows(3)),
    "Linear without bias": lambda: (Model(lambda m, x: m.a(m.norm(x)), a=nn.Linear(C, 4, bias=False)), rows(2, 3)),
    "sequence": lambda: (nn.Sequential(derf.Derf(C), nn.Dropout(0.5), nn.Linear(C, C), nn.GELU()), rows(2, 3)),
    "no bias in the layer": lambda: (
        Model(lambda m, x: m.a(m.norm(x)), derf.Derf(C, bias=False), a=nn.Linear(C, 4, bias=False)),
        rows(3),
    ),
    "DyT": lambda: (Model(lambda m, x: m.a(m.norm(x)), derf.DyT(C), a=nn.Linear(C, 4)), rows(3)),
    "PointwiseNorm": lambda: (
        Model(
            lambda m, x: m.a(m.norm(x)),
            derf.PointwiseNorm(C, "isru", per_channel=True, clip=0.8, output_shift=0.2, sign=-1),
            a=nn.Linear(C, 4),
        ),
        rows(3),
    ),
    "ModulatedDerf": lambda: (
        Model(lambda m, x: m.a(m.norm(x)), derf.ModulatedDerf(C, elementwise_affine=True), a=nn.Linear(C, 4)),
        rows(3),
    ),
    "a class token": lambda: (Model(lambda m, x: m.a(m.norm(x)[:, 0]), a=nn.Linear(C, 4)), rows(2, 3)),
    "some tokens": lambda: (Model(lambda m, x: m.a(m.norm(x)[:, 1:].flatten(0, 1)), a=nn.Linear(C, 4)), rows(2, 3)),
    "tokens to an image": lambda: (
        Model(lambda m, x: m.a(m.norm(x).transpose(1, 2).reshape(2, C, 3, 4)), a=conv(4, 2)),
        rows(2, 12),
    ),
    "an image to tokens": lambda: (
        Model(lambda m, x: m.a(m.norm(x).flatten(2).permute(0, 2, 1)), of_channels(), a=nn.Linear(C, 4)),
        IMAGE,
    ),
    "pooled": lambda: (
        Model(lambda m, x: m.a(m.norm(x)[:, :, :1, :1].flatten(1)), of_channels(), a=nn.Linear(C, 4)),
        IMAGE,
    ),
    "unsqueezed": lambda: (Model(lambda m, x: m.a(m.norm(x).unsqueeze(0).unsqueeze(-2)), a=nn.Linear(C, 4)), rows(3)),
    "read twice by one": lambda: (
        Model(lambda m, x: m.a(m.norm(x)[0]) + m.a(m.norm(x)[1]), a=nn.Linear(C, 4)),
        rows(2),
    ),
    "Conv1d": lambda: (Model(lambda m, x: m.a(m.norm(x)), of_channels(), a=conv(4, 3, d=1)), torch.randn(2, C, 9)),
    "Conv2d": lambda: (Model(lambda m, x: m.a(m.norm(x)), of_channels(), a=conv(4, 3, stride=2, bias=False)), IMAGE),
    "Conv3d": lambda: (
        Model(lambda m, x: m.a(m.norm(x)), of_channels(), a=conv(4, 2, d=3, dilation=2)),
        torch.randn(2, C, 5, 6, 4),
    ),
    "one image": lambda: (
        Model(lambda m, x: m.a(m.norm(x)), derf.Derf(C, channel_dim=0), a=conv(4, 3)),
        torch.randn(C, 5, 6),
    ),
    "groups": lambda: (Model(lambda m, x: m.a(m.norm(x)), of_channels(), a=conv(9, 3, groups=3)), IMAGE),
    "depthwise": lambda: (Model(lambda m, x: m.a(m.norm(x)), of_channels(), a=conv(2 * C, 3, groups=C)), IMAGE),
    "padding valid": lambda: (Model(lambda m, x: m.a(m.norm(x)), of_channels(), a=conv(4, 3, padding="valid")), IMAGE),
    "padding of nothing": lambda: (
        Model(lambda m, x: m.a(m.norm(x)), of_channels(), a=conv(4, 1, padding="same")),
        IMAGE,
    ),
}


@pytest.mark.parametrize("build", ONE.values(), ids=ONE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_one_reader(build, dtype):
    model, x = build()
    layer = next(m for m in model.modules() if isinstance(m, derf.PointwiseNorm))
    had = [name for name in ("weight", "bias") if getattr(layer, name) is not None]
    report = fold_and_compare(model, x, dtype=dtype)
    assert len(report.folded) == 1 and not report.left
    assert report.folded[0].parts == ", ".join(had)
    assert layer.weight is None and layer.bias is None and "elementwise_affine=False" in repr(layer)
    assert list(layer.state_dict()) == [name for name in ("alpha", "shift") if getattr(layer, name) is not None]


def test_addmm():
    class Conv1D(nn.Module):
        """As in GPT-2: the weight is [in, out]."""

        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(C, 4)), nn.Parameter(torch.randn(4))

        def forward(self, x):
            return torch.addmm(self.bias, x.view(-1, C), self.weight).view(*x.shape[:-1], 4)

    report = fold_and_compare(Model(lambda m, x: m.a(m.norm(x)), a=Conv1D()), rows(2, 3))
    assert [(entry.name, entry.into, entry.parts) for entry in report.folded] == [
        ("norm", ("a.weight",), "weight, bias")
    ]


def test_queries_keys_and_values():
    linears = {name: nn.Linear(C, C, bias=name != "k") for name in "qkv"}
    model = Model(lambda m, x: m.q(m.norm(x)) * m.k(m.norm(x)) + m.v(m.norm(x)), **linears)
    report = fold_and_compare(model, rows(2, 3))
    assert report.folded[0].into == ("q.weight", "k.weight", "v.weight")
    assert model.k.bias is not None and model.k.bias.requires_grad


PADDED = {
    "zeros": lambda: conv(4, 3, padding=1),
    "same": lambda: conv(4, 3, padding="same"),
    "one side": lambda: conv(4, 3, padding=(0, 1)),
}


@pytest.mark.parametrize("build", PADDED.values(), ids=PADDED)
def test_a_convolution_that_pads(build):
    """Zeros around the image see no bias: the layer keeps bias / weight."""
    model = Model(lambda m, x: m.a(m.norm(x)), of_channels(), a=build())
    report = fold_and_compare(model, IMAGE)
    assert report.folded[0].parts == "weight, bias / weight stays"
    assert model.norm.weight is None and model.norm.bias is not None


def test_a_convolution_that_pads_where_there_is_no_bias():
    model = Model(lambda m, x: m.a(m.norm(x)), derf.Derf(C, channel_dim=1, bias=False), a=conv(4, 3, padding=1))
    assert fold_and_compare(model, IMAGE).folded[0].parts == "weight"
    model = prepared(Model(lambda m, x: m.a(m.norm(x)), of_channels(), a=conv(4, 3, padding=1)))
    nn.init.zeros_(model.norm.bias)
    before = model(IMAGE.double())
    assert derf.fold(model, IMAGE.double()).folded[0].parts == "weight, bias" and model.norm.bias is None
    torch.testing.assert_close(model(IMAGE.double()), before, rtol=0, atol=1e-14)


class FromOne(derf.Derf):
    """Its weight counts from 1."""

    def forward(self, input):
        parameters = self.alpha, self.shift, self.weight, self.bias
        return derf.functional.pointwise_norm(input, *parameters, weight_offset=1.0)


def test_weight_offset():
    model = Model(lambda m, x: m.a(m.norm(x)), FromOne(C), a=nn.Linear(C, 4))
    assert len(fold_and_compare(model, rows(3)).folded) == 1
    assert not model.norm.weight.any() and not model.norm.bias.any()


def test_a_layer_that_is_called_twice():
    two = {"a": nn.Linear(C, 4), "b": nn.Linear(C, 4)}
    report = fold_and_compare(Model(lambda m, x: m.a(m.norm(x)) + m.b(m.norm(2 * x)), **two), rows(3))
    assert report.folded[0].into == ("a.weight", "b.weight")
    report = fold_and_compare(Model(lambda m, x: m.a(m.norm(x)) + m.norm(2 * x).sum(), **two), rows(3))
    assert not report.folded and "sum" in report.left[0].reason


def test_a_layer_in_two_places():
    norm, linear = derf.Derf(C), nn.Linear(C, C)
    report = fold_and_compare(nn.Sequential(norm, linear, nn.Tanh(), norm, linear), rows(3))
    assert [entry.name for entry in report.folded] == ["0"] and norm.weight is None


def tied(one, other):
    other.weight = one.weight
    return other


def linear():
    return nn.Linear(C, C)


LEFT = {
    "an output": (lambda: Model(lambda m, x: m.norm(x)), "it is an output of the model"),
    "a residual": (lambda: Model(lambda m, x: m.norm(x) + m.a(m.norm(x)), a=linear()), "add"),
    "one output, two readers": (
        lambda: Model(lambda m, x: (lambda h: h + m.a(h))(m.norm(x)), a=linear()),
        "add",
    ),
    "an activation": (lambda: Model(lambda m, x: m.a(F.gelu(m.norm(x))), a=linear()), "gelu"),
    "another dimension": (lambda: Model(lambda m, x: m.a(m.norm(x).transpose(1, 2)), a=linear()), "another dimension"),
    "mixed by a reshape": (
        lambda: Model(lambda m, x: m.a(m.norm(x).reshape(C, -1, C // 2, 2).flatten(2)), a=linear()),
        "",
    ),
    "a part of the channels": (lambda: Model(lambda m, x: m.a(m.norm(x)[..., :3]), a=nn.Linear(3, C)), "slice"),
    "the weight": (lambda: Model(lambda m, x: F.linear(x, m.norm(x)[0])), "as a weight or bias"),
    "read from elsewhere": (
        lambda: Model(lambda m, x: m.a(m.norm(x)) + m.a(x), a=linear()),
        "a.weight or its bias is used",
    ),
    "its weight is read": (
        lambda: Model(lambda m, x: m.a(m.norm(x)) + m.a.weight.sum(), a=linear()),
        "used elsewhere",
    ),
    "tied weights": (
        lambda: (lambda a: Model(lambda m, x: m.b(m.a(m.norm(x))), a=a, b=tied(a, linear())))(linear()),
        "b.weight is shared",
    ),
    "a weight that is computed": (
        lambda: Model(lambda m, x: m.a(m.norm(x)), a=parametrizations.weight_norm(linear())),
        "with a weight or bias that is not a parameter",
    ),
    "a transposed convolution": (
        lambda: Model(lambda m, x: m.a(m.norm(x).transpose(1, 2)), a=nn.ConvTranspose1d(C, 4, 2)),
        "conv_transpose1d",
    ),
    "reflected": (
        lambda: Model(
            lambda m, x: m.a(m.norm(x).transpose(1, 2)), a=nn.Conv1d(C, 4, 3, padding=1, padding_mode="reflect")
        ),
        "pad",
    ),
    "not called": (lambda: Model(lambda m, x: m.a(x), a=linear()), "no call of it"),
    "not read": (lambda: Model(lambda m, x: (m.norm(x), m.a(x))[1], a=linear()), "nothing reads it"),
    "modulated": (
        lambda: Model(lambda m, x: m.a(m.norm(x, m.a(x))), derf.ModulatedDerf(C, elementwise_affine=True), a=linear()),
        "its weight is computed",
    ),
    "several dimensions": (
        lambda: Model(lambda m, x: m.a(m.norm(x)), derf.Derf((3, C)), a=linear()),
        "more than one dimension",
    ),
}


@pytest.mark.parametrize("build, reason", LEFT.values(), ids=LEFT)
def test_left(build, reason):
    model = prepared(build())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = derf.fold(model, rows(2, 3 if "more than one" in reason else C).double())
    assert not report.folded and [entry.name for entry in report.left] == ["norm"]
    assert reason in report.left[0].reason
    now = model.state_dict()
    assert now.keys() == state.keys() and all(torch.equal(now[name], state[name]) for name in state)


def test_no_bias_and_no_place_for_one():
    class Projection(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, C))

        def forward(self, x):
            return F.linear(x, self.weight)

    report = fold_and_compare(Model(lambda m, x: m.a(m.norm(x)), a=Projection()), rows(3))
    assert report.left[0].reason == "a.weight has no bias, and its module takes none"
    report = fold_and_compare(Model(lambda m, x: m.a(m.norm(x)), derf.Derf(C, bias=False), a=Projection()), rows(3))
    assert report.folded[0].parts == "weight"


def test_padding_and_a_weight_of_0():
    model = prepared(Model(lambda m, x: m.a(m.norm(x)), of_channels(), a=conv(4, 3, padding=1)))
    with torch.no_grad():
        model.norm.weight[2] = 0
    assert "a weight is 0 where the bias is not" in derf.fold(model, IMAGE.double()).left[0].reason


def test_what_would_overflow_is_left():
    model = prepared(Model(lambda m, x: m.a(m.norm(x)), a=nn.Linear(C, 4)), torch.float16)
    nn.init.constant_(model.norm.weight, 6e4)
    nn.init.constant_(model.a.weight, 10.0)
    report = derf.fold(model, rows(3).half())
    assert report.left[0].reason == "what reads it would have infinite parameters" and model.a.weight[0, 0] == 10


def test_shared_parameters_of_layers():
    model = nn.Sequential(derf.Derf(C), nn.Linear(C, C), derf.Derf(C), nn.Linear(C, C))
    model[2].alpha = model[0].alpha
    report = fold_and_compare(model, rows(3))
    assert [entry.reason for entry in report.left] == ["its parameters are shared"] * 2


def test_a_shared_weight_of_layers_is_folded_in_each():
    model = nn.Sequential(derf.Derf(C), nn.Linear(C, C), derf.Derf(C), nn.Linear(C, C))
    model[2].weight = model[0].weight
    assert len(fold_and_compare(model, rows(3)).folded) == 2


def test_a_transformer_and_the_path_that_it_takes():
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(C, 2, 12, norm_first=True, batch_first=True), 2, derf.Derf(C)
    )
    report = fold_and_compare(derf.replace_norm(encoder), rows(2, 3))
    assert len(report.folded) == 4 and [entry.name for entry in report.left] == ["norm"]
    assert report.folded[0].into == ("layers.0.self_attn.in_proj_weight",)


def test_the_printed_report():
    model = prepared(nn.Sequential(derf.Derf(C), nn.Linear(C, C), derf.Derf(C)))
    assert str(derf.fold(model, rows(3).double())).splitlines() == [
        "name  folded        into",
        "----  ------------  --------",
        "0     weight, bias  1.weight",
        "",
        "name  stays  because",
        "----  -----  ----------------------------",
        "2     Derf   it is an output of the model",
    ]
    assert str(derf.fold(nn.Linear(2, 2).eval(), torch.zeros(1, 2))) == "no layer was folded"


def test_twice_is_once():
    model = nn.Sequential(derf.Derf(C), nn.Linear(C, C))
    fold_and_compare(model, rows(3))
    report = derf.fold(model, rows(3).double())
    assert not report.folded and not report.left


def test_keyword_arguments():
    model = prepared(Model(lambda m, x: m.a(m.norm(x)), a=nn.Linear(C, 4)))

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, *, x):
            return self.inner(x)

    assert derf.fold(Named().eval(), x=rows(3).double()).folded[0].name == "inner.norm"


def test_bad_arguments():
    with pytest.raises(TypeError, match="model must be a torch.nn.Module"):
        derf.fold(3)
    model = nn.Sequential(derf.Derf(C), nn.Linear(C, C))
    with pytest.raises(ValueError, match="model must be in eval mode, but model is in training mode"):
        derf.fold(model, rows(3))
    model.eval()
    model[1].train()
    with pytest.raises(ValueError, match="but 1 is in training mode"):
        derf.fold(model, rows(3))
    with pytest.raises(RuntimeError, match="model cannot be exported with these arguments"):
        derf.fold(model.eval(), torch.randn(3, C + 1))
    assert model[0].weight is not None
