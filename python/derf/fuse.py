"""Residual connections inside the calls of the layers after them, in models whose code adds first and calls then."""

from collections import defaultdict
from dataclasses import dataclass, field

from torch import nn

from .fused import is_gate, obstacle
from .modules import PointwiseNorm
from .passes import check_plain
from .report import KeptNorm, table
from .rewrite import Names, added_norms, is_rewritable, rewriting_of, rewritten_class


@dataclass(frozen=True)
class FusedLayer:
    """One layer whose call computes the sum that is its input.

    Args:
        name: its qualified name.
        block: the class whose forward has the sum.
        gates: names of what multiplies in the same call.
    """

    name: str
    block: type
    gates: tuple[str, ...] = ()


@dataclass
class FuseReport:
    """What :func:`derf.fuse` did to a model. Prints as a table.

    Attributes:
        fused: a :class:`derf.fuse.FusedLayer` for each layer that takes a sum in.
        left: name, class and reason for each layer that does not.
    """

    fused: list[FusedLayer] = field(default_factory=list)
    left: list[KeptNorm] = field(default_factory=list)

    def __str__(self) -> str:
        rows = [(entry.name, entry.block.__name__, ", ".join(entry.gates) or "none") for entry in self.fused]
        parts = [table(("name", "sum in", "gates"), rows) if rows else "no sum was fused"]
        if self.left:
            rows = [(entry.name or "(model)", entry.old.__name__, entry.reason) for entry in self.left]
            parts.append(table(("name", "stays", "because"), rows))
        return "\n\n".join(parts)


def fuse(model: nn.Module, *, gates: bool = False) -> FuseReport:
    """Compute residual connections in the calls of the layers after them: ``derf::add_pointwise_norm``, in one pass.

    If the forward of a module passes a sum to a layer, as ``self.norm(a + b)``, or as ``x = a + b`` followed by
    ``self.norm(x)``, the two become one call that returns both. timm's ``Block``, ``torch.nn``'s Transformer layers,
    the blocks of Transformers' GPT-2, LLaMA and BERT, and models written like them have this form. Call it after
    :func:`derf.replace_norm`.

    A forward is rewritten only if its source compiles to the very bytecode that runs, so that nothing else of it
    changes. The module gets a class of the same name: state dict, copies, pickles, checkpointing and torch.compile work
    as before; torch.jit.script does not. In each call the sum is fused if the two tensors have the same shape, strides
    and dtype and the layer has no hooks; otherwise it is computed as before. Outputs have the same bits. In the
    backward, two gradients are added before they are rounded, not after.

    A sum that one block returns and the next one's layer reads is left; :func:`derf.compile_passes` fuses such sums.

    Args:
        model: changed in place.
        gates: whether timm's LayerScale and DropPath around what is added become the operator's gate. Their product is
            then not rounded before it is added, so outputs are equal within rounding only. The random numbers are the
            same.

    Returns:
        A :class:`derf.FuseReport`. :func:`derf.unfuse` undoes the change.

    Raises:
        TypeError: if model is not an ``nn.Module``, or is or contains a scripted, compiled or distributed module.

    >>> import torch, derf
    >>> model = derf.replace_norm(torch.nn.TransformerEncoderLayer(16, 2, norm_first=True))
    >>> print(derf.fuse(model))
    name   sum in                   gates
    -----  -----------------------  -----
    norm2  TransformerEncoderLayer  none
    <BLANKLINE>
    name   stays  because
    -----  -----  ------------------------------------------------------------
    norm1  Derf   TransformerEncoderLayer.forward does not give it a fresh sum
    """
    check_plain(model, "fuse")
    if not isinstance(gates, bool):
        raise TypeError(f"derf: gates must be a bool, but is {gates!r}")
    report = FuseReport()
    changes: dict[nn.Module, type[nn.Module]] = {}
    parents = _parents(model)
    for name, layer in model.named_modules():
        if not isinstance(layer, PointwiseNorm):
            continue
        reason = obstacle(layer) or "no module of the model has it" * (not parents[layer])
        for parent, child in () if reason else parents[layer]:
            block = rewriting_of(type(parent)).cls
            if child in added_norms(parent):
                multiplying = _gates(parent) if gates else frozenset()
                added = rewriting_of(changes.get(parent, type(parent))).added | {child}
                changes[parent] = rewritten_class(type(parent), added=added, gates=multiplying)
                report.fused.append(FusedLayer(name, block, tuple(sorted(multiplying))))
            elif is_rewritable(parent):
                reason = f"{block.__name__}.forward does not give it a fresh sum"
            else:
                reason = f"the source of {block.__name__}.forward is not certain to be what runs"
        if reason:
            report.left.append(KeptNorm(name, type(layer), reason))
    for module, cls in changes.items():
        module.__class__ = cls
    return report


def unfuse(model: nn.Module) -> None:
    """Undo :func:`derf.fuse`.

    Args:
        model: changed in place. It may have been copied or loaded since, and may be fused in part or not at all.

    Raises:
        TypeError: if model is not an ``nn.Module``.

    >>> import torch, derf
    >>> model = derf.replace_norm(torch.nn.TransformerEncoderLayer(16, 2))
    >>> report = derf.fuse(model)
    >>> derf.unfuse(model)
    >>> type(model) is torch.nn.TransformerEncoderLayer
    True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"derf: model must be a torch.nn.Module, but is of type {type(model).__qualname__}: {model!r}")
    for module in model.modules():
        if rewriting_of(type(module)).added:
            module.__class__ = rewritten_class(type(module), added=frozenset(), gates=frozenset())


def _parents(model: nn.Module) -> dict[nn.Module, list[tuple[nn.Module, str]]]:
    """The modules that have each module, and the name they have for it."""
    found = defaultdict(list)
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child is not None:
                found[child].append((parent, name))
    return found


def _gates(parent: nn.Module) -> Names:
    return frozenset(name for name, child in parent._modules.items() if child is not None and is_gate(child))
