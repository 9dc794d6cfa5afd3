"""Derf in distributed programs: importing this module tells DTensor how the operators shard.

Being pointwise, Derf communicates nothing in the forward, whichever dimensions of its input are sharded. In the
backward the gradients of alpha and shift are partial sums, as are those of weight and bias where the channels are not
sharded. FSDP, DDP and ``torch.distributed.checkpoint`` need nothing of this module.

It needs torch 2.11: second derivatives of DTensor's came out wrong under torch 2.7.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
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
from torch.distributed.tensor._op_schema import RuntimeSchemaInfo
from torch.distributed.tensor.experimental import register_sharding
from torch.distributed.tensor.parallel import ParallelStyle

from .modules import PointwiseNorm

if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11):
    raise ImportError(
        f"derf.distributed needs torch 2.11 or newer, and this is torch {torch.__version__}, whose DTensor gives wrong "
        "second derivatives. DDP and FSDP do not need it."
    )

_Rule = tuple[list[Placement | None], list[Placement | None]]  # of the results, of the arguments
_Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Operand:
    """How a parameter lies beside input: its dimension beside input's `dim` is `dim - first`."""

    shape: _Shape
    first: int

    @staticmethod
    def of(parameter: Tensor | None, input: Tensor, channel_dim: int, *, is_scalar: bool) -> "_Operand | None":
        if parameter is None:
            return None
        shape = tuple(parameter.shape)
        one = is_scalar and len(shape) < 2 and prod(shape) == 1
        whole = len(shape) == input.ndim  # a gate may have dimensions after the channels
        return _Operand(() if one else shape, 0 if whole else channel_dim % max(input.ndim, 1) + 1 - len(shape))

    def placed(self, dim: int) -> Placement:
        """Where it lies when input is sharded along a dimension."""
        own = dim - self.first
        return Shard(own) if 0 <= own < len(self.shape) and self.shape[own] != 1 else Replicate()


def _rules(tensors: tuple[Tensor | None, ...], channel_dim: int) -> Iterator[tuple[Placement, list[Any], list[Any]]]:
    """For each way in which input may lie on one dimension of a mesh: input, the parameters, and their gradients.

    A gradient is sharded as its parameter, and a sum over what other processes have where that is replicated.
    """
    input, *parameters = tensors
    operands = [_Operand.of(p, input, channel_dim, is_scalar=i < 2) for i, p in enumerate(parameters)]
    whole = [operand and Replicate() for operand in operands]
    yield Replicate(), whole, whole
    for dim in range(input.ndim):
        placed = [operand and operand.placed(dim) for operand in operands]
        gradients = [p if isinstance(p, Shard) else p and Partial() for p in placed]
        yield Shard(dim), placed, gradients


def _forward_rules(tensors: tuple[Tensor | None, ...], channel_dim: int, further: int) -> list[_Rule]:
    return [([x], [x, *placed, *[None] * further]) for x, placed, _ in _rules(tensors, channel_dim)]


def _backward_rules(
    tensors: tuple[Tensor | None, ...], channel_dim: int, output_mask: list[bool], further: int
) -> list[_Rule]:
    rules: list[_Rule] = []
    for x, placed, gradients in _rules(tensors, channel_dim):
        results = [result if wanted else None for result, wanted in zip([x, *gradients], output_mask, strict=True)]
        rules.append((results, [x, x, *placed, *[None] * further]))
    return rules


@register_sharding(torch.ops.derf.derf.default)
def _derf(
    input: Tensor,
    alpha: Tensor,
    shift: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    channel_dim: int = -1,
) -> list[_Rule]:
    return _forward_rules((input, alpha, shift, weight, bias), channel_dim, 1)


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
    return _backward_rules((input, alpha, shift, weight, bias), channel_dim, output_mask, 2)


@register_sharding(torch.ops.derf.pointwise_norm.default)
def _pointwise_norm(
    input: Tensor,
    alpha: Tensor,
    shift: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    channel_dim: int = -1,
    **_: Any,
) -> list[_Rule]:
    return _forward_rules((input, alpha, shift, weight, bias), channel_dim, 0)


@register_sharding(torch.ops.derf.pointwise_norm_backward.default)
def _pointwise_norm_backward(
    grad_output: Tensor,
    input: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    channel_dim: int,
    *rest: Any,
) -> list[_Rule]:
    *options, output_mask = rest
    return _backward_rules((input, alpha, shift, weight, bias), channel_dim, output_mask, len(options) + 2)


@register_sharding(torch.ops.derf.add_pointwise_norm.default)
def _add_pointwise_norm(
    input: Tensor,
    residual: Tensor,
    alpha: Tensor,
    shift: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    gate: Tensor | None = None,
    *,
    channel_dim: int = -1,
    **_: Any,
) -> list[_Rule]:
    return [
        ([x, x], [x, x, *placed]) for x, placed, _ in _rules((input, alpha, shift, weight, bias, gate), channel_dim)
    ]


