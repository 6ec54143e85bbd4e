import numpy as np
import polars as pl
import pytest

from crossfield.checks.copies import find_copies, measure
from crossfield.checks.finding import Finding
from crossfield.data.cinema import make_cinema

from .rows import clean, data_of, said

ROWS = clean()
FIRST, LAST = ROWS.head(1600), ROWS.tail(400)


def found(train: pl.DataFrame, part: pl.DataFrame = LAST, **words: object) -> list[Finding]:
    return list(find_copies(data_of(train, **words), {"validation": data_of(part, **words)}))


def test_clean_rows() -> None:
    assert found(FIRST) == []


def test_measures_by_hand() -> None:
    rows = pl.DataFrame({"rest": [1, 1, 1, 2, 2, 3], "label": [1.0, 1, 0, 0, 0, 1]})
    rows = rows.with_columns(whole=pl.col("rest") * 10 + pl.col("label"))
    copies = measure(rows)
    # 11, 11, 10, 20, 20, 31: two have been there before, four have a twin.
    assert (copies.num_copies, copies.copies, copies.twins) == (2, 2 / 6, 4 / 6)
    assert copies.agreement is None
    many = pl.concat([rows.with_columns(pl.col("rest", "whole") + 100 * one) for one in range(20)])
    # Unlike pairs 2 x 2 / 3 of 2 repeats and 0 of 1; by chance 3 x 2 x .4 x .6.
    assert measure(many).agreement == pytest.approx(1 - (4 / 3) / (3 * 2 * 0.4 * 0.6))


def test_a_file_that_was_written_twice() -> None:
    twice = pl.concat([FIRST, FIRST.sample(300, seed=0)])
    (inside,) = found(twice)
    assert (inside.severity, inside.where) == ("warning", "training")
    assert inside.value == pytest.approx(300 / 1900, abs=1e-6) and "agree always" in inside.what


def test_copies_on_both_sides() -> None:
    (across,) = found(FIRST, pl.concat([LAST, FIRST.tail(100)]))
    assert (across.severity, across.where, across.value) == ("warning", "validation", pytest.approx(100 / 500))
    whole = pl.concat([ROWS, ROWS]).sample(fraction=1, shuffle=True, seed=0)
    assert said(found(whole.head(3000), whole.tail(1000))) == [("warning", "training"), ("warning", "validation")]
    # A label for its own sake, and times that come as text, change nothing.
    text = pl.concat([LAST, FIRST.tail(100)]).with_columns(pl.col("ts").cast(pl.String))
    assert said(found(FIRST, text)) == [("warning", "validation")]


def test_what_happens_again_is_no_copy() -> None:
    cinema = pl.DataFrame(make_cinema(60_000).columns)
    train, part = (data_of(one) for one in (cinema.head(50_000), cinema.tail(10_000)))
    (note,) = find_copies(train, {"validation": part})
    assert note.severity == "note" and "as repeats do" in note.what


def test_implicit_rows() -> None:
    plays = ROWS.select("user", "item", "ts")
    copied = pl.concat([plays, plays.head(200)])
    assert said(found(copied, plays.tail(5), label=None)) == [("warning", "training")]
    repeats = ROWS.select("user", "item")
    assert said(found(repeats, repeats.tail(5), label=None)) == [("note", "training")]


def test_plays_by_day_are_repeats_and_no_copies() -> None:
    days = ROWS.select("user", "item", ts=pl.date(2024, 1, 1) + pl.duration(days=pl.int_range(pl.len()) // 500))
    again = pl.concat([days, days.head(200)])
    (note,) = found(again, days.tail(5), label=None)
    assert note.severity == "note" and "fine where the same thing happened again" in note.advice
    nobody = pl.concat([days, days.head(200)]).drop("user")
    assert said(found(nobody, nobody.tail(5), label=None)) == [("note", "training")]


def test_a_part_that_lacks_columns_is_not_compared() -> None:
    pairs = FIRST.select("user", "item")
    assert list(find_copies(data_of(FIRST), {"test": data_of(pairs, label=None)})) == []


def test_large_parts_are_drawn_by_their_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfield.checks.copies.SAMPLED", 1000)
    many = clean(10_000)
    twice = pl.concat([many, many.head(2000)]).sample(fraction=1, shuffle=True, seed=0)
    (inside,) = found(twice)
    assert inside.value == pytest.approx(2000 / 12_000, rel=0.25)
    assert not np.isnan(float(inside.value or 0))
