"""The Derf that comes nearest to a norm: a regression of what the norm returned on the error function of its input.

For e = erf(alpha x) the best weight and bias of a channel are those of ordinary least squares of the target t,

    weight = cov(e, t) / var(e),    bias = mean(t) - weight mean(e),    error = var(t) - cov(e, t)^2 / var(e),

so alpha alone is searched, on a sample of rows, and six sums a channel say the rest, however many rows there are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-6  # of the mean variance of e / alpha: a channel that does not vary gets a weight near 0, not 0 / 0
_ROWS = 2048  # of a sample that finds alpha
_STEP = 0.55  # of the grid of alphas, in the logarithm
_CHUNK = 2**18  # elements that are summed at a time


@dataclass
class Fit:
    """weight [channels], bias [channels] or None, and per channel the error that is left and the target's variance."""

    weight: Tensor
    bias: Tensor | None
    error: Tensor
    variance: Tensor

    @property
    def r2(self) -> float:
        """The share of the target's variance that the fit explains, over all channels."""
        total = self.variance.sum().item()
        return 1 - self.error.sum().item() / total if total else 0.0

    def worst(self) -> tuple[float, int]:
        """The least such share of a channel, and which channel that is."""
        of_channels = torch.where(self.variance > 0, 1 - self.error / self.variance, 1.0)
        value, index = of_channels.min(0)
        return value.item(), int(index)


class Moments:
    """Sums of e and t [rows, channels] and their products, per channel, in float64, around centres that are near the
    means, so that nothing cancels; and of the inputs' squares."""

    def __init__(self, e: Tensor, t: Tensor, alpha: Tensor) -> None:
        """e and t: some rows, for the centres alone. alpha: what makes e, [1] or [channels]."""
        self.alpha = alpha
        self.centres = torch.stack([e.double().mean(0), t.double().mean(0)])
        self.sums = self.centres.new_zeros(6, e.shape[1])
        self.count = self.centres.new_zeros(1)

    def add(self, e: Tensor, t: Tensor, x: Tensor) -> None:
        e0, t0 = self.centres
        step = max(1, _CHUNK // max(1, e.shape[1]))
        for first in range(0, len(e), step):
            rows = slice(first, first + step)
            de, dt = e[rows].double() - e0, t[rows].double() - t0
            squares = (de * de).sum(0), (de * dt).sum(0), (dt * dt).sum(0), x[rows].double().square().sum(0)
            self.sums += torch.stack([de.sum(0), dt.sum(0), *squares])
            self.count += len(de)

    @property
    def rows(self) -> int:
        return int(self.count)

    def gain(self) -> float:
        """The root mean square of alpha x."""
        return (self.alpha.square() * self.sums[5]).mean().div(self.rows).sqrt().item()

    def is_finite(self) -> bool:
        return bool(self.sums.isfinite().all())

    def fit(self, with_bias: bool) -> Fit:
        e, t, ee, et, tt, _ = self.sums / self.rows
        variance_e, covariance, variance_t = ee - e * e, et - e * t, tt - t * t
        mean_e, mean_t = self.centres[0] + e, self.centres[1] + t
        if not with_bias:  # through 0: second moments in place of the central ones
            variance_e, covariance = variance_e + mean_e**2, covariance + mean_e * mean_t
        square_t = variance_t if with_bias else variance_t + mean_t**2
        squares = torch.where(self.alpha != 0, self.alpha.square(), 1.0)
        ridge = RIDGE * squares * (variance_e / squares).mean()
        weight = covariance / (variance_e + ridge).clamp_min(torch.finfo(torch.float64).tiny)
        error = (square_t - 2 * weight * covariance + weight**2 * variance_e).clamp_min(0)
        return Fit(weight, mean_t - weight * mean_e if with_bias else None, error, variance_t.clamp_min(0))

    def varies(self) -> bool:
        """Whether some channel of e does."""
        e, _, ee = self.sums[:3] / max(1, self.rows)
        return self.rows > 1 and bool((ee - e * e > 0).any())


def sample(rows: Tensor, at_most: int = _ROWS) -> Tensor:
    """As many rows, evenly spread: always the same ones."""
    if len(rows) <= at_most:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, at_most, device=rows.device).long()]


def best_alpha(x: Tensor, t: Tensor, with_bias: bool, per_channel: bool = False) -> Tensor:
    """The alpha [1], or one for each channel [channels], whose regression leaves least, for inputs and targets [rows,
    channels], in float64; 0 where all inputs are."""
    x, t = sample(x).double(), sample(t).double()

    def error(alpha: Tensor, stride: int = 1) -> Tensor:
        e = torch.erf(x[::stride] * alpha)
        moments = Moments(e, t[::stride], alpha)
        moments.add(e, t[::stride], x[::stride])
        left = moments.fit(with_bias).error
        return left if len(alpha) > 1 else left.sum(0, keepdim=True)

    common = _search(error, x.square().mean().sqrt().reshape(1), len(x))
    if not per_channel or x.shape[1] == 1:
        return common
    own = _search(error, x.square().mean(0).sqrt(), len(x))
    common = common.expand_as(own)
    return torch.where(error(own) < error(common), own, common)


def _search(error: Callable[..., Tensor], rms: Tensor, rows: int) -> Tensor:
    """The alphas of least error, near 1 / rms: a grid on some rows, then a golden section on all."""
    # alpha * rms(x) comes out at .1 to .4 for most trained norms, at more where few channels are much larger than all.
    unit = torch.where(rms > 0, 1 / rms, 0.0)
    gains = [0.02 * math.exp(_STEP * step) for step in range(14)]  # up to 25
    stride = max(1, rows // 512)
    coarse = torch.stack([error(unit * gain, stride) for gain in gains]).argmin(0)
    middle = math.log(0.02) + _STEP * coarse.to(unit)
    return unit * _minimum(lambda point: error(unit * point.exp()), middle - _STEP, middle + _STEP).exp()


def _minimum(function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, evaluations: int = 8) -> Tensor:
    """Golden section, each element for itself: the interval shrinks to a thirtieth, which is 2 % of alpha; the error is
    flat there."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(evaluations - 2):
        is_left = at_left < at_right
        low, high = torch.where(is_left, low, left), torch.where(is_left, right, high)
        new = torch.where(is_left, high - ratio * (high - low), low + ratio * (high - low))
        at_new = function(new)
        left, right = torch.where(is_left, new, right), torch.where(is_left, left, new)
        at_left, at_right = torch.where(is_left, at_new, at_right), torch.where(is_left, at_left, at_new)
    return torch.where(at_left < at_right, left, right)
