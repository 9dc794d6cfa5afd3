"""From a model with normalization layers to one with point-wise layers in their place."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, overload

from torch import nn

from .custom import Function
from .modules import PointwiseNorm
from .plan import Plan, make_plan
from .report import Report
from .rewrite import original_class
from .selection import Selector, Start
from .start import start as set_start

if TYPE_CHECKING:
    from typing_extensions import Unpack

Model = TypeVar("Model", bound=nn.Module)

# What a call of a module runs. The new module gets the dictionaries themselves, so that their handles go on working.
CALL_HOOKS = (
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
    *("_backward_hooks", "_backward_pre_hooks", "_is_full_backward_hook"),
)


class _Study(TypedDict, total=False):
    dead_zone: float
    input_shift: float
    linear_mix: float
    clip: float | None
    output_shift: float
    sign: int


class _Options(_Study, total=False):
    function: Function
    per_channel: bool
    alpha: Start | None
    shift: Start | bool | None
    include: Selector | Sequence[Selector] | None
    exclude: Selector | Sequence[Selector] | None
    keep_affine: bool
    bias: bool | None
    recipe: str | None
    start: Any


@overload
def replace_norm(model: Model, *, dry_run: Literal[True], **options: "Unpack[_Options]") -> Report: ...


@overload
def replace_norm(
    model: Model, *, return_report: Literal[True], **options: "Unpack[_Options]"
) -> tuple[Model | PointwiseNorm, Report]: ...


@overload
def replace_norm(model: Model, **options: "Unpack[_Options]") -> Model | PointwiseNorm: ...


def replace_norm(
    model: Model,
    *,
    function: Function = "erf",
    per_channel: bool = False,
    alpha: Start | None = None,
    shift: Start | bool | None = None,
    include: Selector | Sequence[Selector] | None = None,
    exclude: Selector | Sequence[Selector] | None = None,
    keep_affine: bool = True,
    bias: bool | None = None,
    recipe: str | None = None,
    start: Any = None,
    dry_run: bool = False,
    return_report: bool = False,
    **study: "Unpack[_Study]",
) -> Model | PointwiseNorm | Report | tuple[Model | PointwiseNorm, Report]:
    """Put a point-wise layer in the place of every LayerNorm and RMSNorm of a model, and return the model.

    The new layers are of class :class:`derf.Derf`, or with other arguments of class :class:`derf.DyT` (tanh without a
    shift) or :class:`derf.PointwiseNorm`.

    The layers are exchanged in place, wherever they are: nested, in containers, under several names (a shared layer
    stays shared). Where the model itself is a norm, the new layer is returned. Layers of other libraries are recognised
    by what they compute, those of [N, C, H, W] images and those whose weight counts from 1 included, and
    :func:`derf.register_norm` adds to them. A new layer takes over the old one's shape, its weight and bias (values,
    dtype, device, requires_grad; what was absent stays absent), its train or eval mode and its hooks; alpha and shift
    start anew, frozen where the old layer is.

    Where the forward of the module around a norm computes ``norm(x) * (1 + scale) + shift``, as adaLN's do, the layer
    is a :class:`derf.ModulatedDerf` and computes that too. The module then belongs to a subclass of its class, of the
    same name, whose forward has the two in one call; state dict, copies and pickles are as they were. The report says
    where that was done, and where no modulation was found behind a norm that has no weight. For other functions than
    erf it is not done.

    Training from the start, or further training, is needed: the new layers do not compute what the norms did. Build the
    optimizer after the exchange, for alpha and shift are new parameters (:func:`derf.parameter_groups`). Load a
    checkpoint of the model with norms before it, or see :func:`derf.convert_state_dict`; distribute, compile, script
    and parametrize the model after it. :func:`derf.restore_norm` is the way back.

    Args:
        model: any ``nn.Module``.
        function: which function the new layers compute: a name from :func:`derf.functions`, or a function of your own.
        per_channel: whether alpha and shift have an element for each channel.
        alpha: where alpha starts; the default is the recipe's, or 0.5. One number for all layers, a function from
            qualified name to number, or a mapping whose keys are names or patterns (``"*.norm1"``; the first that
            matches counts, and every replaced layer needs one).
        shift: where shift starts, likewise, or False for layers without one; the default is 0, but for recipes of DyT's
            authors (function="tanh"), whose layers have none.
        include: which norms are replaced: a pattern of qualified names, a class, a function of name and module, or
            several of these. The default is all but those of queries and keys (``q_norm``, ``k_norm`` and the like);
            ``"*"`` means those too.
        exclude: which of them stay, likewise.
        keep_affine: whether weight and bias keep their values (the very parameters, except where a weight counts from
            1), or start at 1 and 0.
        bias: True gives a bias, which starts at 0, to layers that have a weight alone; the default is the recipe's, or
            False.
        recipe: "vit", "dit", "wav2vec2", "dna", "gpt2" or "llama" for the starts and changes with which the authors
            trained such models (derf/recipes.py has them all, with sources). With function="tanh" "vit" and "llama" are
            those of DyT's authors; the starts of the others are erf's. Other arguments go before it.
        start: one batch of data, for the starts of :func:`derf.start` with its defaults, in the place of alpha's.
        dry_run: whether the model stays as it is and the report of what would happen is returned in its place.
        return_report: whether (model, report) is returned; see :class:`derf.Report`.
        study: options of :class:`derf.PointwiseNorm`: dead_zone, input_shift, linear_mix, clip, output_shift, sign.

    Raises:
        TypeError: for arguments of a wrong type; where model is no ``nn.Module``, or is or contains a scripted or
            compiled module or one wrapped by DDP or FSDP: convert first.
        ValueError: where a norm that would be replaced has parametrizations or a forward of its own, or hands its
            weights to a fused kernel; where include matches nothing, or alpha or shift do not cover every layer.

    After an error the model is as it was.

    Sources: "Stronger Normalization-Free Transformers", arXiv 2512.10938; for tanh "Transformers without
    Normalization", arXiv 2503.10622.

    >>> import torch, derf
    >>> encoder = torch.nn.TransformerEncoderLayer(d_model=16, nhead=2)
    >>> derf.replace_norm(encoder, alpha={"norm1": 0.8, "*": 0.2}).norm1
    Derf((16,), alpha_init=0.8, shift_init=0.0)
    >>> derf.replace_norm(torch.nn.RMSNorm(8))
    Derf((8,), alpha_init=0.5, shift_init=0.0, bias=False)
    >>> derf.replace_norm(torch.nn.RMSNorm(8), function="linear", per_channel=True, clip=1.0)
    PointwiseNorm((8,), 'linear', alpha_init=0.5, shift_init=0.0, per_channel=True, bias=False, clip=1.0)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"derf: model must be a torch.nn.Module, but is of type {type(model).__qualname__}: {model!r}")
    if start is not None and not (alpha is None and recipe is None):
        raise ValueError("derf: alpha and start, or recipe and start, must not both be given: start finds alpha itself")
    plan = make_plan(
        model, function, per_channel, study, alpha, shift, include, exclude, keep_affine, bias, recipe, True
    )
    if dry_run:
        return plan.report
    nested: dict[nn.Module, Any] = {
        module: module.use_nested_tensor for module in model.modules() if hasattr(module, "use_nested_tensor")
    }
    result = carry_out(plan, model)
    if start is not None:
        try:
            set_start(result, start)
        except BaseException:
            _undo(plan, model, nested)
            raise
    return (result, plan.report) if return_report else result


