"""Which layers replace_norm takes for a norm: registered classes, and others by what they compute."""

import re
import subprocess
import sys

import derf
import pytest
import torch
from derf import norms
from tolerance import assert_forward
from torch import nn
from torch.nn import functional as F


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(norms, "_registry", dict(norms._registry))


class Affine(nn.Module):
    """A base of look-alikes: weight and bias of given names, and an epsilon."""

    names = ("weight",)

    def __init__(self, size=6, eps=1e-6):
        super().__init__()
        self.eps = eps
        for name in self.names:
            setattr(self, name, nn.Parameter(torch.randn(size)))


class TextRMSNorm(Affine):
    def forward(self, hidden_states):
        x = hidden_states.float()
        return (self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)).type_as(hidden_states)


class FromOneRMSNorm(Affine):
    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (1 + self.weight)


class FromOneLayerNorm(Affine):
    names = ("weight", "bias")

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, 1 + self.weight, self.bias, self.eps)


class GammaNorm(Affine):
    names = ("gamma", "beta")

    def forward(self, x):
        return F.layer_norm(x, self.gamma.shape, self.gamma, self.beta, self.eps)


class ImageNorm(nn.LayerNorm):
    def forward(self, x):
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


class SequenceNorm(Affine):
    names = ("weight", "bias")

    def forward(self, x):
        batch, channels, length = x.shape
        y = F.layer_norm(x.transpose(1, 2), self.weight.shape, self.weight, self.bias, self.eps)
        return y.transpose(1, 2)


class PlainRMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.dim = 6

    def forward(self, x):
        return F.rms_norm(x, (self.dim,))


class CheckedNorm(nn.LayerNorm):
    """Inherits its forward."""


# Look-alike: channel_dim, what counts from 1, names of weight and bias.
LOOK_ALIKES = {
    TextRMSNorm: (-1, 0, "weight", None),
    FromOneRMSNorm: (-1, 1, "weight", None),
    FromOneLayerNorm: (-1, 1, "weight", "bias"),
    GammaNorm: (-1, 0, "gamma", "beta"),
    lambda: ImageNorm(6): (1, 0, "weight", "bias"),
    SequenceNorm: (1, 0, "weight", "bias"),
    PlainRMSNorm: (-1, 0, None, None),
    lambda: CheckedNorm(6, eps=3.0): (-1, 0, "weight", "bias"),
    lambda: nn.RMSNorm(6, eps=3.0): (-1, 0, "weight", None),
    lambda: nn.RMSNorm((2, 6), elementwise_affine=False): (-1, 0, None, None),
}
each_look_alike = pytest.mark.parametrize(
    ("build", "channel_dim", "offset", "weight", "bias"),
    [(build, *rest) for build, rest in LOOK_ALIKES.items()],
    ids=["text", "from one", "LayerNorm from one", "gamma", "image", "sequence", "plain", "subclass", "torch", "2-d"],
)


@each_look_alike
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_look_alikes(build, channel_dim, offset, weight, bias, dtype):
    norm = build().to(dtype)
    before = {name: parameter.detach().clone() for name, parameter in norm.named_parameters()}
    layer = derf.replace_norm(norm)
    assert type(layer) is derf.Derf
    assert layer.channel_dim == channel_dim
    assert layer.normalized_shape == getattr(norm, "normalized_shape", (6,))
    expected = [None if name is None else before[name] for name in (weight, bias)]
    if offset:
        expected[0] = expected[0] + 1
    for mine, theirs in zip((layer.weight, layer.bias), expected, strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or (torch.equal(mine, theirs) and mine.dtype == dtype and mine.requires_grad)
    if not offset and weight:
        assert layer.weight is getattr(norm, weight)  # the very parameter
    input = torch.randn(2, *((6, 3) if channel_dim == 1 else (2, 6)), dtype=dtype)
    assert_forward(layer(input), input, layer.alpha, layer.shift, *expected, channel_dim)


class ReciprocalRMSNorm(nn.Module):
    """One of Transformers' classes that calls itself RMSNorm and returns the reciprocal deviation alone."""

    def forward(self, x):
        return torch.rsqrt(x.square().mean(-1, keepdim=True))


class ScaledFirstRMSNorm(Affine):
    def forward(self, x):
        return F.rms_norm(x * self.weight, (6,))


class GatedRMSNorm(Affine):
    def forward(self, x, gate):
        return F.rms_norm(x * F.silu(gate), (6,), self.weight)


class GatedOrNotRMSNorm(Affine):
    def forward(self, x, gate=None):
        return F.rms_norm(x if gate is None else x * F.silu(gate), (6,), self.weight)


class LowRankNorm(Affine):
    names = ("weight", "bias", "rotation")

    def forward(self, x):
        return F.layer_norm(x, (6,), self.weight, self.bias) * self.rotation


class MisshapenNorm(nn.LayerNorm):
    """By its name and its forward a LayerNorm; its weight has another shape than it says."""

    def __init__(self):
        super().__init__(6)
        self.weight = nn.Parameter(torch.ones(1))


class ActivatedNorm(nn.LayerNorm):
    def __init__(self, size):
        super().__init__(size)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(super().forward(x))


class CenteredNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x) - 1


