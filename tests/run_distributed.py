"""Every check of one process group: python run_distributed.py RANK WORLD_SIZE FOLDER

Each process writes what went wrong in each check, or None, to FOLDER/RANK.pt. All checks share one process group, since
starting one takes longer than they do.
"""

import copy
import os
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import derf
import derf.distributed
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from add_reference import add_pointwise_norm as add_reference
from pointwise_reference import SHARDED, STUDIES
from reference import differentiated
from samples import call
from torch import nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, SequenceParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

CHECKS = {}
WHOLE = Replicate()
SHARDINGS = {"batch": 0, "sequence": 1, "channel": 2}


def check(function):
    CHECKS[function.__name__] = function
    return function


def model(dtype=torch.float64):
    torch.manual_seed(0)
    layers = nn.Linear(8, 16), derf.Derf(16), nn.ReLU(), nn.Linear(16, 8), derf.Derf(8, bias=False)
    return nn.Sequential(*layers).to(dtype)


def batch(step, size, dtype=torch.float64):
    return torch.randn(size, 8, generator=torch.Generator().manual_seed(step), dtype=torch.float64).to(dtype)


def mine(whole, rank, size):
    return whole.chunk(size)[rank]


def sharded(tensors, mesh, dim):
    placements = [Shard(dim), WHOLE, WHOLE] + [Shard(0) if dim == 2 else WHOLE] * 2
    return [
        None if t is None else distribute_tensor(t.detach(), mesh, [p]).requires_grad_()
        for t, p in zip(tensors, placements, strict=True)
    ]


def close(mine, expected, tolerance=1e-12):
    torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance)


def train(model, batches, after_backward=lambda model: None):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for input in batches:
        optimizer.zero_grad()
        model(input).square().mean().backward()
        after_backward(model)
        optimizer.step()


def trained_alone(size, dtype=torch.float64):
    alone = model(dtype)
    train(alone, [batch(step, 4 * size, dtype) for step in range(3)])
    return alone


def trained_in_bfloat16(size):
    """Float32 parameters, which each rank rounds to bfloat16 for its part of the batch; gradients meet in float32."""
    alone = model(torch.float32)
    for step in range(3):
        rounded = copy.deepcopy(alone).bfloat16()
        parts = batch(step, 4 * size, torch.bfloat16).chunk(size)
        leaves = list(rounded.parameters())
        ranks = [torch.autograd.grad(rounded(part).square().mean(), leaves) for part in parts]
        with torch.no_grad():
            for parameter, *gradients in zip(alone.parameters(), *ranks, strict=True):
                parameter -= 0.1 * sum(g.float() for g in gradients) / size
    return alone


@check
def sharded_tensors_equal_whole_ones(rank, size, mesh):
    for dtype in (torch.float32, torch.float64):
        for present in ({}, {"bias": False}, {"weight": False, "bias": False}):
            tensors = call((5, 6, 8), (dtype,) * 3, **present)[:5]
            whole = [None if t is None else t.clone().requires_grad_() for t in tensors]
            leaves = [t for t in whole if t is not None]
            output = derf.derf(*whole)
            grad_output = torch.randn(output.shape, dtype=dtype)
            expected = torch.autograd.grad(output, leaves, grad_output)
            for dim in SHARDINGS.values():
                parts = sharded(tensors, mesh, dim)
                with CommDebugMode() as communication:
                    result = derf.derf(*parts)
                assert communication.get_total_counts() == 0
                assert result.placements == (Shard(dim),)
                assert torch.equal(result.full_tensor(), output)
                gradients = torch.autograd.grad(
                    result, [t for t in parts if t is not None], distribute_tensor(grad_output, mesh, [Shard(dim)])
                )
                assert torch.equal(gradients[0].full_tensor(), expected[0])
                assert all(isinstance(g.placements[0], Partial) for g in gradients[1:3])
                assert all(isinstance(g.placements[0], Shard if dim == 2 else Partial) for g in gradients[3:])
                # Sums of 240 terms in another order.
                for g, truth in zip(gradients, expected, strict=True):
                    close(g.full_tensor(), truth, 1e-12 if dtype == torch.float64 else 1e-4)


@check
def every_mask_gets_its_own_placements(rank, size, mesh):
    # DTensor caches how an operator shards: a cache that does not see the mask gives one mask's placements to another.
    tensors = call((4, 6, 8), (torch.float64,) * 3)[:5]
    whole = [t.clone().requires_grad_() for t in tensors]
    expected = torch.autograd.grad(derf.derf(*whole).sum(), whole)
    for wanted in ([0], [1], [0, 2], [1, 2, 3, 4], [0, 1, 2, 3, 4], [3], [0]):
        for dim in SHARDINGS.values():
            parts = [t if i in wanted else t.detach() for i, t in enumerate(sharded(tensors, mesh, dim))]
            gradients = torch.autograd.grad(derf.derf(*parts).sum(), [parts[i] for i in wanted])
            for i, gradient in zip(wanted, gradients, strict=True):
                close(gradient.full_tensor(), expected[i])


