"""What is minimised, by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.errors import ConfigError, DataError
from crossfield.objectives import bce_objective, bpr_objective


class Fixed(nn.Module):
    """Gives the same logits to any batch."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits).unsqueeze(1)

    def forward(self, batch: Batch) -> Tensor:
        return self.logits


def batch(size: int, labels: list[float] | None = None, weights: list[float] | None = None) -> Batch:
    return Batch(
        torch.zeros(size, 0),
        torch.zeros(size, 1, dtype=torch.int64),
        labels=None if labels is None else torch.tensor(labels).unsqueeze(1),
        weights=None if weights is None else torch.tensor(weights),
    )


def test_cross_entropy_counts_rows_by_their_weights() -> None:
    # ln 2 for a logit of 0; a logit of ln 3 has probability 3/4, so a negative costs ln 4.
    model = Fixed([0.0, math.log(3)])
    even = bce_objective(model, batch(2, [1.0, 0.0]))
    assert even.item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    weighted = bce_objective(model, batch(2, [1.0, 0.0], [3.0, 1.0]))
    assert weighted.item() == pytest.approx((3 * math.log(2) + math.log(4)) / 4)


def test_bpr_pairs_each_positive_with_its_own_negatives() -> None:
    objective = bpr_objective(SimpleNamespace(per_positive=2))  # type: ignore[arg-type]
    loss = objective(Fixed([1.0, 2.0, 0.0, 4.0, 1.0, 2.0]), batch(6))
    # Positives 1 and 2; their negatives 0 and 4, then 1 and 2: differences 1, -2, 0, 0.
    expected = sum(math.log(1 + math.exp(-difference)) for difference in (1, -2, 0, 0)) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    weighted = objective(Fixed([1.0, 2.0, 0.0, 4.0, 1.0, 2.0]), batch(6, weights=[1.0, 1.0, 1.0, 0.0, 2.0, 0.0]))
    assert weighted.item() == pytest.approx((math.log(1 + math.exp(-1)) + 2 * math.log(2)) / 3, rel=1e-6)


def test_what_is_missing_is_said_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="compares positives with drawn negatives; leave the label out"):
        bpr_objective(None)
    with pytest.raises(DataError, match="these rows have no labels; name the label column"):
        bce_objective(Fixed([0.0]), batch(1))
