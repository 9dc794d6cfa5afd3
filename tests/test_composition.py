"""What else happens to a module in PyTorch: checkpointing, offload, files, modes, threads, processes, CUDA graphs."""

import copy
import io
import re
import subprocess
import sys
import threading

import derf
import pytest
import reference
import torch
from reference import same_bits
from samples import call, gradients
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts


def layer(device="cpu", **options):
    module = derf.Derf(8, device=device, **options)
    nn.init.normal_(module.weight)
    return module


def assert_same(mine, expected):
    assert all(same_bits(a, b) for a, b in zip(mine, expected, strict=True))


@pytest.fixture
def input(device):
    return torch.randn(5, 8, device=device, requires_grad=True)


# What is kept for the backward


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoint(use_reentrant, input, device):
    module = layer(device)
    leaves = list(module.parameters())
    checkpoint(module, input, use_reentrant=use_reentrant).square().sum().backward()
    mine = [input.grad, *(p.grad for p in leaves)]
    assert_same(mine, gradients(module, input, leaves))


def test_selective_checkpoint_keeps_what_it_is_told_to(input, device):
    module, seen = layer(device), []

    def policy(context, operator, *arguments, **options):
        seen.append((context.is_recompute, operator))
        kept = operator is torch.ops.derf.derf.default
        return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE

    def function(x):
        contexts = lambda: create_selective_checkpoint_contexts(policy)  # noqa: E731
        return checkpoint(lambda x: module(x).sin(), x, use_reentrant=False, context_fn=contexts)

    mine = gradients(function, input, module.parameters())
    assert (False, torch.ops.derf.derf.default) in seen
    assert_same(mine, gradients(lambda x: module(x).sin(), input, module.parameters()))


def test_saved_tensors_go_through_hooks_and_to_the_cpu(input, device):
    module = layer(device)
    expected = gradients(module, input, module.parameters())
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t.cpu(), lambda t: t.to(device)):
        output = module(input)
    assert len(packed) == 5
    assert_same(torch.autograd.grad(output.square().sum(), [input, *module.parameters()]), expected)
    with torch.autograd.graph.save_on_cpu():
        output = module(input)
    assert_same(torch.autograd.grad(output.square().sum(), [input, *module.parameters()]), expected)


def test_a_changed_input_and_a_second_backward_are_errors(device):
    module = layer(device)
    input = torch.randn(5, 8, device=device)
    output = module(input)
    input.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()
    output = module(torch.randn(5, 8, device=device))
    output.sum().backward()
    with pytest.raises(RuntimeError, match="a second time"):
        output.sum().backward()
    output = module(torch.randn(5, 8, device=device))
    output.sum().backward(retain_graph=True)
    output.sum().backward()


def test_anomaly_mode_names_the_node(device):
    module = layer(device)
    assert module(torch.randn(5, 8, device=device)).grad_fn.name() == "DerfBackward"
    with torch.autograd.detect_anomaly(check_nan=True):
        with pytest.raises(RuntimeError, match="DerfBackward.*nan"):
            module(torch.full((5, 8), torch.nan, device=device)).sum().backward()


# Modules


