"""torch.compile: forward and training, changing sizes, transforms, compiled autograd, decompositions."""

import derf
import pytest
import torch
from pointwise_reference import CALLS, FUNCTIONS, STUDIES, pointwise_norm
from reference import derf64, differentiated, gradients64, same_bits
from samples import DTYPES, call, dtype_name, grad_like, learned
from tolerance import assert_forward, assert_gradients
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor import decomposition
from torch.fx.experimental.proxy_tensor import make_fx

FORWARD, BACKWARD = torch.ops.derf.derf.default, torch.ops.derf.derf_backward.default
NAMES = ("input", "alpha", "shift", "weight", "bias")


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def gradients_of(function, arguments, leaves):
    output = function(*arguments)
    return torch.autograd.grad(output, leaves, torch.ones_like(output))


def both_ways(*arguments):
    """The gradients of the operator with respect to every tensor."""
    return gradients_of(derf.derf, arguments, [t for t in arguments if isinstance(t, torch.Tensor)])


def operators_in(graph):
    return [node.target for node in graph.nodes if node.op == "call_function"]


# The operator


@pytest.mark.parametrize("dtypes", DTYPES, ids=dtype_name)
def test_forward_and_backward(dtypes, device):
    compiled = torch.compile(derf.derf, backend="aot_eager", fullgraph=True)
    arguments, leaves = learned(call((4, 6), dtypes, device=device))
    output = compiled(*arguments)
    assert same_bits(output, derf.derf(*arguments))
    grad_output = grad_like(output)
    gradients = torch.autograd.grad(output, leaves, grad_output)
    expected = torch.autograd.grad(derf.derf(*arguments), leaves, grad_output)
    assert all(same_bits(mine, theirs) for mine, theirs in zip(gradients, expected, strict=True))


def test_inductor_keeps_the_bits_at_every_size_with_one_compilation(device):
    counter = CompileCounterWithBackend("inductor")
    module = derf.Derf(6, device=device)
    nn.init.normal_(module.weight)
    compiled = torch.compile(module, backend=counter, fullgraph=True, dynamic=True)
    for shape in ((2, 3, 6), (4, 5, 6), (7, 2, 6), (90, 80, 6)):
        input = torch.randn(shape, device=device, requires_grad=True)
        leaves = [input, *module.parameters()]
        assert same_bits(compiled(input), module(input))
        mine, expected = (gradients_of(f, [input], leaves) for f in (compiled, module))
        assert all(same_bits(a, b) for a, b in zip(mine, expected, strict=True))
    assert counter.frame_count == 1


def test_changing_sizes_recompile_once(device):
    counter = CompileCounterWithBackend("aot_eager")
    module = torch.compile(derf.Derf(6, device=device), backend=counter, fullgraph=True)
    for rows in range(3, 13):
        module(torch.randn(rows, 6, device=device)).sum().backward()
    assert counter.frame_count == 2  # for the first size, then for any


def test_layers_of_a_model_share_nothing_that_recompiles(device):
    counter = CompileCounterWithBackend("aot_eager")
    layers = nn.ModuleList(derf.Derf(6, alpha_init=0.1 * (i + 1), device=device) for i in range(12))
    compiled = torch.compile(lambda layer, x: layer(x), backend=counter, fullgraph=True)
    with torch.no_grad():
        for layer in layers:
            compiled(layer, torch.randn(3, 6, device=device))
    assert counter.frame_count <= 2


def test_reduce_overhead_replays_a_cuda_graph(device):
    if device == "cpu":
        pytest.skip("CUDA graphs need a CUDA device")
    module = derf.Derf(64, device=device)
    compiled = torch.compile(module, mode="reduce-overhead", fullgraph=True)
    for _ in range(4):
        input = torch.randn(32, 64, device=device, requires_grad=True)
        leaves = [input, *module.parameters()]
        torch.compiler.cudagraph_mark_step_begin()
        mine = [g.clone() for g in gradients_of(compiled, [input], leaves)]
        assert all(same_bits(a, b) for a, b in zip(mine, gradients_of(module, [input], leaves), strict=True))


def test_graphs_hold_one_operator_each_way(device):
    arguments, _ = learned(call((3, 5), device=device))
    graph = make_fx(both_ways, tracing_mode="symbolic")(*arguments).graph
    assert [op for op in operators_in(graph) if "derf" in str(op)] == [FORWARD, BACKWARD]


