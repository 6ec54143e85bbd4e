"""Overlaps and futures planted in the parts of a clean split."""

from datetime import datetime, timedelta, timezone

import polars as pl
import pytest

from crossfield.checks.finding import Finding
from crossfield.checks.overlap import find_overlap, met_in_training
from crossfield.checks.sample import Sample

from .rows import clean, data_of, said, sample_of

ROWS = clean()
FIRST, LAST = ROWS.head(1600), ROWS.tail(400)


def found(train: pl.DataFrame, part: pl.DataFrame, split: str | None = None, **words: object) -> list[tuple[str, str]]:
    return said(list(find_overlap(sample_of(train, **words), sample_of(part, "validation", **words), split=split)))


def test_a_split_by_time_is_clean() -> None:
    assert found(FIRST, LAST) == []


def test_what_training_knows_of_rows_by_hand() -> None:
    train = data_of(pl.DataFrame({"user": ["a", "a", "b", None], "item": [1, 1, 2, 3], "click": [1, 0, 1, 1]}))
    part = pl.DataFrame({"user": ["b", "a", "c", None], "item": [2.0, 1.0, 1.0, 3.0]})
    rows = met_in_training(part, train, ["user", "item"], pl.col("click").mean().alias("rate"))
    assert rows.rows() == [(True, 1, 1.0), (True, 2, 0.5), (True, None, None), (False, None, None)]


def test_numbers_that_one_part_holds_as_text_are_known_to_the_other() -> None:
    train = data_of(pl.DataFrame({"user": [3.0, 4.5, None], "click": [1, 0, 1]}))
    rows = met_in_training(pl.DataFrame({"user": ["3.0", "4.50", "5", None]}), train, ["user"])
    assert rows["rows"].to_list() == [1, 1, None, None]


def test_times_with_offsets_are_compared_as_moments() -> None:

    def local(rows: pl.DataFrame) -> pl.DataFrame:
        moments = [
            datetime.fromtimestamp(ts, timezone(timedelta(hours=(-8, 0, 9)[hash(ts) % 7 % 3]))) for ts in rows["ts"]
        ]
        return rows.with_columns(ts=pl.Series([moment.isoformat() for moment in moments]))

    assert found(local(FIRST), local(LAST)) == []


def test_users_written_in_another_way() -> None:
    other = LAST.with_columns(pl.col("user").str.to_uppercase())
    (one,) = find_overlap(sample_of(FIRST), sample_of(other, "test"))
    assert (one.severity, one.where, one.value) == ("warning", "test", 0.0) and "written in another way" in one.advice
    assert found(FIRST, other, split="user") == []


def test_mostly_new_users_are_worth_a_note() -> None:
    some = LAST.with_columns(
        pl.when(pl.int_range(pl.len()) % 4 == 0).then("user").otherwise(pl.lit("new")).alias("user")
    )
    assert found(FIRST, some) == [("note", "validation")]
    assert found(FIRST, some.head(10)) == []


def rated_once() -> pl.DataFrame:
    """Each user has rated an item once."""
    return clean(8000).unique(["user", "item"], keep="first", maintain_order=True)


def test_pairs_that_are_unique_in_training_and_stand_on_both_sides() -> None:
    once = rated_once()
    train, part = once.head(2000), once.slice(2000, 500)
    assert found(train, part) == []
    leaky = pl.concat([train.sample(50, seed=0).with_columns(ts=pl.col("ts") + 10**7), part])
    assert found(train, leaky) == [("warning", "validation")]


def test_pairs_that_repeat_with_their_own_label() -> None:
    again = clean(8000).with_columns(click=pl.struct("user", "item").hash(0) % 3 // 2)
    (one,) = find_overlap(sample_of(again.head(6000)), sample_of(again.tail(2000), "validation"))
    assert one.severity == "warning" and "tells the one here with AUC 1.000" in one.what
    # The same pairs with labels of their own each time are a log as logs are.
    assert found(clean(8000).head(6000), clean(8000).tail(2000)) == []


def test_implicit_pairs_on_both_sides() -> None:
    once = rated_once().drop("click")
    assert found(once.head(2000), once.slice(2000, 500), label=None) == []
    both = pl.concat([once.slice(1900, 100), once.slice(2000, 500)])
    assert found(once.head(2000), both, label=None) == [("warning", "validation")]


def test_training_rows_from_the_future() -> None:
    (one,) = find_overlap(sample_of(LAST), sample_of(FIRST, "validation"))
    assert (one.severity, one.value) == ("warning", 1.0) and "--split time" in one.advice
    shuffled = ROWS.sample(fraction=1, shuffle=True, seed=0)
    assert found(shuffled.head(1600), shuffled.tail(400)) == [("warning", "validation")]
    # The part's times may have come as another type.
    assert found(LAST, FIRST.with_columns(pl.col("ts").cast(pl.String))) == [("warning", "validation")]


def test_the_last_row_of_each_user_is_worth_a_note() -> None:
    one_by_one = ROWS.sort("user").with_columns(ts=pl.int_range(pl.len()))
    train, valid = data_of(one_by_one).split("leave_one_out", sizes=(0.5, 0.5))
    parts = (train.frame.collect(), valid.frame.collect())
    assert found(*parts) == [("note", "validation")]


@pytest.mark.parametrize("columns", [["click", "age"], ["click", "user", "age"], ["click", "item", "age"]])
def test_parts_without_users_items_or_times(columns: list[str]) -> None:
    assert found(FIRST.select(columns), LAST.select(columns)) == []


@pytest.mark.parametrize("kind", ["number", "text", "date"])
def test_what_looks_like_a_time_and_is_not_named_as_one(kind: str) -> None:
    when = {"number": pl.col("ts"), "date": pl.from_epoch("ts"), "text": pl.from_epoch("ts").dt.to_string("%F %T")}
    rows = ROWS.with_columns(when=when[kind]).drop("ts")
    (one,) = at_random(rows)
    assert one.severity == "warning" and "if when says when a row happened" in one.what and "--time when" in one.advice
    assert found(rows.head(1600), rows.tail(400)) == []
    assert at_random(rows, ignore=["when"]) == []


def at_random(rows: pl.DataFrame, **words: object) -> list[Finding]:
    train, part = data_of(rows, **words).split("random", sizes=(0.8, 0.2))
    return list(find_overlap(Sample.draw("training", train, 1.0), Sample.draw("validation", part, 1.0)))
