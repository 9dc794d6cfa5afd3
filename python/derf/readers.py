"""What reads a layer's output, in the graph of an exported program."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

_aten = torch.ops.aten
_LAYERS = {torch.ops.derf.derf.default, torch.ops.derf.pointwise_norm.default}
_SAME = {_aten.clone.default, _aten.contiguous.default, _aten.detach.default, _aten.alias.default}
_SAME |= {_aten.lift_fresh_copy.default, _aten.detach_.default}
_RESHAPES = {_aten.view.default, _aten.reshape.default, _aten._unsafe_view.default, _aten.flatten.using_ints}
_PICKS = {_aten.slice.Tensor: 2, _aten.select.int: 2, _aten.index_select.default: 3}
_CONVOLUTIONS = {getattr(_aten, f"conv{n}d") for n in (1, 2, 3)}


class Unfoldable(Exception):
    """Why a layer's weight and bias stay where they are."""


@dataclass(frozen=True)
class Reader:
    """One Linear or convolution in the graph.

    Args:
        node: its call.
        weight, bias: names of its parameters; bias may be None.
        channels: the dimension of the weight that belongs to the input's channels.
        groups: of a convolution; 1 for a Linear.
        pads: whether zeros are put around the input.
        others: all calls that read these parameters.
    """

    node: Node
    weight: str
    bias: str | None
    channels: int
    groups: int
    pads: bool
    others: frozenset[Node]

    @property
    def what(self) -> str:
        return str(self.node.target)


@dataclass(frozen=True)
class Call:
    """One call of a layer, with the names of the parameters it was given; "" for a tensor that is no parameter."""

    node: Node
    alpha: str
    weight: str | None
    bias: str | None
    weight_offset: float
    names: dict[str, str]

    def readers(self) -> Iterator[Reader]:
        """Everything that reads this call; raises Unfoldable where that is no Linear or convolution."""
        channel_dim = _argument(self.node, "channel_dim", -1)
        width = _channels(self.node)
        dim = channel_dim % self.node.meta["val"].dim()
        if width != 1:  # weight has more dimensions than one: the last ones
            raise Unfoldable("its channels are more than one dimension")
        yield from _followed(self.node, dim, self.names)


def calls_of(program: ExportedProgram) -> Iterator[Call]:
    """The calls of layers."""
    names = dict(program.graph_signature.inputs_to_parameters)
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target in _LAYERS:
            alpha, weight, bias = (_argument(node, name, None) for name in ("alpha", "weight", "bias"))
            of_weight, of_bias = (None if t is None else names.get(t.name, "") for t in (weight, bias))
            offset = _argument(node, "weight_offset", 0.0)
            yield Call(node, names.get(alpha.name, ""), of_weight, of_bias, offset, names)


def _argument(node: Any, name: str, default: Any) -> Any:
    """An argument of a call, however it was passed."""
    for place, argument in enumerate(node.target._schema.arguments):
        if argument.name == name:
            return node.args[place] if place < len(node.args) else node.kwargs.get(name, default)
    return default


def _channels(node: Node) -> int:
    """How many dimensions the channels have."""
    for name in ("weight", "bias"):
        parameter = _argument(node, name, None)
        if parameter is not None:
            return parameter.meta["val"].dim()
    return 1


def _followed(node: Node, dim: int, names: dict[str, str]) -> Iterator[Reader]:
    """What reads a tensor whose channels are in dimension dim, or what is made of it without mixing them."""
    if not node.users:
        return
    for user in node.users:
        if user.op == "output":
            raise Unfoldable("it is an output of the model")
        moved = _dimension_behind(user, node, dim)
        if moved is not None:
            yield from _followed(user, moved, names)
        else:
            yield _reader(user, node, dim, names)


def _dimension_behind(user: Any, node: Node, dim: int) -> int | None:
    """Where the channels are behind a call that moves elements alone, or None where it is no such call."""
    target, value = user.target, user.meta.get("val")
    if user.op != "call_function" or not user.args or user.args[0] is not node or not isinstance(value, Tensor):
        return None
    before = node.meta["val"]
    if sum(argument is node for argument in user.all_input_nodes) != 1:
        return None
    if target in _SAME or (target == _aten.dropout.default and not user.args[2]):
        return dim
    if target in _RESHAPES:
        inner = prod(before.shape[dim + 1 :])  # a channel's number is (place // inner) % channels, before and behind
        places = (d for d, size in enumerate(value.shape) if size == before.shape[dim])
        return next((d for d in places if prod(value.shape[d + 1 :]) == inner), None)
    if target in _PICKS:
        at = (user.args[1] if len(user.args) > 1 else 0) % before.dim()
        return None if at == dim else dim - (target == _aten.select.int and at < dim)
    if target == _aten.transpose.int:
        a, b = (d % before.dim() for d in user.args[1:3])
        return b if dim == a else a if dim == b else dim
    if target == _aten.permute.default:
        return [d % before.dim() for d in user.args[1]].index(dim)
    if target == _aten.unsqueeze.default:
        return dim + (user.args[1] % value.dim() <= dim)
    return None


def _reader(user: Node, node: Node, dim: int, names: dict[str, str]) -> Reader:
    target, dims = user.target, node.meta["val"].dim()
    is_linear, is_addmm = target == _aten.linear.default, target == _aten.addmm.default
    is_convolution = user.op == "call_function" and getattr(target, "overloadpacket", None) in _CONVOLUTIONS
    if not (is_linear or is_addmm or is_convolution):
        raise Unfoldable(f"{target} reads it")
    input = _argument(user, "mat1" if is_addmm else "input", None)
    weight = _argument(user, "mat2" if is_addmm else "weight", None)
    bias = _argument(user, "self" if is_addmm else "bias", None)
    if input is not node or weight is node or bias is node:
        raise Unfoldable(f"{target} reads it as a weight or bias")
    if is_convolution and dim != dims - len(weight.meta["val"].shape) + 1 or not is_convolution and dim != dims - 1:
        raise Unfoldable(f"{target} reads it along another dimension than its channels")
    if is_addmm and (_argument(user, "beta", 1) != 1 or _argument(user, "alpha", 1) != 1):
        raise Unfoldable(f"{target} has factors of its own")
    of_weight, of_bias = (None if t is None else names.get(t.name) for t in (weight, bias))
    if of_weight is None or (bias is not None and of_bias is None):
        raise Unfoldable(f"{target} reads it with a weight or bias that is no parameter")
    others = frozenset(other for t in (weight, bias) if t is not None for other in t.users)
    channels = 0 if is_addmm else 1
    if not is_convolution:
        return Reader(user, of_weight, of_bias, channels, 1, False, others)
    padding = _argument(user, "padding", 0)
    kernel = weight.meta["val"].shape[2:]
    if isinstance(padding, str):
        pads = padding == "same" and any(size > 1 for size in kernel)
    else:
        pads = any(padding) if isinstance(padding, (list, tuple)) else bool(padding)
    return Reader(user, of_weight, of_bias, channels, _argument(user, "groups", 1), pads, others)