@check
def channels_in_the_middle_and_several_dimensions_of_channels(rank, size, mesh):
    for options in ({"channel_dim": 1}, {"weight_dims": 2}):
        tensors = call((4, 8, 12), (torch.float64,) * 3, **options)[:5]
        whole = [t.clone().requires_grad_() for t in tensors]
        output = derf.derf(*whole, options.get("channel_dim", -1))
        expected = torch.autograd.grad(output.square().sum(), whole)
        parts = [distribute_tensor(t, mesh, [p]).requires_grad_() for t, p in zip(
            tensors, [Shard(1), WHOLE, WHOLE, Shard(0), Shard(0)], strict=True)]  # fmt: skip
        result = derf.derf(*parts, options.get("channel_dim", -1))
        assert result.placements == (Shard(1),) and torch.equal(result.full_tensor(), output)
        for gradient, truth in zip(torch.autograd.grad(result.square().sum(), parts), expected, strict=True):
            close(gradient.full_tensor(), truth)


@check
def second_derivatives_of_sharded_tensors(rank, size, mesh):
    def second(leaves):
        first = torch.autograd.grad(derf.derf(*leaves).square().sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), leaves)

    tensors = call((4, 6, 8), (torch.float64,) * 3)[:5]
    expected = second([t.clone().requires_grad_() for t in tensors])
    for gradient, truth in zip(second(sharded(tensors, mesh, 0)), expected, strict=True):
        close(gradient.full_tensor(), truth, 1e-10)


@check
def every_layout_of_the_family(rank, size, mesh):
    for name in SHARDED:
        for function in ("erf", "isru"):
            tensors, options = SHARDED[name]()
            options = options | {"function": function, **STUDIES["all"]}
            grad_output = torch.randn(tensors[0].shape, dtype=torch.float64)
            output, expected = differentiated(derf.functional.pointwise_norm, grad_output, tensors, **options)
            for dim in range(tensors[0].dim()):
                parts = [
                    None if t is None else distribute_tensor(t.detach(), mesh, [placed(t, i, dim, tensors[0])])
                    for i, t in enumerate(tensors)
                ]
                leaves = [t.requires_grad_() for t in parts if t is not None]
                with CommDebugMode() as communication:
                    result = derf.functional.pointwise_norm(*parts, **options)
                assert communication.get_total_counts() == 0, (name, dim)
                assert result.placements == (Shard(dim),)
                close(result.full_tensor(), output)
                found = torch.autograd.grad(result, leaves, distribute_tensor(grad_output, mesh, [Shard(dim)]))
                for mine, truth in zip(found, [g for g in expected if g is not None], strict=True):
                    close(mine.full_tensor(), truth)


@check
def residuals_with_every_gate(rank, size, mesh):
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    for gate in (None, (8,), (4, 1, 1), (4, 1, 8), (1, 4, 1)):
        x, residual = numbers(2, 4, 4, 8)
        tensors = [x, residual, numbers(1), numbers(1), numbers(8), numbers(8), gate and numbers(*gate)]
        grads = numbers(2, 4, 4, 8)
        names = ("input", "residual", "alpha", "shift", "weight", "bias", "gate")
        results, expected = differentiated(add_reference, grads, tensors)
        for dim in range(3):
            parts = [
                None if t is None else distribute_tensor(t, mesh, [placed(t, 1 if t.numel() == 1 else 3, dim, x)])
                for t in tensors
            ]
            leaves = [t.requires_grad_() for t in parts if t is not None]
            with CommDebugMode() as communication:
                found = derf.functional.add_pointwise_norm(**dict(zip(names, parts, strict=True)))
            assert communication.get_total_counts() == 0, (gate, dim)
            for part, truth in zip(found, results, strict=True):
                assert part.placements == (Shard(dim),)
                close(part.full_tensor(), truth)
            parts = [distribute_tensor(g, mesh, [Shard(dim)]) for g in grads]
            for part, truth in zip(
                torch.autograd.grad(found, leaves, parts), [g for g in expected if g is not None], strict=True
            ):
                close(part.full_tensor(), truth)


