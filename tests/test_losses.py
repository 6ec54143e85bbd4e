"""Losses against their formulas, and the undoing of down-sampling against the formula on probabilities."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import log_loss as sklearn_log_loss
from torch.testing import assert_close

from crossfield.errors import ConfigError
from crossfield.losses import bce, bpr, mean_penalty, undo_downsampling


def test_bce_is_the_weighted_log_loss() -> None:
    logits, labels = torch.tensor([[0.3], [-2.0], [1.5]]), torch.tensor([[1.0], [0.0], [0.0]])
    weights = torch.tensor([1.0, 2.0, 0.5])
    probabilities = logits.sigmoid().flatten().double().numpy()
    expected = sklearn_log_loss([1, 0, 0], probabilities, sample_weight=weights.numpy())
    assert bce(logits, labels, weights).item() == pytest.approx(expected, rel=1e-6)
    assert bce(logits, labels, 10 * weights).item() == pytest.approx(expected, rel=1e-6)
    assert bce(logits, labels).item() == pytest.approx(sklearn_log_loss([1, 0, 0], probabilities), rel=1e-6)


def test_bce_averages_over_tasks() -> None:
    logits, labels = torch.tensor([[0.0, 100.0]]), torch.tensor([[1.0, 1.0]])
    assert_close(bce(logits, labels), torch.tensor(np.log(2) / 2, dtype=torch.float32))
    assert_close(bce(logits, labels, torch.tensor([7.0])), torch.tensor(np.log(2) / 2, dtype=torch.float32))


def test_bce_of_half_precision_logits_is_taken_in_float32() -> None:
    logits = torch.tensor([[0.3]], dtype=torch.bfloat16)
    loss = bce(logits, torch.tensor([[1.0]]))
    assert loss.dtype == torch.float32
    assert_close(loss, torch.nn.functional.softplus(-logits.float()).squeeze())


@pytest.mark.parametrize("weights", [None, torch.zeros(0)])
def test_bce_without_rows_is_zero_with_a_gradient_of_zero(weights: torch.Tensor | None) -> None:
    scale = torch.ones(1, requires_grad=True)
    loss = bce(scale * torch.zeros(0, 1), torch.zeros(0, 1), weights)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert scale.grad is not None and scale.grad.item() == 0.0


def test_bpr_by_hand() -> None:
    positive, negative = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0])
    assert_close(bpr(positive, negative), torch.tensor((np.log(1 + np.exp(-1)) + np.log(2)) / 2, dtype=torch.float32))


def test_bpr_pairs_each_positive_with_its_own_negatives() -> None:
    positive, negative = torch.tensor([1.0, -2.0]), torch.tensor([[0.5, 3.0, -1.0], [0.0, 1.0, 2.0]])
    pairs = [-torch.log(torch.sigmoid(positive[b] - one)) for b in range(2) for one in negative[b]]
    assert_close(bpr(positive, negative), torch.stack(pairs).mean())
    assert bpr(torch.zeros(0), torch.zeros(0, 4)).item() == 0.0


def test_bpr_weighs_its_pairs() -> None:
    positive, negative = torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 5.0], [0.0, 0.0]])
    weights = torch.tensor([[1.0, 0.0], [2.0, 1.0]])
    expected = (np.log(1 + np.exp(-1)) + 3 * np.log(2)) / 4
    assert_close(bpr(positive, negative, weights), torch.tensor(expected, dtype=torch.float32))
    assert bpr(positive, negative, torch.zeros(2, 2)).item() == 0.0


@pytest.mark.parametrize("rate", [0.01, 0.3, 1.0])
def test_undoing_downsampling_is_the_formula_on_probabilities(rate: float) -> None:
    p: NDArray[np.float64] = np.linspace(0.001, 0.999, 50)
    logits = np.log(p) - np.log1p(-p)
    expected = p / (p + (1 - p) / rate)
    np.testing.assert_allclose(1 / (1 + np.exp(-undo_downsampling(logits, rate))), expected, rtol=1e-12)
    np.testing.assert_allclose(
        undo_downsampling(torch.from_numpy(logits), rate).numpy(), undo_downsampling(logits, rate)
    )


def test_undoing_downsampling_gives_back_the_rate_of_the_full_data() -> None:
    # 40 positives and 960 negatives; a quarter of the negatives kept: 40 of 280 are positives.
    logit = np.array([np.log(40 / 240)])
    assert 1 / (1 + np.exp(-undo_downsampling(logit, 0.25)[0])) == pytest.approx(40 / 1000)


def test_undoing_downsampling_does_not_saturate() -> None:
    np.testing.assert_allclose(
        undo_downsampling(np.array([-800.0, 800.0]), 0.5), [-800 + np.log(0.5), 800 + np.log(0.5)]
    )


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.5, float("nan")])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        undo_downsampling(np.zeros(1), rate)


def test_penalties_count_as_their_rows_do() -> None:
    penalties = torch.tensor([1.0, 3.0, 5.0])
    assert mean_penalty(penalties).item() == pytest.approx(3)
    assert mean_penalty(penalties, torch.tensor([1.0, 1.0, 0.0])).item() == pytest.approx(2)
    assert mean_penalty(penalties[:0]).item() == 0
