"""derf.recompute_outputs: what is kept, that gradients are the same bits, and what else hooks on saved tensors meet."""

import copy
import gc
import pickle
import threading
import weakref

import derf
import pytest
import torch
from derf import recompute
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

C, ROWS = 32, 12


class Attention(nn.Module):
    """Three Linears read one layer."""

    def __init__(self):
        super().__init__()
        self.norm = derf.Derf(C)
        self.q, self.k, self.v, self.out = (nn.Linear(C, C) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        return x + self.out(F.scaled_dot_product_attention(self.q(h)[None], self.k(h)[None], self.v(h)[None])[0])


class Feedforward(nn.Module):
    def __init__(self, norm=None):
        super().__init__()
        self.norm = norm or derf.Derf(C)
        self.up, self.down = nn.Linear(C, 2 * C), nn.Linear(2 * C, C)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Model(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks or (Attention(), Feedforward(), Attention(), Feedforward()))
        self.head = nn.Sequential(derf.Derf(C), nn.Linear(C, 5))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def sample(model):
    for layer in model.modules():
        if isinstance(layer, derf.PointwiseNorm):
            for parameter in layer.parameters():
                nn.init.normal_(parameter, 0.7, 0.2)
    return model, torch.randn(ROWS, C, requires_grad=True)


def gradients(model, x, **options):
    return torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()], **options)


def same(a, b):
    return len(a) == len(b) and all(torch.equal(s, t) for s, t in zip(a, b, strict=True))


@pytest.fixture
def kept(monkeypatch):
    """What the graph keeps while the hooks are on: storages of tensors, and recipes by themselves."""
    seen = {"tensors": [], "recipes": []}
    pack = recompute._pack

    def count(tensor):
        packed = pack(tensor)
        if isinstance(packed, recompute._Kept):
            seen["tensors"].append(packed.tensor())
        else:
            seen["recipes"].append(packed.recipe)
        return packed

    monkeypatch.setattr(recompute, "_pack", count)
    return seen


def storages(tensors):
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}


def test_bytes_and_bits(kept):
    model, x = sample(Model())
    everything = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: everything.append(t) or t, lambda t: t):
        model(x)
    expected = gradients(model, x)
    with derf.recompute_outputs(model) as handle:
        assert handle.layers == 5
        actual = gradients(model, x)
    assert same(actual, expected)
    now = storages(kept["tensors"]) | storages(t for r in kept["recipes"] for t in r.operands if t is not None)
    width = ROWS * C * 4
    # One activation of the model's width less for each layer; bias, which no node of autograd saves, is a parameter.
    parameters = storages(model.parameters())
    without = lambda stored: sum(n for p, n in stored.items() if p not in parameters)  # noqa: E731
    assert without(storages(everything)) - without(now) == 5 * width
    assert len(kept["recipes"]) == 2 * 3 + 2 + 1
    kept["recipes"].clear()
    gradients(model, x)
    assert not kept["recipes"]  # removed


def test_outputs_are_freed_in_the_forward():
    model, x = sample(Model(Feedforward()))
    alive = []

    def look(module, arguments):
        alive.append(arguments[0].untyped_storage())

    model.blocks[0].up.register_forward_pre_hook(look)
    with derf.recompute_outputs(model):
        references = []
        model.blocks[0].up.register_forward_pre_hook(
            lambda m, a: references.append(torch.multiprocessing.reductions.StorageWeakRef(a[0].untyped_storage()))
        )
        alive.clear()
        output = model(x)
        alive.clear()
        gc.collect()
        assert references[0].expired()
        output.sum().backward()


OTHERS = {
    "DyT": lambda: derf.DyT(C),
    "no bias": lambda: derf.Derf(C, bias=False),
    "no affine": lambda: derf.Derf(C, elementwise_affine=False),
    "each channel": lambda: derf.PointwiseNorm(C, "isru", per_channel=True),
    "studies": lambda: derf.PointwiseNorm(C, "tanh", dead_zone=0.1, input_shift=0.2, linear_mix=0.3, clip=0.9, sign=-1),
}


@pytest.mark.parametrize("build", OTHERS.values(), ids=OTHERS)
def test_every_layer(build, kept):
    model, x = sample(Model(Feedforward(build())))
    expected = gradients(model, x)
    with derf.recompute_outputs(model):
        assert same(gradients(model, x), expected)
    assert len(kept["recipes"]) == 2


