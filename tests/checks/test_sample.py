import numpy as np
import polars as pl
import pytest

from crossfield.checks.sample import Sample, later_half

from .rows import clean, data_of, sample_of


def test_rows_are_drawn_with_their_labels() -> None:
    whole = sample_of(clean())
    assert whole.labels is not None and whole.labels.tolist() == clean()["click"].to_list()
    assert whole.has_both and [one.name for one in whole.features] == ["user", "item", "age", "tags"]
    drawn = Sample.draw("validation", data_of(clean()), 0.1, features=False)
    assert 140 < len(drawn.rows) < 260 and set(drawn.rows.columns) == {"click", "user", "item", "ts"}
    assert drawn.rows["ts"].is_sorted() and [one.name for one in drawn.features] == ["user", "item"]


def test_rows_without_a_label_are_left_out() -> None:
    odd = clean().with_columns(pl.when(pl.int_range(pl.len()) % 4 > 0).then("click"))
    found = sample_of(odd)
    assert len(found.rows) == 1500 and found.labels is not None and not np.isnan(found.labels).any()


def test_no_label_and_no_time() -> None:
    bare = sample_of(clean().drop("ts"), label=None)
    assert bare.labels is None and not bare.has_both and bare.times is None


def test_one_class() -> None:
    assert not sample_of(clean().with_columns(click=pl.lit(1))).has_both


@pytest.mark.parametrize("rare", [0, 1])
def test_rows_of_a_rare_class_are_drawn_apart(rare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    number = pl.int_range(pl.len())
    rows = clean(20_000).with_columns(click=pl.when(number % 1000 == 7).then(rare).otherwise(1 - rare))
    drawn = Sample.draw("training", data_of(rows), 0.01)
    found = drawn.with_rare
    assert found.labels is not None and (found.labels == rare).sum() == 20 and found.has_both
    assert (found.labels != rare).sum() == (drawn.labels != rare).sum() and found.rows.columns == drawn.rows.columns
    monkeypatch.setattr("crossfield.checks.sample.MANY", 10)
    some = Sample.draw("training", data_of(rows), 0.01).with_rare
    assert some.labels is not None and 3 <= (some.labels == rare).sum() <= 17


def test_nothing_is_drawn_where_no_class_is_rare_or_none_of_it_is_left() -> None:
    whole = sample_of(clean().with_columns(click=(pl.int_range(pl.len()) < 5).cast(pl.Int64)))
    common, unlabelled = sample_of(clean()), sample_of(clean(), label=None)
    assert whole.with_rare is whole and common.with_rare is common and unlabelled.with_rare is unlabelled


@pytest.mark.parametrize(
    ("times", "late"),
    [([1, 2, 3, 4], [0, 0, 1, 1]), ([5, 1, 1], [1, 0, 0]), ([1, 2, 2, 2, 2], [0, 1, 1, 1, 1]), (["b", "a"], [1, 0])],
)
def test_the_later_half(times: list[object], late: list[int]) -> None:
    assert later_half(pl.Series(times)).tolist() == [bool(one) for one in late]
