from functools import cache
from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from crossfield.data.cinema import INTERCEPT, LABEL, STRENGTHS, TRIPLES, Cinema, column_sizes, make_cinema
from crossfield.errors import ConfigError

FEATURES = ["user", "age", "film", "director", "actor", "genre", "daytime", "company", "device"]
FILM_SIDE = ["director", "actor", "genre"]


@pytest.fixture(scope="module")
def cinema() -> Cinema:
    return make_cinema(100_000)


def cells_of(cinema: Cinema, *names: str) -> np.ndarray:
    """Number of the cell of every row in the table spanned by the named columns."""
    cells = np.zeros(cinema.num_rows, dtype=np.int64)
    for name in names:
        cells = cells * 1000 + codes_of(cinema, name)
    return cells


@cache
def codes_of(cinema: Cinema, name: str) -> np.ndarray:
    return np.unique(cinema.columns[name], return_inverse=True)[1]


def explained(target: np.ndarray, cells: np.ndarray) -> float:
    """Share of the target's variance between cells, less what as many random cells would explain."""
    distinct, ids = np.unique(cells, return_inverse=True)
    means = np.bincount(ids, target) / np.bincount(ids)
    raw = float(means[ids].var() / target.var())
    chance = (len(distinct) - 1) / (len(target) - 1)
    return (raw - chance) / (1 - chance)


def test_the_columns_are_readable_and_complete(cinema: Cinema) -> None:
    assert [*cinema.columns] == [*FEATURES, LABEL]
    assert {len(values) for values in cinema.columns.values()} == {cinema.num_rows} == {100_000}
    assert set(cinema.columns["company"]) == {"alone", "partner", "family", "friends"}
    distinct = {name: len(np.unique(cinema.columns[name])) for name in FEATURES}
    assert distinct == dict(zip(FEATURES, (1000, 8, 400, 60, 80, 12, 4, 4, 3), strict=True))
    assert not set(cinema.columns["director"]) & set(cinema.columns["actor"])


def test_a_film_has_one_director_and_a_user_one_age(cinema: Cinema) -> None:
    for owner, owned in [("user", "age"), *(("film", name) for name in FILM_SIDE)]:
        assert len(np.unique(cells_of(cinema, owner, owned))) == len(np.unique(cinema.columns[owner]))


def test_a_cinema_is_a_pure_function_of_rows_and_seed() -> None:
    one, same, other = make_cinema(500, seed=3), make_cinema(500, seed=3), make_cinema(500, seed=4)
    assert all((one.columns[name] == same.columns[name]).all() for name in one.columns)
    assert (one.effects == same.effects).all()
    assert (one.columns["user"] != other.columns["user"]).any()


def test_rows_keeps_columns_and_truth_together(cinema: Cinema) -> None:
    part = cinema.rows(100, 130)
    assert part.num_rows == 30
    assert (part.columns["film"] == cinema.columns["film"][100:130]).all()
    assert np.allclose(part.pair_probabilities(), cinema.rows(0, 200).pair_probabilities()[100:130])


def test_the_planted_parts_have_their_strength_and_do_not_overlap(cinema: Cinema) -> None:
    assert np.allclose(cinema.effects.mean(0), 0, atol=1e-9)
    assert np.allclose(cinema.effects.std(0), STRENGTHS)
    assert np.abs(np.corrcoef(cinema.effects.T) - np.eye(3)).max() < 0.01


def test_probabilities_are_the_sigmoid_of_the_parts_and_clicks_follow_them(cinema: Cinema) -> None:
    log_odds = np.log(cinema.probabilities / (1 - cinema.probabilities))
    assert np.allclose(log_odds, cinema.order_logits(3))
    assert np.allclose(cinema.order_logits(1), INTERCEPT + cinema.effects[:, 0])
    z = (cinema.labels - cinema.probabilities).sum()
    z /= np.sqrt((cinema.probabilities * (1 - cinema.probabilities)).sum())
    assert abs(z) < 4
    assert 0.37 < cinema.labels.mean() < 0.43


def test_the_limits_by_order_are_where_the_tour_says_they_are(cinema: Cinema) -> None:
    test = cinema.rows(50_000, 100_000)
    limits = [roc_auc_score(test.labels, test.order_logits(order)) for order in (1, 2, 3)]
    assert np.allclose(limits, [0.6395, 0.7244, 0.8273], atol=0.006)
    assert log_loss(test.labels, test.probabilities) == pytest.approx(0.494, abs=0.006)
    assert limits[0] < roc_auc_score(test.labels, test.pair_probabilities()) < limits[1]


def test_no_column_and_no_pair_of_columns_explains_the_third_order_part(cinema: Cinema) -> None:
    third = cinema.effects[:, 2]
    for names in [*combinations(FEATURES, 1), *combinations(FEATURES, 2)]:
        cells = cells_of(cinema, *names)
        if len(np.unique(cells)) < 12_500:
            assert explained(third, cells) < 0.01, names
    shares = [explained(third, cells_of(cinema, *triple)) for triple in TRIPLES]
    assert sum(shares) == pytest.approx(1, abs=0.05)


def test_no_column_explains_the_second_order_part(cinema: Cinema) -> None:
    for name in FEATURES:
        assert explained(cinema.effects[:, 1], cells_of(cinema, name)) < 0.003, name
    assert explained(cinema.effects[:, 1], cells_of(cinema, "age", "genre")) > 0.1


def test_no_triple_holds_two_attributes_of_the_film() -> None:
    assert all(len(set(triple) & set(FILM_SIDE)) <= 1 for triple in TRIPLES)


def test_knowing_only_user_and_film_gives_the_mean_over_contexts(cinema: Cinema) -> None:
    rows = cinema.rows(0, 20_000)
    given = rows.pair_probabilities()
    assert 0 < given.min() < given.max() < 1
    assert given.mean() == pytest.approx(rows.probabilities.mean(), abs=0.01)
    same_pair = cells_of(rows, "user", "film")
    assert len(np.unique(np.round(given, 12))) <= len(np.unique(same_pair))
    assert explained(rows.probabilities - given, cells_of(rows, "user")) < 0.003


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_rows = 99"):
        make_cinema(99)


def test_columns_have_as_many_values_as_said(cinema: Cinema) -> None:
    assert list(column_sizes()) == FEATURES
    assert {name: len(np.unique(cinema.columns[name])) for name in FEATURES} == column_sizes()
