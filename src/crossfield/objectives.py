"""What training minimises: a model and a batch in, one number out."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.data.negatives import NegativeSampler
from crossfield.errors import ConfigError, DataError
from crossfield.losses import bce, bpr, mean_penalty
from crossfield.models.base import BranchObjective, HasBranches, HasPenalty, Model

Objective = Callable[[nn.Module, Batch], Tensor]


Loss = Callable[[Tensor, Batch], Tensor]
"""Logits and their batch in, one number out."""


def bce_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Mean binary cross-entropy of a labelled batch, rows weighted where they have weights."""
    return bce(logits, _labels(batch), batch.weights)


def bce_objective(model: nn.Module, batch: Batch) -> Tensor:
    """``bce_loss`` of what a model says."""
    return bce_loss(model(batch), batch)


def _labels(batch: Batch) -> Tensor:
    if batch.labels is None:
        raise DataError("these rows have no labels; name the label column, or have negatives drawn (train.negatives)")
    return batch.labels


def bpr_loss(negatives: NegativeSampler | None) -> Loss:
    """BPR of a batch that holds the positives first, then one block of their negatives after another.

    A pair weighs what its negative does: nothing where there was none left to draw.
    """
    if negatives is None:
        raise ConfigError('train.objective = "bpr" compares positives with drawn negatives; leave the label out')
    num_negatives = negatives.per_positive

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        logits = logits.view(1 + num_negatives, -1)
        weights = None if batch.weights is None else batch.weights.view(logits.shape)[1:].t()
        return bpr(logits[0], logits[1:].t(), weights)

    return loss


class Penalised(nn.Module):
    """A model that penalises what it looked up, called for its logits and these penalties."""

    def __init__(self, model: HasPenalty) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits [B, T] float32 and penalties [B]."""
        return self.model.penalised_logits(batch)


class Branches(nn.Module):
    """A model of branches, called for the logits of the whole and of each branch instead of the score alone.

    A module with a call of its own, because compiling or distributing a module acts on its call.
    """

    def __init__(self, model: HasBranches) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, T] float32: whole, first branch, second branch."""
        return self.model.branch_logits(batch)


def distillation_objective(branches: nn.Module, batch: Batch) -> Tensor:
    """BCE(ŷ, y) + BCE(y_1, σ(ŷ)) + BCE(y_2, σ(ŷ)): both branches learn from what they say together (FinalNet 2B).

    The teacher σ(ŷ) gets no gradient from them.
    """
    whole, *each = branches(batch)
    teacher = whole.sigmoid().detach()
    taught = [bce(one, teacher, batch.weights) for one in each]
    return bce(whole, _labels(batch), batch.weights) + sum(taught)


def tri_bce_objective(branches: nn.Module, batch: Batch) -> Tensor:
    """L + w_1 L_1 + w_2 L_2, w_i = max(0, L_i - L): a branch weighs by how much worse it is than the whole (FCN)."""
    # PAPER: the weights have gradients too, as in the authors' code; the paper does not say.
    loss, *each = (bce(one, _labels(batch), batch.weights) for one in branches(batch))
    return loss + sum(torch.relu(one - loss) * one for one in each)


_BRANCH_OBJECTIVES: dict[BranchObjective, Objective] = {
    "distillation": distillation_objective,
    "tri_bce": tri_bce_objective,
}


def choose_objective(model: Model, name: str, negatives: NegativeSampler | None) -> tuple[nn.Module, Objective]:
    """The objective of a training setting, and the module it calls: the model, or its branches.

    bce is what the model's paper makes of it where the model has branches.
    """
    loss = bpr_loss(negatives) if name == "bpr" else bce_loss
    if isinstance(model, HasPenalty) and model.penalises:
        return Penalised(model), partial(_penalised, loss)
    if name == "bpr":
        return model, partial(_plain, loss)
    if isinstance(model, HasBranches) and model.branch_objective is not None:
        return Branches(model), _BRANCH_OBJECTIVES[model.branch_objective]
    return model, bce_objective


def _plain(loss: Loss, model: nn.Module, batch: Batch) -> Tensor:
    return loss(model(batch), batch)


def _penalised(loss: Loss, model: nn.Module, batch: Batch) -> Tensor:
    logits, penalties = model(batch)
    return loss(logits, batch) + mean_penalty(penalties, batch.weights)