@check
def outputs_of_eight_bits(rank, size, mesh):
    torch.manual_seed(0)
    x, residual, weight, alpha = torch.randn(4, 8), torch.randn(4, 8), torch.randn(8), torch.ones(1)
    for scale in (torch.full((1,), 0.02), torch.rand(8) + 0.1):
        for more in ({}, {"unquantized": True}, {"residual": residual}, {"residual": residual, "unquantized": True}):
            options = {"weight": weight, "dtype": torch.int8, **more}
            expected = derf.functional.quantized_pointwise_norm(x, scale, alpha, **options)
            for dim in range(2):

                def part(t, dim=dim):
                    if not isinstance(t, torch.Tensor):
                        return t
                    return distribute_tensor(t, mesh, [placed(t, 1 if t.numel() == 1 else 3, dim, x)])

                parts, more_parts = [part(t) for t in (x, scale, alpha)], {n: part(t) for n, t in options.items()}
                with CommDebugMode() as communication:
                    found = derf.functional.quantized_pointwise_norm(*parts, **more_parts)
                assert communication.get_total_counts() == 0, (more, dim)
                pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
                for one, truth in pairs:
                    assert torch.equal(one.full_tensor(), truth), (more, dim)


def placed(tensor, index, dim, input):
    """Where a parameter lies beside an input that is sharded along dim."""
    own = dim - (input.dim() - tensor.dim())
    is_scalar = index in (1, 2) and tensor.numel() == 1
    return Shard(own) if own >= 0 and not is_scalar and tensor.shape[own] != 1 else WHOLE


@check
def what_lies_elsewhere_is_moved(rank, size, mesh):
    # One key of DTensor's cache stands for shift and weight, or weight and bias: absent tensors are not in it.
    tensors, _ = SHARDED["for each channel"]()
    x, a, s, w, b = tensors
    for given in ((x, a, s, w, None), (x, a, None, w, b), (x, a, s, None, b), (x, a, s, w, b)):
        parts = [
            None if t is None else distribute_tensor(t, mesh, [WHOLE if i else Shard(1)]) for i, t in enumerate(given)
        ]
        leaves = [t.requires_grad_() for t in parts if t is not None]
        expected = differentiated(derf.functional.pointwise_norm, torch.ones_like(x), given, function="isru")
        result = derf.functional.pointwise_norm(*parts, function="isru")
        close(result.full_tensor(), expected[0])
        found = torch.autograd.grad(result.sum(), leaves)
        for mine, truth in zip(found, [g for g in expected[1] if g is not None], strict=True):
            close(mine.full_tensor(), truth)


@check
def second_derivatives_of_the_family(rank, size, mesh):
    def second(leaves, function):
        output = derf.functional.pointwise_norm(*leaves, function=function, clip=0.9)
        first = torch.autograd.grad(output.square().sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), leaves)

    tensors, _ = SHARDED["for each channel"]()
    for function in ("erf", "tanh", "isru"):
        expected = second([t.clone().requires_grad_() for t in tensors], function)
        for dim in (0, 1):
            parts = [distribute_tensor(t, mesh, [placed(t, i, dim, tensors[0])]) for i, t in enumerate(tensors)]
            for gradient, truth in zip(second([p.requires_grad_() for p in parts], function), expected, strict=True):
                close(gradient.full_tensor(), truth, 1e-10)


@check
def functions_of_sums_are_not_taken_for_each_other(rank, size, mesh):
    # A sum over the processes has to be moved first; DTensor's cache must know which function follows.
    u = torch.randn(4, 8, dtype=torch.float64)
    part = DTensor.from_local(u / size, mesh, [Partial()])
    for function in ("erf", "tanh", "isru"):
        for order in (0, 1, 2):
            expected = torch.ops.derf.function(u, function, order)
            close(torch.ops.derf.function(part, function, order).full_tensor(), expected)


