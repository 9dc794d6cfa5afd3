"""derf.restore_norm and derf.convert_state_dict: the way back, and checkpoints from either side."""

import copy

import derf
import pytest
import torch
from test_norms import LOOK_ALIKES, FromOneRMSNorm, each_look_alike
from torch import nn
from torch.nn import functional as F


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@each_look_alike
def test_restored_layers_are_what_they_were(build, channel_dim, offset, weight, bias):
    norm = build()
    before = copy.deepcopy(norm)
    norm.eval()
    restored = derf.restore_norm(derf.replace_norm(nn.Sequential(norm)))[0]
    assert type(restored) is type(before) and not restored.training
    assert vars(restored).keys() == vars(before).keys()
    assert getattr(restored, "eps", None) == getattr(before, "eps", None)
    input = torch.randn(2, *((6, 3) if channel_dim == 1 else (2, 6)))
    if channel_dim == 1 and isinstance(before, nn.LayerNorm):
        input = input[..., None]
    torch.testing.assert_close(restored(input), before(input), rtol=1e-6, atol=1e-6)  # 1 + w - 1 rounds
    if weight and not offset:
        assert getattr(restored, weight) is getattr(norm, weight)


def test_what_was_learned_goes_along():
    model = derf.replace_norm(nn.Sequential(nn.LayerNorm(4, eps=0.5), derf.Derf(4)))
    torch.nn.init.normal_(model[0].weight)
    weight, own = model[0].weight, model[1]
    weight.requires_grad_(False)
    assert derf.restore_norm(model) is model
    assert model[0].weight is weight and not model[0].weight.requires_grad and model[0].eps == 0.5
    assert model[1] is own  # never was another layer
    assert type(derf.restore_norm(derf.replace_norm(nn.RMSNorm(3)))) is nn.RMSNorm


def test_shared_layers_stay_shared():
    norm = nn.LayerNorm(4)
    model = derf.restore_norm(derf.replace_norm(nn.Sequential(norm, nn.Sequential(norm))))
    assert model[0] is model[1][0]


def test_a_weight_that_counts_from_1_stays_shared():
    model = nn.Sequential(FromOneRMSNorm(), FromOneRMSNorm())
    model[1].weight = model[0].weight
    derf.replace_norm(model)
    assert model[0].weight is model[1].weight
    derf.restore_norm(model)
    assert model[0].weight is model[1].weight and type(model[1]) is FromOneRMSNorm


def test_an_encoder_is_a_plain_one_again():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, dropout=0.0, batch_first=True), 2).eval()
    before = copy.deepcopy(encoder)
    derf.restore_norm(derf.replace_norm(encoder))
    input = torch.randn(2, 3, 8)
    with torch.no_grad():
        torch.testing.assert_close(encoder(input), before(input))
    assert encoder.layers[0].norm1.eps == 1e-5


@pytest.mark.parametrize("value", [None, 3, nn.LayerNorm])
def test_what_is_no_module_is_refused(value):
    with pytest.raises(TypeError, match="^derf: model must be"):
        derf.restore_norm(value)


# Checkpoints


def test_checkpoints_travel_both_ways():
    plain = nn.ModuleDict({str(i): build() for i, build in enumerate(LOOK_ALIKES)})
    plain["linear"], plain["shared"] = nn.Linear(2, 2), plain["0"]
    checkpoint = plain.state_dict()
    kept = {name: tensor.clone() for name, tensor in checkpoint.items()}
    model = derf.replace_norm(copy.deepcopy(plain), alpha=0.75)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.75)
    converted = derf.convert_state_dict(checkpoint, model)
    assert same(checkpoint, kept)  # not changed
    model.load_state_dict(converted, strict=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, torch.zeros(1) + 0.75 if name.endswith("shift") else expected[name]), name
    back = derf.convert_state_dict(model.state_dict(), plain)
    assert back.keys() == checkpoint.keys()
    for name, tensor in checkpoint.items():
        torch.testing.assert_close(back[name], tensor, rtol=1e-6, atol=1e-6)


def test_a_checkpoint_that_fits_stays_as_it_is():
    plain = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4))
    model = derf.replace_norm(copy.deepcopy(plain))
    assert same(derf.convert_state_dict(plain.state_dict(), plain), plain.state_dict())
    assert same(derf.convert_state_dict(model.state_dict(), model), model.state_dict())
    strange = {"1.weight": torch.ones(3), "extra": torch.zeros(2)}
    assert same(derf.convert_state_dict(strange, nn.Sequential(nn.ReLU(), nn.Linear(4, 4))), strange)


