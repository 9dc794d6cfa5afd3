"""derf.fuse: which sums go into the calls of layers, and that models compute the same bits."""

import copy
import functools
import pickle

import derf
import pytest
import torch
from reference import same_bits
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

C = 8
FUSED_FORWARD = torch.ops.derf.add_pointwise_norm.default
FUSED_BACKWARD = torch.ops.derf.add_pointwise_norm_backward.default
SEPARATE = torch.ops.derf.derf.default


class Calls(TorchDispatchMode):
    """Counts operators."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


class Block(nn.Module):
    def __init__(self, mode="yes"):
        super().__init__()
        self.norm = nn.LayerNorm(C)
        self.other = nn.LayerNorm(C)
        self.first, self.second = nn.Linear(C, C), nn.Linear(C, C)
        self.mode = mode

    def noisy(self, x):
        return x + torch.rand_like(x)


class PreNorm(Block):
    def forward(self, x):
        x = x + self.first(self.other(x))
        x = x + self.second(self.norm(x))
        return x


class SeparateResidual(Block):
    def forward(self, x):
        residual = x
        x = self.first(x)
        x = x + residual
        residual = x
        x = self.norm(x)
        x = self.second(x)
        return residual + x


class PostNorm(Block):
    def forward(self, x):
        return self.norm(x + self.first(x))


class NoisySummands(Block):
    """Both summands draw random numbers: they stay in their order."""

    def forward(self, x):
        x = self.noisy(x) + 2 * self.noisy(x)
        return self.norm(x), x


class Returned(Block):
    def forward(self, x):
        h = x + self.first(x)
        return self.second(self.norm(h)) * h


class Branches(Block):
    def forward(self, x):
        if self.mode == "yes":
            x = x + self.first(x)
        else:
            x = self.second(x) + x
        y = self.norm(x)
        return y * x


class Sunk(Block):
    """As GPT-2's blocks with their cross-attention."""

    def forward(self, x, again=None):
        h = self.first(x)
        h = h + x
        if again is not None:
            residual = h
            h = self.second(self.other(h))
            h = residual + h
        residual = h
        h = self.norm(h)
        return residual + self.second(h)


class InLoop(Block):
    def forward(self, x):
        for _ in range(3):
            x = x + self.first(x)
            y = self.norm(x)
            x = x + self.second(y)
        return x


