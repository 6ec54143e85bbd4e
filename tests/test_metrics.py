"""Metrics against scikit-learn, against slow definitions on small data full of ties, and by hand."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest, t
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import ndcg_score, roc_auc_score

from crossfield import metrics
from crossfield.errors import ConfigError
from crossfield.metrics import (
    Ranks,
    ScoreOrder,
    auc,
    bootstrap,
    calibration_ratio,
    entropy,
    expected_calibration_error,
    gauc,
    hit_rate,
    log_loss,
    ndcg,
    normalized_entropy,
    probability,
    rank_among_negatives,
    rank_targets,
    recall,
    reciprocal_rank,
    reliability,
    student_t,
    weighted_mean,
    wilson_interval,
)

Floats = NDArray[np.float64]


def draw_rows(seed: int, num_rows: int = 300) -> tuple[Floats, Floats, Floats]:
    """Labels, logits with many ties, and fractional weights."""
    random = np.random.default_rng(seed)
    labels = (random.random(num_rows) < 0.3).astype(float)
    return labels, np.round(random.normal(labels), 1), random.random(num_rows) * 3


# AUC and GAUC


def test_auc_by_hand() -> None:
    # Pairs (positive, negative): (3, 1) won, (3, 2) won, (2, 1) won, (2, 2) half: 3.5 of 4.
    assert auc([1, 1, 0, 0], [3, 2, 1, 2]) == 3.5 / 4
    assert auc([1, 0], [5, 5]) == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_auc_agrees_with_scikit_learn_under_ties_and_weights(seed: int) -> None:
    labels, logits, weights = draw_rows(seed)
    assert auc(labels, logits) == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    assert ScoreOrder(labels, logits).auc() == pytest.approx(auc(labels, logits), abs=1e-12)
    expected = roc_auc_score(labels, logits, sample_weight=weights)
    assert auc(labels, logits, weights) == pytest.approx(expected, abs=1e-12)


def test_auc_agrees_with_the_double_loop() -> None:
    labels, logits, weights = draw_rows(3, num_rows=40)
    won = pairs = 0.0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero(labels == 0):
            pairs += weights[i] * weights[j]
            won += weights[i] * weights[j] * ((logits[i] > logits[j]) + (logits[i] == logits[j]) / 2)
    assert auc(labels, logits, weights) == pytest.approx(won / pairs, abs=1e-12)


def test_auc_sees_differences_that_a_float32_probability_cannot() -> None:
    logits = np.array([20.0, 21.0, 22.0, 23.0])
    assert len(np.unique(probability(logits).astype(np.float32))) < 4
    assert auc([0, 0, 1, 1], logits) == 1.0


def test_gauc_by_hand() -> None:
    # User 7: AUC 1 on 2 rows; user -3: AUC 1/2 on 3 rows; user 5 clicked on everything and does not count.
    labels, logits = [1, 0, 1, 0, 0, 1, 1], [2, 1, 2, 1, 3, 9, 8]
    assert gauc(labels, logits, [7, 7, -3, -3, -3, 5, 5]) == pytest.approx((2 * 1 + 3 * 0.5) / 5)


@pytest.mark.parametrize("seed", range(3))
def test_gauc_agrees_with_a_loop_over_users(seed: int) -> None:
    labels, logits, weights = draw_rows(seed)
    users = np.random.default_rng(seed).integers(-20, 20, len(labels)) * 2**40
    for chosen in (np.ones(len(labels)), weights):
        total = mass = 0.0
        for user in np.unique(users):
            mine = users == user
            if 0 < labels[mine].sum() < mine.sum():
                mass += chosen[mine].sum()
                total += chosen[mine].sum() * roc_auc_score(labels[mine], logits[mine], sample_weight=chosen[mine])
        assert gauc(labels, logits, users, chosen) == pytest.approx(total / mass, abs=1e-12)


def test_gauc_of_one_group_is_auc() -> None:
    labels, logits, weights = draw_rows(4)
    assert gauc(labels, logits, np.full(len(labels), 9), weights) == pytest.approx(auc(labels, logits, weights))


@pytest.mark.parametrize("labels", [[], [1.0, 1.0], [0.0, 0.0]])
def test_one_class_or_nobody_has_no_auc(labels: list[float]) -> None:
    logits, ones = np.zeros(len(labels)), np.ones(len(labels))
    assert np.isnan([auc(labels, logits), auc(labels, logits, ones), gauc(labels, logits, ones.astype(int))]).all()


def test_a_nan_score_has_no_auc() -> None:
    for labels in ([1, 0, 1], [0, 1, 0]):
        found = [
            auc(labels, [np.nan, 0, 1]),
            auc(labels, [np.nan, 0, 1], [1, 1, 1]),
            gauc(labels, [np.nan, 0, 1], [1, 1, 1]),
        ]
        assert np.isnan(found).all()


# Log loss, NE, calibration


@pytest.mark.parametrize("seed", range(2))
def test_log_loss_agrees_with_scikit_learn(seed: int) -> None:
    labels, logits, weights = draw_rows(seed)
    p = 1 / (1 + np.exp(-logits))
    assert log_loss(labels, logits) == pytest.approx(sklearn_log_loss(labels, p), abs=1e-12)
    assert log_loss(labels, logits, weights) == pytest.approx(sklearn_log_loss(labels, p, sample_weight=weights))


def test_log_loss_of_a_saturated_score_is_its_logit() -> None:
    assert log_loss([0, 1], [1000.0, 1000.0]) == 500.0
    assert log_loss([1, 0], [np.inf, -np.inf]) == 0.0
    assert log_loss([0], [np.inf]) == np.inf


def test_probability_does_not_overflow() -> None:
    np.testing.assert_array_equal(probability([-np.inf, -2000, 0, 2000, np.inf]), [0, 0, 0.5, 1, 1])


def test_ne_of_the_base_rate_is_one() -> None:
    labels = np.array([1, 0, 0, 0])
    assert normalized_entropy(labels, np.full(4, np.log(1 / 3))) == pytest.approx(1.0)
    # With weights the rate is 2 in 5.
    assert normalized_entropy(labels, np.full(4, np.log(2 / 3)), [2, 1, 1, 1]) == pytest.approx(1.0)


def test_ne_says_which_base_rate_it_uses() -> None:
    labels, logits = np.array([1, 0, 0, 0]), np.zeros(4)
    own = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert entropy(0.25) == pytest.approx(own)
    assert normalized_entropy(labels, logits) == pytest.approx(np.log(2) / own)
    assert normalized_entropy(labels, logits, base_rate=0.5) == pytest.approx(1.0)


def test_calibration_by_hand() -> None:
    logits = np.log(np.array([0.2, 0.4, 0.6]) / np.array([0.8, 0.6, 0.4]))
    assert calibration_ratio([0, 1, 1], logits) == pytest.approx(1.2 / 2)
    assert calibration_ratio([0, 1, 1], logits, [1, 1, 3]) == pytest.approx(2.4 / 4)


def test_without_positives_or_rows_probability_metrics_are_nan() -> None:
    assert np.isnan(calibration_ratio([0, 0], [1, 2]))
    assert np.isnan([normalized_entropy([0, 0], [1, 2]), normalized_entropy([1, 1], [1, 2])]).all()
    assert np.isnan(weighted_mean([1, 2], [0, 0]))
    for metric in (log_loss, normalized_entropy, calibration_ratio, expected_calibration_error):
        assert np.isnan([metric([], []), metric([1, 0], [1, 2], [0, 0]), metric([1, 0], [np.nan, 1])]).all()


def test_equal_width_bins_agree_with_scikit_learn() -> None:
    labels, logits, _ = draw_rows(5)
    observed, predicted = calibration_curve(labels, 1 / (1 + np.exp(-logits)), n_bins=10)
    found = reliability(labels, logits, bins=10, binning="width")
    np.testing.assert_allclose(found.observed, observed)
    np.testing.assert_allclose(found.predicted, predicted)
    assert found.num_rows.sum() == len(labels)


def test_equal_mass_bins_hold_equal_mass() -> None:
    random = np.random.default_rng(0)
    logits = random.permutation(np.linspace(-3, 3, 60))
    labels = (random.random(60) < probability(logits)).astype(float)
    found = reliability(labels, logits, bins=6)
    np.testing.assert_array_equal(found.num_rows, [10] * 6)
    order = np.argsort(logits).reshape(6, 10)
    np.testing.assert_allclose(found.observed, labels[order].mean(1))
    np.testing.assert_allclose(found.predicted, probability(logits)[order].mean(1))
    by_hand = np.abs(labels[order].mean(1) - probability(logits)[order].mean(1)).mean()
    assert expected_calibration_error(labels, logits, bins=6) == pytest.approx(by_hand)


def test_a_weight_of_two_is_the_row_twice() -> None:
    labels, logits, _ = draw_rows(6)
    times = np.random.default_rng(6).integers(1, 4, len(labels))
    twice = np.repeat(labels, times), np.repeat(logits, times)
    for metric in (auc, log_loss, normalized_entropy, calibration_ratio, expected_calibration_error):
        assert metric(labels, logits, times) == pytest.approx(metric(*twice))


def test_equal_scores_share_a_bin_whatever_their_order() -> None:
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    found = reliability(labels, np.zeros(8), bins=4)
    np.testing.assert_array_equal(found.num_rows, [8])
    assert expected_calibration_error(labels, np.zeros(8), bins=4) == expected_calibration_error(
        labels[::-1], np.zeros(8), bins=4
    )
    assert expected_calibration_error(labels, np.zeros(8), bins=4) == pytest.approx(0.25)


def test_a_large_tie_goes_where_its_middle_is() -> None:
    # The tie holds the rows from 10% to 100%: its middle is in the second half.
    found = reliability(np.arange(10) % 2, [-1.0, *[0.5] * 9], bins=2)
    np.testing.assert_array_equal(found.num_rows, [1, 9])


def test_the_interval_of_a_rate_agrees_with_scipy() -> None:
    hits, num_rows = np.array([0, 1, 50, 7, 7]), np.array([10, 10, 100, 7, 1000])
    low, high = wilson_interval(hits / num_rows, num_rows)
    for place, (k, n) in enumerate(zip(hits.tolist(), num_rows.tolist(), strict=True)):
        expected = binomtest(k, n).proportion_ci(method="wilson")
        assert (low[place], high[place]) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_bins_have_intervals_by_as_many_rows_as_weigh_the_same() -> None:
    labels, logits, _ = draw_rows(7)
    plain = reliability(labels, logits, bins=5)
    for name, expected in zip(("low", "high"), wilson_interval(plain.observed, plain.num_rows), strict=True):
        np.testing.assert_allclose(getattr(plain, name), expected)
        np.testing.assert_allclose(getattr(reliability(labels, logits, np.full(300, 9.0), bins=5), name), expected)
    # One row of weight 3 and three of weight 1: (3 + 3)^2 / (9 + 3) = 3 rows.
    low, high = wilson_interval(0.5, 3)
    found = reliability([1, 0, 0, 0], np.zeros(4), [3, 1, 1, 1], bins=1)
    assert (found.low[0], found.high[0]) == pytest.approx((low[0], high[0]))


# Ranked lists


def rank_lists(scores: Floats, targets: list[list[int]], candidates: NDArray[np.bool_] | None = None) -> Ranks:
    lists = np.repeat(np.arange(len(targets)), [len(one) for one in targets])
    everyone = np.ones(scores.shape, dtype=bool) if candidates is None else candidates
    return rank_targets(scores, everyone, lists, np.concatenate([np.array(one) for one in targets]))


def mean_over_orders(scores: Floats, value: Callable[[list[int]], float]) -> float:
    """The slow definition: every order of the candidates, sorted stably by score, is as likely as any other."""
    orders = [sorted(order, key=lambda item: -scores[item]) for order in permutations(range(len(scores)))]
    return float(np.mean([value(order) for order in orders]))


@pytest.mark.parametrize("degrees", [1, 1.5, 2, 2.7, 4, 10, 11, 29.3, 60, 1000, 100_000])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_students_t_is_scipys(level: float, degrees: float) -> None:
    assert student_t(level, degrees) == pytest.approx(t.ppf((1 + level) / 2, degrees), rel=1e-4)


@pytest.mark.parametrize("k", [1, 2, 3, 6, 9])
@pytest.mark.parametrize("seed", range(8))
def test_ranking_metrics_are_means_over_all_orders_of_the_tied(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 1 + seed % 3, 6).astype(float)
    targets = random.choice(6, size=1 + seed % 4, replace=False).tolist()
    discount = 1 / np.log2(np.arange(2, 8))
    ideal = discount[: min(k, len(targets))].sum()

    def found(order: list[int]) -> list[int]:
        return [position for position, item in enumerate(order[:k]) if item in targets]

    ranks = rank_lists(scores[None], [targets])
    hit = mean_over_orders(scores, lambda order: float(bool(found(order))))
    np.testing.assert_allclose(hit_rate(ranks, k), [hit], atol=1e-12)
    share = mean_over_orders(scores, lambda order: len(found(order)) / len(targets))
    np.testing.assert_allclose(recall(ranks, k), [share], atol=1e-12)
    gain = mean_over_orders(scores, lambda order: discount[found(order)].sum() / ideal)
    np.testing.assert_allclose(ndcg(ranks, k), [gain], atol=1e-12)
    first = mean_over_orders(scores, lambda order: 1 / (1 + min(order.index(one) for one in targets)))
    np.testing.assert_allclose(reciprocal_rank(ranks), [first], atol=1e-12)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_ndcg_agrees_with_scikit_learn_under_ties(k: int) -> None:
    random = np.random.default_rng(k)
    scores = random.integers(0, 6, (30, 20)).astype(float)
    targets = [random.choice(20, size=random.integers(1, 9), replace=False).tolist() for _ in range(30)]
    relevance = np.zeros(scores.shape)
    for row, one in enumerate(targets):
        relevance[row, one] = 1
    assert ndcg(rank_lists(scores, targets), k).mean() == pytest.approx(ndcg_score(relevance, scores, k=k), abs=1e-12)


def test_one_target_by_hand() -> None:
    ranks = rank_among_negatives([5, 5, 5], [[9, 1, 2], [9, 8, 1], [1, 5, 0]])
    np.testing.assert_array_equal(ranks.better, [1, 2, 0])
    np.testing.assert_array_equal(ranks.tied, [0, 0, 1])
    np.testing.assert_allclose(hit_rate(ranks, 2), [1, 0, 1])
    np.testing.assert_allclose(hit_rate(ranks, 1), [0, 0, 1 / 2])
    np.testing.assert_allclose(recall(ranks, 1), hit_rate(ranks, 1))
    np.testing.assert_allclose(ndcg(ranks, 3), [1 / np.log2(3), 1 / 2, (1 + 1 / np.log2(3)) / 2])
    np.testing.assert_allclose(reciprocal_rank(ranks), [1 / 2, 1 / 3, (1 + 1 / 2) / 2])


def test_two_targets_by_hand() -> None:
    # Targets at ranks 1 and 4.
    ranks = rank_lists(np.array([[9.0, 7, 6, 5, 1]]), [[0, 3]])
    np.testing.assert_allclose(recall(ranks, 3), [1 / 2])
    np.testing.assert_allclose(ndcg(ranks, 1), [1])
    np.testing.assert_allclose(ndcg(ranks, 4), [(1 + 1 / np.log2(5)) / (1 + 1 / np.log2(3))])
    np.testing.assert_allclose(hit_rate(ranks, 1), [1])
    np.testing.assert_allclose(reciprocal_rank(ranks), [1])


@pytest.mark.parametrize("k", [1, 10, 50, 100, 200])
def test_a_constant_scorer_gets_k_out_of_n(k: int) -> None:
    ranks = rank_among_negatives(np.zeros(3), np.zeros((3, 99)))
    np.testing.assert_allclose(hit_rate(ranks, k), min(k / 100, 1))
    np.testing.assert_allclose(hit_rate(rank_among_negatives(np.zeros(3), np.zeros((3, 99)), ties="best"), k), 1)


def test_the_best_rank_rule_ignores_equals_but_not_betters() -> None:
    ranks = rank_among_negatives([5], [[7, 5, 5]], ties="best")
    np.testing.assert_allclose(reciprocal_rank(ranks), [1 / 2])
    np.testing.assert_allclose(ndcg(ranks, 10), [1 / np.log2(3)])


def test_candidates_that_do_not_count_do_not_compete() -> None:
    counted = np.array([[False, True, False]])
    ranks = rank_among_negatives([5], [[7, 6, 5]], counted=counted)
    np.testing.assert_array_equal([ranks.better[0], ranks.tied[0]], [1, 0])


def test_a_target_that_is_no_candidate_is_missed() -> None:
    ranks = Ranks(np.array([0, np.inf, np.inf, np.inf]), np.zeros(4), np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(recall(ranks, 10), [1 / 2, 0])
    np.testing.assert_allclose(hit_rate(ranks, 10), [1, 0])
    np.testing.assert_allclose(ndcg(ranks, 10), [1 / (1 + 1 / np.log2(3)), 0])
    np.testing.assert_allclose(reciprocal_rank(ranks), [1, 0])


def test_a_nan_score_spoils_its_own_list_only() -> None:
    scores = np.array([[np.nan, 1.0, 0.0], [2.0, 1.0, 0.0], [np.nan, 1.0, 0.0]])
    candidates = np.array([[True, True, True], [True, True, True], [False, True, True]])
    ranks = rank_lists(scores, [[1], [0], [1, 2]], candidates)
    for values in (hit_rate(ranks, 1), recall(ranks, 2), ndcg(ranks, 1), reciprocal_rank(ranks)):
        np.testing.assert_allclose(values, [np.nan, 1, 1])


def test_many_targets_are_ranked_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).integers(0, 9, (4, 30)).astype(float)
    targets = [[0, 5, 9], [3], [2, 29], [7]]
    at_once = rank_lists(scores, targets)
    monkeypatch.setattr(metrics, "MAX_COMPARED", 61)
    np.testing.assert_array_equal(rank_lists(scores, targets).better, at_once.better)
    np.testing.assert_array_equal(rank_lists(scores, targets).tied, at_once.tied)


def test_nobody_to_rank_for() -> None:
    ranks = rank_among_negatives(np.empty(0), np.empty((0, 99)))
    for values in (hit_rate(ranks, 10), recall(ranks, 10), ndcg(ranks, 10), reciprocal_rank(ranks)):
        assert len(values) == 0
        assert np.isnan(weighted_mean(values))


def test_reciprocal_rank_of_a_large_tie_is_the_harmonic_mean() -> None:
    ranks = rank_among_negatives(np.zeros(1), np.zeros((1, 999)))
    np.testing.assert_allclose(reciprocal_rank(ranks), [(1 / np.arange(1, 1001)).mean()])


# Intervals


def test_bootstrap_of_a_mean_has_the_width_theory_gives() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    low, high = bootstrap(lambda weights: weighted_mean(values, weights), 2000, samples=1000)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2000), rel=0.1)


def test_bootstrap_draws_whole_groups() -> None:
    # 25 equal rows for each of 100 users: the rows know no more than the users do.
    values = np.repeat(np.random.default_rng(0).normal(size=100), 25)
    users = np.repeat(np.arange(100) * 10**15, 25)
    low, high = bootstrap(lambda weights: weighted_mean(values, weights), 2500, groups=users, samples=1000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(100), rel=0.1)


def test_bootstrap_is_the_same_statistic_on_copied_rows() -> None:
    labels, logits, _ = draw_rows(0)
    seen: list[Floats] = []
    bootstrap(lambda weights: seen.append(weights) or 0.0, len(labels), samples=3)  # type: ignore[func-returns-value]
    order = ScoreOrder(labels, logits)
    for weights in seen:
        assert weights.sum() == len(labels)
        copied = np.repeat(np.arange(len(labels)), weights.astype(int))
        assert order.auc(weights) == pytest.approx(roc_auc_score(labels[copied], logits[copied]), abs=1e-12)


def test_a_drawn_row_keeps_its_own_weight() -> None:
    low, high = bootstrap(lambda drawn: weighted_mean([1, 1, 5], drawn), 3, weights=[1, 2, 0], samples=50)
    assert (low, high) == (1, 1)


def test_bootstrap_repeats_itself_and_pairs_statistics() -> None:
    labels, logits, weights = draw_rows(1)
    order = ScoreOrder(labels, logits)
    once = bootstrap(order.auc, len(labels), weights=weights, seed=3)
    assert once == bootstrap(order.auc, len(labels), weights=weights, seed=3)
    assert once != bootstrap(order.auc, len(labels), weights=weights, seed=4)
    better = ScoreOrder(labels, logits + labels / 2)
    low, high = bootstrap(lambda drawn: better.auc(drawn) - order.auc(drawn), len(labels), seed=3)
    assert 0 < low < high


def test_bootstrap_that_cannot_say_anything_is_nan() -> None:
    assert np.isnan(bootstrap(lambda weights: 1.0, 0)).all()
    assert np.isnan(bootstrap(lambda weights: 1.0, 5, groups=[3, 3, 3, 3, 3])).all()
    assert np.isnan(bootstrap(lambda weights: np.nan, 5)).all()
    with pytest.raises(ConfigError, match="between 0 and 1"):
        bootstrap(lambda weights: 1.0, 5, level=95)


def test_draws_without_a_value_are_left_out() -> None:
    # One positive in four rows: about a third of the draws miss it and have no AUC.
    order = ScoreOrder([1, 0, 0, 0], [1, 0, 0, 0])
    assert bootstrap(order.auc, 4) == (1.0, 1.0)
