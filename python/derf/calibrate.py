"""From a trained model with norms to one with Derfs that compute what the norms did."""

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, overload

from torch import Tensor, nn

from .calibration_report import CalibratedLayer, CalibrationReport
from .modules import PointwiseNorm
from .passes import Forward, call, check_batch, evaluating
from .plan import Plan
from .processes import agree, broadcast, same_everywhere, summed
from .refine import refine as refine_fits
from .replace import carry_out
from .report import KeptNorm
from .selection import Selector
from .sites import Site, find_sites

if TYPE_CHECKING:
    from typing_extensions import Unpack

Model = TypeVar("Model", bound=nn.Module)
Mask = str | Callable[[Any], Tensor | None]
_PILOT_ROWS = 512  # of every layer, for alpha and a first fit
_PILOT_BATCHES = 8


class _Options(TypedDict, total=False):
    forward: Forward | None
    mode: Literal["sequential", "parallel"]
    mask: Mask | None
    include: Selector | Sequence[Selector] | None
    exclude: Selector | Sequence[Selector] | None
    per_channel: bool
    bias: bool
    refine: int
    progress: bool


@overload
def calibrate(
    model: Model, batches: Iterable[Any], *, return_report: Literal[True], **options: "Unpack[_Options]"
) -> tuple[Model | PointwiseNorm, CalibrationReport]: ...


@overload
def calibrate(model: Model, batches: Iterable[Any], **options: "Unpack[_Options]") -> Model | PointwiseNorm: ...