def test_wrong_input_gets_the_operators_message():
    compiled = torch.compile(derf.Derf(5), backend="aot_eager", fullgraph=True)
    with pytest.raises(RuntimeError, match=r"derf: weight must .*\[2, 4\].*\[5\]"):
        compiled(torch.ones(2, 4))
    with pytest.raises(RuntimeError, match="derf: alpha must have the dtype of input, Double, but has Float"):
        compiled(torch.ones(2, 5, dtype=torch.float64))


# Transforms


def transformed(name):
    """A function of the operator's five tensors."""
    total = torch.func.grad(lambda *t: derf.derf(*t).sin().sum(), argnums=(0, 1, 2, 3, 4))
    per_input = (0, None, None, None, None)
    return {
        "grad": total,
        "vmap": torch.func.vmap(derf.derf, per_input),
        "jvp": lambda *t: torch.func.jvp(derf.derf, t, t),
        "vmap of grad": torch.func.vmap(total, per_input),
    }[name]


@pytest.mark.parametrize("name", ["grad", "vmap", "jvp", "vmap of grad"])
def test_transforms(name, device):
    tensors = call((4, 6), device=device)[:5]
    function = transformed(name)
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*tensors), function(*tensors))


# Compiled autograd


def with_compiled_autograd(function):
    compiler = torch.compile(backend="aot_eager", fullgraph=True)
    with torch._dynamo.compiled_autograd._enable(compiler):
        return function()


def filled_gradients(run, leaves):
    for leaf in leaves:
        leaf.grad = None
    run()
    return [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("which", ["all", *NAMES])
def test_compiled_autograd(which, device):
    arguments = call((4, 6), device=device)
    leaves = [t.requires_grad_() for name, t in zip(NAMES, arguments, strict=False) if which in ("all", name)]
    expected = filled_gradients(lambda: derf.derf(*arguments).square().sum().backward(), leaves)
    for rows in (4, 4):  # the second time from its cache
        output = derf.derf(*arguments).square().sum()
        mine = filled_gradients(lambda: with_compiled_autograd(output.backward), leaves)  # noqa: B023 - run at once
        torch.testing.assert_close(mine, expected, rtol=0, atol=0), rows


def test_compiled_autograd_with_hooks_on_saved_tensors(device):
    arguments, leaves = learned(call((4, 6), device=device))
    expected = filled_gradients(lambda: derf.derf(*arguments).square().sum().backward(), leaves)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: 2 * t, lambda t: t / 2):
        output = derf.derf(*arguments)
    output = output.square().sum()
    mine = filled_gradients(lambda: with_compiled_autograd(output.backward), leaves)
    torch.testing.assert_close(mine, expected, rtol=0, atol=0)


def test_compiled_autograd_of_a_second_derivative(device):
    arguments, leaves = learned(call((4, 6), (torch.float64,) * 3, device=device))

    def penalty():
        output = derf.derf(*arguments)
        first = torch.autograd.grad(output.square().sum(), leaves, create_graph=True)
        return sum(g.square().sum() for g in first)

    expected = filled_gradients(lambda: penalty().backward(), leaves)
    total = penalty()
    mine = filled_gradients(lambda: with_compiled_autograd(total.backward), leaves)
    torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)


# Decompositions