def test_functional_call_and_parametrize(input, device):
    module = layer(device)
    doubled = {name: 2 * p for name, p in module.named_parameters()}
    expected = derf.derf(input, doubled["alpha"], doubled["shift"], doubled["weight"], doubled["bias"])
    assert same_bits(functional_call(module, doubled, (input,)), expected)

    class Twice(nn.Module):
        def forward(self, x):
            return 2 * x

    for name in ("alpha", "shift", "weight", "bias"):
        parametrize.register_parametrization(module, name, Twice())
    assert same_bits(module(input), expected)
    module(input).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_files_load_with_weights_only(device):
    module, stream = layer(device), io.BytesIO()
    torch.save(module.state_dict(), stream)
    stream.seek(0)
    other = derf.Derf(8, device=device)
    other.load_state_dict(torch.load(stream, weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    stream = io.BytesIO()
    torch.save(module, stream)
    stream.seek(0)
    with torch.serialization.safe_globals([derf.Derf]):
        whole = torch.load(stream, weights_only=True)
    assert repr(whole) == repr(module)


# Modes


def test_deterministic_algorithms(input, device):
    module = layer(device)
    expected = gradients(module, input, module.parameters())
    torch.use_deterministic_algorithms(True)
    try:
        assert_same(gradients(module, input, module.parameters()), expected)
    finally:
        torch.use_deterministic_algorithms(False)


def test_inference_mode_and_its_tensors(device):
    module = layer(device)
    with torch.inference_mode():
        input = torch.randn(5, 8, device=device)
        output = module(input)
    assert output.is_inference() and not output.requires_grad
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        module(input)


def test_subclasses_and_modes_see_the_operator(device):
    class Tagged(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            seen.append(function)
            return super().__torch_function__(function, types, arguments, options or {})

    class Functions(TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), options=None):
            seen.append(function)
            return function(*arguments, **(options or {}))

    class Dispatched(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            seen.append(function)
            return function(*arguments, **(options or {}))

    module, plain = layer(device), torch.randn(5, 8, device=device)
    seen = []
    output = module(plain.as_subclass(Tagged))
    assert isinstance(output, Tagged) and any("derf" in str(function) for function in seen)
    for mode in (Functions, Dispatched):
        seen.clear()
        with mode():
            module(plain)
        assert any("derf" in str(function) for function in seen)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_autocast_trains_with_a_scaled_loss(dtype, device):
    # The linear layers before and after run in 16 bits, Derf takes what comes and keeps float32 parameters.
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), derf.Derf(16), nn.Linear(16, 1)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scaler = torch.amp.GradScaler(device, init_scale=2.0**10)
    input = torch.randn(64, 8, device=device)
    losses, dtypes = [], set()
    model[1].register_forward_hook(lambda module, inputs, output: dtypes.update((inputs[0].dtype, output.dtype)))
    for _ in range(50):
        optimizer.zero_grad()
        with torch.autocast(device, dtype):
            loss = (model(input).float() - input.square().mean(1, keepdim=True)).square().mean()
        scaler.scale(loss).backward()
        assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    assert dtypes == {dtype}
    assert losses[-1] < losses[0] / 2


# Threads and processes


def test_threads_compute_what_one_does(device):
    module = layer(device)
    inputs = [torch.randn(5, 8, device=device, requires_grad=True) for _ in range(8)]
    expected = [gradients(module, x, module.parameters()) for x in inputs]
    results = [None] * len(inputs)

    def work(i):
        for _ in range(20):
            results[i] = gradients(module, inputs[i], module.parameters())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine, truth in zip(results, expected, strict=True):
        assert_same(mine, truth)


def test_threads_share_a_graph(device):
    module = layer(device)
    output = module(torch.randn(500, 8, device=device)).sum()
    leaves = list(module.parameters())
    expected = torch.autograd.grad(output, leaves, retain_graph=True)
    results = []

    def work():
        results.extend(torch.autograd.grad(output, leaves, retain_graph=True) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80
    for mine in results:
        assert_same(mine, expected)


class Transformed(torch.utils.data.Dataset):
    """Rows that a worker process computes."""

    def __init__(self, module):
        self.module = module

    def __len__(self):
        return 8

    def __getitem__(self, index):
        with torch.no_grad():
            return self.module(torch.full((8,), float(index)))


def test_workers_of_a_data_loader():
    module = layer()
    with torch.no_grad():
        expected = module(torch.arange(8.0)[:, None].expand(8, 8))  # before the fork: threads have started
    loader = torch.utils.data.DataLoader(
        Transformed(module), batch_size=4, num_workers=2, multiprocessing_context="fork", timeout=120
    )
    assert torch.equal(torch.cat(list(loader)), expected)


def test_a_forked_process_trains():
    # On one thread, as PyTorch's own workers: GNU's OpenMP stands still in the child of a process that has threads.
    program = """
import os, torch, derf
module = derf.Derf(512)
with torch.no_grad():
    module(torch.randn(1000, 512))
child = os.fork()
if child == 0:
    torch.set_num_threads(1)
    module(torch.randn(1000, 512)).sum().backward()
    os._exit(0 if module.weight.grad.isfinite().all() else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


# Seen from outside


def test_the_profiler_tells_forward_from_backward(input, device):
    module = layer(device)
    module(input).sum().backward()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")
    with profile(activities=activities) as profiler:
        module(input).sum().backward()
    names = {event.key for event in profiler.key_averages()}
    assert {"derf::derf", "derf::derf_backward"} <= names
    assert any(re.search("DerfBackward", name) for name in names)


@pytest.mark.parametrize("rows", [5, 5000])  # one launch of a backward, and two
def test_a_cuda_graph_replays(rows, device):
    if device == "cpu":
        pytest.skip("CUDA graphs need a CUDA device")
    module = layer(device)
    example = torch.randn(rows, 8, device=device, requires_grad=True)
    graphed = torch.cuda.make_graphed_callables(copy.deepcopy(module), (example,))
    input = torch.randn(rows, 8, device=device, requires_grad=True)
    assert_same(gradients(graphed, input, graphed.parameters()), gradients(module, input, module.parameters()))


def test_the_graph_is_right_whoever_asks_for_gradients(device):
    # Only what needs a gradient is computed, whatever is asked for at the end.
    tensors = [t.requires_grad_() for t in call((4, 6), (torch.float64,) * 3, device=device)[:5]]
    output = derf.derf(*tensors)
    expected = reference.gradients64(torch.ones_like(output), *tensors)
    for i, truth in enumerate(expected):
        (mine,) = torch.autograd.grad(output.sum(), tensors[i], retain_graph=True)
        torch.testing.assert_close(mine, truth, rtol=1e-12, atol=1e-12)