def calibrate(
    model: Model,
    batches: Iterable[Any],
    *,
    forward: Forward | None = None,
    mode: Literal["sequential", "parallel"] = "sequential",
    mask: Mask | None = None,
    include: Selector | Sequence[Selector] | None = None,
    exclude: Selector | Sequence[Selector] | None = None,
    per_channel: bool = False,
    bias: bool = True,
    refine: int = 0,
    progress: bool = True,
    return_report: bool = False,
) -> Model | PointwiseNorm | tuple[Model | PointwiseNorm, CalibrationReport]:
    r"""Exchange every norm of a trained model for a :class:`derf.Derf` that computes what it did, as well as it can.

    A plain :func:`derf.replace_norm` of a trained model leaves little of what it learned. Here alpha, weight and bias
    of each Derf are fitted to the norm's outputs on some batches of data: alpha by search, weight and bias of each
    channel by least squares, in float64; shift is 0. That takes seconds and no gradients. The result is close to the
    original at once, and after a short fine-tuning as good. Build the optimizer after it.

    Args:
        model: a trained model with norms, all those that ``replace_norm`` knows; or one that ``replace_norm`` converted
            and that was not trained since. It is changed in place.
        batches: some batches of inputs as in training, 8 of 8 are enough; iterated over once. A tensor, a tuple or list
            of positional arguments, or a mapping of keyword arguments for the model; or anything that forward takes.
        forward: called as ``forward(model, batch)`` in the place of the model. Where what it (or the model) returns is
            a loss, one number, or has an attribute or key ``loss``, the report has it before and after.
        mode: "sequential" fits each layer to the inputs that it gets from a converted model, and to what the norm
            returned in the original, so that later layers correct earlier ones. "parallel" fits to the inputs of the
            original, in half the time.
        mask: which positions count: the key of the batch ("attention_mask") or a function of it that gives a tensor,
            true where there is data and false at padding. A layer whose input has the mask's shape in front of the
            channels leaves the others out; others use everything, and the report says so.
        include, exclude: which norms, as in ``replace_norm``.
        per_channel: whether each channel has an alpha of its own, searched like the common one; the layers are
            :class:`derf.PointwiseNorm` then, and the model must have norms.
        bias: whether norms with a weight alone, as RMSNorm, get a bias. It takes a quarter of what a LLaMA loses. (A
            fresh model that is to load the result needs it too: ``replace_norm(model, bias=True)``.)
        refine: steps of gradient descent that follow, on alpha, weight and bias of the Derfs alone, towards the
            original's outputs on the first 8 batches (its logits, where they are called so). A step takes a forward of
            the original, and a forward and a backward of the new model. 40 win most of what the regression leaves; use
            them where that is much, as in models with RMSNorm.
        progress: whether a line on the terminal says how far it is.
        return_report: whether (model, report) is returned; see :class:`derf.CalibrationReport`.

    The model runs in eval mode without gradients, and modes are restored. A layer that is called several times, or has
    several names, is fitted to all its calls. A layer that does not run stays a norm, and the report names it. A norm
    without weight gets one, with a bias. Memory: the norms' outputs of one batch (sequential), a sample of some 512
    rows a layer, six sums a channel; with refine a training step's.

    Where ``torch.distributed`` is initialised, sums (and refine's gradients) are over all processes, each of which
    calls this with the same model and batches of its own, before the model is wrapped; the result is the same on all.

    ``restore_norm`` puts norms back with the fitted weights, which are not the original's: keep a copy.

    Returns:
        The model; where it is a norm itself, the layer in its place.

    Raises:
        TypeError: where model is no ``nn.Module``, or is compiled, scripted or distributed; where batches are no
            iterable of batches.
        ValueError: where mode is unknown; where batches are empty, have NaN or are on another device; where the model
            has no norm, or a Derf that was trained since ``replace_norm``; where a layer's inputs or outputs are not
            finite or do not vary. The message names the layer.

    After an error the model is as it was.

    >>> import torch, derf
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.LayerNorm(32), torch.nn.Linear(32, 2))
    >>> batches = [torch.randn(64, 8) for _ in range(4)]
    >>> before = model(batches[0])
    >>> model, report = derf.calibrate(model, batches, return_report=True)
    >>> type(model[1]).__name__, report.layers[0].r2 > 0.8
    ('Derf', True)
    >>> ((model(batches[0]) - before).square().mean() / before.var()).item() < 0.2
    True
    """
    began = time.perf_counter()
    if mode not in ("sequential", "parallel"):
        raise ValueError(f'derf: mode must be "sequential" or "parallel", but is {mode!r}')
    if isinstance(batches, (Tensor, Mapping, str)) or not isinstance(batches, Iterable):
        raise TypeError(
            f"derf: batches must be an iterable of batches, but is a {type(batches).__name__}. One batch is [batch]."
        )
    for name, value in {"per_channel": per_channel, "bias": bias}.items():
        if not isinstance(value, bool):
            raise TypeError(f"derf: {name} must be a bool, but is {value!r}")
    if not isinstance(refine, int) or isinstance(refine, bool):
        raise TypeError(f"derf: refine must be an int, but is {refine!r}")
    if refine < 0:
        raise ValueError(f"derf: refine must be 0 or more, but is {refine}")
    if mask is not None and not isinstance(mask, str) and not callable(mask):
        raise TypeError(f"derf: mask must be a key of the batch or a function of it, but is {mask!r}")
    sites, plan = find_sites(model, include, exclude, per_channel, bias)
    run = _Run(model, sites, forward, mask, mode == "sequential", refine, progress)
    report = CalibrationReport()
    with evaluating(model):
        ran = run.all_passes(batches, report)
    _describe(plan, sites, ran, report)
    values = [(site.new, site.parameters()) for site in ran]
    result = carry_out(plan, model)
    for layer, parameters in values:
        _set(layer, parameters)
    report.seconds = time.perf_counter() - began
    return (result, report) if return_report else result


