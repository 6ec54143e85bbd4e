"""What a column alone tells, against values worked out by hand and planted relations."""

import numpy as np
import polars as pl
import pytest

from crossfield.checks.alone import KNOWN, Evidence, Numbers, Sides, auc_alone, change, evidence_of
from crossfield.errors import SchemaError
from crossfield.schema import Feature, Kind

RNG = np.random.default_rng(0)
LABELS = (RNG.random(4000) < 0.3).astype(np.float64)
ALL = np.ones(4000, dtype=bool)


def ids(values: object, kind: Kind = Kind.CATEGORICAL, separator: str | None = None) -> Evidence:
    return evidence_of(pl.DataFrame({"x": values}), Feature("x", kind, separator=separator))


def test_numbers_point_either_way() -> None:
    values = Numbers(np.array([1.0, 2, 3, np.nan]))
    assert auc_alone(values, np.array([1.0, 0, 0, 1])) == 1.0
    assert auc_alone(values, np.array([0.0, 1, 0, 1])) == 0.5
    assert np.isnan(auc_alone(values, np.ones(4)))


def test_numbers_may_tell_it_by_stretches() -> None:
    inside, outside = RNG.normal(0, 1, 4000), RNG.uniform(4, 9, 4000) * RNG.choice([-1, 1], 4000)
    assert auc_alone(Numbers(np.where(LABELS == 1, inside, outside)), LABELS) > 0.99
    noise = np.where(RNG.random(4000) < 0.5, np.nan, RNG.normal(size=4000))
    assert auc_alone(Numbers(noise), LABELS) == pytest.approx(0.5, abs=0.05)
    assert np.isnan(auc_alone(Numbers(np.full(4000, np.nan)), LABELS))


def test_text_is_read_as_numbers_where_it_is_dense() -> None:
    found = evidence_of(pl.DataFrame({"x": ["1.5", "old", None]}), Feature("x", Kind.DENSE))
    assert found.is_filled.tolist() == [True, False, False]


def test_values_tell_the_label_by_their_rates() -> None:
    leak = ids([f"a{number % 7}" if label else f"b{number % 7}" for number, label in enumerate(LABELS)])
    assert auc_alone(leak, LABELS) == 1.0
    noise = ids(RNG.integers(0, 50, 4000).astype(str))
    assert auc_alone(noise, LABELS) == pytest.approx(0.5, abs=0.04)


def test_an_id_of_one_row_tells_nothing() -> None:
    assert auc_alone(ids([f"r{number}" for number in range(4000)]), LABELS) == pytest.approx(0.5, abs=0.04)
    # Rates of all rows, the own one too, would tell all.
    pairs = ids([f"r{number // 2}" for number in range(4000)])
    assert auc_alone(pairs, LABELS) == pytest.approx(0.5, abs=0.06)


def test_an_id_with_a_set_number_of_positives_tells_nothing() -> None:
    # One positive and one negative a request: the other row's label, so to speak, is the opposite of the own one.
    request, labels = np.repeat(np.arange(1000), 2), np.tile([0.0, 1.0], 1000)
    assert auc_alone(ids(request.astype(str)), labels) == 0.5


@pytest.mark.parametrize("rows_a_request", [2, 5])
def test_clicks_dealt_evenly_do_not_change_with_time(rows_a_request: int) -> None:
    num_requests, half = 20 * 100, 10 * 100 * rows_a_request
    users = np.tile(np.repeat(np.arange(100), rows_a_request), 20).astype(str)
    labels = np.tile([1.0] + [0.0] * (rows_a_request - 1), num_requests)
    found = change(ids(users), labels, np.arange(len(labels)) >= half)
    assert found.size < 0.05


def test_several_values_add_up() -> None:
    lists = [["x", "bought"] if label else ["x"] for label in LABELS]
    assert auc_alone(ids(lists, Kind.MULTI), LABELS) == 1.0
    texts = ["x|bought" if label else "x" for label in LABELS]
    assert auc_alone(ids(texts, Kind.MULTI, "|"), LABELS) == 1.0
    empty = ids([["a"], [], None, ["a", "b"]], Kind.MULTI)
    assert empty.is_filled.tolist() == [True, False, False, True]


def test_scores_of_other_rows_need_values_that_are_known() -> None:
    learns = np.arange(4000) < 2000
    values = ["often"] * 3990 + ["late"] * 9 + [None]
    scores = ids(values).scores(LABELS, learns, min_count=KNOWN)
    assert np.isnan(scores).tolist() == [False] * 3990 + [True] * 10
    assert np.isnan(ids(values).scores(np.zeros(4000), ALL)).all()


@pytest.mark.parametrize("half", ["early", "late"])
@pytest.mark.parametrize("kind", [Kind.DENSE, Kind.CATEGORICAL])
def test_a_relation_that_ends_or_begins(half: str, kind: Kind) -> None:
    is_late = np.arange(4000) >= 2000
    tells = is_late if half == "late" else ~is_late
    values = np.where(tells, LABELS, RNG.integers(0, 2, 4000))
    found = change(ids(values if kind is Kind.DENSE else values.astype(int).astype(str), kind), LABELS, is_late)
    ends = (found.early, found.late) if half == "early" else (found.late, found.early)
    assert ends == (1.0, pytest.approx(0.5, abs=0.05))
    assert found.size > 10 * found.error


def test_a_relation_that_turns_round() -> None:
    is_late = np.arange(4000) >= 2000
    values = np.where(is_late, 1 - LABELS, LABELS).astype(int).astype(str)
    found = change(ids(values), LABELS, is_late)
    assert found.size == 1.0


def test_a_relation_that_stays() -> None:
    noisy = np.where(RNG.random(4000) < 0.3, RNG.integers(0, 2, 4000), LABELS)
    found = change(ids(noisy.astype(int).astype(str)), LABELS, np.arange(4000) >= 2000)
    assert found.size < 5 * found.error
    one_class = change(ids(noisy, Kind.DENSE), np.zeros(4000), np.arange(4000) >= 2000)
    assert np.isnan(one_class.size)


def test_sides_by_hand() -> None:
    found = Sides.of(np.array([True, True, True, False, False, False]), np.array([1.0, 1, 0, 1, 0, 0]))
    assert found == Sides(3, 2, 3, 1)
    assert found.auc == pytest.approx(0.5 + (2 / 3 - 1 / 3) / 2)
    assert np.isnan(Sides.of(np.array([True, False]), np.ones(2)).auc)


def test_a_type_that_has_no_such_values() -> None:
    with pytest.raises(SchemaError):
        evidence_of(pl.DataFrame({"x": [[1.0]]}), Feature("x", Kind.DENSE))
