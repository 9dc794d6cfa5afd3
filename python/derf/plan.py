"""What replace_norm will change, made ready: all that can fail has happened before the model is touched."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .custom import Function
from .modulated import ModulatedDerf
from .modules import DTYPES, STUDY, Derf, DyT, PointwiseNorm, checked_study
from .norms import NormSpec, describe, looks_like_norm
from .observe import Unsuitable, clone_without_state
from .recipes import Recipe, recipe_called
from .report import KeptNorm, ReplacedNorm, Report
from .rewrite import modulated_norms, rewriting_of, rewritten_class
from .selection import QUERY_KEY_NORMS, Selector, Start, selected, selectors, starts

# Names of classes, for nothing here imports torch.distributed; torch has moved some of them between modules.
_WRAPPERS = {
    "DistributedDataParallel": "wrapped by DistributedDataParallel",
    "FullyShardedDataParallel": "wrapped by FullyShardedDataParallel",
    "FSDPModule": "sharded by fully_shard",
    "OptimizedModule": "compiled by torch.compile",
}
# These handle a module's state dict, know its parameters and are bound to it: a new layer cannot take them over.
_STATE_HOOKS = (
    *("_state_dict_hooks", "_state_dict_pre_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
)


@dataclass(frozen=True)
class Origin:
    """What a layer stands in place of: enough to put that back."""

    norm: nn.Module  # without its parameters
    weight: str | None  # the names that they had
    bias: str | None
    weight_offset: float


def parameter_names(norm: nn.Module) -> dict[nn.Parameter, str]:
    """Names of the parameters that norm itself has: a bias that is registered as None has none."""
    return {parameter: name for name, parameter in norm._parameters.items() if parameter is not None}


@dataclass(frozen=True)
class Kind:
    """What the norms become."""

    function: Function
    shift: bool
    per_channel: bool
    study: dict[str, float | None]

    @property
    def plain(self) -> bool:
        return not self.per_channel and self.study == STUDY

    @property
    def derf(self) -> bool:
        return self.plain and self.function == "erf" and self.shift

    def layer(self, normalized_shape: tuple[int, ...], modulated: bool, **options: Any) -> PointwiseNorm:
        """A layer of this kind, of the class that has a name of its own for it where there is one."""
        if modulated:
            del options["channel_dim"]
            return ModulatedDerf(normalized_shape, **options)
        if self.derf:
            return Derf(normalized_shape, **options)
        if self.plain and self.function == "tanh" and not self.shift:
            del options["shift_init"]
            return DyT(normalized_shape, **options)
        own: dict[str, Any] = {"shift": self.shift, "per_channel": self.per_channel, **self.study}
        return PointwiseNorm(normalized_shape, self.function, **own, **options)


@dataclass
class Plan:
    """The layers to replace, the other changes of the model, what to warn of, and the report of it all."""

    derfs: dict[nn.Module, PointwiseNorm] = field(default_factory=dict)
    changes: list[Callable[[], None]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    report: Report = field(default_factory=Report)


def make_plan(
    model: nn.Module,
    function: Function,
    per_channel: bool,
    study: Mapping[str, Any],
    alpha: Start | None,
    shift: Start | bool | None,
    include: Selector | Sequence[Selector] | None,
    exclude: Selector | Sequence[Selector] | None,
    keep_affine: bool,
    bias: bool | None,
    recipe: str | None,
    modulate: bool = False,
) -> Plan:
    """The plan for the arguments of :func:`derf.replace_norm`, which says what they mean and what is raised.

    modulate says whether modulation behind a norm becomes part of the layer.
    """
    chosen = Recipe(alpha=0.5, source="", training="") if recipe is None else recipe_called(recipe, function)
    has_shift = chosen.shift if shift is None else shift is not False
    kind = Kind(function, has_shift, per_channel, checked_study(function, **study))
    included = selectors(chosen.include if include is None else include, "include")
    excluded = selectors(exclude, "exclude") or ()
    modules = dict(model.named_modules())
    for name, module in modules.items():
        refuse_wrapped(name or "model", module, "replace_norm")

    plan = Plan()
    names = _names(modules)
    specs: dict[nn.Module, NormSpec] = {}
    candidates = {name: module for name, module in modules.items() if looks_like_norm(module)}
    for name, module in candidates.items():
        try:
            _select(names[module], module, included, excluded)
            _refuse_changed(name or "model", module)
            specs[module] = _supported(describe(module))
        except Unsuitable as reason:
            plan.report.kept.append(KeptNorm(name, type(module), str(reason)))
    for by in included or ():
        if not any(selected(by, names[module], module) for module in candidates.values()):
            raise ValueError(f"derf: include has {by!r}, which matches no normalization layer of the model")
    _refuse_fused(modules, specs)

    first_names = [names[module][0] for module in specs]
    alphas = starts(chosen.alpha if alpha is None else alpha, first_names, "alpha")
    shifts = starts(0.0 if shift is None or isinstance(shift, bool) else shift, first_names, "shift")
    add_bias = chosen.bias if bias is None else bias
    counted_from_1: dict[nn.Parameter, nn.Parameter] = {}
    modulated = _modulate(plan, modules, specs) if modulate and kind.derf else set()
    for module, spec in specs.items():
        first, *aliases = names[module]
        example = _example(modules, first)
        at = alphas[first], shifts[first]
        new = _derf(module, spec, example, kind, module in modulated, *at, keep_affine, add_bias, counted_from_1)
        plan.derfs[module] = new
        copied = _copied(spec) if keep_affine else ()
        plan.report.replaced.append(ReplacedNorm(first, type(module), new, copied, tuple(aliases)))
        lost = [kind.strip("_") for kind in _STATE_HOOKS if getattr(module, kind, None)]
        if lost:
            plan.warnings.append(f"{first or 'model'} had {', '.join(lost)}, which know its state dict and are lost")
    for description, change in chosen.scale(model) if chosen.scale else ():
        plan.changes.append(change)
        plan.report.changes.append(description)
    plan.report.changes += plan.warnings
    return plan


def _names(modules: dict[str, nn.Module]) -> dict[nn.Module, list[str]]:
    """All qualified names of each module, the first one first."""
    names = {module: [name] for name, module in modules.items()}
    for parent_name, parent in modules.items():
        for name, child in parent._modules.items():
            qualified = f"{parent_name}.{name}" if parent_name else name
            if child is not None and qualified not in names[child]:
                names[child].append(qualified)
    return names


def _select(
    names: list[str], module: nn.Module, included: tuple[Selector, ...] | None, excluded: tuple[Selector, ...]
) -> None:
    """Raise Unsuitable where the options leave the module."""
    if included is None:
        if any(name.rpartition(".")[2] in QUERY_KEY_NORMS for name in names):
            raise Unsuitable('it normalizes queries or keys (include="*" would replace it)')
    elif not any(selected(by, names, module) for by in included):
        raise Unsuitable("include does not name it")
    if any(selected(by, names, module) for by in excluded):
        raise Unsuitable("exclude names it")


def refuse_wrapped(name: str, module: nn.Module, caller: str) -> None:
    """Raise TypeError where the module is scripted, compiled or distributed."""
    if isinstance(module, torch.jit.ScriptModule):
        how = f"a {type(module).__qualname__}, scripted or traced"
    elif module._compiled_call_impl is not None:
        how = "compiled by torch.compile"
    else:
        torchs = (cls.__name__ for cls in type(module).__mro__ if cls.__module__.startswith("torch."))
        how = next((_WRAPPERS[name] for name in torchs if name in _WRAPPERS), "")
    if how:
        raise TypeError(
            f"derf: model must be neither scripted, compiled nor distributed, but {name} is {how}. "
            f"Call {caller} first, then script, compile or distribute what it returns."
        )


def _refuse_changed(name: str, norm: Any) -> None:
    if parametrize.is_parametrized(norm):
        raise ValueError(
            f"derf: {name} has parametrizations of {', '.join(norm.parametrizations)}. "
            "Call replace_norm first, then register them."
        )
    forward = norm.__dict__.get("forward")
    # accelerate leaves a layer's very own there when it takes its hooks away.
    if forward is not None and getattr(forward, "__func__", None) is not type(norm).forward:
        raise ValueError(
            f"derf: the forward of {name} was replaced by {forward!r}, as accelerate's hooks do. "
            "Call replace_norm first, then add them."
        )


def _refuse_fused(modules: dict[str, nn.Module], specs: dict[nn.Module, NormSpec]) -> None:
    """mamba_ssm's blocks hand the weights of their norm to a kernel that normalizes, whatever module the norm is."""
    for name, module in modules.items():
        if getattr(module, "fused_add_norm", False) and any(child in specs for child in module._modules.values()):
            raise ValueError(
                f"derf: {name or 'model'} has fused_add_norm=True: it hands its norm's weights to a kernel that "
                "computes a norm, whatever the layer is. Build the model with fused_add_norm=False."
            )


