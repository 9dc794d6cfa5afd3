"""derf.compile_passes: what becomes one call in compiled graphs, forward and backward, and that results stay."""

import operator

import derf
import pytest
import torch
from compiled_graphs import Eager, Look
from torch import nn
from torch._inductor import config
from torch._inductor.custom_graph_pass import CustomGraphPass

B, T, C = 2, 3, 8
ops = torch.ops.derf
SEPARATE = {ops.derf.default, ops.derf_backward.default}
SEPARATE |= {ops.pointwise_norm.default, ops.pointwise_norm_backward.default}
FUSED, FUSED_BACKWARD = ops.add_pointwise_norm.default, ops.add_pointwise_norm_backward.default


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    before = config.pre_grad_custom_pass
    yield
    assert config.pre_grad_custom_pass is before
    torch._dynamo.reset()


def results(model, function, tensors, grads):
    tensors = [t.clone().requires_grad_(grads) for t in tensors]
    outputs = function(*tensors)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    if not grads:
        return outputs
    torch.manual_seed(1)
    wanted = [*tensors, *model.parameters()]
    gradients = torch.autograd.grad(outputs, wanted, [torch.randn_like(o) for o in outputs], allow_unused=True)
    return (*outputs, *gradients)


def check(model, *tensors, grads=True, dynamic=False, inductor=False):
    """Compiled with the passes, model gives what it gives without; returns counts and operators.

    A few roundings of sums and products differ, of numbers of size below 16, over sums of B * T terms.
    """
    expected = results(model, model, tensors, grads)
    backend = "inductor" if inductor else Eager()
    look = Look() if inductor else backend.look
    with derf.compile_passes() as passes, config.patch(post_grad_custom_pre_pass=look):
        compiled = torch.compile(model, backend=backend, fullgraph=True, dynamic=dynamic)
        mine = results(model, compiled, tensors, grads)
    for a, b in zip(mine, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype and a.stride() == b.stride()
            torch.testing.assert_close(a, b, rtol=0, atol=64 * 16 * torch.finfo(a.dtype).eps)
    return dict(passes.fused), look.of_ours()


class Case(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.norm = derf.PointwiseNorm(C, **options) if "function" in options else derf.Derf(C, **options)
        self.other = nn.Linear(C, C)


class Add(Case):
    """The sum goes on."""

    def forward(self, x, y):
        x = x + y
        return x + self.other(self.norm(x))


class AddAlone(Case):
    def forward(self, x, y):
        return self.norm(torch.add(x, y))


class AddMethod(Case):
    def forward(self, x, y):
        x = x.add(y)
        return self.norm(x), x


class Gated(Case):
    def forward(self, x, y, g):
        x = x + g[:, None] * y
        return x * self.norm(x)


class GatedFirst(Case):
    def forward(self, x, y, g):
        x = y * g.unsqueeze(1) + x
        return x * self.norm(x)


class LayerScale(Case):
    def __init__(self, **options):
        super().__init__(**options)
        self.gamma = nn.Parameter(torch.randn(C))

    def forward(self, x, y):
        x = x + y * self.gamma
        return x * self.norm(x)


class Modulated(Case):
    def forward(self, x, c):
        shift, scale = c.chunk(2, dim=1)
        return self.norm(x) * (1 + scale[:, None]) + shift[:, None]


class ModulatedFactor(Case):
    def forward(self, x, c):
        shift, scale = c.chunk(2, dim=1)
        return shift.unsqueeze(1) + (scale + 1.0).unsqueeze(1) * self.norm(x)


class Scaled(Case):
    def forward(self, x, c):
        return self.norm(x) * c[:, None, :C]


class AddModulated(Case):
    """All of an adaLN block's end of a branch: one call."""

    def forward(self, x, y, c, g):
        shift, scale = c.chunk(2, dim=1)
        x = x + g[:, None] * y
        return self.norm(x) * (1 + scale[:, None]) + shift[:, None], x


X, Y, G, CONDITION = (B, T, C), (B, T, C), (B, C), (B, 2 * C)
PLAIN = {"elementwise_affine": False}
CASES = {
    "add": (Add, {}, [X, Y], {"add": 1}),
    "add, no affine": (Add, PLAIN, [X, Y], {"add": 1}),
    "sum not used": (AddAlone, {}, [X, Y], {"add": 1}),
    "method": (AddMethod, {}, [X, Y], {"add": 1}),
    "tanh": (Add, {"function": "tanh", "shift": False}, [X, Y], {"add": 1}),
    "alpha of each channel": (Add, {"function": "isru", "per_channel": True}, [X, Y], {"add": 1}),
    "images": (AddAlone, {"channel_dim": 1}, [(B, C, 4, 4)] * 2, {"add": 1}),
    "gate": (Gated, {}, [X, Y, G], {"gated add": 1}),
    "gate first": (GatedFirst, {}, [X, Y, G], {"gated add": 1}),
    "LayerScale": (LayerScale, {}, [X, Y], {"gated add": 1}),
    "modulation": (Modulated, PLAIN, [X, CONDITION], {"modulation": 1}),
    "modulation, factor": (ModulatedFactor, PLAIN, [X, CONDITION], {"modulation": 1}),
    "scale alone": (Scaled, PLAIN, [X, CONDITION], {"modulation": 1}),
    "gate, sum, modulation": (AddModulated, PLAIN, [X, Y, CONDITION, G], {"gated add": 1, "modulation": 1}),
}


@pytest.mark.parametrize(("cls", "options", "shapes", "counts"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("grads", [True, False], ids=["training", "inference"])
def test_fused(cls, options, shapes, counts, grads):
    found, calls = check(cls(**options), *(torch.randn(shape) for shape in shapes), grads=grads)
    assert found == counts
    adds = {"add", "gated add"} & counts.keys()
    forward = FUSED if adds else ops.pointwise_norm.default
    backward = FUSED_BACKWARD if adds else ops.pointwise_norm_backward.default
    assert calls == [forward, *([backward] if grads else [])]


@pytest.mark.parametrize("name", ["add", "gate, sum, modulation"])
@pytest.mark.parametrize("dynamic", [False, True])
def test_inductor(name, dynamic):
    cls, options, shapes, counts = CASES[name]
    found, calls = check(cls(**options), *(torch.randn(shape) for shape in shapes), dynamic=dynamic, inductor=True)
    assert found == counts and calls == [FUSED, FUSED_BACKWARD]


@pytest.mark.parametrize("name", ["add", "LayerScale", "modulation", "gate, sum, modulation"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_dtypes(name, dtype):
    cls, options, shapes, counts = CASES[name]
    model = cls(**options).to(dtype)
    assert check(model, *(torch.randn(shape, dtype=dtype) for shape in shapes))[0] == counts


@pytest.mark.parametrize("name", ["add", "gate, sum, modulation"])
def test_dynamic_sizes(name):
    cls, options, shapes, counts = CASES[name]
    assert check(cls(**options), *(torch.randn(shape) for shape in shapes), dynamic=True)[0] == counts


class Promoted(Case):
    """A residual in float32 beside a branch in bfloat16: the sum and the layer are in float32."""

    def forward(self, x, y):
        x = x + y.bfloat16()
        return self.norm(x), x


class Broadcast(Case):
    def forward(self, x, y):
        x = x + y[:1]
        return self.norm(x), x


class WithNumber(Case):
    def forward(self, x, y):
        x = x + 1
        return self.norm(x) + y


class WithFactor(Case):
    def forward(self, x, y):
        x = torch.add(x, y, alpha=2)
        return self.norm(x)


class OtherLayout(Case):
    def forward(self, x, y):
        x = x.transpose(0, 1).contiguous().transpose(0, 1) + y
        return self.norm(x), x


class ChangedBetween(Case):
    """The layer reads another x than the sum."""

    def forward(self, x, y):
        x = x + y
        z = x * 2.0
        x.mul_(2)
        return self.norm(x) + z


class ChangedThroughAView(Case):
    def forward(self, x, y):
        x = x + y
        z = x * 2.0
        x.view(-1).mul_(2)
        return self.norm(x) + z


class BranchChanged(Case):
    """The gate's product reads the branch before it changes."""

    def forward(self, x, y):
        b = y * 1.0
        z = b * x[:, :1]
        b.add_(1)
        x = x + z
        return self.norm(x) + b


class ScaleChanged(Case):
    def forward(self, x, y):
        scale = y[:, :1] * 1.0
        h = self.norm(x)
        scale.add_(1)
        return h * scale


class AnotherMode(Case):
    """The sum has no gradient."""

    def forward(self, x, y):
        with torch.no_grad():
            x = x + y
        return self.norm(x) + y


class AddedInPlace(Case):
    def forward(self, x, y):
        x = x + y
        x += y.cos()
        return self.norm(x)


class SetBetween(Case):
    def forward(self, x, y):
        x = x + y
        x[:, 0] = 0
        return self.norm(x)


class OutOfModulation(Case):
    """The layer's output is used again."""

    def forward(self, x, y):
        h = self.norm(x)
        return h * y[:, :1] + h


class FullSize(Case):
    """A product of two of the input's size is no modulation."""

    def forward(self, x, y):
        return self.norm(x) * y + x


LEFT = {
    "promoted": (Promoted, {}),
    "broadcast": (Broadcast, {}),
    "number": (WithNumber, {}),
    "factor": (WithFactor, {}),
    "layout": (OtherLayout, {}),
    "changed": (ChangedBetween, {}),
    "view changed": (ChangedThroughAView, {}),
    "branch changed": (BranchChanged, {}),
    "another mode": (AnotherMode, {}),
    "in place": (AddedInPlace, {}),
    "set": (SetBetween, {}),
    "used again": (OutOfModulation, PLAIN),
    "full size": (FullSize, PLAIN),
    "study": (AddAlone, {"function": "erf", "clip": 0.5}),
}


@pytest.mark.parametrize(("cls", "options"), LEFT.values(), ids=LEFT)
def test_left(cls, options):
    grads = cls not in (ChangedThroughAView, BranchChanged)  # eager autograd has none there
    found, calls = check(cls(**options), torch.randn(X), torch.randn(Y), grads=grads)
    assert found == {} and FUSED not in calls and set(calls) <= SEPARATE


class ChangesOther(Case):
    """What is computed and changed between does not concern the sum."""

    def forward(self, x, y):
        x = x + y
        z = torch.sin(y).mul_(2) + torch.arange(C)
        return self.norm(x) + z


def test_changes_of_others_do_not_matter():
    assert check(ChangesOther(), torch.randn(X), torch.randn(Y))[0] == {"add": 1}


def test_scale_that_changes_before_it_is_read():
    assert check(ScaleChanged(**PLAIN), torch.randn(X), torch.randn(Y), grads=False)[0] == {"modulation": 1}


def test_modulation_of_a_layer_with_affine_stays():
    assert check(Modulated(), torch.randn(X), torch.randn(CONDITION))[0] == {}


def test_across_modules():
    """The last sum of a block goes into the first layer of the next, which derf.fuse leaves."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = derf.Derf(C), derf.Derf(C)
            self.first, self.second = nn.Linear(C, C), nn.Linear(C, C)

        def forward(self, x):
            x = x + self.first(self.norm1(x))
            return x + self.second(self.norm2(x))

    model = nn.Sequential(Block(), Block(), derf.Derf(C))
    found, calls = check(model, torch.randn(X))
    assert found == {"add": 4} and calls.count(FUSED) == calls.count(FUSED_BACKWARD) == 4
    torch._dynamo.reset()
    assert derf.fuse(model).fused
    found, calls = check(model, torch.randn(X))
    assert found == {"add": 2} and calls.count(FUSED) == 4


def test_autocast():
    """Under autocast a branch is in bfloat16 and the residual in float32; where both are float32 they are fused."""
    model = Add()
    with torch.autocast("cpu", torch.bfloat16):
        assert check(model, torch.randn(X), torch.randn(Y), grads=False)[0] == {"add": 1}
        torch._dynamo.reset()
        assert check(Promoted(), torch.randn(X), torch.randn(Y), grads=False)[0] == {}


def compiled_calls(function, *tensors):
    look = Look()
    with config.patch(post_grad_custom_pre_pass=look):
        torch.compile(function)(*tensors)
    return look.of_ours()


def test_off_by_default_and_afterwards():
    x, y = torch.randn(X), torch.randn(Y)
    model = AddAlone()
    assert compiled_calls(model, x, y) == [ops.derf.default]
    torch._dynamo.reset()
    passes = derf.compile_passes()
    assert config.pre_grad_custom_pass is passes and str(passes) == "nothing was fused"
    assert compiled_calls(model, x, y) == [FUSED] and str(passes) == "add: 1"
    passes.disable()
    passes.disable()
    torch._dynamo.reset()
    assert compiled_calls(model, x, y) == [ops.derf.default]


def test_earlier_passes_run_first():
    seen = []
    earlier = [lambda graph: seen.append(1), lambda graph: seen.append(2)]
    for given, expected in ((earlier[0], [1]), (earlier, [1, 2])):
        torch._dynamo.reset()
        with config.patch(pre_grad_custom_pass=given), derf.compile_passes() as passes:
            assert passes.uuid() is None  # theirs have none
            assert compiled_calls(AddAlone(), torch.randn(X), torch.randn(Y)) == [FUSED]
        assert seen == expected
        seen.clear()


def test_a_pass_around_it_stays():
    """What was set later and calls the pass is left, and the pass does nothing there any more."""
    passes = derf.compile_passes()
    other = list  # whatever
    before = passes.uuid()
    config.pre_grad_custom_pass, mine = other, config.pre_grad_custom_pass
    passes.disable()
    assert config.pre_grad_custom_pass is other and passes.uuid() != before
    config.pre_grad_custom_pass = mine._earlier
    graph = torch.fx.symbolic_trace(lambda x, y: operator.add(x, y)).graph
    passes(graph)
    assert not passes.fused


def test_cache_knows_the_pass():
    """The uuid is the same in each process, and another one with other passes before it."""

    class Named(Look):
        def uuid(self):
            return "named"

    with derf.compile_passes() as first:
        assert isinstance(first, CustomGraphPass)
        first_uuid = first.uuid()
    with derf.compile_passes() as second:
        assert second.uuid() == first_uuid
    with config.patch(pre_grad_custom_pass=Named()), derf.compile_passes() as third:
        assert third.uuid() == (*first_uuid, "named")
