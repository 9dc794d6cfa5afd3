"""The operators as PyTorch sees them: schemas, opcheck, fake tensors, memory, autocast."""

import os
import subprocess
import sys

import derf
import pytest
import torch
from reference import same_bits
from samples import call, dtype_name, grad_like, learned
from tolerance import assert_forward, assert_gradients
from torch._subclasses import FakeTensorMode
from torch.profiler import ProfilerActivity, profile

FORWARD, BACKWARD = torch.ops.derf.derf, torch.ops.derf.derf_backward
SCHEMAS = {
    FORWARD: "derf::derf(Tensor input, Tensor alpha, Tensor shift, Tensor? weight=None, Tensor? bias=None, "
    "int channel_dim=-1) -> Tensor",
    BACKWARD: "derf::derf_backward(Tensor grad_output, Tensor input, Tensor alpha, Tensor shift, Tensor? weight, "
    "Tensor? bias, int channel_dim, bool[5] output_mask) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
}
CALLS = {
    "rows": {"shape": (3, 5)},
    "trailing": {"shape": (2, 3, 4), "weight_dims": 2},
    "images": {"shape": (2, 5, 3, 2), "channel_dim": 1},
    "bare": {"shape": (3, 5), "weight": False, "bias": False},
    "weight alone": {"shape": (2, 7), "bias": False},
    "bias alone": {"shape": (2, 5, 3), "weight": False, "channel_dim": 1},
    "scalar": {"shape": ()},
    "empty": {"shape": (0, 4)},
    "bfloat16": {"shape": (3, 5), "dtypes": (torch.bfloat16,) * 3},
    "mixed": {"shape": (3, 5), "dtypes": (torch.float16, torch.float32, torch.float32)},
    "float64": {"shape": (3, 5), "dtypes": (torch.float64,) * 3},
}
each_call = pytest.mark.parametrize("arguments", CALLS.values(), ids=CALLS)


@pytest.mark.parametrize("operator", SCHEMAS, ids=["derf", "derf_backward"])
def test_schema_and_tags(operator):
    assert set(operator.overloads()) <= {"default", "out"}
    assert str(operator.default._schema) == SCHEMAS[operator]
    assert torch.Tag.pt2_compliant_tag in operator.default.tags
    assert torch.Tag.nondeterministic_seeded not in operator.default.tags


@each_call
def test_opcheck_of_the_forward(arguments, device):
    arguments, _ = learned(call(device=device, **arguments))
    assert set(torch.library.opcheck(FORWARD.default, arguments).values()) == {"SUCCESS"}


@each_call
def test_opcheck_of_the_backward(arguments, device):
    arguments, _ = learned(call(device=device, **arguments))
    grad_output = grad_like(arguments[0]).requires_grad_()
    mask = [t is not None for t in arguments[:5]]
    assert set(torch.library.opcheck(BACKWARD, (grad_output, *arguments, mask)).values()) == {"SUCCESS"}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)], ids=str)
@pytest.mark.parametrize("step", [1, 2])
def test_fake_and_meta_tensors_have_the_shapes_strides_and_dtypes_of_real_ones(order, step, device):
    shape = (2, 3, 5, 4)
    memory = [shape[d] for d in order]
    base = torch.randn(*memory[:-1], memory[-1] * step, device=device)[..., ::step]
    input = base.permute([order.index(d) for d in range(4)])
    assert input.shape == shape
    _, *rest = call(shape, channel_dim=1, device=device)
    grad_output = torch.randn(shape, device=device)
    real = (FORWARD(input, *rest), *BACKWARD(grad_output, input, *rest, [True] * 5))

    def described(tensors):
        return [(t.shape, t.stride(), t.dtype) for t in tensors]

    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(t) if isinstance(t, torch.Tensor) else t for t in (grad_output, input, *rest)]
        fake = (FORWARD(*fakes[1:]), *BACKWARD(*fakes, [True] * 5))
    assert described(fake) == described(real)
    metas = [t.to("meta") if isinstance(t, torch.Tensor) else t for t in (grad_output, input, *rest)]
    metas[1] = torch.empty_strided(shape, input.stride(), device="meta")
    meta = (FORWARD(*metas[1:]), *BACKWARD(*metas, [True] * 5))
    assert described(meta) == described(real)
    assert BACKWARD(*metas, [False, True, False, False, False])[0] is None


def test_strides_of_dimensions_of_size_1_are_kept_where_the_kernels_get_a_copy(device):
    """As `torch.empty_like` keeps them. Channels, the last three dimensions, are not side by side in memory."""
    shape, strides = (2, 3, 1, 4), (4, 8, 77, 1)
    _, *rest = call(shape, weight_dims=3, device=device)
    input = torch.randn(24, device=device).as_strided(shape, strides)
    grad_output = torch.randn(shape, device=device)
    assert torch.empty_like(input).stride() == strides
    assert FORWARD(input, *rest).stride() == strides
    assert BACKWARD(grad_output, input, *rest, [True] * 5)[0].stride() == strides


@pytest.mark.parametrize("channel_dim", [-1, 1])
def test_saved_for_backward_is_nothing_of_inputs_size_but_input(channel_dim, device):
    arguments, _ = learned(call((50, 40, 30), channel_dim=channel_dim, device=device))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        derf.derf(*arguments)
    assert sum(t.numel() >= arguments[0].numel() for t in saved) == 1
    assert all(t.data_ptr() in {a.data_ptr() for a in arguments[:5]} for t in saved)
    assert len(saved) <= 5


