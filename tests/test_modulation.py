"""replace_norm where a module around the norm modulates it: which forwards change, and that they compute the same."""

import copy
import functools
import pickle

import derf
import pytest
import reference
import torch
from torch import nn

C = 8


def modulate(x, shift, scale):
    """As in the DiT of its authors."""
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


def modulate_twice(x, shift, scale):
    return x * (1 + scale.unsqueeze(1)) + scale.unsqueeze(1) * shift.unsqueeze(1)


# A function whose source is no definition.
(modulate_by_lambda,) = (lambda x, shift, scale: x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1),)


def logged(forward):
    @functools.wraps(forward)
    def around(self, *args, **kwargs):
        self.calls = getattr(self, "calls", 0) + 1
        return forward(self, *args, **kwargs)

    return around


class Block(nn.Module):
    def __init__(self, affine=False, mode="yes"):
        super().__init__()
        self.norm = nn.LayerNorm(C, elementwise_affine=affine)
        self.linear = nn.Linear(C, 3 * C)
        self.mode = mode

    def chunks(self, c):
        return self.linear(c).chunk(3, dim=1)

    def extra(self, x):
        return x


class OneExpression(Block):
    def forward(self, x, c):
        shift, scale, gate = self.chunks(c)
        return gate[:, None] * (self.norm(x) * (1 + scale[:, None]) + shift[:, None])


