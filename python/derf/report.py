"""What replace_norm did, or would do."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .custom import function_name
from .modules import PointwiseNorm


@dataclass(frozen=True)
class ReplacedNorm:
    """One layer that became a Derf, DyT or other PointwiseNorm.

    Args:
        name: its qualified name, empty for the model itself.
        old: its class.
        new: the layer in its place.
        copied: what that took over: "weight", "bias", "1 + weight".
        aliases: further names of the same layer, where it is shared.
    """

    name: str
    old: type
    new: PointwiseNorm
    copied: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeptNorm:
    """One layer that looks like a norm and stayed, with the reason."""

    name: str
    old: type
    reason: str


@dataclass
class Report:
    """What :func:`derf.replace_norm` did to a model, or with ``dry_run=True`` would do. Prints as a table.

    Attributes:
        replaced: a :class:`derf.report.ReplacedNorm` for each layer.
        kept: a :class:`derf.report.KeptNorm` for each layer that looks like a normalization layer and stayed.
        changes: what else changed in the model, and hooks that could not be kept.

    >>> import torch, derf
    >>> model = torch.nn.Sequential(torch.nn.LayerNorm(8), torch.nn.GroupNorm(4, 8))
    >>> print(derf.replace_norm(model, dry_run=True))
    name  was        becomes  shape  alpha  shift  takes over
    ----  ---------  -------  -----  -----  -----  ------------
    0     LayerNorm  Derf     [8]    0.5    0      weight, bias
    <BLANKLINE>
    name  stays      because
    ----  ---------  ----------------------------------------------
    1     GroupNorm  it computes neither a LayerNorm nor an RMSNorm
    """

    replaced: list[ReplacedNorm] = field(default_factory=list)
    kept: list[KeptNorm] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = []
        if self.replaced:
            header = ("name", "was", "becomes", "shape", "alpha", "shift", "takes over")
            parts.append(table(header, [_row(entry) for entry in self.replaced]))
        else:
            parts.append("no normalization layer to replace")
        if self.kept:
            rows = [(entry.name or "(model)", entry.old.__name__, entry.reason) for entry in self.kept]
            parts.append(table(("name", "stays", "because"), rows))
        if self.changes:
            parts.append("\n".join(self.changes))
        return "\n\n".join(parts)


def _row(entry: ReplacedNorm) -> tuple[str, ...]:
    new = entry.new
    shape = str(list(new.normalized_shape)) + ("" if new.channel_dim == -1 else f", channel_dim={new.channel_dim}")
    name = " = ".join((entry.name or "(model)", *entry.aliases))
    starts = f"{new.alpha_init:g}", "none" if new.shift is None else f"{new.shift_init:g}"
    kind = type(new).__name__ + (f" {function_name(new.function)}" if type(new) is PointwiseNorm else "")
    return name, entry.old.__name__, kind, shape, *starts, ", ".join(entry.copied) or "nothing"


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns under a header, with two spaces between them."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, tuple("-" * width for width in widths), *rows]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in padded)