def carry_out(plan: Plan, model: Model) -> Model | PointwiseNorm:
    """Change the model as planned."""
    for warning in plan.warnings:  # first: a filter may make an error of it
        warnings.warn(f"derf: {warning}", stacklevel=3)
    modules = list(model.modules())
    for norm, new in plan.derfs.items():
        for hooks in CALL_HOOKS:
            new.__dict__[hooks] = norm.__dict__[hooks]
    for parent in modules:
        for name, child in parent._modules.items():
            if child in plan.derfs:
                parent._modules[name] = plan.derfs[child]
    for parent in modules:
        _leave_fast_path(parent)
    for change in plan.changes:
        change()
    return plan.derfs.get(model, model)


def _undo(plan: Plan, model: nn.Module, nested: dict[nn.Module, Any]) -> None:
    """Put the norms back."""
    norms = {new: norm for norm, new in plan.derfs.items()}
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child in norms:
                parent._modules[name] = norms[child]
        parent.__class__ = original_class(type(parent))
    for module, value in nested.items():
        module.use_nested_tensor = value


def _leave_fast_path(parent: nn.Module) -> None:
    """Keep torch's own Transformer from packing padded input into a nested tensor.

    It does so for the fused kernel alone that a layer takes in eval mode. Its layers leave that by themselves, for the
    eps of their norms is NaN.
    """
    if isinstance(parent, nn.TransformerEncoder) and any(isinstance(m, PointwiseNorm) for m in parent.modules()):
        parent.use_nested_tensor = False
