"""weight and bias of a layer put into what reads it, for inference: the layer keeps f(alpha x + s) alone.

What reads a layer is found in the graph that torch.export makes of the model (readers.py), not by names.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .modules import PointwiseNorm
from .passes import check_plain, evaluating
from .readers import Call, Reader, Unfoldable, calls_of
from .report import KeptNorm, table

# Classes whose forward reads self.bias, None included: a bias can be put there.
_TAKE_A_BIAS = (nn.Linear.forward, nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward)


@dataclass(frozen=True)
class FoldedLayer:
    """One layer whose weight and bias were moved into what reads it.

    Args:
        name: its qualified name.
        into: names of the weights that took them over.
        parts: what was folded: "weight, bias", or whichever of the two there was; "weight, bias / weight stays" if a
            convolution that pads reads the layer.
    """

    name: str
    into: tuple[str, ...]
    parts: str


@dataclass
class FoldReport:
    """What :func:`derf.fold` did to a model. Prints as a table.

    Attributes:
        folded: a :class:`derf.fold.FoldedLayer` for each layer that was folded.
        left: name, class and reason for each layer that was not.
    """

    folded: list[FoldedLayer] = field(default_factory=list)
    left: list[KeptNorm] = field(default_factory=list)

    def __str__(self) -> str:
        rows = [(entry.name or "(model)", entry.parts, ", ".join(entry.into)) for entry in self.folded]
        parts = [table(("name", "folded", "into"), rows) if rows else "no layer was folded"]
        if self.left:
            rows = [(entry.name or "(model)", entry.old.__name__, entry.reason) for entry in self.left]
            parts.append(table(("name", "stays", "because"), rows))
        return "\n\n".join(parts)


def fold(model: nn.Module, *args: Any, **kwargs: Any) -> FoldReport:
    """Move weight and bias of each layer into the Linears and convolutions that read it, for inference.

    They are multiplied into the reader's weight and added to its bias (which is created if there is none), in float64
    and rounded once. The layer keeps alpha and shift and computes only f(alpha x + s). Outputs are equal within
    rounding. It works for :class:`derf.Derf`, :class:`derf.DyT` and every :class:`derf.PointwiseNorm`.

    A layer is folded if everything that reads it, in every call, is a Linear (including ``addmm``, as in GPT-2's
    Conv1D) or a convolution whose weight nothing else reads. Operations that leave channels in place may come between.
    That is taken from the graph of ``torch.export`` for these arguments, so it holds for calls that take the same path
    through the model's Python code. A convolution that pads with zeros does not see a bias there: it gets the weight,
    and the layer keeps bias / weight. All other layers are left, and the report says why.

    Checkpoints of the model no longer fit afterwards; fold after loading. Shared weights are left.

    Args:
        model: in eval mode, with all its modules; it is changed in place.
        args, kwargs: an example of what the model is called with.

    Returns:
        A :class:`derf.FoldReport`.

    Raises:
        TypeError: if model is not an ``nn.Module``, or is or contains a scripted, compiled or distributed module.
        ValueError: if a module is in training mode.
        RuntimeError: if torch.export cannot trace the model with these arguments. The model is unchanged then.

    >>> import torch, derf
    >>> model = torch.nn.Sequential(derf.Derf(4), torch.nn.Linear(4, 2)).eval()
    >>> print(derf.fold(model, torch.randn(3, 4)))
    name  folded        into
    ----  ------------  --------
    0     weight, bias  1.weight
    >>> model[0]
    Derf((4,), alpha_init=0.5, shift_init=0.0, elementwise_affine=False)
    """
    check_plain(model, "fold")
    for name, module in model.named_modules():
        if module.training:
            raise ValueError(f"derf: model must be in eval mode, but {name or 'model'} is in training mode")
    calls = _calls(model, args, kwargs)
    owners = _Owners(model)
    report = FoldReport()
    for name, layer in model.named_modules():
        if not isinstance(layer, PointwiseNorm) or (layer.weight is None and layer.bias is None):
            continue
        try:
            mine = [call for own in owners.names_of(layer.alpha) for call in calls.get(own, ())]
            readers = _readers(layer, mine, owners)
            parts = _fold(layer, mine[0].weight_offset, readers, owners)
        except Unfoldable as reason:
            report.left.append(KeptNorm(name, type(layer), str(reason)))
        else:
            report.folded.append(FoldedLayer(name, tuple(dict.fromkeys(reader.weight for reader in readers)), parts))
    return report


def _calls(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, list[Call]]:
    """The calls of layers in the model's graph, by the name of the parameter alpha."""
    with evaluating(model):
        try:
            program = torch.export.export(model, args, kwargs, strict=False)
        except Exception as error:
            raise RuntimeError(f"derf: model cannot be exported with these arguments: {error}") from error
    found = defaultdict(list)
    for call in calls_of(program):
        found[call.alpha].append(call)
    return found