class _Run:
    """The forwards. Hooks on the norms put the Derfs' outputs in the place of theirs; the model is not changed."""

    def __init__(
        self,
        model: nn.Module,
        sites: list[Site],
        forward: Forward | None,
        mask: Mask | None,
        sequential: bool,
        steps: int,
        progress: bool,
    ) -> None:
        self.model, self.sites, self.mask, self.sequential = model, sites, mask, sequential
        self.forward, self.check_devices = forward or call, forward is None
        self.steps = steps  # of refine
        self.visible = progress and sys.stderr.isatty()
        self.order: dict[Site, None] = {}  # by execution

    def all_passes(self, batches: Iterable[Any], report: CalibrationReport) -> list[Site]:
        """Fit every layer; those that ran, in order of execution."""
        with agree():  # every process stops where one does
            pilot, rest = self._pilot(iter(batches))
            if not pilot:
                raise ValueError("derf: batches must not be empty")
            ran = list(self.order)
            if not ran:
                raise ValueError("derf: no norm of the model ran: forward must call the model")
        same_everywhere([site.name for site in ran], "the layers that ran, in their order,")
        for site in ran:
            site.forget_sample()
        broadcast([tensor for site in ran for tensor in site.state()])
        before: list[float | None] = []
        more: list[Any] = []  # batches that refine needs beside the pilot's
        with agree():
            for batch in itertools.chain(pilot, rest):
                self._say(f"batch {report.batches + 1}")
                if self.steps and report.batches >= len(pilot) and len(pilot) + len(more) < _PILOT_BATCHES:
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

    def _pilot(self, batches: Iterator[Any]) -> tuple[list[Any], Iterator[Any]]:
        """A first fit of each layer, in order of execution, from as many batches as it takes; and the other batches."""
        kept: list[Any] = []
        for batch in batches:
            kept.append(batch)
            self._say(f"first fit, batch {len(kept)}")
            check_batch(self.model, batch, "batches", devices=self.check_devices)
            mask = self._mask(batch)
            if self.sequential:
                self._original(batch)

            def learn(site: Site, x: Tensor, t: Tensor, mask: Tensor | None = mask) -> None:
                site.learn(site.rows(x, mask), site.rows(t, mask))
                self.order.setdefault(site)

            self._watch(batch, learn)
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
            return self._loss(self._watch(batch, add))
        loss = self._loss(self._original(batch))
        self._watch(batch, add)
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

    def _watch(self, batch: Any, see: Callable[[Site, Tensor, Tensor], None]) -> Any:
        """A forward in which see gets each layer's input and target before the layer's output is passed on."""

        def watch(site: Site, x: Tensor, t: Tensor) -> Tensor:
            if not self.sequential:
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
                raise ValueError(f"derf: mask must be a key of every batch, but {self.mask!r} is none")
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


def _describe(plan: Plan, sites: list[Site], ran: list[Site], report: CalibrationReport) -> None:
    """Say what was done, and take out of the plan what did not run."""
    for site in ran:
        worst, channel = site.fit.worst()
        parameters: dict[str, Any] = {
            "r2": site.fit.r2,
            "worst_r2": worst,
            "worst_channel": channel,
            "alpha": site.alpha.mean().item(),
            "gain": site.moments.gain(),
            "weight": site.fit.weight.abs().mean().item(),
            "rows": site.moments.rows,
        }
        report.layers.append(CalibratedLayer(site.name, site.old, **parameters, added=site.added))
        if not all(math.isfinite(value) for value in parameters.values()):
            site.refuse()
        if site.unmasked:
            report.notes.append(f"{site.name or '(model)'}: its input has not the mask's shape, so all of it counted")
        if site.strays:
            report.notes.append(
                f"{site.name or '(model)'}: {site.strays} calls had no counterpart in the original; their targets are "
                "the norm's outputs in the converted model"
            )
    report.kept += plan.report.kept
    for site in sites:
        if site not in ran:
            plan.derfs.pop(site.module, None)
            report.kept.append(KeptNorm(site.name, site.old, "it did not run in the first batches"))


def _set(layer: PointwiseNorm, values: list[Tensor | None]) -> None:
    """Give the layer parameters of its own with the values: the old ones may be others' too."""
    for name, value in zip(("alpha", "shift", "weight", "bias"), values, strict=True):
        if value is not None:
            old = getattr(layer, name)
            trains = layer.alpha.requires_grad if old is None else old.requires_grad
            setattr(layer, name, nn.Parameter(value, requires_grad=trains))
    layer.elementwise_affine = True