def _modulate(plan: Plan, modules: dict[str, nn.Module], specs: dict[nn.Module, NormSpec]) -> set[nn.Module]:
    """Plan the modulation of norms by the modules around them, and return those norms."""
    found: set[nn.Module] = set()
    told: dict[str, int] = {}
    for module in modules.values():
        children = {
            name: child
            for name, child in module._modules.items()
            if child in specs and specs[child].channel_dim == -1 and len(specs[child].normalized_shape) == 1
        }
        names = modulated_norms(module).intersection(children) if children else frozenset()
        cls = type(module)
        new = rewritten_class(cls, modulated=names | rewriting_of(cls).modulated) if names else cls
        if new is not cls:
            plan.changes.append(partial(setattr, module, "__class__", new))
            found.update(children[name] for name in names)
        for name, child in children.items():
            inside = name in names and new is not cls
            if inside or specs[child].weight is None:
                what = "in the layer's call" if inside else "not found in its forward: a plain Derf"
                key = f"modulation of {cls.__name__}.{name}: {what}"
                told[key] = told.get(key, 0) + 1
    plan.report.changes += [f"{key} ({count} {'layer' if count == 1 else 'layers'})" for key, count in told.items()]
    return found


def _supported(spec: NormSpec) -> NormSpec:
    dtypes = {parameter.dtype for parameter in (spec.weight, spec.bias) if parameter is not None}
    if len(dtypes) > 1 or not dtypes <= set(DTYPES):
        raise Unsuitable(f"its parameters are of {', '.join(sorted(map(str, dtypes)))}")
    return spec