class _Owners:
    """Which modules have which parameters and buffers."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters: dict[str, Tensor] = {}
        self.modules: dict[str, nn.Module] = {}
        self._places: dict[int, set[tuple[int, str]]] = defaultdict(set)
        for prefix, module in model.named_modules(remove_duplicate=False):
            for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
                if tensor is not None:
                    self._places[tensor.untyped_storage().data_ptr()].add((id(module), name))
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    qualified = f"{prefix}.{name}" if prefix else name
                    self.parameters[qualified], self.modules[qualified] = parameter, module

    def names_of(self, parameter: Tensor) -> list[str]:
        """All names of a parameter: a module may be in several places."""
        return [name for name, other in self.parameters.items() if other is parameter]

    def alone(self, parameter: Tensor) -> bool:
        """Whether one module alone has this memory, under one name."""
        return len(self._places[parameter.untyped_storage().data_ptr()]) == 1


def _readers(layer: PointwiseNorm, calls: list[Call], owners: _Owners) -> list[Reader]:
    """Everything that reads the layer; raises Unfoldable where not all of it can take weight and bias over."""
    if not owners.alone(layer.alpha):
        raise Unfoldable("its parameters are shared")
    if not calls:
        raise Unfoldable("the graph for these arguments has no call of it")
    if len({call.weight_offset for call in calls}) > 1:
        raise Unfoldable("it is called with different weight_offset")
    readers: list[Reader] = []
    for call in calls:
        for part, own in (("weight", layer.weight), ("bias", layer.bias)):
            given = getattr(call, part)
            if (given is None) != (own is None) or (given is not None and owners.parameters.get(given) is not own):
                raise Unfoldable(f"its {part} is computed, as by a modulation")
        readers += call.readers()
    if not readers:
        raise Unfoldable("nothing reads it")
    nodes = {reader.node for reader in readers}
    for reader in readers:
        for name in (reader.weight, reader.bias):
            if name is None:
                continue
            parameter = owners.parameters.get(name)
            if type(parameter) is not nn.Parameter or not parameter.is_floating_point():
                raise Unfoldable(f"{name} is not a plain floating-point parameter")
            if not owners.alone(parameter):
                raise Unfoldable(f"{name} is shared")
        if not reader.others <= nodes:
            raise Unfoldable(f"{reader.weight} or its bias is used elsewhere too")
    return readers


def _fold(layer: PointwiseNorm, offset: float, readers: list[Reader], owners: _Owners) -> str:
    """Compute everything, and then change the layer and what reads it; returns what was folded, in words."""
    ones = torch.ones(layer.normalized_shape, dtype=torch.float64, device=layer.alpha.device)
    weight = ones if layer.weight is None else layer.weight.detach().double() + offset
    bias = 0 * ones if layer.bias is None else layer.bias.detach().double()
    has_bias = bool(bias.any())
    keeps_bias = has_bias and any(reader.pads for reader in readers)
    if keeps_bias and layer.weight is not None and not bool(weight[bias != 0].all()):
        raise Unfoldable("a convolution that pads reads it, and a weight is 0 where the bias is not")
    changed: dict[str, Tensor] = {}
    made: dict[str, Tensor] = {}
    for reader in {reader.weight: reader for reader in readers}.values():
        matrix = owners.parameters[reader.weight].detach().double()
        changed[reader.weight] = matrix * _beside(weight, matrix, reader)
        if keeps_bias or not has_bias:
            continue
        outputs = 1 - reader.channels
        added = (matrix * _beside(bias, matrix, reader)).sum([d for d in range(matrix.dim()) if d != outputs])
        if reader.bias is not None:
            changed[reader.bias] = owners.parameters[reader.bias].detach().double() + added
            continue
        module = owners.modules[reader.weight]
        if type(module).forward not in _TAKE_A_BIAS or module.bias is not None:
            raise Unfoldable(f"{reader.weight} has no bias, and its module takes none")
        made[reader.weight] = added
    rounded = {name: tensor.to(owners.parameters[name].dtype) for name, tensor in changed.items()}
    biases = {name: tensor.to(owners.parameters[name].dtype) for name, tensor in made.items()}
    rest = (bias / weight).to(layer.alpha.dtype) if keeps_bias else None
    for tensor in [*rounded.values(), *biases.values(), *([] if rest is None else [rest])]:
        if not tensor.isfinite().all():
            raise Unfoldable("what reads it would have infinite parameters")
    parts = ["weight"] if layer.weight is not None else []
    if layer.bias is not None:
        parts.append("bias" if not keeps_bias else "bias / weight stays" if parts else "bias stays")
    if parts == ["bias stays"]:
        raise Unfoldable("a convolution that pads reads it, and there is a bias alone")

    with torch.no_grad():
        for name, tensor in rounded.items():
            owners.parameters[name].copy_(tensor)
    for name, tensor in biases.items():
        trains = owners.parameters[name].requires_grad
        owners.modules[name].bias = nn.Parameter(tensor, requires_grad=trains)
    _strip(layer, offset, rest)
    return ", ".join(parts)


def _beside(parameter: Tensor, matrix: Tensor, reader: Reader) -> Tensor:
    """A number for each channel, so that it broadcasts against the reader's weight, groups and all."""
    shape = [1] * matrix.dim()
    shape[reader.channels] = -1
    if reader.groups == 1:
        return parameter.reshape(shape)
    shape[0] = matrix.shape[0]  # each row of a group sees the channels of that group
    grouped = parameter.reshape(reader.groups, -1)
    return grouped.repeat_interleave(matrix.shape[0] // reader.groups, 0).reshape(shape)


def _strip(layer: PointwiseNorm, offset: float, rest: Tensor | None) -> None:
    """Take from the layer what was folded."""
    if offset:  # a forward of somebody's own, that needs a weight
        with torch.no_grad():
            layer.weight.fill_(1 - offset)
            if layer.bias is not None:
                layer.bias.zero_() if rest is None else layer.bias.copy_(rest)
        return
    layer.weight = None
    if layer.bias is not None:
        layer.bias = None if rest is None else nn.Parameter(rest, requires_grad=layer.bias.requires_grad)
    layer.elementwise_affine = layer.bias is not None