def saved_by(function, *arguments, **options):
    """The tensors that a call saves for its backward."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        output = function(*arguments, **options)
    assert output.requires_grad
    return saved


def is_saved(tensor, saved):
    return any(t.data_ptr() == tensor.data_ptr() for t in saved)


@pytest.mark.parametrize("learned_one", [4, 3], ids=["bias", "weight"])
def test_saved_for_backward_is_only_what_is_needed(learned_one, device):
    # A layer whose only learned parameter is its bias needs no activation at all; one that learns its weight needs
    # input, not the bias.
    arguments = list(call((50, 40), device=device))
    arguments[learned_one].requires_grad_()
    saved = saved_by(derf.derf, *arguments)
    assert is_saved(arguments[0], saved) == (learned_one == 3)
    assert is_saved(arguments[learned_one], saved)
    assert not is_saved(arguments[7 - learned_one], saved)
    grad_output = grad_like(arguments[0])
    (gradient,) = torch.autograd.grad(derf.derf(*arguments), [arguments[learned_one]], grad_output)
    only = [gradient if i == learned_one else None for i in range(5)]
    assert_gradients(only, grad_output, *[t.detach() if isinstance(t, torch.Tensor) else t for t in arguments])


def large_allocations(function, at_least):
    """How many allocations of at least so many bytes a call makes."""
    function()  # what is loaded or cached on first use does not count
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        result = function()  # alive until the profile ends
    del result
    events = profiler.profiler.kineto_results.events()
    return sum(event.name() == "[memory]" and event.nbytes() >= at_least for event in events)


@pytest.mark.parametrize("channel_dim", [-1, 1])
@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_one_allocation_of_inputs_size_each_way(layout, channel_dim):
    arguments = list(call((10, 40, 30, 20), channel_dim=channel_dim))
    if layout == "channels last":
        arguments[0] = arguments[0].contiguous(memory_format=torch.channels_last)
    size = arguments[0].nbytes
    grad_output = grad_like(arguments[0])
    assert large_allocations(lambda: torch.erf(arguments[0] + 1), size) == 2  # the count itself works
    assert large_allocations(lambda: FORWARD(*arguments), size) == 1
    assert large_allocations(lambda: BACKWARD(grad_output, *arguments, [True] * 5), size) == 1
    assert large_allocations(lambda: BACKWARD(grad_output, *arguments, [False] + [True] * 4), size) == 0


@pytest.mark.parametrize("step", [1, 2])
def test_strides_of_dimensions_of_size_1_cost_no_copy(step):
    # Sequence-first with a batch of 1: the strides of the batch differ between input and grad_output, and say nothing.
    memory = torch.randn(400, 1, 64 * step)[..., ::step] if step > 1 else torch.randn(1, 400, 64).transpose(0, 1)
    grad_output = torch.randn(400, 1, 64)
    parameters = torch.ones(1), torch.zeros(1), torch.ones(64), torch.zeros(64)
    mask = [True] * 5
    # A strided input is made dense once; there is one result of its size.
    wanted = 1 if step == 1 else 2
    assert large_allocations(lambda: BACKWARD(grad_output, memory, *parameters, -1, mask), memory.nbytes) == wanted


@pytest.mark.parametrize("absent", [3, 4], ids=["weight", "bias"])
def test_an_absent_parameter_is_neither_allocated_nor_filled(absent):
    arguments = list(call((4, 30000)))
    arguments[absent] = None
    assert large_allocations(lambda: FORWARD(*arguments), 30000 * 4) == 1


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_without_gradients(mode, device):
    arguments, _ = learned(call((5, 8), device=device))
    with mode():
        output = derf.derf(*arguments)
    assert not output.requires_grad and output.is_inference() == (mode is torch.inference_mode)
    assert same_bits(output.clone(), derf.derf(*arguments).detach())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=dtype_name)
def test_autocast_keeps_16_bits_beside_float32_parameters(dtype, device):
    module = derf.Derf(8, device=device)
    input = torch.randn(5, 8, device=device, dtype=dtype, requires_grad=True)
    with torch.autocast(device, dtype):
        output = module(input)
        assert output.dtype == dtype
        assert module(input.float()).dtype == torch.float32
    parameters = module.alpha, module.shift, module.weight, module.bias
    assert_forward(output, input, *parameters)
    grad_output = grad_like(output)
    gradients = torch.autograd.grad(output, [input, *parameters], grad_output)
    assert [g.dtype for g in gradients] == [dtype] + [torch.float32] * 4
    assert_gradients(gradients, grad_output, input, *parameters)


def test_build_facts():
    assert torch.ops.derf.cpu_capability() in {"default", "avx2", "avx512", "sve256", "neon"}
    facts = torch.ops.derf.build_info().splitlines()
    assert facts and all(": " in line for line in facts)
    text = "\n".join(facts)
    assert torch.ops.derf.cpu_capability() in text and "CUDA" in text
    major_and_minor = ".".join(torch.__version__.split(".")[:2])
    assert f"torch {major_and_minor}" in text or f": {major_and_minor}" in text
    assert text in derf.show_config() or all(line in derf.show_config() for line in facts)
    assert derf.__version__ in derf.show_config()


def test_the_operator_library_needs_no_python_package():
    # TorchScript and C++ programs load it alone.
    # (A folder on the way to another library may be called derf too.)
    (library,) = [path for path in torch.ops.loaded_libraries if os.path.basename(path).startswith("libderf_")]
    program = (
        f"import sys, torch; torch.ops.load_library({library!r}); one = torch.ones(1, requires_grad=True);"
        "torch.ops.derf.derf(one, one, one).backward(); assert one.grad > 0; assert 'derf' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
