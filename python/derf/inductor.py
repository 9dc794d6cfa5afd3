"""Fusions in compiled models: what stands around a layer goes into its call, in the graph that Inductor gets.

The pass works on the graph before autograd, so that the backward of a fused call is the fused backward. That graph may
change tensors in place: a fusion moves no read past what could change the memory that is read, or the modes of PyTorch.
"""

import operator
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch._inductor import config
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._subclasses import FakeTensor
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import statically_known_true

from .modules import STUDY

_aten, _ops = torch.ops.aten, torch.ops.derf
_ADD = {operator.add, torch.add, _aten.add.Tensor, "add"}
_MUL = {operator.mul, torch.mul, _aten.mul.Tensor, "mul"}
_LAYERS = {_ops.derf, _ops.derf.default, _ops.pointwise_norm, _ops.pointwise_norm.default}
# Functions and methods that change no tensor: what they are given may be read before or after them.
_PURE = _ADD | _MUL | _LAYERS | {operator.getitem, operator.sub, operator.truediv, torch.chunk, torch.unsqueeze}
_PURE |= {"chunk", "unsqueeze", "size", "reshape", "view", "to", "type_as"}


class CompilePasses(CustomGraphPass):
    """What :func:`derf.compile_passes` returns: the pass, and how often it fused. Prints as a list.

    Attributes:
        fused: how many calls there are in compiled graphs of "add", "gated add" and "modulation".
    """

    def __init__(self) -> None:
        self.fused: Counter[str] = Counter()
        self._earlier = config.pre_grad_custom_pass
        self._enabled = True
        config.pre_grad_custom_pass = self

    def disable(self) -> None:
        """Compile without the pass from now on. What is compiled stays. A second call does nothing."""
        self._enabled = False  # for whoever holds it
        if config.pre_grad_custom_pass is self:
            config.pre_grad_custom_pass = self._earlier

    def __enter__(self) -> "CompilePasses":
        return self

    def __exit__(self, *_: Any) -> None:
        self.disable()

    def __str__(self) -> str:
        return "\n".join(f"{name}: {count}" for name, count in sorted(self.fused.items())) or "nothing was fused"

    def __call__(self, graph: Graph) -> None:
        """Inductor calls it with each graph."""
        for earlier in self._earlier_passes():
            earlier(graph)
        if self._enabled:
            self.fused.update(fuse(graph))

    def uuid(self) -> Any:
        """What Inductor's cache knows it by: None, which means no cache, where an earlier pass has no uuid."""
        own = get_hash_for_files((__file__,)).hex() if self._enabled else ""
        earlier = [p.uuid() if isinstance(p, CustomGraphPass) else None for p in self._earlier_passes()]
        return None if None in earlier else (own, *earlier)

    def _earlier_passes(self) -> Iterable[Any]:
        passes = self._earlier
        return passes if isinstance(passes, (list, tuple)) else () if passes is None else (passes,)


def fuse(graph: Graph) -> Counter[str]:
    """Fuse what there is in a graph, and count it."""
    counts: Counter[str] = Counter()
    for rewrite in (_modulated, _added):
        for node in list(graph.nodes):
            if node.op == "call_function" and node.target in _LAYERS:
                counts.update(filter(None, [rewrite(graph, node)]))
    return counts


def _modulated(graph: Graph, layer: Node) -> str | None:
    """layer(x) * factor + shift, in one call."""
    call = _call(layer)
    if call is None or not (call["weight"] is call["bias"] is None) or len(layer.users) != 1 or not _has_channels(call):
        return None
    x, product = call["input"], next(iter(layer.users))
    factor = _other(product, _MUL, layer)
    if factor is None or not _fits(factor, x) or _value(product).dtype != _value(x).dtype:
        return None
    scale, offset = _from_one(factor)
    if not offset and not _is_small(factor, x):
        return None
    last, shift = product, None
    if len(product.users) == 1:
        sum = next(iter(product.users))
        shift = _other(sum, _ADD, product)
        per_token = shift is not None and not _is_small(shift, x)
        fits = shift is not None and _fits(shift, x) and _value(sum).dtype == _value(x).dtype
        last, shift = (sum, shift) if fits and (not per_token or not _is_small(factor, x)) else (product, None)
    if shift is not None and _value(shift).dim() != _value(scale).dim():
        return None
    operands = [x, call["alpha"], call["shift"], scale, shift]
    if not (_can_move(operands[:3], layer, last) and _can_move([scale], factor if offset else product, last)):
        return None
    with graph.inserting_before(last):
        options = {"function": call["function"], "channel_dim": -1, "weight_offset": offset}
        new = graph.call_function(_ops.pointwise_norm.default, tuple(operands), options)
    _take_place(new, last)
    _erase(graph, last, product, layer)
    return "modulation"


