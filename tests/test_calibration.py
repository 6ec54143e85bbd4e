"""Calibration by hand, against scikit-learn, and what must hold of any curve: order, totals, weights."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.isotonic import IsotonicRegression, isotonic_regression

from crossfield.calibration import Calibration, CalibrationConfig, Isotonic, Method, Platt, check_rows, pool_violators
from crossfield.errors import ConfigError, DataError
from crossfield.losses import undo_downsampling
from crossfield.metrics import auc, calibration_ratio, log_loss, probability

Floats = NDArray[np.float64]
METHODS: tuple[Method, ...] = ("platt", "isotonic")


def draw_rows(num_rows: int, seed: int = 0, *, stretch: float = 2.0, shift: float = 1.5) -> tuple[Floats, Floats]:
    """Labels, and logits (of float32, some of them equal) that promise too much."""
    random = np.random.default_rng(seed)
    truth = random.normal(-1.5, 1.2, num_rows)
    labels = (random.random(num_rows) < probability(truth)).astype(np.float64)
    return labels, np.round(stretch * truth + shift, 2).astype(np.float32).astype(np.float64)


def logit(rate: float) -> float:
    return float(np.log(rate) - np.log1p(-rate))


class Scores(ClassifierMixin, BaseEstimator):
    """A classifier of scikit-learn whose score is its only feature."""

    classes_ = np.array([0, 1])

    def fit(self, rows: Floats, labels: Floats, sample_weight: Floats | None = None) -> "Scores":
        return self

    def decision_function(self, rows: Floats) -> Floats:
        return rows[:, 0]

    def predict(self, rows: Floats) -> Floats:
        return (rows[:, 0] > 0).astype(float)


# Platt


def test_platt_through_two_scores_by_hand() -> None:
    # 5 of 20 rows at -1 and 24 of 30 at +1 are positives: two numbers can meet both smoothed rates.
    logits = np.repeat([-1.0, 1.0], [20, 30])
    labels = np.concatenate([np.arange(20) < 5, np.arange(30) < 24]).astype(float)
    yes, no = 30 / 31, 1 / 23  # of 29 positives and 21 negatives
    low, high = logit((5 * yes + 15 * no) / 20), logit((24 * yes + 6 * no) / 30)
    found = Platt.fit(labels, logits, np.ones(50))
    assert found.slope == pytest.approx((high - low) / 2, rel=1e-12)
    assert found.intercept == pytest.approx((high + low) / 2, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_platt_agrees_with_scikit_learn(weighted: bool) -> None:
    labels, logits = draw_rows(3000)
    weights = np.random.default_rng(1).random(3000) + 0.5 if weighted else np.ones(3000)
    weights /= weights.mean()
    theirs = CalibratedClassifierCV(Scores(), method="sigmoid", ensemble=False, cv=2)
    theirs.fit(logits[:, None], labels, sample_weight=weights)
    ours = probability(Calibration.fit("platt", labels, logits, weights)(logits))
    np.testing.assert_allclose(ours, theirs.predict_proba(logits[:, None])[:, 1], atol=1e-5)


def test_platt_finds_the_stretch_and_the_shift_that_were_put_in() -> None:
    labels, logits = draw_rows(200_000, stretch=2.0, shift=1.5)
    found = Calibration.fit("platt", labels, logits).curve
    assert isinstance(found, Platt)
    assert found.slope == pytest.approx(0.5, abs=0.01)
    assert found.intercept == pytest.approx(-0.75, abs=0.02)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_platt_is_the_least_loss_for_scores_of_any_size(scale: float) -> None:
    labels, logits = draw_rows(2000)
    found, plain = (Calibration.fit("platt", labels, one)(one) for one in (scale * logits, logits))
    np.testing.assert_allclose(found, plain, rtol=1e-7)
    parted = Platt.fit(labels, scale * (2 * labels - 1), np.ones(2000))  # the score is the label
    assert np.isfinite(parted.slope) and parted.slope > 0


def test_platt_does_not_turn_scores_around_and_wants_more_than_one() -> None:
    labels, logits = draw_rows(500)
    with pytest.raises(DataError, match=r"higher score does not mean more positives \(slope -"):
        Calibration.fit("platt", labels, -logits)
    with pytest.raises(DataError, match=r"all rows have the same score \(logit 2\)"):
        Calibration.fit("platt", labels, np.full(500, 2.0))


# Isotonic


def test_isotonic_by_hand() -> None:
    # With a positive at -2 and a negative at 1 the rates are 1/2, 0, 1, 1/2: two steps of 1/3 and 2/3, at the mean
    # logits of their rows. As much is predicted as observed already: the curve is symmetric about -1/2.
    found = Isotonic.fit(np.array([0.0, 0, 1, 1]), np.array([-2.0, -1, 0, 1]), np.ones(4))
    assert found.knots == pytest.approx((-5 / 3, 2 / 3))
    assert found.values == pytest.approx((-np.log(2), np.log(2)))
    np.testing.assert_allclose(found(np.array([-5 / 3, -0.5, 2 / 3])), [-np.log(2), 0, np.log(2)], atol=1e-12)
    np.testing.assert_allclose(found(np.array([-12 / 3, 9.0])), [-np.log(2) - 7 / 3, np.log(2) + 25 / 3])


def test_one_score_alone_is_shifted_to_the_rate() -> None:
    labels = (np.arange(500) < 125).astype(float)
    found = Calibration.fit("isotonic", labels, np.full(500, 2.0))
    np.testing.assert_allclose(found(np.array([2.0, 3.0])), logit(0.25) + np.array([0.0, 1.0]))


@pytest.mark.parametrize("seed", range(3))
def test_pooling_agrees_with_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    for num_rows in (1, 2, 3, 10, 1000):
        mass = random.random(num_rows) + 0.1 if seed else np.ones(num_rows)
        hits = mass * (random.integers(0, 4, num_rows) / 3 if seed < 2 else random.random(num_rows))
        steps = pool_violators(hits, mass)
        rates = np.add.reduceat(hits, steps) / np.add.reduceat(mass, steps)
        expected = isotonic_regression(hits / mass, sample_weight=mass)
        np.testing.assert_allclose(np.repeat(rates, np.diff(steps, append=num_rows)), expected, atol=1e-12)
        assert (np.diff(rates) > 0).all()


def test_pooling_a_single_low_end_takes_no_longer() -> None:
    rising = np.arange(100_000.0)
    rising[-1] = -1e12
    assert pool_violators(rising, np.ones(100_000)).tolist() == [0]


def test_the_steps_are_those_of_scikit_learn_with_a_row_more_at_each_end() -> None:
    labels, logits = draw_rows(2000)
    weights = np.random.default_rng(2).random(2000) + 0.5
    weights /= weights.mean()
    found = Isotonic.fit(labels, logits, weights)
    rows = np.append(logits, [logits.min(), logits.max()])
    theirs = IsotonicRegression().fit(rows, np.append(labels, [1, 0]), sample_weight=np.append(weights, [1, 1]))
    rates = np.unique(theirs.predict(rows).round(12))
    shift = found.values[0] - logit(rates[0])
    np.testing.assert_allclose(np.array(found.values) - shift, np.log(rates) - np.log1p(-rates), atol=1e-8)
    assert abs(shift) < 0.05
    assert rates[0] > 0 and rates[-1] < 1


# Both


@pytest.mark.parametrize("method", METHODS)
def test_order_stays_and_as_much_is_predicted_as_observed(method: Method) -> None:
    labels, logits = draw_rows(5000)
    calibrated = Calibration.fit(method, labels, logits)(logits)
    assert auc(labels, calibrated) == auc(labels, logits)
    scores = np.unique(logits)
    assert (np.diff(Calibration.fit(method, labels, logits)(scores)) > 0).all()
    assert calibration_ratio(labels, logits) > 1.2
    assert calibration_ratio(labels, calibrated) == pytest.approx(1, abs=1e-3)
    fresh, others = draw_rows(20_000, seed=9)
    found = Calibration.fit(method, labels, logits)(others)
    assert calibration_ratio(fresh, found) == pytest.approx(1, abs=0.04)
    assert log_loss(fresh, found) < log_loss(fresh, others) - 0.05


def test_isotonic_bends_where_platt_cannot() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(-1, 1.5, 60_000)
    labels, logits = (random.random(60_000) < probability(truth)).astype(float), np.sinh(truth)
    fitted, fresh = slice(0, 30_000), slice(30_000, None)
    losses = {
        method: log_loss(labels[fresh], Calibration.fit(method, labels[fitted], logits[fitted])(logits[fresh]))
        for method in METHODS
    }
    assert losses["isotonic"] < losses["platt"] - 0.005
    assert losses["isotonic"] < log_loss(labels[fresh], truth[fresh]) + 0.002


@pytest.mark.parametrize("method", METHODS)
def test_only_the_ratios_of_weights_matter_and_a_row_of_none_is_not_there(method: Method) -> None:
    labels, logits = draw_rows(2000)
    weights = np.random.default_rng(3).integers(0, 3, 2000).astype(float)
    one, ten = (Calibration.fit(method, labels, logits, scale * weights) for scale in (1, 10))
    kept = weights > 0
    left = Calibration.fit(method, labels[kept], logits[kept], weights[kept])
    assert one.num_rows == ten.num_rows == left.num_rows == kept.sum()
    for other in (ten, left):
        np.testing.assert_allclose(other(logits), one(logits), rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_weight_of_three_is_the_row_three_times(method: Method) -> None:
    labels, logits = draw_rows(4000)
    times = np.where(logits > -1, 3, 1)
    weighted = Calibration.fit(method, labels, logits, times)(logits)
    repeated = Calibration.fit(method, np.repeat(labels, times), np.repeat(logits, times))(logits)
    inside = (logits > -4) & (logits < 2)  # where the smoothing of the ends, by rows of weight 1, does not reach
    np.testing.assert_allclose(weighted[inside], repeated[inside], atol=0.02)
    assert calibration_ratio(labels, weighted, times) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_thinned_negatives_are_corrected_first_and_calibrated_then(method: Method) -> None:
    # A model trained on a tenth of the negatives has logits that are ln 10 too high; these are right otherwise.
    labels, truth = draw_rows(20_000, stretch=1.0, shift=0.0)
    corrected = undo_downsampling(truth + np.log(10), 0.1)
    found = Calibration.fit(method, labels, corrected)
    assert calibration_ratio(labels, truth + np.log(10)) > 2
    assert calibration_ratio(labels, corrected) == pytest.approx(1, abs=0.05)
    assert np.abs(found(corrected) - truth)[np.abs(truth) < 3].max() < (0.1 if method == "platt" else 0.6)
    fresh, others = draw_rows(20_000, seed=5, stretch=1.0, shift=0.0)
    assert calibration_ratio(fresh, found(others)) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_a_number_stays_so_and_the_ends_go_on(method: Method) -> None:
    found = Calibration.fit(method, *draw_rows(1000))
    assert np.isnan(found(np.array([np.nan]))).all()
    assert found(np.array([-np.inf, np.inf])).tolist() == [-np.inf, np.inf]
    assert found(np.empty(0)).shape == (0,)


@pytest.mark.parametrize("method", METHODS)
def test_it_is_plain_json(method: Method) -> None:
    labels, logits = draw_rows(1000)
    found = Calibration.fit(method, labels, logits, files={"valid.csv": "ab"})
    again = Calibration.of(json.loads(json.dumps(found.model_dump(mode="json"), allow_nan=False)))
    assert again == found
    np.testing.assert_array_equal(again(logits), found(logits))


def test_it_says_what_it_is() -> None:
    assert str(Calibration.fit("platt", *draw_rows(1000))).startswith("platt (slope 0.")
    assert str(Calibration.fit("isotonic", *draw_rows(1000))).endswith(" knots), fitted to 1,000 rows")


def test_too_few_rows_or_one_class_are_refused() -> None:
    labels = (np.arange(300) < 60).astype(float)
    check_rows("platt", labels)
    with pytest.raises(
        DataError, match=r"100 positive and 100 negative rows, and there are 60 and 240; .* platt wants"
    ):
        check_rows("isotonic", labels)
    with pytest.raises(DataError, match="there are 9 and 240"):
        check_rows("platt", labels, np.where(np.arange(300) < 51, 0.0, 1.0))
    for method in METHODS:
        for one in (np.zeros(300), np.ones(300), np.empty(0)):
            with pytest.raises(DataError, match=f"{method} is fitted to at least"):
                Calibration.fit(method, one, np.zeros(len(one)))


def test_scores_that_are_no_numbers_and_unknown_methods_are_refused() -> None:
    labels, logits = draw_rows(1000)
    logits[[3, 5]] = np.nan, np.inf
    with pytest.raises(DataError, match="2 scores are not finite"):
        Calibration.fit("platt", labels, logits)
    with pytest.raises(ConfigError, match="unknown calibration method 'plat'; did you mean 'platt'"):
        Calibration.fit("plat", labels, logits)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"calibration\.method"):
        CalibrationConfig.of({"method": "beta"}, prefix="calibration")
    assert CalibrationConfig().method == "none"