IMPOSTORS = {
    "reciprocal": (ReciprocalRMSNorm, "does not say its size"),
    "scaled first": (ScaledFirstRMSNorm, "neither a LayerNorm nor an RMSNorm"),
    "gated": (GatedRMSNorm, "takes more than an input: gate"),
    "gated if asked": (GatedOrNotRMSNorm, "takes more than an input: gate"),
    "three parameters": (LowRankNorm, "further parameters: rotation|neither"),
    "shape": (MisshapenNorm, r"its weight has shape \[1\], not \[6\]"),
    "activation": (lambda: ActivatedNorm(6), "more than parameters: act"),
    "another forward": (lambda: CenteredNorm(6), "neither a LayerNorm nor an RMSNorm"),
    "GroupNorm": (lambda: nn.GroupNorm(2, 6), "neither a LayerNorm nor an RMSNorm"),
    "BatchNorm": (lambda: nn.BatchNorm2d(6), "more than parameters: running_mean"),
    "InstanceNorm": (lambda: nn.InstanceNorm2d(6, affine=True), "neither a LayerNorm nor an RMSNorm"),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), "does not say its size"),
}


@pytest.mark.parametrize("build, reason", IMPOSTORS.values(), ids=IMPOSTORS)
def test_what_is_no_norm_stays_and_the_report_says_why(build, reason):
    model = nn.Sequential(nn.Linear(6, 6), build())
    layer = model[1]
    result, report = derf.replace_norm(model, return_report=True)
    assert result is model and model[1] is layer and not report.replaced
    (kept,) = report.kept
    assert (kept.name, kept.old) == ("1", type(layer))
    assert re.search(reason, kept.reason)


def test_other_modules_are_not_even_asked():
    class Refuses(nn.Module):
        def forward(self, *arguments):
            raise AssertionError("ran")

    class PreNorm(nn.Module):
        """Holds a norm, is none."""

        def __init__(self):
            super().__init__()
            self.norm, self.inner = nn.LayerNorm(6), Refuses()

    _, report = derf.replace_norm(PreNorm(), return_report=True)
    assert [entry.name for entry in report.replaced] == ["norm"] and not report.kept


def test_asking_leaves_no_trace():
    class CountingNorm(Affine):
        calls = 0

        def forward(self, x):
            type(self).calls += 1
            self.last = x
            return F.rms_norm(x, (6,), self.weight)

    norm = CountingNorm()
    called = []
    norm.register_forward_hook(lambda *_: called.append(1))
    state = torch.get_rng_state()
    derf.replace_norm(nn.Sequential(norm))
    assert CountingNorm.calls and not called and not hasattr(norm, "last")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_norm_on_the_meta_device_is_recognised():
    norm = TextRMSNorm().to("meta")
    layer = derf.replace_norm(norm)
    assert type(layer) is derf.Derf and all(parameter.is_meta for parameter in layer.parameters())
    with torch.device("meta"):
        assert type(derf.replace_norm(TextRMSNorm())) is derf.Derf


# The registry


def test_a_registered_class_and_its_subclasses():
    class Whitening(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.randn(6))

    class Same(Whitening):
        pass

    class Other(Whitening):
        def forward(self, x):
            return x

    model = nn.Sequential(Whitening(), Same(), Other())
    assert not derf.replace_norm(model, dry_run=True).replaced
    derf.register_norm(Whitening, lambda norm: derf.NormSpec((6,), weight=norm.gain))
    gains = [layer.gain for layer in model]
    derf.replace_norm(model)
    assert [type(layer) for layer in model] == [derf.Derf, derf.Derf, Other]
    assert model[0].weight is gains[0] and model[1].weight is gains[1]


