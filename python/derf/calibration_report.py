"""What calibrate did."""

from dataclasses import dataclass, field

from .report import KeptNorm, table

LOW = 0.8  # R² below which refine is worth its time; layers of models that lose next to nothing have .85 and more


@dataclass(frozen=True)
class CalibratedLayer:
    """One layer that became a Derf which computes nearly what the norm did.

    Args:
        name: its qualified name, empty for the model itself.
        old: its class before.
        r2: the share of the variance of the norm's output that the Derf explains, over all channels; 1 is perfect.
        worst_r2: the same for the channel in which it is least.
        worst_channel: which channel that is, of the flattened normalized_shape.
        alpha: the fitted alpha, or the mean over channels.
        gain: the root mean square of alpha times the layer's input.
        weight: the mean absolute value of the fitted weights.
        rows: how many rows (tokens, pixels) it was fitted to.
        added: the parameters that the norm did not have.
    """

    name: str
    old: type
    r2: float
    worst_r2: float
    worst_channel: int
    alpha: float
    gain: float
    weight: float
    rows: int
    added: tuple[str, ...] = ()


@dataclass
class CalibrationReport:
    """What :func:`derf.calibrate` did to a model. Prints as a table.

    Attributes:
        layers: a :class:`derf.calibration_report.CalibratedLayer` for each layer, in the order of execution.
        kept: a :class:`derf.report.KeptNorm` for each layer that looks like a norm and stayed, with the reason.
        notes: further remarks.
        batches: the number of batches.
        loss_before, loss_after: means of the losses that the forward returned on the first batches, or None.
        loss_batches: the number of those batches.
        refined: whether gradient descent followed.
        seconds: how long it took.
    """

    layers: list[CalibratedLayer] = field(default_factory=list)
    kept: list[KeptNorm] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    batches: int = 0
    loss_before: float | None = None
    loss_after: float | None = None
    loss_batches: int = 0
    refined: bool = False
    seconds: float = 0.0

    def __str__(self) -> str:
        header = ("name", "was", "R²", "worst channel", "alpha", "alpha·rms", "weight", "rows")
        rows = [
            (
                layer.name or "(model)",
                layer.old.__name__,
                f"{layer.r2:.3f}",
                f"{layer.worst_r2:.3f} ({layer.worst_channel})",
                f"{layer.alpha:.3g}",
                f"{layer.gain:.3g}",
                f"{layer.weight:.3g}",
                f"{layer.rows}",
            )
            for layer in self.layers
        ]
        parts = [table(header, rows)]
        if self.kept:
            kept = [(entry.name or "(model)", entry.old.__name__, entry.reason) for entry in self.kept]
            parts.append(table(("name", "stays", "because"), kept))
        notes = list(self.notes)
        notes += [f"{each.name or '(model)'}: {' and '.join(each.added)} added" for each in self.layers if each.added]
        if self.loss_before is not None and self.loss_after is not None:
            notes.append(
                f"loss {self.loss_before:.4g} before, {self.loss_after:.4g} after, on the first "
                f"{self.loss_batches} of {self.batches} batches"
            )
        poorest = min(self.layers, key=lambda layer: layer.r2, default=None)
        if poorest is not None and poorest.r2 < LOW and not self.refined:
            notes.append(
                f"{poorest.name or '(model)'} follows its norm badly (R² {poorest.r2:.2f}): refine=40 brings the "
                "model's output nearer to the original's"
            )
        notes.append(f"{len(self.layers)} layers, {self.batches} batches, {self.seconds:.1f} s")
        parts.append("\n".join(notes))
        return "\n\n".join(parts)