def test_a_bias_that_only_one_side_has():
    plain = nn.Sequential(nn.RMSNorm(4))
    model = derf.replace_norm(copy.deepcopy(plain), bias=True)
    converted = derf.convert_state_dict(plain.state_dict(), model)
    assert converted["0.bias"].eq(0).all()
    model.load_state_dict(converted, strict=True)
    assert derf.convert_state_dict(model.state_dict(), plain).keys() == plain.state_dict().keys()


@pytest.mark.parametrize("norm", [lambda: nn.LayerNorm(4, bias=False), lambda: nn.RMSNorm(4)], ids=["LayerNorm", "RMS"])
def test_a_bias_that_the_norm_did_not_have_is_dropped(norm):
    model = derf.replace_norm(nn.Sequential(norm()), bias=True)
    nn.init.ones_(model[0].bias)
    checkpoint = derf.convert_state_dict(model.state_dict(), nn.Sequential(norm()))
    assert list(checkpoint) == ["0.weight"]
    assert getattr(derf.restore_norm(model)[0], "bias", None) is None


class AuthorsLayer(nn.Module):
    """A layer with the names and shapes of the authors' code, to make checkpoints as theirs."""

    def __init__(self, norm):
        super().__init__()
        self.channels_last = norm.weight is None or not isinstance(norm, ImageLayerNorm)
        self.alpha, self.shift = nn.Parameter(torch.rand(1)), nn.Parameter(torch.rand(1))
        if norm.elementwise_affine:
            self.weight = nn.Parameter(torch.rand(norm.normalized_shape))
            self.bias = nn.Parameter(torch.rand(norm.normalized_shape))

    def forward(self, x):
        y = torch.erf(self.alpha * x + self.shift)
        if not hasattr(self, "weight"):
            return y
        shape = (-1,) if self.channels_last else (-1, 1, 1)
        return self.weight.reshape(shape) * y + self.bias.reshape(shape)


class ImageLayerNorm(nn.LayerNorm):
    def forward(self, x):
        y = F.layer_norm(x.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps)
        return y.movedim(-1, 1)


def test_checkpoints_of_the_authors_load():
    def network():
        norms = [ImageLayerNorm(6), nn.LayerNorm(4), nn.LayerNorm(4, elementwise_affine=False), nn.RMSNorm(4)]
        return nn.Sequential(nn.Conv2d(3, 6, 1), *norms)

    authors = network()
    for i in range(1, 5):
        authors[i] = AuthorsLayer(authors[i])
    model = derf.replace_norm(network(), bias=True)
    model.load_state_dict(authors.state_dict(), strict=True)
    images = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(model(images), authors(images))


class DynamicTanh(nn.Module):
    """A layer with the names and shapes of DyT's authors, whose checkpoints have no shift."""

    def __init__(self, channels):
        super().__init__()
        self.alpha = nn.Parameter(torch.rand(1))
        self.weight, self.bias = nn.Parameter(torch.rand(channels)), nn.Parameter(torch.rand(channels))

    def forward(self, x):
        return torch.tanh(self.alpha * x) * self.weight + self.bias


@pytest.mark.parametrize("options", [{"shift": False}, {}, {"per_channel": True}], ids=["DyT", "shift", "per channel"])
def test_checkpoints_of_dyt_become_any_layer_of_tanh(options):
    authors = nn.Sequential(nn.Linear(4, 4), DynamicTanh(4), DynamicTanh(4))
    checkpoint = authors.state_dict()
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.LayerNorm(4))
    model = derf.replace_norm(model, function="tanh", **({"shift": 0.3} | options))
    model.load_state_dict(derf.convert_state_dict(checkpoint, model), strict=True)
    input = torch.randn(3, 4)
    torch.testing.assert_close(model(input), authors(input))


def test_a_checkpoint_of_dyt_for_the_model_with_norms():
    checkpoint = nn.Sequential(nn.Linear(4, 4), DynamicTanh(4)).state_dict()
    plain = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    converted = derf.convert_state_dict(checkpoint, plain)
    plain.load_state_dict(converted, strict=True)
    assert torch.equal(plain[1].weight, checkpoint["1.weight"])
