"""The layers that calibrate looks at: norms, and Derfs that replace_norm put into their places."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor, nn

from .functional import pointwise_norm
from .modules import Derf, PointwiseNorm
from .norms import looks_like_norm
from .passes import check_plain
from .plan import Plan, make_plan
from .regression import Fit, Moments, best_alpha, sample
from .report import KeptNorm
from .restore import norm_of
from .selection import Selector, selected, selectors


@dataclass(eq=False)
class Site:
    """One layer, what is known of it so far, and the Derf that it becomes."""

    name: str
    module: nn.Module  # what is in the model now
    new: PointwiseNorm  # of erf
    old: type  # the norm's class
    norm: nn.Module | None  # what it computed, where the module itself is a Derf
    with_bias: bool
    added: tuple[str, ...]
    targets: list[Tensor] = field(default_factory=list)  # the norm's outputs in one forward, call by call
    calls: int = 0  # of the layer in the present forward
    inputs: list[Tensor] = field(default_factory=list)  # of the sample, and the targets for it
    outputs: list[Tensor] = field(default_factory=list)
    alpha: Tensor | None = None  # float64 [1], or [channels]
    fit: Fit | None = None
    moments: Moments | None = None
    strays: int = 0  # calls that had no target of the original
    unmasked: bool = False

    def rows(self, tensor: Tensor, mask: Tensor | None = None) -> Tensor:
        """[rows, channels] of a tensor that the layer takes or gives, without those where mask is false."""
        channel_dim, shape = self.new.channel_dim, self.new.normalized_shape
        last = tensor if channel_dim == -1 else tensor.movedim(channel_dim, -1)
        leading = last.shape[: last.dim() - len(shape)]
        rows = last.reshape(-1, prod(shape))
        if mask is None:
            return rows
        if leading[: mask.dim()] != mask.shape:
            self.unmasked = True
            return rows
        mask = mask.to(tensor.device).reshape(*mask.shape, *[1] * (len(leading) - mask.dim())).expand(leading)
        return rows[mask.reshape(-1)]

    def parameters(self) -> list[Tensor | None]:
        """alpha, shift, weight and bias as fitted, in the dtype that the layer will have."""
        like, shape = self.new.alpha, self.new.normalized_shape
        alpha, weight = self.alpha.reshape(like.shape).to(like), self.fit.weight.reshape(shape).to(like)
        bias = None if self.fit.bias is None else self.fit.bias.reshape(shape).to(like)
        return [alpha, torch.zeros_like(alpha), weight, bias]

    def compute(self, x: Tensor) -> Tensor:
        """What the Derf makes of the layer's input."""
        return pointwise_norm(x, *self.parameters(), channel_dim=self.new.channel_dim)

    def error_function(self, rows: Tensor) -> Tensor:
        """erf(alpha x), as the operator computes it, in float32 or float64."""
        rows = rows if rows.dtype == torch.float64 else rows.float()
        return pointwise_norm(rows, self.alpha.to(rows))

    def learn(self, x: Tensor, t: Tensor) -> None:
        """Add rows to the sample, and fit alpha, weight and bias to it."""
        self.inputs.append(sample(x))
        self.outputs.append(sample(t))
        x, t = torch.cat(self.inputs), torch.cat(self.outputs)
        if not (x.isfinite().all() and t.isfinite().all()):
            self.refuse()
        self.alpha = best_alpha(x, t, self.with_bias, self.new.per_channel)
        e = self.error_function(x)
        self.moments = Moments(e, t, self.alpha)
        self.moments.add(e, t, x)
        self.fit = self.moments.fit(self.with_bias)

    def forget(self) -> None:
        """Begin anew."""
        self.inputs, self.outputs, self.fit = [], [], None

    def forget_sample(self) -> None:
        """Keep the fit and the centres."""
        self.inputs, self.outputs = [], []
        self.moments.sums.zero_()
        self.moments.count.zero_()

    def state(self) -> list[Tensor]:
        """What all processes must have alike before they sum."""
        bias = [] if self.fit.bias is None else [self.fit.bias]
        return [self.alpha, self.fit.weight, *bias, self.moments.centres]

    def add(self, x: Tensor, t: Tensor) -> None:
        """Add rows to the sums."""
        self.moments.add(self.error_function(x), t, x)

    def refuse(self) -> None:
        raise ValueError(
            f"derf: the inputs and outputs of {self.name or 'model'} must be finite, but have NaN or infinite elements"
        )


def find_sites(
    model: nn.Module,
    include: Selector | Sequence[Selector] | None,
    exclude: Selector | Sequence[Selector] | None,
    per_channel: bool,
    bias: bool,
) -> tuple[list[Site], Plan]:
    """Every layer to calibrate, and replace_norm's plan for those that are norms still."""
    check_plain(model, "calibrate")
    modules = dict(model.named_modules())
    included, excluded = selectors(include, "include"), selectors(exclude, "exclude") or ()
    derfs = {name: module for name, module in modules.items() if isinstance(module, Derf)}

    def is_for_derfs(by: Selector) -> bool:
        """Whether a selector means Derfs alone, which make_plan, that knows of norms, would not find."""
        mean = [name for name, module in modules.items() if selected(by, [name], module)]
        return bool(derfs.keys() & set(mean)) and not any(looks_like_norm(modules[name]) for name in mean)

    for_norms = None if included is None else [by for by in included if not is_for_derfs(by)]
    # keep_affine=False: the norms' own parameters, which others may share, are not to change.
    plan = make_plan(model, "erf", per_channel, {}, None, None, for_norms, exclude, False, None, None)
    sites = []
    for entry in plan.report.replaced:
        norm = modules[entry.name]
        sites.append(_site(entry.name, norm, entry.new, entry.old, None, bias))
    for name, module in derfs.items():
        chosen = included is None or any(selected(by, [name], module) for by in included)
        if not chosen or any(selected(by, [name], module) for by in excluded):
            plan.report.kept.append(KeptNorm(name, type(module), "it is not selected"))
        elif getattr(module, "origin", None) is None:
            plan.report.kept.append(KeptNorm(name, type(module), "it is a Derf that was no norm"))
        elif _changed(module):
            raise ValueError(
                f"derf: {name or 'model'} was trained, started or calibrated since replace_norm, so what its norm "
                "computed is not known any more. Calibrate the model with norms."
            )
        elif per_channel:
            raise ValueError(
                f"derf: per_channel needs norms, but {name or 'model'} is a Derf, which has one alpha. Call calibrate "
                "in place of replace_norm."
            )
        else:
            norm = norm_of(module, {})
            sites.append(_site(name, module, module, type(norm), norm, bias))
    if not sites:
        kept = "".join(f"\n{entry.name or '(model)'}: {entry.reason}" for entry in plan.report.kept)
        raise ValueError(
            f"derf: model must have a norm that can be calibrated, but {type(model).__name__} has none{kept}"
        )
    return sites, plan


def _changed(layer: Derf) -> bool:
    """Whether alpha and shift are not where replace_norm put them."""
    return any(
        parameter is not None and not torch.equal(parameter.detach(), torch.full_like(parameter, start))
        for parameter, start in ((layer.alpha, layer.alpha_init), (layer.shift, layer.shift_init))
    )


def _site(name: str, module: nn.Module, new: PointwiseNorm, old: type, norm: nn.Module | None, bias: bool) -> Site:
    # Without a weight a Derf cannot be as steep as a norm is, so one is added, and a bias with it.
    added = ("weight",) * (new.weight is None) + ("bias",) * (new.bias is None and (bias or new.weight is None))
    return Site(name, module, new, old, norm, new.bias is not None or "bias" in added, added)
