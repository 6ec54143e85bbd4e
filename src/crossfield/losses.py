"""Losses on logits, and the correction that undoes negative down-sampling."""

import math
from typing import TypeVar

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crossfield.errors import ConfigError

Logits = TypeVar("Logits", Tensor, NDArray[np.float32], NDArray[np.float64])


def bce(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy of logits [B, T] and labels [B, T] in 0..1, weighted by rows [B]; scalar float32.

    The mean is over the weights' sum, so their scale does not matter. No rows, or no weight: 0, with a gradient
    of 0, because a rank's shard of a batch may be empty.
    """
    losses = F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")
    if weights is None:
        return losses.sum() / max(losses.numel(), 1)
    total = weights.sum().clamp(min=1e-12) * losses.shape[1]
    return (losses * weights.unsqueeze(1)).sum() / total


def bpr(positive: Tensor, negative: Tensor, weights: Tensor | None = None) -> Tensor:
    """Bayesian personalised ranking (Rendle et al., UAI 2009): the weighted mean of -ln sigmoid(positive - negative).

    positive [B], negative and weights [B] or [B, negatives per positive]; scalar float32, 0 without rows or weight.
    """
    paired = positive if negative.dim() == positive.dim() else positive.unsqueeze(1)
    losses = F.softplus(negative.float() - paired.float())
    if weights is None:
        return losses.sum() / max(losses.numel(), 1)
    return (losses * weights).sum() / weights.sum().clamp(min=1e-12)


def undo_downsampling(logits: Logits, rate: float) -> Logits:
    """Logits for the full data, from a model trained with only the share ``rate`` of the negatives.

    q = p / (p + (1 - p) / rate) (He et al., ADKDD 2014, section 6.3). The odds are q / (1 - q) =
    rate * p / (1 - p), so on logits it is one addition: ln rate, which never saturates.

    Raises ConfigError where ``rate`` is outside (0, 1].
    """
    if not 0 < rate <= 1:
        raise ConfigError(f"the share of negatives kept is {rate}; it must be above 0 and at most 1")
    return logits + math.log(rate)
