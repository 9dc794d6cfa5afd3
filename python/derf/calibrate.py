"""From a trained model with norms to one with Derfs that compute what the norms did."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, overload

from torch import Tensor, nn

from .calibration_report import CalibratedLayer, CalibrationReport
from .calibration_run import Mask, Run
from .modules import PointwiseNorm
from .passes import Forward, evaluating
from .plan import Plan
from .replace import carry_out
from .report import KeptNorm
from .selection import Selector
from .sites import Site, find_sites

if TYPE_CHECKING:
    from typing_extensions import Unpack

Model = TypeVar("Model", bound=nn.Module)


class _Options(TypedDict, total=False):
    forward: Forward | None
    mode: Literal["sequential", "parallel"]
    mask: Mask | None
    include: Selector | Sequence[Selector] | None
    exclude: Selector | Sequence[Selector] | None
    per_channel: bool
    bias: bool
    min_r2: float
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
    min_r2: float = 0.0,
    refine: int = 0,
    progress: bool = True,
    return_report: bool = False,
) -> Model | PointwiseNorm | tuple[Model | PointwiseNorm, CalibrationReport]:
    r"""Replace every norm of a trained model by a :class:`derf.Derf` that computes nearly the same.

    Plain :func:`derf.replace_norm` destroys most of what a trained model learned. Here alpha, weight and bias of each
    Derf are fitted to the norm's outputs on some batches of data: alpha by search, weight and bias of each channel by
    least squares, in float64; shift is 0. That takes seconds and no gradients. The result is close to the original at
    once, and as good after a short fine-tuning. Build the optimizer after it.

    Args:
        model: a trained model with norms, all those that ``replace_norm`` knows; or one that ``replace_norm`` converted
            and that was not trained since. It is changed in place.
        batches: some batches of inputs as in training; 8 batches of 8 are enough. They are iterated over once. A batch
            is a tensor, a tuple or list of positional arguments, or a mapping of keyword arguments for the model; or
            anything that forward takes.
        forward: called as ``forward(model, batch)`` instead of the model. If what it (or the model) returns is a loss,
            that is, one number, or has an attribute or key ``loss``, the report has the loss before and after.
        mode: "sequential" fits each layer to the inputs that it gets in the converted model, and to what the norm
            returned in the original, so that later layers correct earlier ones. "parallel" fits to the inputs of the
            original, in half the time.
        mask: which positions count: the key of the batch ("attention_mask"), or a function of the batch that returns a
            tensor which is true at data and false at padding. A layer whose input has the mask's shape before the
            channels leaves out the padding; other layers use everything, and the report says so.
        include, exclude: which norms, as in ``replace_norm``.
        per_channel: whether each channel has its own alpha, found by the same search. The layers are then
            :class:`derf.PointwiseNorm`, and the model must still have its norms.
        bias: whether norms that have only a weight, such as RMSNorm, get a bias. A LLaMA loses a quarter less with it.
            (A new model that will load the result needs it too: ``replace_norm(model, bias=True)``.)
        min_r2: a norm stays where a Derf at its place in the original model explains less than this share of the
            variance of its output (R²), and the report names it. 0.9 keeps only norms whose rows differ much in size,
            such as the one behind the convolutions of a wav2vec 2.0. The model must still have its norms.
        refine: steps of gradient descent afterwards, on alpha, weight and bias of the Derfs only, toward the original's
            outputs (its logits, if they are called that) on the first 32 batches. A step takes a forward of the
            original, and a forward and a backward of the new model. 40 steps recover most of what the regression loses.
            Use them if that is much, as in models with RMSNorm.
        progress: whether a line on the terminal shows the progress.
        return_report: whether to return (model, report); see :class:`derf.CalibrationReport`.

    The model runs in eval mode without gradients; modes are restored afterwards. A layer that is called several times,
    or has several names, is fitted to all its calls. A layer that does not run stays a norm, and the report names it. A
    norm without weight gets one, with a bias. Memory: the norms' outputs of one batch (sequential), a sample of about
    512 rows per layer, six sums per channel; with refine, up to 32 batches and the memory of a training step.

    If ``torch.distributed`` is initialized, sums (and the gradients of refine) are over all processes. Each calls this
    with the same model and its own batches, before the model is wrapped. The result is the same in all of them.

    ``restore_norm`` puts the norms back with the fitted weights, which are not the original ones: keep a copy.

    Returns:
        The model; if it is a norm itself, the new layer.

    Raises:
        TypeError: if model is not an ``nn.Module``, or is compiled, scripted or distributed; if batches is not an
            iterable of batches.
        ValueError: if mode is unknown; if batches are empty, have NaN or are on another device; if the model has no
            norm, or a Derf that was trained since ``replace_norm``; if min_r2 would keep every norm; if a layer's
            inputs or outputs are not finite or do not vary. The message names the layer.

    After an error the model is as it was before.

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
    if isinstance(min_r2, bool) or not isinstance(min_r2, (int, float)):
        raise TypeError(f"derf: min_r2 must be a float, but is {min_r2!r}")
    if not 0 <= min_r2 < 1:
        raise ValueError(f"derf: min_r2 must be in [0, 1), but is {min_r2}")
    if not isinstance(refine, int) or isinstance(refine, bool):
        raise TypeError(f"derf: refine must be an int, but is {refine!r}")
    if refine < 0:
        raise ValueError(f"derf: refine must be 0 or more, but is {refine}")
    if mask is not None and not isinstance(mask, str) and not callable(mask):
        raise TypeError(f"derf: mask must be a key of the batch or a function of it, but is {mask!r}")
    sites, plan = find_sites(model, include, exclude, per_channel, bias)
    if min_r2 and (derfs := [site.name for site in sites if site.norm is not None]):
        raise ValueError(
            f"derf: min_r2 needs norms, but {derfs[0] or 'model'} is a Derf. Call calibrate in place of replace_norm."
        )
    run = Run(model, sites, forward, mask, mode == "sequential", min_r2, refine, progress)
    report = CalibrationReport()
    with evaluating(model):
        ran = run.all_passes(batches, report)
    for site, r2 in run.poor.items():
        plan.derfs.pop(site.module)
        report.kept.append(KeptNorm(site.name, site.old, f"a Derf explains {r2:.3f} of its output, less than min_r2"))
    _describe(plan, run.sites, ran, report)
    values = [(site.new, site.parameters()) for site in ran]
    result = carry_out(plan, model)
    for layer, parameters in values:
        _set(layer, parameters)
    report.seconds = time.perf_counter() - began
    return (result, report) if return_report else result


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
