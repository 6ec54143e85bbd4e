"""Losses on logits, and the correction that undoes negative down-sampling."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crossfield.errors import ConfigError

Logits = TypeVar("Logits", Tensor, NDArray[np.float32], NDArray[np.float64])


_total: list[Callable[[Tensor], Tensor]] = []


@contextmanager
def totals(total: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, means are over more rows than those at hand: ``total`` adds up sums [2] of all who share a batch.

    It is differentiable: its gradient is that of the sum with respect to the part at hand.
    """
    _total.append(total)
    try:
        yield
    finally:
        _total.pop()


def _mean(losses: Tensor, count: Tensor | int, *, least: float) -> Tensor:
    """The sum of losses over a count, or over ``least`` where that is more."""
    if not _total:
        return losses.sum() / (max(count, least) if isinstance(count, int) else count.clamp(min=least))
    counted = torch.as_tensor(count, dtype=torch.float64, device=losses.device)
    both = _total[-1](torch.stack([losses.sum().double(), counted]))
    return (both[0] / both[1].clamp(min=least)).to(losses.dtype)


def bce(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of logits [B, T] and labels [B, T] in 0..1, weighted by rows [B]; scalar float32.

    The mean is over the weights' sum, so their scale does not matter. No rows, or no weight: 0, with a gradient
    of 0, because a rank's shard of a batch may be empty.
    """
    exact = _at_least_float32(logits)
    losses = F.binary_cross_entropy_with_logits(exact, labels.to(exact.dtype), reduction="none")
    if weights is None:
        return _mean(losses, losses.numel(), least=1)
    return _mean(losses * weights.unsqueeze(1) / losses.shape[1], weights.sum(), least=1e-12)


def bpr(positive: Tensor, negative: Tensor, weights: Tensor | None = None) -> Tensor:
    """Bayesian personalised ranking (Rendle et al., UAI 2009): the weighted mean of -ln sigmoid(positive - negative).

    positive [B], negative and weights [B] or [B, negatives per positive]; scalar float32, 0 without rows or weight.
    """
    paired = positive if negative.dim() == positive.dim() else positive.unsqueeze(1)
    losses = F.softplus(_at_least_float32(negative) - _at_least_float32(paired))
    if weights is None:
        return _mean(losses, losses.numel(), least=1)
    return _mean(losses * weights, weights.sum(), least=1e-12)


def mean_penalty(penalties: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of what each row [B] is penalised by, weighted as its loss is; scalar, 0 without rows or weight."""
    if weights is None:
        return _mean(penalties, penalties.numel(), least=1)
    return _mean(penalties * weights, weights.sum(), least=1e-12)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def undo_downsampling(logits: Logits, rate: float) -> Logits:
    """Logits for the full data, from a model trained with only the share ``rate`` of the negatives.

    q = p / (p + (1 - p) / rate) (He et al., ADKDD 2014, section 6.3). The odds are q / (1 - q) =
    rate * p / (1 - p), so on logits it is one addition: ln rate, which never saturates.

    Raises ConfigError where ``rate`` is outside (0, 1].
    """
    if not 0 < rate <= 1:
        raise ConfigError(f"the share of negatives kept is {rate}; it must be above 0 and at most 1")
    return logits + math.log(rate)