KINDS = {
    "rows": {"shape": (3, 5)},
    "trailing": {"shape": (2, 3, 4), "weight_dims": 2},
    "images": {"shape": (2, 5, 3, 2), "channel_dim": 1},
    "from the end": {"shape": (2, 5, 3), "channel_dim": -2},
    "weight alone": {"shape": (2, 7), "bias": False},
    "bias alone": {"shape": (2, 5, 3), "weight": False, "channel_dim": 1},
    "scalar": {"shape": ()},
    "empty": {"shape": (0, 4)},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("dtypes", DTYPES, ids=dtype_name)
def test_decompositions_are_as_exact_as_the_operators(kind, dtypes, device):
    arguments = call(dtypes=dtypes, device=device, **kind)
    table = derf.decompositions()
    assert_forward(table[FORWARD](*arguments), *arguments)
    grad_output = grad_like(arguments[0])
    mask = [t is not None for t in arguments[:5]]
    assert_gradients(table[BACKWARD](grad_output, *arguments, mask), grad_output, *arguments)
    assert table[BACKWARD](grad_output, *arguments, [False] * 5) == (None,) * 5


def test_decompositions_give_0_where_the_slope_is_0(device):
    input = torch.tensor([torch.inf, -torch.inf, 0.5, 1e30], device=device)
    weight = torch.tensor([torch.inf, 1.0, 1.0, 1.0], device=device)
    one = torch.ones(1, device=device)
    arguments = (torch.ones_like(input), input, one, one, weight, None, -1, [True] * 5)
    mine, truth = (f(*arguments) for f in (derf.decompositions()[BACKWARD], BACKWARD))
    for a, b in zip(mine[:3], truth[:3], strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a, b)


def test_decompositions_are_core_aten_operators(device):
    arguments, _ = learned(call((3, 5), device=device))
    table = torch.export.default_decompositions()
    table.update(derf.decompositions())
    graph = make_fx(both_ways, dict(table.items()))(*arguments).graph
    kept = {op for op in operators_in(graph) if torch.Tag.core not in op.tags}
    assert not kept


def test_inductor_fuses_the_decomposition(device, monkeypatch):
    # As the docstring of derf.decompositions says.
    for operator, function in derf.decompositions().items():
        monkeypatch.setitem(decomposition.decompositions, operator, function)
    decomposition.fast_random_decomps.cache_clear()
    try:
        arguments, leaves = learned(call((4, 6), device=device))
        compiled = torch.compile(derf.derf, fullgraph=True)
        output, codes = torch._inductor.utils.run_and_get_code(compiled, *arguments)
        assert not any("torch.ops.derf" in code for code in codes)
        gradients = torch.autograd.grad(output, leaves, torch.ones_like(output))
        truths = derf64(*arguments), *gradients64(torch.ones_like(output), *arguments)
        # Inductor's vectorised erf has an absolute error of 2e-7; weights are below 2, sums have 24 terms.
        for mine, truth in zip((output, *gradients), truths, strict=True):
            torch.testing.assert_close(mine.double(), truth, rtol=1e-5, atol=1e-6)
    finally:
        decomposition.fast_random_decomps.cache_clear()


# The family

FAMILY = {
    "tanh": {"function": "tanh"},
    "isru, studied": {"function": "isru", "per_channel": True, "channel_dim": 1, **STUDIES["all"]},
    "erf without shift": {"shift": False, "clip": 0.75},
}
each_of_the_family = pytest.mark.parametrize("options", FAMILY.values(), ids=FAMILY)


@each_of_the_family
def test_the_family_in_inductor_with_one_compilation(options, device):
    counter = CompileCounterWithBackend("inductor")
    module = derf.PointwiseNorm(6, **options, device=device)
    compiled = torch.compile(module, backend=counter, fullgraph=True, dynamic=True)
    # Under dynamic=True the options are symbols at first, and what takes them as numbers starts the compiler once more.
    compiled(torch.randn(3, 6, 6, device=device, requires_grad=True))
    compilations = counter.frame_count
    for shape in ((2, 6, 6), (4, 6, 6), (90, 6, 6)):
        input = torch.randn(shape, device=device, requires_grad=True)
        leaves = [input, *module.parameters()]
        assert same_bits(compiled(input), module(input))
        mine, expected = (gradients_of(f, [input], leaves) for f in (compiled, module))
        assert all(same_bits(a, b) for a, b in zip(mine, expected, strict=True))
    assert counter.frame_count == compilations <= 2


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("call", [CALLS["for each channel"], CALLS["adaLN"]], ids=["for each channel", "adaLN"])
def test_decompositions_of_the_family(call, function, device):
    tensors, options = call()
    tensors = [t.to(device) for t in tensors]
    options |= {"function": function, **STUDIES["all"]}

    def traced(*tensors):
        leaves = [t.requires_grad_() for t in tensors]
        return torch.autograd.grad(derf.functional.pointwise_norm(*leaves, **options).sum(), leaves)

    table = torch.export.default_decompositions()
    table.update(derf.decompositions())
    table = dict(table.items())
    graph = make_fx(torch.func.functionalize(make_fx(traced, table)(*tensors)), table)(*tensors)
    graph.graph.eliminate_dead_code()  # what is written into, until functionalization
    others = {op for op in operators_in(graph.graph) if torch.Tag.core not in op.tags}
    assert not others, others
    truth = differentiated(pointwise_norm, torch.ones_like(tensors[0]), tensors, **options)[1]
    for mine, expected in zip(graph(*tensors), truth, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-11, atol=1e-11)


@each_of_the_family
def test_compiled_autograd_of_the_family(options, device):
    module = derf.PointwiseNorm(6, **options, device=device)
    input = torch.randn(4, 6, 6, device=device, requires_grad=True)
    leaves = [input, *module.parameters()]
    expected = filled_gradients(lambda: module(input).square().sum().backward(), leaves)
    output = module(input).square().sum()
    mine = filled_gradients(lambda: with_compiled_autograd(output.backward), leaves)
    torch.testing.assert_close(mine, expected, rtol=0, atol=0)