def _example(modules: dict[str, nn.Module], name: str) -> nn.Module:
    """The layer, or else the nearest module around it, that has parameters of a dtype that a Derf can have."""
    while name and not _parameters(modules[name]):
        name = name.rpartition(".")[0]
    return modules[name]


def _parameters(module: nn.Module) -> list[Tensor]:
    return [parameter for parameter in module.parameters() if parameter.dtype in DTYPES]


def _derf(
    norm: nn.Module,
    spec: NormSpec,
    example: nn.Module,
    kind: Kind,
    modulated: bool,
    alpha: float,
    shift: float,
    keep_affine: bool,
    add_bias: bool,
    counted_from_1: dict[nn.Parameter, nn.Parameter],
) -> PointwiseNorm:
    found = _parameters(example)
    like = found[0] if found else torch.empty(0)
    with_bias = spec.bias is not None or (add_bias and spec.weight is not None)
    new = kind.layer(
        spec.normalized_shape,
        modulated,
        alpha_init=alpha,
        shift_init=shift,
        elementwise_affine=spec.weight is not None or spec.bias is not None,
        bias=with_bias,
        channel_dim=spec.channel_dim,
        device=like.device,
        dtype=like.dtype,
    )
    if spec.weight is None:
        new.weight = None
    elif keep_affine and spec.weight_offset:
        if spec.weight not in counted_from_1:  # layers that share their weight go on sharing it
            counted_from_1[spec.weight] = nn.Parameter(spec.weight.detach() + spec.weight_offset)
        new.weight = counted_from_1[spec.weight]
    elif keep_affine:  # the very parameter: what holds it (a tied weight, an optimizer) goes on holding it
        new.weight = spec.weight
    if keep_affine and spec.bias is not None:
        new.bias = spec.bias

    own = [parameter for parameter in (spec.weight, spec.bias) if parameter is not None]
    trains = any(parameter.requires_grad for parameter in own or found) or not found
    for name, parameter in new.named_parameters():
        old = getattr(spec, name, None)
        parameter.requires_grad_(trains if old is None else old.requires_grad)
    names = parameter_names(norm)
    new.origin = Origin(clone_without_state(norm), names.get(spec.weight), names.get(spec.bias), spec.weight_offset)
    return new.train(norm.training)


def _copied(spec: NormSpec) -> tuple[str, ...]:
    weight = "weight" if not spec.weight_offset else f"weight + {spec.weight_offset:g}"
    return (weight,) * (spec.weight is not None) + ("bias",) * (spec.bias is not None)
