"""Derf in distributed programs: importing this module tells DTensor how the operators shard.

Being pointwise, Derf communicates nothing in the forward, whichever dimensions of its input are sharded. In the
backward the gradients of alpha and shift are partial sums, as are those of weight and bias where the channels are not
sharded. FSDP, DDP and ``torch.distributed.checkpoint`` need nothing of this module.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import (
    DTensor,
    Partial,
    Placement,
    Replicate,
    Shard,
    distribute_module,
    distribute_tensor,
)
from torch.distributed.tensor.experimental import register_sharding
from torch.distributed.tensor.parallel import ParallelStyle

from .modules import Derf

_Rule = tuple[list[Placement | None], list[Placement | None]]  # of the results, of the arguments


def _layouts(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, channel_dim: int
) -> Iterator[tuple[Placement, Placement]]:
    """Where input may lie on one dimension of a mesh, and weight and bias then."""
    yield Replicate(), Replicate()
    parameter = bias if weight is None else weight
    last = channel_dim % max(input.ndim, 1)
    first = last + 1 - (0 if parameter is None else parameter.ndim)
    for dim in range(input.ndim):
        yield Shard(dim), Shard(dim - first) if first <= dim <= last else Replicate()


def _given(placement: Placement, tensor: Tensor | None) -> Placement | None:
    return None if tensor is None else placement


@register_sharding(torch.ops.derf.derf.default)
def _derf(
    input: Tensor,
    alpha: Tensor,
    shift: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    channel_dim: int = -1,
) -> list[_Rule]:
    return [
        ([x], [x, Replicate(), Replicate(), _given(channels, weight), _given(channels, bias), None])
        for x, channels in _layouts(input, weight, bias, channel_dim)
    ]


@register_sharding(torch.ops.derf.derf_backward.default)
def _derf_backward(
    grad_output: Tensor,
    input: Tensor,
    alpha: Tensor,
    shift: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    channel_dim: int,
    output_mask: list[bool],
) -> list[_Rule]:
    rules = []
    for x, channels in _layouts(input, weight, bias, channel_dim):
        scalar_sum = x if isinstance(x, Replicate) else Partial()
        channel_sum = channels if isinstance(channels, Shard) else scalar_sum
        results = [x, scalar_sum, scalar_sum, _given(channel_sum, weight), _given(channel_sum, bias)]
        results = [result if wanted else None for result, wanted in zip(results, output_mask, strict=True)]
        parameters = [Replicate(), Replicate(), _given(channels, weight), _given(channels, bias)]
        rules.append((results, [x, x, *parameters, None, None]))
    return rules


class DerfParallel(ParallelStyle):
    """How ``torch.distributed.tensor.parallel.parallelize_module`` shards a ``derf.Derf``.

    Args:
        dim: the dimension of the input that is sharded: 1 (default) for sequences, 0 for the batch. A dimension of the
            channels, which is told by its negative number for a layer whose channel_dim is -1, shards weight and bias
            too, so that the layer fits between ``ColwiseParallel`` and ``RowwiseParallel`` without communication.
        use_local_output: whether the output is the local tensor instead of a DTensor.

    A plain tensor that comes in is taken for the local shard; a DTensor is redistributed where it lies otherwise.
    The parameters of the mesh's first rank are broadcast.

    Raises:
        TypeError: where dim is no int, or the module no ``derf.Derf``.

    >>> import derf.distributed
    >>> plan = {"norm": derf.distributed.DerfParallel(), "mlp.norm": derf.distributed.DerfParallel(dim=-1)}
    """

    def __init__(self, *, dim: int = 1, use_local_output: bool = False) -> None:
        super().__init__()
        if not isinstance(dim, int) or isinstance(dim, bool):
            raise TypeError(f"derf: dim must be an int, but is {dim!r}")
        self.dim = dim
        self.use_local_output = use_local_output

    def _channel_dim(self, module: Derf) -> int | None:
        """The dimension of weight and bias that is sharded, or None."""
        if module.channel_dim != -1:
            return 0 if self.dim == module.channel_dim else None
        dim = self.dim + len(module.normalized_shape)
        return dim if self.dim < 0 <= dim else None

    def _shard_parameters(self, name: str, module: nn.Module, device_mesh: DeviceMesh) -> None:
        channel_dim = self._channel_dim(module)
        for key, parameter in list(module.named_parameters(recurse=False)):
            of_channels = key in ("weight", "bias") and channel_dim is not None
            placement = Shard(channel_dim) if of_channels else Replicate()
            sharded = distribute_tensor(parameter, device_mesh, [placement])
            module.register_parameter(key, nn.Parameter(sharded, requires_grad=parameter.requires_grad))

    def _shard_input(self, module: nn.Module, inputs: tuple[Any, ...], device_mesh: DeviceMesh) -> DTensor:
        (input,) = inputs
        placements = (Shard(self.dim % input.dim()),)
        if not isinstance(input, DTensor):
            return DTensor.from_local(input, device_mesh, placements, run_check=False)
        return input if input.placements == placements else input.redistribute(placements=placements)

    def _finish(self, module: nn.Module, output: DTensor, device_mesh: DeviceMesh) -> Tensor:
        return output.to_local() if self.use_local_output else output

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        if not isinstance(module, Derf):
            raise TypeError(f"derf: DerfParallel shards a derf.Derf, but the plan names a {type(module).__name__}")
        return distribute_module(module, device_mesh, self._shard_parameters, self._shard_input, self._finish)