def test_registration_by_name_needs_no_import():
    cls = type("Norm8", (Affine,), {"__module__": "nowhere.at.all", "forward": lambda self, x: x})
    derf.register_norm("nowhere.at.all.Norm8", lambda norm: derf.NormSpec((6,), norm.weight, weight_offset=1.0))
    norm = cls()
    assert torch.equal(derf.replace_norm(norm).weight, norm.weight + 1)


def test_an_adapter_can_leave_a_layer():
    derf.register_norm(nn.RMSNorm, lambda norm: None)
    model = nn.Sequential(nn.RMSNorm(6), nn.LayerNorm(6))
    report = derf.replace_norm(model, dry_run=True)
    assert [entry.name for entry in report.replaced] == ["1"]
    assert "adapter leaves it" in report.kept[0].reason


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (lambda norm: derf.NormSpec((6,), nn.Parameter(torch.ones(6))), "its weight is not its own parameter"),
        (lambda norm: derf.NormSpec((5,), norm.weight, norm.bias), r"its weight has shape \[6\], not \[5\]"),
        (lambda norm: derf.NormSpec((6,), norm.weight), "further parameters: bias"),
    ],
    ids=["foreign weight", "wrong shape", "forgotten bias"],
)
def test_an_adapter_that_contradicts_the_layer_is_not_believed(spec, reason):
    derf.register_norm(nn.LayerNorm, spec)
    model = nn.Sequential(nn.LayerNorm(6))
    _, report = derf.replace_norm(model, return_report=True)
    assert type(model[0]) is nn.LayerNorm
    assert re.search(reason, report.kept[0].reason)


def test_an_adapter_that_returns_something_else_is_refused():
    derf.register_norm(nn.LayerNorm, lambda norm: norm.weight)
    model = nn.Sequential(nn.RMSNorm(6), nn.LayerNorm(6))
    with pytest.raises(TypeError, match="^derf: the adapter of LayerNorm must return a NormSpec"):
        derf.replace_norm(model)
    assert type(model[0]) is nn.RMSNorm


@pytest.mark.parametrize(
    ("cls", "adapter", "argument"),
    [(nn.LayerNorm(3), lambda norm: None, "cls"), (int, lambda norm: None, "cls"), (nn.LayerNorm, None, "adapter")],
)
def test_wrong_registrations(cls, adapter, argument):
    with pytest.raises(TypeError, match=f"^derf: {argument} must be"):
        derf.register_norm(cls, adapter)


# Classes whose kernels run on a GPU alone, in the place of libraries that are not here.
GPU_CLASSES = {
    "apex.normalization.fused_layer_norm.FusedLayerNorm": ("normalized_shape", "bias"),
    "apex.normalization.fused_layer_norm.MixedFusedRMSNorm": ("normalized_shape",),
    "mamba_ssm.ops.triton.layer_norm.RMSNorm": (),
    "liger_kernel.transformers.rms_norm.LigerRMSNorm": ("offset",),
}


@pytest.mark.parametrize("name", GPU_CLASSES)
def test_classes_that_run_on_a_gpu_alone(name):
    attributes = GPU_CLASSES[name]
    module, _, cls = name.rpartition(".")

    def forward(self, x):
        raise RuntimeError("needs a GPU")

    norm = type(cls, (Affine,), {"__module__": module, "forward": forward})()
    values = {"normalized_shape": torch.Size([6]), "bias": nn.Parameter(torch.randn(6)), "offset": 1.0}
    for attribute in attributes:
        setattr(norm, attribute, values[attribute])
    layer = derf.replace_norm(norm)
    assert type(layer) is derf.Derf and layer.normalized_shape == (6,)
    assert torch.equal(layer.weight, norm.weight + ("offset" in attributes))
    assert layer.bias is (norm.bias if "bias" in attributes else None)


def test_no_library_is_imported_to_recognise_its_models():
    code = (
        "import sys, torch, derf; derf.replace_norm(torch.nn.TransformerEncoderLayer(8, 2)); "
        "print([n for n in ('timm', 'transformers', 'diffusers', 'apex', 'torchvision') if n in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout == "[]\n"
