"""Watches the layers of a model in training, and says in words what is wrong with them."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from .functional import pointwise_norm
from .health import GRADIENTS, STATISTICS, HealthWarning, draw, judge, mean_over_layers, rich_table
from .modules import STUDY, PointwiseNorm
from .response import saturates_at

_ELEMENTS = 2**18  # of a layer's input that are looked at; a share of so many is known to 0.1 %


@dataclass(eq=False)
class _Look:
    """One step's numbers, on the device until they are read."""

    step: int
    seen: dict[str, Tensor] = field(default_factory=dict)  # a layer's five numbers from the forward
    gradients: dict[tuple[str, str], Tensor] = field(default_factory=dict)  # by layer and parameter


class Monitor:
    """Statistics of every :class:`derf.PointwiseNorm` of a model (Derf, DyT) every so many steps, and a sentence where
    one is unhealthy.

    A step is a forward of the model in training mode with gradients; ``every=50`` looks at steps 1, 51, 101 and so on.
    Nothing waits for the device until numbers are read: by :meth:`as_dict`, :meth:`history`, :meth:`table` or
    :meth:`plot`, which warn too.

    For each layer:

    - ``saturated``: the share of elements with ``|alpha x + shift| > 2``, where hardly any gradient passes; other
      functions than erf have other limits, where their slope is as small: 2.67 for tanh, none for linear
    - ``gain``: the root mean square of alpha x
    - ``output``: the root mean square of the output before bias
    - ``alpha``, ``shift``: the parameters (means, where there is one for each channel)
    - ``alpha_grad``, ``shift_grad``, ``weight_grad``: norms of the step's gradients; NaN before its backward

    Args:
        model: a model with such layers. One wrapped by DDP works; one that is compiled does not run hooks.
        every: how many steps from one look to the next.
        count_forwards: whether a forward of model begins a step. Where the forward is that of a part of model, as in
            Lightning, pass False and call :meth:`begin_step`.
        on_warning: called with each new :class:`derf.HealthWarning` when numbers are read; the default is
            ``warnings.warn``. Each kind of warning comes once a layer.

    Attributes:
        warnings: all so far.

    A layer that is called several times in a step is looked at in its first call. Of an input of more than 2^18
    elements, evenly spread rows are looked at. As a context manager, the monitor takes its hooks off at the end;
    :meth:`close` does so too, and what was seen stays readable.

    Raises:
        TypeError: where model is no ``nn.Module`` or compiled, or every no int.
        ValueError: where model has no such layer, or every is not positive.

    >>> import torch, derf
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), derf.Derf(8, alpha_init=200))
    >>> with derf.Monitor(model, every=10, on_warning=print) as monitor:
    ...     model(torch.ones(32, 8)).sum().backward()
    ...     saturated = monitor.as_dict()["derf/mean/saturated"]
    step 1: layer 1 is saturated: 100% of |u| > 2. Lower alpha's start or the learning rate.
    >>> saturated > 0.9
    True
    """

    def __init__(
        self,
        model: nn.Module,
        every: int = 50,
        *,
        count_forwards: bool = True,
        on_warning: Callable[[HealthWarning], None] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"derf: model must be a torch.nn.Module, but is of type {type(model).__qualname__}")
        if not isinstance(every, int) or isinstance(every, bool):
            raise TypeError(f"derf: every must be an int, but is {every!r}")
        if every < 1:
            raise ValueError(f"derf: every must be positive, but is {every}")
        for name, module in model.named_modules():
            if type(module).__name__ == "OptimizedModule" or module._compiled_call_impl is not None:
                raise TypeError(
                    f"derf: model must not be compiled, but {name or 'model'} is: hooks do not run there. Monitor the "
                    "model without torch.compile for some steps."
                )
        self._layers = {name: module for name, module in model.named_modules() if isinstance(module, PointwiseNorm)}
        if not self._layers:
            raise ValueError(
                "derf: model must have a derf.Derf, DyT or PointwiseNorm, but has none. Call replace_norm first."
            )
        self._limits = {name: saturates_at(layer) for name, layer in self._layers.items()}
        self.every = every
        self.warnings: list[HealthWarning] = []
        self._on_warning = on_warning or _warn
        self._said: set[tuple[str, str]] = set()
        self._step = 0
        self._look: _Look | None = None  # of the present step
        self._pending: list[_Look] = []
        self._history: list[dict[str, Any]] = []
        self._current: dict[str, Any] | None = None  # of a look whose backward may be to come
        self._parameter_hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._hooks = [layer.register_forward_hook(self._hook(name)) for name, layer in self._layers.items()]
        if count_forwards:

            def begin(module: nn.Module, inputs: Any) -> None:
                if module.training and torch.is_grad_enabled():
                    self.begin_step()
                else:
                    self._end_step()

            self._hooks.append(model.register_forward_pre_hook(begin))

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks off."""
        for handle in [*self._hooks, *self._parameter_hooks]:
            handle.remove()
        self._hooks, self._parameter_hooks = [], []

    def begin_step(self) -> None:
        """Say that a training step begins, where count_forwards is False."""
        self._end_step()
        if self._step % self.every == 0:
            self._look = _Look(self._step + 1)
            self._pending.append(self._look)
        self._step += 1

    def _end_step(self) -> None:
        self._look = None
        for handle in self._parameter_hooks:
            handle.remove()
        self._parameter_hooks = []

    def _hook(self, name: str) -> Callable[[PointwiseNorm, tuple[Tensor, ...], Tensor], None]:
        def see(layer: PointwiseNorm, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            look = self._look
            if look is None or name in look.seen or not inputs:
                return
            with torch.no_grad():
                look.seen[name] = _statistics(layer, inputs[0], self._limits[name])
            for statistic in GRADIENTS:
                key = name, statistic
                parameter = getattr(layer, statistic.removesuffix("_grad"), None)
                if parameter is not None and parameter.requires_grad:

                    def keep(gradient: Tensor, key: tuple[str, str] = key) -> None:
                        look.gradients[key] = gradient.detach().float().norm()

                    self._parameter_hooks.append(parameter.register_hook(keep))

        return see

    def _read(self) -> None:
        """Bring to the host what is not there, and warn. A step whose backward is to come is read again later."""
        rows = []
        for look in self._pending:
            if look.seen:
                rows.append(self._row(look))
                if look is not self._look:
                    self._history.append(rows[-1])
        self._pending = [look for look in self._pending if look is self._look]
        self._current = rows[-1] if self._pending and rows and rows[-1]["step"] == self._pending[0].step else None
        for row in rows:
            for warning in judge(row["step"], row["layers"], self._limits):
                if (warning.kind, warning.layer) not in self._said:
                    self._said.add((warning.kind, warning.layer))
                    self.warnings.append(warning)
                    self._on_warning(warning)

    def _row(self, look: _Look) -> dict[str, Any]:
        names = list(look.seen)
        device = look.seen[names[0]].device
        nan = torch.full((), math.nan, device=device)
        gradients = [torch.stack([look.gradients.get((name, g), nan).to(device) for g in GRADIENTS]) for name in names]
        forward = [look.seen[name].to(device) for name in names]
        numbers = torch.cat([torch.stack(forward), torch.stack(gradients)], 1).tolist()  # the one synchronisation
        return {
            "step": look.step,
            "layers": {name: dict(zip(STATISTICS, row, strict=True)) for name, row in zip(names, numbers, strict=True)},
        }

    def history(self) -> list[dict[str, Any]]:
        """Every look: ``{"step": 1, "layers": {"blocks.0.norm1": {"saturated": 0.01, ...}, ...}}``."""
        self._read()
        return self._history + ([self._current] if self._current else [])

    def as_dict(self, prefix: str = "derf/") -> dict[str, float]:
        """The newest look as ``{"derf/mean/saturated": 0.02, "derf/blocks.0.norm1/gain": 0.3, ...}`` for any logger.

        What is NaN is left out. Empty before the first step.
        """
        history = self.history()
        if not history:
            return {}
        layers = history[-1]["layers"]
        result: dict[str, float] = {}
        for name, row in {"mean": mean_over_layers(layers), **layers}.items():
            result |= {f"{prefix}{name or 'model'}/{key}": value for key, value in row.items() if not math.isnan(value)}
        return result

    def table(self) -> Any:
        """The newest look as a ``rich.table.Table``: ``rich.print(monitor.table())``. Needs the package rich."""
        history = self.history()
        return rich_table(history[-1] if history else None)

    def plot(self, file: str | Path) -> None:
        """Draw statistics over the steps, a line a layer and the mean, into a file. Needs the package matplotlib."""
        draw(self.history(), Path(file))


def _statistics(layer: PointwiseNorm, input: Tensor, limit: float) -> Tensor:
    """saturated, gain, output, alpha, shift: five numbers of float32, where the input is."""
    x = input.detach()
    if x.dim() > 1 and x.numel() > _ELEMENTS:
        rows = x.flatten(0, -2) if layer.channel_dim == -1 and len(layer.normalized_shape) == 1 else x
        x = rows[:: max(1, min(len(rows), x.numel() // _ELEMENTS))]
    alpha = layer.alpha.detach()
    shift = torch.zeros_like(alpha) if layer.shift is None else layer.shift.detach()
    weight = None if layer.weight is None else layer.weight.detach()
    study = {name: getattr(layer, name) for name in STUDY}
    output = pointwise_norm(x, alpha, shift, weight, function=layer.function, channel_dim=layer.channel_dim, **study)
    alpha, shift = alpha.float(), shift.float()
    after = (x.dim() - 1 - layer.channel_dim) % x.dim() if layer.per_channel else 0  # dimensions behind the channels
    u = x.float() * alpha.reshape(*alpha.shape, *[1] * after)
    gain = torch.linalg.vector_norm(u) / math.sqrt(max(1, u.numel()))
    u = u.add_(shift.reshape(*shift.shape, *[1] * after))
    saturated = u.abs_().gt(limit).float().mean()
    size = torch.linalg.vector_norm(output, dtype=torch.float32) / math.sqrt(max(1, output.numel()))
    return torch.stack([saturated, gain, size, alpha.mean(), shift.mean()])


def _warn(warning: HealthWarning) -> None:
    warnings.warn(f"derf: {warning}", stacklevel=5)