def test_images_and_views(kept):
    class Images(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = derf.Derf(6, channel_dim=1)
            self.conv, self.linear = nn.Conv2d(6, 4, 3), nn.Linear(6, 3)

        def forward(self, x):
            h = self.norm(x)
            tokens = h.flatten(2).transpose(1, 2)
            return self.conv(h).sum() + self.linear(tokens[:, 1:]).square().sum() + (h[:, 2] * h[:, 1]).sum()

    model = Images()
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 6, 5, 5).to(memory_format=memory_format).requires_grad_()
        expected = gradients(model, x)
        with derf.recompute_outputs(model):
            assert same(gradients(model, x), expected)
        assert len(kept["recipes"]) >= 3  # conv, two factors, and what flatten leaves a view
        kept["recipes"].clear()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(kept, dtype):
    """A Linear keeps autocast's copy, which is computed again too."""
    model, x = sample(Model())
    with torch.autocast("cpu", dtype):
        expected = gradients(model, x)
        with derf.recompute_outputs(model):
            actual = gradients(model, x)
    assert same(actual, expected)
    assert len(kept["recipes"]) == 2 * 3 + 2 + 1


def test_modulation(kept):
    class Modulated(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.up = derf.ModulatedDerf(C, elementwise_affine=True), nn.Linear(C, C)
            self.modulation = nn.Linear(C, 2 * C)

        def forward(self, x):
            shift, scale = self.modulation(x[:, 0] if self.samples else x).chunk(2, dim=-1)
            return self.up(self.norm(x, scale, shift=shift))

    model = Modulated()
    x = torch.randn(2, 9, C, requires_grad=True)
    for model.samples, recipes in ((True, 1), (False, 0)):
        expected = gradients(model, x)
        with derf.recompute_outputs(model):
            assert same(gradients(model, x), expected)
        assert len(kept["recipes"]) == recipes
        kept["recipes"].clear()


def test_double_backward(kept):
    model, x = sample(Model(Feedforward(), Feedforward()).double())
    x = x.detach().double().requires_grad_()

    def second():
        first = gradients(model, x, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), [x, *model.parameters()])

    expected = second()
    with derf.recompute_outputs(model):
        assert same(second(), expected)
        assert kept["recipes"]
        assert torch.autograd.gradgradcheck(lambda x: model(x).square().sum(), x.detach()[:2].requires_grad_())


def test_a_graph_that_is_kept(kept):
    model, x = sample(Model())
    expected = gradients(model, x)
    with derf.recompute_outputs(model):
        loss = model(x).square().sum()
    for _ in range(3):
        assert same(torch.autograd.grad(loss, [x, *model.parameters()], retain_graph=True), expected)
    # A part of the places alone: queries and keys are not asked for.
    some = torch.autograd.grad(loss, model.blocks[0].v.weight, retain_graph=True)
    assert same(some, [expected[1 + [n for n, _ in model.named_parameters()].index("blocks.0.v.weight")]])
    assert same(torch.autograd.grad(loss, [x, *model.parameters()]), expected)
    assert all(recipe.output is None for recipe in kept["recipes"])


