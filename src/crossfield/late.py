"""Adam's steps without a gradient, any number of them at once."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

EXACT_AFTER = 1_000
"""Steps after which the approximation below is worth 5e-5 of the way at most, where √v is near ε, and less than float32
rounds where it is more than some 10 ε."""
BETA1, BETA2 = 0.9, 0.999
_SETTLED = 40_000
"""Steps after which a bias correction is 1 in double precision: β₂^s < 2^-53 for β₂ = .999."""
_FORGOTTEN = 400
"""Steps after which the sum below has converged: r^j < 2^-53 for r = β₁/√β₂ = .9005."""


@dataclass(frozen=True)
class IdleAdam:
    """What Adam (Kingma and Ba, 2015, Algorithm 1) does to weights in steps where their gradient is 0.

    Such a step s only decays m and v, and so the steps t+1 ... t+k together are

        w -= lr m_t Σ_{j=1..k} r^j g(t+j) / (√v_t + e_j),   r = β₁/√β₂,   g(s) = √(1-β₂^s) / (1-β₁^s),

    e_j = ε √(1-β₂^{t+j}) β₂^{-j/2}. With G(t) = Σ_{j>=1} r^j g(t+j) the sum of the numerators is G(t) - r^k G(t+k).
    The only approximation: all e_j are their mean, weighted by these numerators; the error is of second order in them.
    """

    sums: Tensor
    """G(t), [_SETTLED] float64."""
    floors: Tensor
    """The same sum of the products with e_j / ε, [_SETTLED] float64."""

    def move(self, mean: Tensor, square: Tensor, *, eps: float, last: Tensor, now: int) -> Tensor:
        """How far rows move at a learning rate of 1 in the steps last + 1 ... now; decays their moments in place.

        mean and square [n, D] are those after step ``last`` [n] int64.
        """
        last = last.cpu()
        missed = (now - last).double()
        at, end = last.clamp(max=_SETTLED - 1), min(now, _SETTLED - 1)
        total = self.sums[at] - (BETA1 / math.sqrt(BETA2)) ** missed * self.sums[end]
        floor = self.floors[at] - (BETA1 / BETA2) ** missed * self.floors[end]
        floor = torch.where(missed > 0, eps * floor / total, eps)  # a row that missed nothing does not move
        moved = square.sqrt().add_(_column(floor, square)).reciprocal_().mul_(mean).mul_(_column(total, mean))
        left = torch.where(missed < _FORGOTTEN, BETA1**missed, 0.0)
        # PERF: what is left of m would soon be below 1e-38, which a CPU computes with many times as slowly.
        mean.mul_(_column(left, mean))
        square.mul_(_column(BETA2**missed, square))
        return moved


@cache
def idle_adam() -> IdleAdam:
    """The sums; 640 kB, made once."""
    steps = torch.arange(1, _SETTLED + _FORGOTTEN, dtype=torch.float64)
    ages = torch.arange(1, _FORGOTTEN + 1, dtype=torch.float64)
    root = (1 - BETA2**steps).sqrt()
    weights = (BETA1 / math.sqrt(BETA2)) ** ages
    corrections = (root / (1 - BETA1**steps)).unfold(0, _FORGOTTEN, 1)
    sums = corrections @ weights
    floors = (corrections * root.unfold(0, _FORGOTTEN, 1)) @ (weights * BETA2 ** (-ages / 2))
    return IdleAdam(sums, floors)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like).view(-1, *[1] * (like.ndim - 1))
