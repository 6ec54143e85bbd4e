"""What training minimises: a model and a batch in, one number out."""

from collections.abc import Callable

from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.data.negatives import NegativeSampler
from crossfield.errors import ConfigError, DataError
from crossfield.losses import bce, bpr

Objective = Callable[[nn.Module, Batch], Tensor]


def bce_objective(model: nn.Module, batch: Batch) -> Tensor:
    """Mean binary cross-entropy of a labelled batch, rows weighted where they have weights."""
    if batch.labels is None:
        raise DataError("these rows have no labels; name the label column, or have negatives drawn (train.negatives)")
    return bce(model(batch), batch.labels, batch.weights)


def bpr_objective(negatives: NegativeSampler | None) -> Objective:
    """BPR of a batch that holds the positives first, then one block of their negatives after another.

    A pair weighs what its negative does: nothing where there was none left to draw.
    """
    if negatives is None:
        raise ConfigError('train.objective = "bpr" compares positives with drawn negatives; leave the label out')
    num_negatives = negatives.per_positive

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        logits = model(batch).view(1 + num_negatives, -1)
        weights = None if batch.weights is None else batch.weights.view(logits.shape)[1:].t()
        return bpr(logits[0], logits[1:].t(), weights)

    return objective
