"""The Derf that comes nearest to a norm: a regression of what the norm returned on the error function of its input.

For e = erf(alpha x) the best weight and bias of a channel are those of ordinary least squares of the target t,

    weight = cov(e, t) / var(e),    bias = mean(t) - weight mean(e),    error = var(t) - cov(e, t)^2 / var(e),

so alpha alone is searched, on a sample of rows, and five sums a channel say the rest, however many rows there are.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-6  # of the mean variance: a channel that does not vary gets a weight near 0, not 0 / 0
_ROWS = 2048  # of a sample that finds alpha
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
    means, so that nothing cancels."""

    def __init__(self, e: Tensor, t: Tensor) -> None:
        """e and t: some rows, for the centres alone."""
        self.centres = torch.stack([e.double().mean(0), t.double().mean(0)])
        self.sums = self.centres.new_zeros(5, e.shape[1])
        self.totals = self.centres.new_zeros(2)  # rows, and the square of all inputs

    def add(self, e: Tensor, t: Tensor, x: Tensor) -> None:
        e0, t0 = self.centres
        step = max(1, _CHUNK // max(1, e.shape[1]))
        for first in range(0, len(e), step):
            rows = slice(first, first + step)
            de, dt = e[rows].double() - e0, t[rows].double() - t0
            self.sums += torch.stack([de.sum(0), dt.sum(0), (de * de).sum(0), (de * dt).sum(0), (dt * dt).sum(0)])
            self.totals += torch.stack([self.totals.new_tensor(len(de)), x[rows].double().square().sum()])

    @property
    def rows(self) -> int:
        return int(self.totals[0])

    def rms(self) -> float:
        """Of the inputs."""
        return math.sqrt(self.totals[1].item() / (self.rows * self.sums.shape[1]))

    def is_finite(self) -> bool:
        return bool(self.sums.isfinite().all())

    def fit(self, with_bias: bool) -> Fit:
        e, t, ee, et, tt = self.sums / self.rows
        variance_e, covariance, variance_t = ee - e * e, et - e * t, tt - t * t
        mean_e, mean_t = self.centres[0] + e, self.centres[1] + t
        if not with_bias:  # through 0: second moments in the place of the central ones
            variance_e, covariance = variance_e + mean_e**2, covariance + mean_e * mean_t
        square_t = variance_t if with_bias else variance_t + mean_t**2
        weight = covariance / (variance_e + RIDGE * variance_e.mean()).clamp_min(torch.finfo(torch.float64).tiny)
        error = (square_t - 2 * weight * covariance + weight**2 * variance_e).clamp_min(0)
        return Fit(weight, mean_t - weight * mean_e if with_bias else None, error, variance_t.clamp_min(0))

    def varies(self) -> bool:
        """Whether some channel of e does."""
        e, _, ee, _, _ = self.sums / max(1, self.rows)
        return self.rows > 1 and bool((ee - e * e > 0).any())


def sample(rows: Tensor, at_most: int = _ROWS) -> Tensor:
    """As many rows, evenly spread: always the same ones."""
    if len(rows) <= at_most:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, at_most, device=rows.device).long()]


def best_alpha(x: Tensor, t: Tensor, with_bias: bool) -> float:
    """The alpha whose regression leaves least, for inputs and targets [rows, channels]; 0 where all inputs are."""
    x, t = sample(x).double(), sample(t).double()
    rms = x.square().mean().sqrt().item()
    if not rms:
        return 0.0

    def error(log_gain: float, stride: int) -> float:
        e = torch.erf(x[::stride] * (math.exp(log_gain) / rms))
        moments = Moments(e, t[::stride])
        moments.add(e, t[::stride], x[::stride])
        return moments.fit(with_bias).error.sum().item()

    # alpha * rms(x) comes out at .1 to .4 for most trained norms, at more where few channels are much larger than all.
    grid = [math.log(0.02) + 0.55 * step for step in range(14)]  # up to 25
    stride = max(1, len(x) // 512)
    coarse = min(grid, key=lambda point: error(point, stride))
    return math.exp(_minimum(lambda point: error(point, 1), coarse - 0.55, coarse + 0.55)) / rms


def _minimum(function, low: float, high: float, evaluations: int = 8) -> float:
    """Golden section: the interval shrinks to a thirtieth, which is 2 % of alpha; the error is flat there."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(evaluations - 2):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return left if at_left < at_right else right