def _added(graph: Graph, layer: Node) -> str | None:
    """A layer of left + right, in one call that returns the sum too."""
    call = _call(layer)
    sum = call["input"] if call is not None else None
    operands = _operands(sum, _ADD)
    if operands is None or not all(_is_alike(operand, sum) for operand in operands):
        return None
    left, right = operands
    gated = next(filter(None, (_gate(each, sum, call) for each in (right, left))), None)
    if gated is None:
        first, residual, branch, gate = sum, right, left, None
    else:
        first, branch, gate = gated
        residual = left if first is right else right
    parameters = [call[name] for name in ("alpha", "shift", "weight", "bias")]
    place = _place(graph, sum, layer, [*parameters, gate])
    if place is None or not (
        _can_move([sum, *parameters], sum, layer)
        and _can_move([branch, gate], first, place)
        and _can_move([residual], sum, place)
    ):
        return None
    with graph.inserting_before(place):
        options = {name: call[name] for name in ("function", "channel_dim", "weight_offset")}
        new = graph.call_function(_ops.add_pointwise_norm.default, (branch, residual, *parameters, gate), options)
        results = [graph.call_function(operator.getitem, (new, at)) for at in range(2)]
    _take_place(results[0], layer)
    _take_place(results[1], sum)
    new.meta = {**layer.meta, _key(layer): (_value(layer), _value(sum))}
    _erase(graph, layer, sum, *([] if gated is None else [first]))
    return "add" if gated is None else "gated add"