CHANGES = {
    "input": lambda model, x: x.detach().mul_(2),
    "weight": lambda model, x: (
        model.blocks[0].norm.weight.data.add_(0) is None or model.blocks[0].norm.weight.detach().add_(1)
    ),
    "bias": lambda model, x: model.blocks[0].norm.bias.detach().add_(1),
    "alpha": lambda model, x: model.blocks[0].norm.alpha.detach().add_(1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_between_forward_and_backward(change):
    model, x = sample(Model(Feedforward()))
    with derf.recompute_outputs(model):
        loss = model(x).sum()
    change(model, x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(loss, model.blocks[0].up.weight)


def test_an_output_that_changes_before_it_is_read(kept):
    """What the Linear reads is then not what the layer gave: it is kept."""

    class Changed(nn.Module):
        def __init__(self, how):
            super().__init__()
            self.norm, self.linear, self.how = derf.Derf(C), nn.Linear(C, C), how

        def forward(self, x):
            return self.linear(self.how(self.norm(x)))

    for how in (lambda h: h.mul_(2), lambda h: h.detach().requires_grad_(), lambda h: h.bfloat16().mul_(2).float()):
        model, x = sample(Changed(how))
        expected = torch.autograd.grad(model(x).square().sum(), [*model.linear.parameters()])
        with derf.recompute_outputs(model):
            actual = torch.autograd.grad(model(x).square().sum(), [*model.linear.parameters()])
        assert same(actual, expected) and not [r for r in kept["recipes"] if r.places > 1]


@pytest.mark.parametrize("what", ["output", "copy"])
@pytest.mark.parametrize("keep", [False, True])
def test_changes_around_a_copy(what, keep, kept):
    """Without gradients, so that the graph does not show them."""

    class Changed(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.linear = derf.Derf(C), nn.Linear(C, C, dtype=torch.bfloat16)

        def forward(self, x):
            h = self.norm(x)
            with torch.no_grad():
                if what == "output":
                    h.mul_(2)
            copied = h.bfloat16()
            with torch.no_grad():
                if what == "copy":
                    copied.mul_(2)
            if not keep:
                del h
            return self.linear(copied)

    model, x = sample(Changed())
    expected = gradients(model, x)
    with derf.recompute_outputs(model):
        assert same(gradients(model, x), expected) and not kept["recipes"]


class Late(nn.Module):
    def __init__(self, of):
        super().__init__()
        self.norm, self.linear, self.of = derf.Derf(C), nn.Linear(C, C), of

    def forward(self, x):
        h = self.norm(x)
        g = h.exp()
        y = self.linear(h) + g
        (h if self.of == "output" else g).mul_(2)
        return y


def test_a_change_after_it_was_read():
    """PyTorch raises for both; what is computed again is what the Linear read, what is kept has changed."""
    for of in ("output", "exp"):
        model, x = sample(Late(of))
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            model(x).sum().backward()
    with derf.recompute_outputs(model), pytest.raises(RuntimeError, match="modified by an inplace operation"):
        model(x).sum().backward()
    model.of = "output"
    expected = torch.autograd.grad(model.linear(model.norm(x)).sum(), model.linear.weight)
    with derf.recompute_outputs(model):
        assert same(torch.autograd.grad(model(x).sum(), model.linear.weight), expected)


def hooks_are_off():
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is None and not recompute._state.running


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_errors_in_the_forward(error, kept):
    model, x = sample(Model())
    expected = gradients(model, x)
    failing = True

    def fail(module, arguments):
        if failing:
            raise error

    model.blocks[2].register_forward_pre_hook(fail)
    with derf.recompute_outputs(model):
        with pytest.raises(error):
            model(x)
        assert hooks_are_off() or error is KeyboardInterrupt  # PyTorch calls no hooks for that
        failing = False
        kept["recipes"].clear()
        assert same(gradients(model, x), expected) and len(kept["recipes"]) == 9
        assert hooks_are_off()
        failing = True
        with pytest.raises(error):
            model(x)
    assert hooks_are_off()


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_nothing_without_gradients(context, kept):
    model, x = sample(Model())
    with derf.recompute_outputs(model), context():
        model(x)
    assert not kept["recipes"] and not kept["tensors"] and hooks_are_off()


def test_frozen_layers_and_inputs(kept):
    model, x = sample(Model())
    for parameter in model.blocks.parameters():
        parameter.requires_grad_(False)
    x = x.detach()
    expected = torch.autograd.grad(model(x).square().sum(), [*model.head.parameters()])
    with derf.recompute_outputs(model):
        assert same(torch.autograd.grad(model(x).square().sum(), [*model.head.parameters()]), expected)
    assert len(kept["recipes"]) == 1  # the head's


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("where", ["blocks", "model"])
def test_checkpoint(reentrant, where, kept):
    class Checkpointed(Model):
        def forward(self, x):
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=reentrant) if where == "blocks" else block(x)
            return self.head(x)

    model, x = sample(Checkpointed())

    def grads():
        y = checkpoint(model, x, use_reentrant=reentrant) if where == "model" else model(x)
        y.square().sum().backward()  # reentrant checkpoints know no autograd.grad
        found = [x.grad, *(p.grad for p in model.parameters())]
        x.grad = None
        model.zero_grad()
        return found

    expected = grads()
    with derf.recompute_outputs(model):
        assert same(grads(), expected)
        assert hooks_are_off()
    # Blocks keep what checkpoint keeps; the head is outside. In a reentrant one the model runs again with gradients.
    assert len(kept["recipes"]) == (1 if where == "blocks" else 9 if reentrant else 0)


def test_contexts_around_and_inside(kept):
    model, x = sample(Model())
    expected = gradients(model, x)
    with derf.recompute_outputs(model):
        with torch.autograd.graph.save_on_cpu():
            assert same(gradients(model, x), expected)
        assert not kept["recipes"]
        with derf.recompute_outputs(model.blocks[0]), derf.recompute_outputs(model):
            assert same(gradients(model, x), expected)
    assert len(kept["recipes"]) == 9 and hooks_are_off()


def test_a_submodule_by_itself(kept):
    model, x = sample(Model())
    with derf.recompute_outputs(model.blocks[1]):
        expected = gradients(model, x)
    assert len(kept["recipes"]) == 1 and same(gradients(model, x), expected)


def test_a_generator():
    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.linear = derf.Derf(C), nn.Linear(C, C)

        def forward(self, x):
            for row in x.split(4):
                yield self.linear(self.norm(row))

    model, x = sample(Generator())
    expected = torch.autograd.grad(sum(y.sum() for y in model(x)), [*model.parameters()])
    with derf.recompute_outputs(model):
        assert same(torch.autograd.grad(sum(y.sum() for y in model(x)), [*model.parameters()]), expected)
        assert hooks_are_off()


def test_no_leak():
    model, x = sample(Model())
    gc.collect()  # what other tests left in cycles
    assert not [o for o in gc.get_objects() if isinstance(o, recompute._Recipe)]
    with derf.recompute_outputs(model):
        output = model(x)
        recipes = [weakref.ref(o) for o in gc.get_objects() if isinstance(o, recompute._Recipe)]
        assert len(recipes) == 5
        del output
        assert not [r for r in recipes if r() is not None]  # freed with the graph, without the collector
        output = model(x).sum()
        recipes = [weakref.ref(o) for o in gc.get_objects() if isinstance(o, recompute._Recipe)]
        output.backward()
        assert not [r for r in recipes if r() is not None]  # by the backward, as saved tensors are
    assert not recompute._state.by_storage and not recompute._state.by_node


def test_threads(kept):
    model, x = sample(Model())
    expected = gradients(model, x)
    results = [None] * 4

    def work(i):
        results[i] = gradients(model, x)

    with derf.recompute_outputs(model):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(same(r, expected) for r in results) and len(kept["recipes"]) == 4 * 9


def test_copies_and_pickles(kept):
    model, x = sample(Model())
    expected = gradients(model, x)
    handle = derf.recompute_outputs(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        kept["recipes"].clear()
        assert same(gradients(twin, x), expected) and len(kept["recipes"]) == 9
    handle.remove()
    handle.remove()
    assert not model._forward_hooks and not model._forward_pre_hooks and not model.head[0]._forward_hooks
    assert not model._forward_hooks_always_called


@pytest.mark.parametrize("part", ["model", "block"])
def test_compile(part, kept):
    """Compiled code is left alone, around or inside; eager code around a compiled block goes on."""
    model, x = sample(Model())
    expected = gradients(model, x)
    with derf.recompute_outputs(model):
        if part == "model":
            called = torch.compile(model, backend="aot_eager", fullgraph=True)
        else:
            called = model
            model.blocks[0].compile(backend="aot_eager", fullgraph=True)
        actual = torch.autograd.grad(called(x).square().sum(), [x, *model.parameters()])
    for mine, right in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-5, atol=1e-5)
    assert len(kept["recipes"]) == (0 if part == "model" else 9 - 3) and hooks_are_off()


def test_distributed_data_parallel(kept, tmp_path):
    model, x = sample(Model())
    expected = gradients(model, x)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        with derf.recompute_outputs(wrapped.module):
            wrapped(x).square().sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert same([x.grad, *(p.grad for p in model.parameters())], expected) and len(kept["recipes"]) == 9


def test_torch_func():
    model, x = sample(Model())
    parameters = dict(model.named_parameters())

    def loss(parameters):
        return torch.func.functional_call(model, parameters, x).square().sum()

    expected = torch.func.grad(loss)(parameters)
    with derf.recompute_outputs(model):
        actual = torch.func.grad(loss)(parameters)
    assert same(list(actual.values()), list(expected.values()))


def test_memory_that_was_freed():
    model, x = sample(Model(Feedforward()))
    with derf.recompute_outputs(model):
        loss = model(x).sum()
    model.blocks[0].norm.weight.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="memory of a layer's parameters or input was freed"):
        torch.autograd.grad(loss, model.blocks[0].up.weight)


def test_models_that_are_refused():
    with pytest.raises(TypeError, match="model must be a torch.nn.Module"):
        derf.recompute_outputs(3)
    with pytest.raises(TypeError, match="recompute_outputs first"):
        derf.recompute_outputs(torch.compile(nn.Linear(2, 2)))
    with pytest.warns(UserWarning, match="no layer whose output can be computed again"):
        derf.recompute_outputs(nn.Linear(2, 2))


def test_a_function_of_ones_own_keeps_its_output(kept):
    with pytest.warns(UserWarning):
        model, x = sample(Model(Feedforward(derf.PointwiseNorm(C, lambda u: u / (1 + u * u)))))
    expected = gradients(model, x)
    with derf.recompute_outputs(model):
        assert same(gradients(model, x), expected) and len(kept["recipes"]) == 1