class IndexedFactor(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        return shift[:, None, :] + (scale + 1.0)[:, None, :] * self.norm(x)


class UnsqueezedFactor(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        return self.norm(x) * (1 + scale).unsqueeze(1) + shift.unsqueeze(1)


class ScaleAlone(Block):
    def forward(self, x, c):
        _, scale, _ = self.chunks(c)
        return self.norm(x) * (1 + scale[:, None])


class TwoStatements(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        h = self.norm(x)
        h = h * (1 + scale[:, None]) + shift[:, None]
        return h


class OnItself(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        x = self.norm(x)
        x = x * (1 + scale[:, None].to(x.device)) + shift[:, None].to(x.device)
        return x


class Conditional(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        h = self.norm(x)
        if self.mode == "yes":
            h = h * (1 + scale[:, None]) + shift[:, None]
        return h


class Chain(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        if self.mode == "none":
            h = x
        elif self.mode != "never":
            h = self.norm(x)
        if self.mode in ("yes", "none"):
            h = h * (1 + scale[:, None]) + shift[:, None]
        return h


class Function(Block):
    def forward(self, x, c):
        shift, scale, gate = self.chunks(c)
        return gate.unsqueeze(1) * modulate(self.norm(x), shift, scale)


class FunctionInTwoStatements(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        h = self.norm(x)
        h = modulate(h, scale=scale, shift=shift)
        return h


class Tokens(Block):
    def forward(self, x, c):
        shift, scale, _ = self.linear(x).chunk(3, dim=-1)
        return self.norm(x) * (1 + scale) + shift


class Broadcast(Block):
    """scale of the samples is [B, C] beside [T, B, C], and shift one number: as PyTorch broadcasts, not as [B, C]."""

    def forward(self, x, c):
        _, scale, _ = self.chunks(c)
        return (self.norm(x.transpose(0, 1)) * (1 + scale) + 0.5).transpose(0, 1)


class Decorated(Block):
    @logged
    def forward(self, x, c, factor=2.0, *, summand=1.0):
        shift, scale, _ = self.chunks(c)
        return factor * (self.norm(x) * (1 + scale[:, None]) + shift[:, None]) + summand


class WithSuper(OneExpression):
    def forward(self, x, c):
        shift, scale, _ = super().chunks(c)
        return self.norm(super().extra(x)) * (1 + scale[:, None]) + shift[:, None]


FUSED = [
    *(
        OneExpression,
        IndexedFactor,
        UnsqueezedFactor,
        ScaleAlone,
        TwoStatements,
        OnItself,
        Conditional,
        Chain,
        Function,
    ),
    *(FunctionInTwoStatements, Tokens, Broadcast, Decorated, WithSuper),
]


class UsedTwice(Block):
    def forward(self, x, c):
        shift, scale, gate = self.chunks(c)
        h = self.norm(x)
        y = h * (1 + scale[:, None]) + shift[:, None]
        return y + h * (1 + gate[:, None])


class ReadsTheNorm(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        h = self.norm(x)
        h = h * (1 + scale[:, None] * h.mean()) + shift[:, None]
        return h


class ReadsItself(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        x = self.norm(x)
        x = x * (1 + scale[:, None] * x.mean()) + shift[:, None]
        return x


class SomethingBetween(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        h = self.norm(x)
        x = h.flip(1)
        h = h * (1 + scale[:, None]) + shift[:, None]
        return h + x


class Otherwise(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        h = self.norm(x)
        if self.mode == "yes":
            h = h * (1 + scale[:, None]) + shift[:, None]
        else:
            h = -h
        return h


class DrawsBefore(Block):
    """The condition draws a random number: it must not move before the norm."""

    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        h = self.norm(x)
        if torch.rand(()) < 2:
            h = h * (1 + scale[:, None]) + shift[:, None]
        return h


class AnotherFunction(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        return modulate_twice(self.norm(x), shift, scale)


class ByLambda(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        return modulate_by_lambda(self.norm(x), shift, scale)


class TimesScale(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        return self.norm(x) * (2 + scale[:, None]) + shift[:, None]


class Private(Block):
    def forward(self, x, c):
        self.__own = self.chunks(c)
        shift, scale, _ = self.__own
        return self.norm(x) * (1 + scale[:, None]) + shift[:, None]


NAMESPACE = {"Block": Block}
SOURCE = """
class NoSource(Block):
    def forward(self, x, c):
        shift, scale, gate = self.chunks(c)
        return self.norm(x) * (1 + scale[:, None]) + shift[:, None]
"""
exec(SOURCE, NAMESPACE)
NoSource = NAMESPACE["NoSource"]
LEFT = [
    *(
        UsedTwice,
        ReadsTheNorm,
        ReadsItself,
        SomethingBetween,
        Otherwise,
        DrawsBefore,
        AnotherFunction,
        ByLambda,
        TimesScale,
        Private,
        NoSource,
    )
]


class ByHand(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.alpha, self.shift = nn.Parameter(torch.full((1,), 0.5)), nn.Parameter(torch.zeros(1))
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x):
        return reference.derf(x, self.alpha, self.shift, self.weight, self.bias)


def assert_same(model, original):
    """Outputs and gradients are those of the class's own forward with a layer by hand, in float64."""
    by_hand = copy.deepcopy(original)
    by_hand.norm = ByHand(by_hand.norm)
    by_hand.double()
    x, c = torch.randn(2, 3, C), torch.randn(2, C)
    outputs = model(x, c), by_hand(x.double(), c.double())
    # Magnitudes below 10, some ten roundings of 2^-24.
    torch.testing.assert_close(outputs[0].double(), outputs[1], rtol=0, atol=2.0**-17)
    gradient = torch.randn(outputs[0].shape)
    for output in outputs:
        output.backward(gradient.to(output.dtype))
    others = dict(by_hand.named_parameters())
    for name, parameter in model.named_parameters():
        expected = others[name].grad
        assert (parameter.grad is None) == (expected is None)
        if expected is not None:
            torch.testing.assert_close(parameter.grad.double(), expected, rtol=1e-5, atol=2.0**-15)


@pytest.mark.parametrize("cls", FUSED)
@pytest.mark.parametrize("affine", [False, True])
def test_fused(cls, affine):
    model = cls(affine)
    original, names = copy.deepcopy(model), list(model.state_dict())
    result, report = derf.replace_norm(model, return_report=True)
    assert result is model and type(model.norm) is derf.ModulatedDerf
    assert isinstance(model, cls) and type(model).__name__ == cls.__name__ and repr(model).startswith(cls.__name__)
    assert list(model.state_dict()) == ["norm.alpha", "norm.shift", *names]
    assert report.changes == [f"modulation of {cls.__name__}.norm: in the layer's call (1 layer)"]
    assert "ModulatedDerf" in str(report)
    assert_same(model, original)


@pytest.mark.parametrize("cls", FUSED)
@pytest.mark.parametrize("mode", ["no", "none"])
def test_other_branches(cls, mode):
    """The same where another branch is taken: there the norm is not modulated, and its layer is a plain one."""
    model = cls(mode=mode)
    original = copy.deepcopy(model)
    assert_same(derf.replace_norm(model), original)
    plain = cls in (Conditional, Chain)
    assert (type(model.norm) is derf.Derf) == plain and (type(model) is cls) == plain


@pytest.mark.parametrize("cls", [Conditional, Chain])
@pytest.mark.parametrize("mode", ["no", "none"])
def test_a_branch_that_is_taken_later(cls, mode):
    model = cls()
    original = copy.deepcopy(model)
    derf.replace_norm(model)
    model.mode = original.mode = mode
    assert_same(model, original)


class InTraining(Block):
    def forward(self, x, c):
        shift, scale, _ = self.chunks(c)
        if self.training:
            return self.norm(x) * (1 + scale[:, None]) + shift[:, None]
        return x


def test_a_mode_is_no_reason():
    model = derf.replace_norm(InTraining().eval())
    assert type(model.norm) is derf.ModulatedDerf


def test_calibrate_keeps_the_modulation():
    batches = [(torch.randn(4, 3, C), torch.randn(4, C)) for _ in range(8)]
    model = derf.replace_norm(nn.ModuleDict({"block": OneExpression()}))["block"].eval()
    derf.calibrate(model, batches, progress=False)
    assert type(model.norm) is derf.ModulatedDerf and model.norm.weight is not None
    norm = OneExpression().eval()
    norm.linear = model.linear
    x, c = batches[0]
    error = (model(x, c) - norm(x, c)).square().mean() / norm(x, c).square().mean()
    assert error < 0.2  # erf is no LayerNorm of 8 channels, but near


def calls(model, *inputs):
    """With how many arguments the layer was called."""
    seen = []
    handle = model.norm.register_forward_pre_hook(lambda module, args: seen.append([a is not None for a in args]))
    model(*inputs)
    handle.remove()
    return seen


@pytest.mark.parametrize("cls", FUSED)
def test_scale_and_shift_are_in_the_call(cls):
    model = derf.replace_norm(cls())
    expected = [True] if cls is Broadcast else [True, True, cls is not ScaleAlone]
    assert calls(model, torch.randn(2, 3, C), torch.randn(2, C)) == [expected]


@pytest.mark.parametrize("cls", LEFT)
def test_left(cls):
    model = cls()
    original = copy.deepcopy(model)
    _, report = derf.replace_norm(model, return_report=True)
    assert type(model) is cls and type(model.norm) is derf.Derf
    assert report.changes == [f"modulation of {cls.__name__}.norm: not found in its forward: a plain Derf (1 layer)"]
    assert_same(model, original)


@pytest.mark.parametrize("options", [{"function": "tanh"}, {"per_channel": True}, {"clip": 0.9}, {"shift": False}])
def test_other_layers_stay_plain(options):
    model, report = derf.replace_norm(OneExpression(), return_report=True, **options)
    assert type(model) is OneExpression and not isinstance(model.norm, derf.ModulatedDerf) and not report.changes


def test_dry_run_and_what_is_left_out():
    model = OneExpression()
    report = derf.replace_norm(model, dry_run=True)
    assert type(model) is OneExpression and len(report.changes) == 1
    assert type(report.replaced[0].new) is derf.ModulatedDerf
    derf.replace_norm(model, exclude="norm")
    assert type(model) is OneExpression and type(model.norm) is nn.LayerNorm


def test_the_way_back():
    model = OneExpression()
    original = copy.deepcopy(model)
    assert derf.restore_norm(derf.replace_norm(model)) is model
    assert type(model) is OneExpression and type(model.norm) is nn.LayerNorm
    x, c = torch.randn(2, 3, C), torch.randn(2, C)
    assert torch.equal(model(x, c), original(x, c))


def test_back_after_an_error_in_start():
    model = OneExpression()
    with pytest.raises(ValueError):
        derf.replace_norm(model, start=(torch.full((2, 3, C), float("nan")), torch.randn(2, C)))
    assert type(model) is OneExpression and type(model.norm) is nn.LayerNorm


@pytest.mark.parametrize("cls", [OneExpression, Decorated, WithSuper])
def test_copies_and_pickles(cls):
    model = derf.replace_norm(nn.Sequential(cls()))[0]
    x, c = torch.randn(2, 3, C), torch.randn(2, C)
    twins = copy.deepcopy(model), pickle.loads(pickle.dumps(model)), copy.copy(model)
    for twin in twins:
        assert type(twin) is type(model) and torch.equal(twin(x, c), model(x, c))
        assert calls(twin, x, c) == [[True] * 3]
    other = derf.replace_norm(cls())
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x, c), model(x, c))
    loaded = cls()
    checkpoint = derf.convert_state_dict(loaded.state_dict(), model)
    assert checkpoint.keys() == model.state_dict().keys()


def test_the_layer_can_be_exchanged_afterwards():
    model = derf.replace_norm(OneExpression())
    original = OneExpression()
    original.load_state_dict(model.state_dict(), strict=False)
    model.norm = nn.LayerNorm(C, elementwise_affine=False)
    x, c = torch.randn(2, 3, C), torch.randn(2, C)
    torch.testing.assert_close(model(x, c), original(x, c))


def test_a_forward_of_the_instance_is_left():
    model = OneExpression()
    model.forward = lambda x, c: OneExpression.forward(model, x, c)
    derf.replace_norm(model)
    assert type(model) is OneExpression and type(model.norm) is derf.Derf


def test_one_class_whose_layers_differ():
    """Only the norms that are replaced have their modulation moved."""
    model = nn.Sequential(OneExpression(), OneExpression())
    derf.replace_norm(model, exclude="1.*")
    assert type(model[0]) is not OneExpression and type(model[1]) is OneExpression


def test_dtypes_promote_as_in_the_class():
    """A float32 scale beside a 16-bit input made the result float32; a 16-bit one beside float32 left it so."""
    model, half = derf.replace_norm(TwoStatements()), torch.bfloat16
    x, c = torch.randn(2, 3, C), torch.randn(2, C)
    assert model(x.to(half), c).dtype == torch.float32
    with torch.autocast("cpu", half):
        assert model(x, c).dtype == torch.float32 and calls(model, x, c) == [[True] * 3]
        assert model.to(half)(x.to(half), c).dtype == half and calls(model, x.to(half), c) == [[True] * 3]


class TwoNorms(Block):
    def __init__(self):
        super().__init__()
        self.second = nn.LayerNorm(C, elementwise_affine=False)

    def forward(self, x, c):
        shift, scale, gate = self.chunks(c)
        x = x + gate[:, None] * (self.norm(x) * (1 + scale[:, None]) + shift[:, None])
        return modulate(self.second(x), shift, scale)


def test_in_two_steps():
    model = TwoNorms()
    original = copy.deepcopy(model)
    derf.replace_norm(model, exclude="second")
    assert type(model.second) is nn.LayerNorm
    x, c = torch.randn(2, 3, C), torch.randn(2, C)
    half = copy.deepcopy(original)
    half.norm = ByHand(half.norm)
    torch.testing.assert_close(model(x, c), half(x, c), rtol=1e-5, atol=1e-5)
    derf.replace_norm(model)
    assert type(model.norm) is type(model.second) is derf.ModulatedDerf
    original.second = ByHand(original.second)
    assert_same(model, original)
    twin = pickle.loads(pickle.dumps(model))
    assert torch.equal(twin(x, c), model(x, c)) and type(twin) is type(model)
    assert type(derf.restore_norm(model)) is TwoNorms


def test_compile_without_a_graph_break():
    model = derf.replace_norm(Chain())
    x, c = torch.randn(2, 3, C), torch.randn(2, C)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, c), model(x, c))


def test_a_traceback_shows_the_line():
    model = derf.replace_norm(OneExpression())
    with pytest.raises(RuntimeError) as error:
        model(torch.randn(2, 3, C), torch.randn(2, C + 1))
    assert any("self.chunks(c)" in str(entry.statement) for entry in error.traceback)


def test_start_and_monitor_see_the_layer():
    x, c = torch.randn(2, 3, C), torch.randn(2, C)
    model = derf.replace_norm(nn.ModuleDict({"block": OneExpression()}))["block"]
    derf.start(model, (3 * x, c))
    with derf.Monitor(model, every=1) as monitor:
        model(x, c).sum().backward()
    assert monitor.as_dict()