class WrappedByClass(nn.Module):
    """Wraps the forward of its subclasses, as Transformers' GradientCheckpointingLayer."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        forward = cls.forward

        def around(self, *args, **kwargs):
            self.calls = getattr(self, "calls", 0) + 1
            return forward(self, *args, **kwargs)

        around.__wrapped__ = forward
        cls.forward = around


class Wrapped(WrappedByClass, Block):
    def forward(self, x):
        return self.norm(x + self.first(x))


FUSED = [PreNorm, SeparateResidual, PostNorm, NoisySummands, Returned, Branches, Sunk, InLoop, Wrapped]


class InPlace(Block):
    """What else holds x sees the sum."""

    def forward(self, x):
        y = x = x.clone()
        x += self.first(x)
        return self.norm(x) + y


class CallBetween(Block):
    def forward(self, x):
        x = x + self.first(x)
        noise = torch.rand_like(x)
        return self.norm(x) + noise


class CallBefore(Block):
    def forward(self, x):
        x = x + self.first(x)
        return torch.rand_like(x) + self.norm(x)


class ChangedBefore(Block):
    def forward(self, x):
        x = x + self.first(x)
        return self.second(x.mul_(2)) + self.norm(x)


class Difference(Block):
    def forward(self, x):
        return self.norm(x - self.first(x))


class Rebound(Block):
    def forward(self, x):
        h = x + self.first(x)
        x = h = self.first(x)
        return self.norm(h) + x


class Copied(Block):
    def forward(self, x):
        h = x + self.first(x)
        h = x
        return self.norm(h)


class DifferenceBefore(Block):
    def forward(self, x):
        x = x - self.first(x)
        return self.norm(x)


class Patched(Block):
    """Its forward was wrapped from outside: subclasses do not get that."""

    def forward(self, x):
        return self.norm(x + self.first(x))


def doubled(forward):
    @functools.wraps(forward)
    def around(self, x):
        return 2 * forward(self, x)

    return around


Patched.forward = doubled(Patched.forward)


class OneBranch(Block):
    def forward(self, x):
        h = x
        if self.mode == "yes":
            h = x + self.first(x)
        return self.norm(h)


class ReadInTheTest(Block):
    def forward(self, x):
        h = self.first(x)
        x = h + x
        if x is not None:
            x = h + self.second(x)
        return self.norm(x)


class Twice(Block):
    def forward(self, x):
        x = x + self.first(x)
        return self.norm(self.other(x))


LEFT = [
    InPlace,
    CallBetween,
    CallBefore,
    ChangedBefore,
    Difference,
    DifferenceBefore,
    Rebound,
    Copied,
    OneBranch,
    ReadInTheTest,
    Twice,
]


def results(model, *inputs):
    """Outputs, and gradients of every parameter and input."""
    torch.manual_seed(1)
    inputs = [x.clone().requires_grad_() for x in inputs]
    model.zero_grad()
    outputs = model(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    parameters = [*model.parameters(), *inputs]
    return outputs, [None if t.grad is None else t.grad.clone() for t in parameters]


def run(model, *inputs):
    """The same, and the operators that ran."""
    with Calls() as calls:
        return (*results(model, *inputs), calls.seen)


def assert_same(model, original, *inputs, dtype=torch.float32):
    """The same results; returns the operators that ran."""
    mine = run(model, *inputs)
    assert_close(mine, results(original, *inputs), dtype)
    return mine[2]


def assert_close(mine, theirs, dtype=torch.float32):
    """The same bits forward. Backward, two gradients are rounded once where they were rounded twice: a rounding of
    each, and what sums of some 30 terms make of it."""
    assert all(same_bits(a, b) for a, b in zip(mine[0], theirs[0], strict=True))
    for a, b in zip(mine[1], theirs[1], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=0, atol=64 * torch.finfo(dtype).eps * max(1.0, float(b.abs().max())))


def fused(cls, *arguments, **options):
    """A model with Derf, the same one fused, and the report."""
    model = derf.replace_norm(cls(*arguments))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.5, 0.3)
    original = copy.deepcopy(model)
    return model, original, derf.fuse(model, **options)


@pytest.mark.parametrize("cls", FUSED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused(cls, dtype):
    model, original, report = fused(cls)
    assert isinstance(model, cls) and type(model) is not cls and type(model).__name__ == cls.__name__
    assert report.fused[0] == derf.fuse(copy.deepcopy(original)).fused[0] and report.fused[0].name == "norm"
    assert report.fused[0].block is cls and "norm" in str(report)
    assert list(model.state_dict()) == list(original.state_dict())
    calls = assert_same(model.to(dtype), original.to(dtype), torch.randn(2, 3, C, dtype=dtype), dtype=dtype)
    count = 3 if cls is InLoop else 1
    assert calls.count(FUSED_FORWARD) == calls.count(FUSED_BACKWARD) == count


@pytest.mark.parametrize("cls", FUSED)
def test_original_is_taken_back(cls):
    model, original, _ = fused(cls)
    derf.unfuse(model)
    assert type(model) is cls
    assert FUSED_FORWARD not in assert_same(model, original, torch.randn(2, 3, C))
    derf.fuse(model)
    derf.restore_norm(model)
    assert type(model) is cls and type(model.norm) is nn.LayerNorm


@pytest.mark.parametrize("cls", LEFT)
def test_left(cls):
    model, original, report = fused(cls)
    assert "norm" not in [entry.name for entry in report.fused]
    reasons = {entry.name: entry.reason for entry in report.left}
    assert reasons["norm"] == f"{cls.__name__}.forward does not give it a fresh sum"
    x = torch.randn(2, 3, C)
    with torch.no_grad():
        torch.manual_seed(2)
        output = model(x.clone())
        torch.manual_seed(2)
        assert same_bits(output, original(x.clone()))


@pytest.mark.parametrize("mode", ["yes", "no"])
def test_branches(mode):
    model, original, _ = fused(Branches, mode)
    assert FUSED_FORWARD in assert_same(model, original, torch.randn(2, 3, C))


def test_both_ways_through_an_if():
    model, original, report = fused(Sunk)
    assert [entry.name for entry in report.fused] == ["norm", "other"]
    assert assert_same(model, original, torch.randn(2, 3, C), torch.randn(1)).count(FUSED_FORWARD) == 2


def test_the_wrapper_of_the_class_stays():
    model, original, _ = fused(Wrapped)
    run(model, torch.randn(2, C))
    assert model.calls == 1
    assert type(model).forward.__code__ is Wrapped.forward.__code__


def test_a_wrapper_from_outside_is_left():
    model, original, report = fused(Patched)
    reasons = {entry.name: entry.reason for entry in report.left}
    assert reasons["norm"] == "the source of Patched.forward is not certain to be what runs"
    x = torch.randn(2, C)
    assert type(model) is Patched and same_bits(model(x), original(x))


def test_no_source_is_left():
    namespace = {"Block": Block}
    exec("class NoSource(Block):\n    def forward(self, x):\n        return self.norm(x + self.first(x))", namespace)
    model, _, report = fused(namespace["NoSource"])
    assert type(model) is namespace["NoSource"]
    reasons = {entry.name: entry.reason for entry in report.left}
    assert reasons["norm"] == "the source of NoSource.forward is not certain to be what runs"


def test_forward_of_an_instance_is_left():
    model = derf.replace_norm(PostNorm())
    model.forward = lambda x: x
    assert not derf.fuse(model).fused and same_bits(model(torch.ones(C)), torch.ones(C))


LAYERS = {
    "hooks": (lambda: hooked(derf.Derf(C)), "it has hooks"),
    "pre hooks": (lambda: pre_hooked(derf.Derf(C)), "it has hooks"),
    "in place": (lambda: derf.Derf(C, inplace=True), "it writes over the sum"),
    "study": (lambda: derf.PointwiseNorm(C, clip=1.0), "add_pointwise_norm has no studies"),
    "modulated": (lambda: derf.ModulatedDerf(C), "ModulatedDerf has a forward of its own"),
    "own": (lambda: Own(C), "Own has a forward of its own"),
}


class Own(derf.Derf):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked(layer):
    layer.register_forward_hook(lambda module, args, output: 2 * output)
    return layer


def pre_hooked(layer):
    layer.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    return layer


@pytest.mark.parametrize(("layer", "reason"), LAYERS.values(), ids=LAYERS)
def test_layers_that_stay(layer, reason):
    model = PostNorm()
    model.norm = layer()
    report = derf.fuse(model)
    assert not report.fused and [(entry.name, entry.reason) for entry in report.left] == [("norm", reason)]
    assert type(model) is PostNorm


@pytest.mark.parametrize("layer", [layer for layer, _ in LAYERS.values()], ids=LAYERS)
@torch.no_grad()
def test_layers_put_in_afterwards(layer):
    """A rewritten forward calls a layer that it cannot join."""
    model, original, _ = fused(PostNorm)
    model.norm = layer()
    original.norm = copy.deepcopy(model.norm)
    x = torch.randn(2, 3, C)
    with Calls() as calls:
        output = model(x)
    assert FUSED_FORWARD not in calls.seen and same_bits(output, original(x))


def test_global_hooks_see_the_layer():
    model, _, _ = fused(PostNorm)
    seen = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        model(torch.randn(2, C))
    finally:
        handle.remove()
    assert model.norm in seen


@pytest.mark.parametrize("function", ["tanh", "linear", "isru"])
def test_family(function):
    model = derf.replace_norm(PreNorm(), function=function, shift=False)
    original = copy.deepcopy(model)
    derf.fuse(model)
    assert FUSED_FORWARD in assert_same(model, original, torch.randn(2, 3, C))


class Sum(nn.Module):
    def __init__(self, channels, **options):
        super().__init__()
        self.norm = derf.Derf(channels, **options)

    def forward(self, a, b):
        return self.norm(a + b)


@pytest.mark.parametrize(
    "a, b",
    [
        (torch.randn(2, 3, C), torch.randn(C)),
        (torch.randn(2, 3, C), torch.randn(2, 3, C, dtype=torch.bfloat16)),
        (torch.randn(2, 3, C, dtype=torch.bfloat16), torch.randn(2, 3, C)),
        (torch.randn(2, 3, C), 2.0),
        (3, torch.randn(2, 3, C)),
        (torch.randn(2, 3, C), torch.ones(2, 3, C, dtype=torch.int64)),
        (torch.randn(2, 3, C), torch.ones(2, 3, C).to_sparse()),
    ],
    ids=["broadcast", "bfloat16", "float32", "number", "number first", "integers", "sparse"],
)
def test_other_sums_are_computed_as_before(a, b):
    model = Sum(C)
    expected = model(a, b)
    assert derf.fuse(model).fused
    with Calls() as calls:
        output = model(a, b)
    assert FUSED_FORWARD not in calls.seen and SEPARATE in calls.seen and same_bits(output, expected)


@pytest.mark.parametrize("fuses", [True, False])
@pytest.mark.parametrize("channel_dim", [-1, 1])
def test_layouts(channel_dim, fuses):
    """Two of the same layout are fused; others would have to be copied."""
    if channel_dim == -1:
        a, b = (torch.randn(2, 3, C).transpose(0, 1) for _ in range(2))
    else:
        a, b = (torch.randn(2, C, 3, 4).to(memory_format=torch.channels_last) for _ in range(2))
    model, b = Sum(C, channel_dim=channel_dim), b if fuses else b.contiguous()
    expected = model(a, b)
    derf.fuse(model)
    with Calls() as calls:
        output = model(a, b)
    assert (FUSED_FORWARD in calls.seen) == fuses
    assert same_bits(output, expected) and output.stride() == expected.stride()


def test_copies_and_pickles():
    model, original, _ = fused(PreNorm)
    x = torch.randn(2, 3, C)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(twin) is type(model)
        assert FUSED_FORWARD in assert_same(twin, original, x)
        derf.unfuse(twin)
        assert type(twin) is PreNorm
    other = PreNorm()
    derf.fuse(derf.replace_norm(other))
    other.load_state_dict(original.state_dict())
    assert_same(other, original, x)


@pytest.mark.parametrize("cls", [PreNorm, SeparateResidual, PostNorm, Branches, Sunk])
def test_compiled_without_graph_breaks(cls):
    torch._dynamo.reset()
    model, original, _ = fused(cls)
    backend = CompileCounterWithBackend("aot_eager")
    x = torch.randn(2, 3, C)
    assert_close(results(torch.compile(model, backend=backend, fullgraph=True), x), results(original, x))
    targets = [node.target for graph in backend.graphs for node in graph.graph.nodes]
    assert targets.count(torch.ops.derf.add_pointwise_norm) == 1


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointed(use_reentrant):
    model, original, _ = fused(PreNorm)
    x = torch.randn(2, 3, C)

    class Checkpointed(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def forward(self, x):
            return checkpoint(self.block, x, use_reentrant=use_reentrant)

    calls = assert_same(Checkpointed(model), original, x)
    assert calls.count(FUSED_FORWARD) == 2


def test_autocast():
    model, original, _ = fused(PreNorm)
    x = torch.randn(2, 3, C)
    with torch.autocast("cpu", torch.bfloat16):
        assert same_bits(model(x), original(x))


def test_function_transforms():
    model, original, _ = fused(PreNorm)
    x = torch.randn(5, 3, C)
    torch.testing.assert_close(torch.vmap(model)(x), torch.vmap(original)(x), rtol=0, atol=2.0**-20)


def test_monitor_and_recompute_still_see_the_layers():
    model, original, _ = fused(PreNorm)
    x = torch.randn(2, 3, C)
    with derf.recompute_outputs(model):
        assert_same(model, original, x)
    assert FUSED_FORWARD in run(model, x)[2]


def test_calling_again_changes_nothing():
    model, _, report = fused(PreNorm)
    cls = type(model)
    again = derf.fuse(model)
    assert type(model) is cls and again.fused == report.fused


def test_together_with_modulation():
    """A module whose forward has both keeps the modulation when sums are fused, and when they are not any more."""

    class Both(Block):
        def forward(self, x, c):
            x = x + self.first(x)
            x = x + self.second(self.norm(x))
            return self.other(x) * (1 + c[:, None]) + c[:, None]

    model = derf.replace_norm(Both())
    modulated = type(model)
    original = copy.deepcopy(model)
    report = derf.fuse(model)
    assert [entry.name for entry in report.fused] == ["norm"] and type(model.other) is derf.ModulatedDerf
    calls = assert_same(model, original, torch.randn(2, 3, C), torch.randn(2, C))
    assert FUSED_FORWARD in calls and torch.ops.derf.pointwise_norm.default in calls
    derf.unfuse(model)
    assert type(model) is modulated
    derf.restore_norm(model)
    assert type(model) is Both


def test_output_is_held_no_longer():
    """The output of the layer is freed while the forward goes on, as before."""
    alive = []

    class Probe(nn.Module):
        def forward(self, x):
            import gc
            import weakref

            alive.append(weakref.ref(x))
            gc.collect()
            return x * 2

    class Holds(Block):
        def forward(self, x):
            x = x + self.first(x)
            x = x + self.probe(self.norm(x))
            alive.append(alive[-1]() is not None)
            return x

    model = Holds()
    model.probe = Probe()
    derf.replace_norm(model)
    assert derf.fuse(model).fused
    with torch.no_grad():
        model(torch.randn(2, C))
    assert alive[-1] is False


def test_wrong_arguments():
    with pytest.raises(TypeError, match="model must be"):
        derf.fuse(3)
    with pytest.raises(TypeError, match="model must be"):
        derf.unfuse(None)
    with pytest.raises(TypeError, match="gates must be"):
        derf.fuse(PreNorm(), gates=1)
    with pytest.raises(TypeError, match="compiled"):
        derf.fuse(torch.compile(PreNorm()))
