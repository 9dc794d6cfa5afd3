"""The forwards of calibrate, in which hooks on the norms put the Derfs' outputs in place of theirs."""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from .calibration_report import CalibrationReport
from .passes import Forward, call, check_batch
from .processes import agree, broadcast, same_everywhere, summed
from .refine import refine as refine_fits
from .sites import Site

Mask = str | Callable[[Any], Tensor | None]
_PILOT_ROWS = 512  # of every layer, for alpha and a first fit
_PILOT_BATCHES = 8
_REFINED_BATCHES = 32  # of which refine takes its steps


class Run:
    """All passes over the data. The model is not changed."""

    def __init__(
        self,
        model: nn.Module,
        sites: list[Site],
        forward: Forward | None,
        mask: Mask | None,
        sequential: bool,
        min_r2: float,
        steps: int,
        progress: bool,
    ) -> None:
        self.model, self.sites, self.mask, self.sequential = model, sites, mask, sequential
        self.min_r2 = min_r2
        self.poor: dict[Site, float] = {}  # R² of the layers that stay norms
        self.forward, self.check_devices = forward or call, forward is None
        self.steps = steps  # of refine
        self.visible = progress and sys.stderr.isatty()
        self.order: dict[Site, None] = {}  # by execution

    def all_passes(self, batches: Iterable[Any], report: CalibrationReport) -> list[Site]:
        """Fit every layer; those that ran, in order of execution."""
        # What a Derf can do in the original is judged by its fit there.
        in_sequence = self.sequential and not self.min_r2
        with agree():  # every process stops where one does
            pilot, rest = self._pilot(iter(batches), in_sequence)
            if not pilot:
                raise ValueError("derf: batches must not be empty")
            ran = list(self.order)
            if not ran:
                raise ValueError("derf: no norm of the model ran: forward must call the model")
        same_everywhere([site.name for site in ran], "the layers that ran, in their order,")
        if self.min_r2:
            ran = self._take_out_poor(ran)
        if in_sequence != self.sequential:
            for site in ran:
                site.forget()
            with agree():
                self._pilot(iter(pilot), in_sequence=True)
        for site in ran:
            site.forget_sample()
        broadcast([tensor for site in ran for tensor in site.state()])
        before: list[float | None] = []
        more: list[Any] = []  # batches that refine needs beside the pilot's
        with agree():
            for batch in itertools.chain(pilot, rest):
                self._say(f"batch {report.batches + 1}")
                if self.steps and report.batches >= len(pilot) and len(pilot) + len(more) < _REFINED_BATCHES:
                    more.append(batch)
                before.append(self._accumulate(batch))
                report.batches += 1
            for site in ran:
                if not site.moments.is_finite():
                    site.refuse()
        summed([tensor for site in ran for tensor in (site.moments.sums, site.moments.count)])
        for site in ran:
            if not site.moments.varies():
                raise ValueError(
                    f"derf: the inputs of {site.name or 'model'} must vary, but do not over {site.moments.rows} rows. "
                    "Pass more data."
                )
            site.fit = site.moments.fit(site.with_bias)
        if self.steps:
            self._say("refining")
            report.refined = True
            distances = refine_fits(self.model, ran, pilot + more, self.steps, self._hooked, self._mask)
            report.notes.append(
                f"refined in {self.steps} steps: distance to the original's output {distances[0]:.3g} before, "
                f"{distances[1]:.3g} after"
            )
        before = before[: len(pilot)]
        if all(loss is not None for loss in before):
            after = [self._loss(self._converted(batch)) for batch in pilot]
            if all(loss is not None for loss in after):
                report.loss_before, report.loss_after = fmean(before), fmean(after)
                report.loss_batches = len(pilot)
        self._say("")
        return ran

    def _take_out_poor(self, ran: list[Site]) -> list[Site]:
        """Those whose fit is good enough; the others stay norms, and are no sites any more."""
        r2 = torch.tensor([site.fit.r2 for site in ran], dtype=torch.float64, device=ran[0].new.alpha.device)
        broadcast([r2])  # each process has batches of its own
        self.poor = {site: each for site, each in zip(ran, r2.tolist(), strict=True) if each < self.min_r2}
        if len(self.poor) == len(ran):
            raise ValueError(
                f"derf: min_r2 must be less than the R² of a norm, but is {self.min_r2}, and the best of {len(ran)} "
                f"norms has {max(self.poor.values()):.3f}"
            )
        self.sites = [site for site in self.sites if site not in self.poor]
        return [site for site in ran if site not in self.poor]

    def _pilot(self, batches: Iterator[Any], in_sequence: bool) -> tuple[list[Any], Iterator[Any]]:
        """A first fit of each layer, in order of execution, from as many batches as it takes; and the other batches."""
        kept: list[Any] = []
        for batch in batches:
            kept.append(batch)
            self._say(f"first fit, batch {len(kept)}")
            check_batch(self.model, batch, "batches", devices=self.check_devices)
            mask = self._mask(batch)
            if in_sequence:
                self._original(batch)

            def learn(site: Site, x: Tensor, t: Tensor, mask: Tensor | None = mask) -> None:
                site.learn(site.rows(x, mask), site.rows(t, mask))
                self.order.setdefault(site)

            self._watch(batch, learn, in_sequence)
            rows = [sum(map(len, site.inputs)) for site in self.order]
            if len(kept) == _PILOT_BATCHES or rows and min(rows) >= _PILOT_ROWS:
                break
        return kept, batches

    def _accumulate(self, batch: Any) -> float | None:
        """Add a batch to the sums; the original's loss on it."""
        check_batch(self.model, batch, "batches", devices=self.check_devices)
        mask = self._mask(batch)

        def add(site: Site, x: Tensor, t: Tensor) -> None:
            if site.fit is not None:
                site.add(site.rows(x, mask), site.rows(t, mask))

        if not self.sequential:
            return self._loss(self._watch(batch, add, in_sequence=False))
        loss = self._loss(self._original(batch))
        self._watch(batch, add, in_sequence=True)
        return loss

    def _original(self, batch: Any) -> Any:
        """A forward of the original, which keeps what its norms return."""

        def keep(site: Site, x: Tensor, t: Tensor) -> Tensor:
            site.targets.append(t)
            return t

        for site in self.sites:
            site.targets.clear()
        return self._hooked(batch, keep)

    def _converted(self, batch: Any) -> Any:
        return self._hooked(batch, lambda site, x, t: t if site.fit is None else site.compute(x))

    def _watch(self, batch: Any, see: Callable[[Site, Tensor, Tensor], None], in_sequence: bool) -> Any:
        """A forward in which see gets each layer's input and target before the layer's output is passed on."""

        def watch(site: Site, x: Tensor, t: Tensor) -> Tensor:
            if not in_sequence:
                see(site, x, t)
                return t
            # A call that the original did not make, or on other rows (experts that were chosen otherwise), has the
            # norm's output on this very input as its target.
            target = site.targets[site.calls] if site.calls < len(site.targets) else None
            if target is None or target.shape != t.shape:
                site.strays += 1
                target = t
            see(site, x, target)
            return t if site.fit is None else site.compute(x)

        return self._hooked(batch, watch)

    def _hooked(self, batch: Any, function: Callable[[Site, Tensor, Tensor], Tensor]) -> Any:
        """A forward in which function gets a layer's input and its norm's output, and says what is passed on."""

        def hook(site: Site) -> Callable[..., Tensor]:
            def replace_output(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Tensor) -> Tensor:
                x = args[0] if args else next(iter(kwargs.values()))
                result = function(site, x, output if site.norm is None else site.norm.forward(x))
                site.calls += 1
                return result

            return replace_output

        # First of all: the model's own hooks see what they would.
        handles = [site.module.register_forward_hook(hook(site), prepend=True, with_kwargs=True) for site in self.sites]
        for site in self.sites:
            site.calls = 0
        try:
            return self.forward(self.model, batch)
        finally:
            for handle in handles:
                handle.remove()

    def _mask(self, batch: Any) -> Tensor | None:
        if self.mask is None:
            return None
        if isinstance(self.mask, str):
            if not isinstance(batch, Mapping) or self.mask not in batch:
                raise ValueError(f"derf: mask must be a key of every batch, but {self.mask!r} is not one")
            found = batch[self.mask]
        else:
            found = self.mask(batch)
        if found is None:
            return None
        if not isinstance(found, Tensor):
            raise TypeError(f"derf: mask must give a tensor, but gave a {type(found).__name__}")
        return found.bool()

    def _loss(self, output: Any) -> float | None:
        """The loss that a forward returned, or None."""
        found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", output)
        is_number = isinstance(found, Tensor) and found.numel() == 1 and found.is_floating_point()
        return float(found) if is_number else None

    def _say(self, what: str) -> None:
        if self.visible:
            sys.stderr.write(f"\r\x1b[Kderf: calibrating, {what}" if what else "\r\x1b[K")
            sys.stderr.flush()