def _call(layer: Node) -> dict[str, Any] | None:
    """The arguments of a layer's call, or None where it has studies or its input is not known."""
    schema = _ops.derf.default._schema if "pointwise" not in str(layer.target) else _ops.pointwise_norm.default._schema
    arguments = {}
    for at, argument in enumerate(schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        arguments[argument.name] = layer.args[at] if at < len(layer.args) else layer.kwargs.get(argument.name, default)
    arguments = {"function": "erf", "weight_offset": 0.0, **STUDY, **arguments}
    known = isinstance(arguments["input"], Node) and _value(arguments["input"]) is not None
    return arguments if known and all(arguments[name] == value for name, value in STUDY.items()) else None


def _has_channels(call: dict[str, Any]) -> bool:
    """Whether the channels are the last dimension and no other, for all parameters."""
    dims = _value(call["input"]).dim()
    values = [_value(node) for node in (call["alpha"], call["shift"], call["weight"], call["bias"]) if node is not None]
    return call["channel_dim"] == -1 and all(value is not None and value.dim() in (0, 1, dims) for value in values)


def _key(node: Node) -> str:
    """Where Dynamo, or else torch.export, notes what a node gives."""
    return "example_value" if "example_value" in node.meta else "val"


def _value(node: Any) -> FakeTensor | None:
    """A tensor like the one that a node gives, as far as it is known to be a plain one."""
    value = node.meta.get(_key(node)) if isinstance(node, Node) else None
    return value if type(value) is FakeTensor else None


def _operands(node: Any, targets: set[Any]) -> tuple[Any, Any] | None:
    """Both operands of a sum or product of two."""
    if not isinstance(node, Node) or node.op not in ("call_function", "call_method") or node.target not in targets:
        return None
    return (node.args[0], node.args[1]) if len(node.args) == 2 and not node.kwargs else None


def _other(node: Node, targets: set[Any], one: Node) -> Node | None:
    """The tensor beside this one in a sum or product."""
    operands = _operands(node, targets)
    if operands is None or (operands[0] is one) == (operands[1] is one):
        return None
    other = operands[1] if operands[0] is one else operands[0]
    return None if _value(other) is None or _value(node) is None else other


def _same(a: Iterable[Any], b: Iterable[Any]) -> bool:
    """Whether sizes are equal whatever the dynamic ones are."""
    a, b = tuple(a), tuple(b)
    return len(a) == len(b) and all(statically_known_true(n == m) for n, m in zip(a, b, strict=True))


def _is_alike(node: Any, like: Node) -> bool:
    a, b = _value(node), _value(like)
    if a is None or b is None or a.layout != torch.strided:
        return False
    return a.dtype == b.dtype and a.device == b.device and _same(a.shape, b.shape) and _same(a.stride(), b.stride())


def _fits(node: Node, x: Node) -> bool:
    """Whether the operator takes it as a weight or bias beside x: a number for each channel of each group."""
    tensor, like = _value(node), _value(x)
    if tensor.dtype != like.dtype or tensor.device != like.device or not tensor.dim():
        return False
    if tensor.dim() not in (1, like.dim()) or not _same(tensor.shape[-1:], like.shape[-1:]):
        return False
    sizes = zip(tensor.shape[:-1], like.shape[-tensor.dim() : -1], strict=True)
    return all(statically_known_true(n == 1) or statically_known_true(n == m) for n, m in sizes)


def _is_small(node: Node, x: Node) -> bool:
    """Whether it is not of the size of x."""
    return not _same(_value(node).shape, _value(x).shape)


def _from_one(factor: Node) -> tuple[Node, float]:
    """scale and 1 where the factor is 1 + scale, else the factor and 0."""
    for one, scale in [operands, operands[::-1]] if (operands := _operands(factor, _ADD)) else []:
        if type(one) in (int, float) and one == 1 and _value(scale) is not None:
            if _value(scale).dtype == _value(factor).dtype and _same(_value(scale).shape, _value(factor).shape):
                return scale, 1.0
    return factor, 0.0


def _gate(product: Any, sum: Node, call: dict[str, Any]) -> tuple[Node, Node, Node] | None:
    """The product, the branch and its gate, where a summand is a gated branch."""
    operands = _operands(product, _MUL)
    if operands is None or len(product.users) != 1 or not _has_channels(call):
        return None
    for branch, gate in (operands, operands[::-1]):
        if _is_alike(branch, sum) and _value(gate) is not None and _is_gate(gate, sum):
            return product, branch, gate
    return None


def _is_gate(node: Node, sum: Node) -> bool:
    tensor, like = _value(node), _value(sum)
    if tensor.dtype != like.dtype or tensor.device != like.device or not _is_small(node, sum):
        return False
    if tensor.dim() == 1:
        return _same(tensor.shape, like.shape[-1:])
    sizes = zip(tensor.shape, like.shape, strict=False)
    return tensor.dim() == like.dim() and all(
        statically_known_true(n == 1) or statically_known_true(n == m) for n, m in sizes
    )


def _can_move(reads: Iterable[Node | None], first: Node, last: Node) -> bool:
    """Whether these can be read at one node instead of the other."""
    memory = {storage for node in reads if node is not None for storage in _storages(node)}
    node = first
    while node is not last and (node := node.next) is not last:
        if node.op == "root" or node.op == "call_module":
            return False
        if node.op in ("call_function", "call_method") and (node.target not in _PURE or "out" in node.kwargs):
            # With a value that is a tensor it is no change of a mode. Else it can change its arguments alone.
            if not _storages(node) or any(memory.intersection(_storages(given)) for given in node.all_input_nodes):
                return False
    return True


def _storages(node: Node) -> set[int]:
    """The memory of what a node gives: views have that of what they are views of."""
    value = node.meta.get(_key(node))
    tensors = value if isinstance(value, (tuple, list)) else [value]
    return {tensor.untyped_storage()._cdata for tensor in tensors if type(tensor) is FakeTensor}


def _place(graph: Graph, sum: Node, layer: Node, operands: list[Node | None]) -> Node | None:
    """Before which of the two both can be computed: all operands are there, and nobody has read the sum."""
    order = {node: at for at, node in enumerate(graph.nodes)}
    if all(order[operand] < order[sum] for operand in operands if operand is not None):
        return sum
    return layer if all(order[user] >= order[layer] for user in sum.users) else None


def _take_place(new: Node, old: Node) -> None:
    new.meta = dict(old.meta)
    old.replace_all_uses_with(new)


def _erase(graph: Graph, *nodes: Node) -> None:
    for node in nodes:
        graph.erase_node(node)