@register_sharding(torch.ops.derf.quantized_pointwise_norm.default)
def _quantized_pointwise_norm(
    input: Tensor,
    scale: Tensor,
    alpha: Tensor,
    shift: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    gate: Tensor | None = None,
    *,
    channel_dim: int = -1,
    unquantized: bool = False,
    **__: Any,
) -> list[_Rule]:
    rules: list[_Rule] = []
    of_scale = _Operand.of(scale, input, channel_dim, is_scalar=True)
    for x, placed, _ in _rules((input, alpha, shift, weight, bias, gate), channel_dim):
        *parameters, of_gate = placed
        scaled = of_scale.placed(x.dim) if isinstance(x, Shard) else Replicate()
        added = None if residual is None else x
        rules.append(([x, x if unquantized else None, added], [x, scaled, *parameters, added, of_gate]))
    return rules


# Whether the output is wanted decides what is returned, so that it is in the key of DTensor's cache too.
DTensor._op_dispatcher.sharding_propagator.op_to_schema_info[torch.ops.derf.quantized_pointwise_norm.default] = (
    RuntimeSchemaInfo(100, ["dtype", "unquantized", "channel_dim"], needs_pytree=True)
)


@register_sharding(torch.ops.derf.add_pointwise_norm_backward.default)
def _add_pointwise_norm_backward(
    grad_output: Tensor,
    grad_sum: Tensor | None,
    input: Tensor | None,
    sum: Tensor,
    alpha: Tensor,
    shift: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    gate: Tensor | None,
    channel_dim: int,
    function: str,
    weight_offset: float,
    output_mask: list[bool],
) -> list[_Rule]:
    rules: list[_Rule] = []
    for x, placed, gradients in _rules((sum, alpha, shift, weight, bias, gate), channel_dim):
        results = [result if wanted else None for result, wanted in zip([x, x, *gradients], output_mask, strict=True)]
        arguments = [x, None if grad_sum is None else x, None if input is None else x, x, *placed, *[None] * 4]
        rules.append((results, arguments))
    return rules


@register_sharding(torch.ops.derf.function.default)
def _function(u: Tensor, function: str, order: int = 0) -> list[_Rule]:
    return [([x], [x, None, None]) for x in (Replicate(), *map(Shard, range(u.ndim)))]


# What comes before the first int is not in the key of DTensor's cache, and where u has to be moved, one function would
# be called for another. So everything after u is in it.
DTensor._op_dispatcher.sharding_propagator.op_to_schema_info[torch.ops.derf.function.default] = RuntimeSchemaInfo(
    1, needs_pytree=True
)


class DerfParallel(ParallelStyle):
    """How ``torch.distributed.tensor.parallel.parallelize_module`` shards a layer: a ``derf.PointwiseNorm``,
    ``derf.Derf`` or ``derf.DyT``.

    Args:
        dim: the dimension of the input that is sharded: 1 (default) for sequences, 0 for the batch. A dimension of the
            channels (given as a negative number if the layer's channel_dim is -1) shards weight and bias too, and alpha
            and shift for each channel, so that the layer fits between ``ColwiseParallel`` and ``RowwiseParallel``
            without communication.
        use_local_output: whether the output is the local tensor instead of a DTensor.

    An input that is a plain tensor is taken as the local shard; a DTensor is redistributed if it is placed otherwise.
    The parameters of the mesh's first rank are broadcast.

    Raises:
        TypeError: if dim is not an int, or the module is not a ``derf.PointwiseNorm``.

    >>> import derf.distributed
    >>> plan = {"norm": derf.distributed.DerfParallel(), "mlp.norm": derf.distributed.DerfParallel(dim=-1)}
    """

    def __init__(self, *, dim: int = 1, use_local_output: bool = False) -> None:
        super().__init__()
        if not isinstance(dim, int) or isinstance(dim, bool):
            raise TypeError(f"derf: dim must be an int, but is {dim!r}")
        self.dim = dim
        self.use_local_output = use_local_output

    def _channel_dim(self, module: PointwiseNorm) -> int | None:
        """The dimension of weight and bias that is sharded, or None."""
        if module.channel_dim != -1:
            return 0 if self.dim == module.channel_dim else None
        dim = self.dim + len(module.normalized_shape)
        return dim if self.dim < 0 <= dim else None

    def _shard_parameters(self, name: str, module: Any, device_mesh: DeviceMesh) -> None:
        channel_dim = self._channel_dim(module)
        for key, parameter in list(module.named_parameters(recurse=False)):
            of_channels = channel_dim is not None and (key in ("weight", "bias") or module.per_channel)
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
        if not isinstance(module, PointwiseNorm):
            raise TypeError(
                f"derf: DerfParallel shards a derf.PointwiseNorm, but the plan names a {type(module).__name__}"
            )
        before: Any = self._shard_input  # torch's own styles give these two likewise, whatever the annotation says
        after: Any = self._finish
        return distribute_module(module, device_mesh, self._shard_parameters, before, after)