@check
def parallel_layers_of_the_family(rank, size, mesh):
    input = torch.randn(3, 4 * size, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for build in (
        lambda: derf.DyT(8, dtype=torch.float64),
        lambda: derf.PointwiseNorm(8, "isru", per_channel=True, clip=0.9, dtype=torch.float64),
    ):
        alone = build()
        expected = alone(input)
        expected.square().sum().backward()
        for dim in (1, -1):
            layer = parallelize_module(build(), mesh, derf.distributed.DerfParallel(dim=dim))
            output = layer(input.chunk(size, dim=dim)[rank])
            close(output.full_tensor(), expected)
            output.square().sum().backward()
            for parameter, truth in zip(layer.parameters(), alone.parameters(), strict=True):
                close(parameter.grad.full_tensor(), truth.grad)
            whole = layer.alpha.placements == (WHOLE,)
            assert whole == (dim == 1 or not layer.per_channel)


@check
def sequence_parallel_layers(rank, size, mesh):
    input = torch.randn(3, 4 * size, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    alone = derf.Derf(8, dtype=torch.float64)
    expected = alone(input)
    expected.square().sum().backward()
    for style in (SequenceParallel(), derf.distributed.DerfParallel()):
        layer = parallelize_module(derf.Derf(8, dtype=torch.float64), mesh, style)
        output = layer(input.chunk(size, dim=1)[rank])
        assert output.placements == (Shard(1),) and torch.equal(output.full_tensor(), expected)
        output.square().sum().backward()
        for parameter, truth in zip(layer.parameters(), alone.parameters(), strict=True):
            close(parameter.grad.full_tensor(), truth.grad)


@check
def channels_stay_sharded_between_column_and_row_parallel_layers(rank, size, mesh):
    torch.manual_seed(0)
    alone = nn.Sequential(nn.Linear(8, 16), derf.Derf(16), nn.Linear(16, 8)).double()
    nn.init.normal_(alone[1].weight)
    plan = {"0": ColwiseParallel(use_local_output=False), "1": derf.distributed.DerfParallel(dim=-1),
            "2": RowwiseParallel()}  # fmt: skip
    parallel = parallelize_module(copy.deepcopy(alone), mesh, plan)
    input = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert parallel[1].weight.placements == (Shard(0),) and parallel[1].weight.to_local().numel() == 16 // size
    with CommDebugMode() as communication:
        output = parallel(input)
    assert communication.get_total_counts() == 1  # of the row-parallel layer
    close(output, alone(input))
    output.square().sum().backward()
    alone(input).square().sum().backward()
    for mine, truth in zip(parallel.parameters(), alone.parameters(), strict=True):
        close(mine.grad.full_tensor(), truth.grad)


@check
def the_parallel_style_refuses_other_layers(rank, size, mesh):
    for make, part in (
        (lambda: derf.distributed.DerfParallel(dim="channels"), "dim must be an int"),
        (lambda: parallelize_module(nn.LayerNorm(8), mesh, derf.distributed.DerfParallel()), "LayerNorm"),
    ):
        try:
            make()
        except TypeError as error:
            assert str(error).startswith("derf: ") and part in str(error)
        else:
            raise AssertionError("no error")


@check
def fully_sharded_training(rank, size, mesh):
    fully = model()
    for layer in (fully[1], fully[4], fully):
        fully_shard(layer, mesh=mesh)
    train(fully, [mine(batch(step, 4 * size), rank, size) for step in range(3)])
    for parameter, truth in zip(fully.parameters(), trained_alone(size).parameters(), strict=True):
        close(parameter.full_tensor(), truth)


@check
def fully_sharded_training_in_mixed_precision(rank, size, mesh):
    fully = model(torch.float32)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for layer in (fully[1], fully):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    dtypes = set()
    fully[1].register_forward_hook(lambda layer, inputs, output: dtypes.update((inputs[0].dtype, output.dtype)))
    train(fully, [mine(batch(step, 4 * size, torch.float32), rank, size) for step in range(3)])
    assert dtypes == {torch.bfloat16}
    for parameter, truth in zip(fully.parameters(), trained_in_bfloat16(size).parameters(), strict=True):
        assert parameter.dtype == torch.float32
        close(parameter.full_tensor(), truth.detach(), 1e-6)  # float32 sums of the ranks' gradients in another order


@check
def replicated_training(rank, size, mesh):
    replicated = DistributedDataParallel(model())
    train(replicated, [mine(batch(step, 4 * size), rank, size) for step in range(3)])
    for parameter, truth in zip(replicated.parameters(), trained_alone(size).parameters(), strict=True):
        close(parameter.detach(), truth.detach())


@check
def checkpoints_of_two_processes_load_in_any_number(rank, size, mesh):
    folder = str(FOLDER.parent / "checkpoint")
    sharded_model = fully_shard(model(), mesh=mesh)
    if size == 2:
        train(sharded_model, [mine(batch(step, 4 * size), rank, size) for step in range(3)])
        dcp.save({"model": get_model_state_dict(sharded_model)}, checkpoint_id=folder)
        return
    state = {"model": get_model_state_dict(sharded_model)}
    dcp.load(state, checkpoint_id=folder)
    set_model_state_dict(sharded_model, state["model"])
    for parameter, truth in zip(sharded_model.parameters(), trained_alone(2).parameters(), strict=True):
        close(parameter.full_tensor(), truth)


def main(rank, size):
    store = f"file://{FOLDER}/store"
    dist.init_process_group("gloo", store, timeout=timedelta(seconds=60), rank=rank, world_size=size)
    mesh = init_device_mesh("cpu", (size,))
    wrong = {}
    for name, function in CHECKS.items():
        torch.manual_seed(0)
        try:
            function(rank, size, mesh)
            wrong[name] = None
        except Exception:
            wrong[name] = traceback.format_exc()
    torch.save(wrong, FOLDER / f"{rank}.pt")


if __name__ == "__main__":
    FOLDER = Path(sys.argv[3])
    torch.set_num_threads(1)
    main(int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)  # gloo's threads abort at exit now and then
