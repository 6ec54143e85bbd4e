"""Statistics of the very rows, planted beside statistics of earlier ones and beside traits."""

from dataclasses import replace

import polars as pl
import pytest

from crossfield.checks.finding import Finding
from crossfield.checks.hindsight import find_hindsight
from crossfield.checks.sample import Sample

from .rows import clean, data_of

ROWS = clean(12_000).with_columns(user=pl.int_range(pl.len()) % 600)
SMOOTHED = (pl.col("click").sum() + 2.0) / (pl.len() + 5)


def found(rows: pl.DataFrame, *, label: str | None = "click") -> list[Finding]:
    train, part = data_of(rows, label=label, kinds={"known": "dense"}).split("time", sizes=(0.8, 0.2))
    return list(find_hindsight(Sample.draw("training", train, 1.0), [Sample.draw("validation", part, 1.0)]))


def known(rows: pl.DataFrame, statistic: pl.Expr, *, over: pl.DataFrame, of: str = "user") -> pl.DataFrame:
    return rows.join(over.group_by(of).agg(statistic.alias("known")), on=of, how="left", maintain_order="left")


@pytest.mark.parametrize("statistic", [pl.col("click").mean(), 100 * pl.col("click").mean().round(3), SMOOTHED])
@pytest.mark.parametrize("num_rows", [12_000, 9600])
def test_a_mean_label_of_all_rows_or_of_the_training_rows(statistic: pl.Expr, num_rows: int) -> None:
    (one,) = found(known(ROWS, statistic, over=ROWS.head(num_rows)))
    assert (one.severity, one.where) == ("warning", "known") and "each user's share of positives" in one.what


@pytest.mark.parametrize("label", ["click", None])
def test_a_number_of_rows(label: str | None) -> None:
    rows = ROWS.with_columns(item=(pl.int_range(pl.len()) ** 2) % 211)
    (one,) = found(known(rows, pl.len(), over=rows, of="item"), label=label)
    assert "each item's number of rows" in one.what


def test_ids_that_one_part_holds_as_text_are_those_of_the_other() -> None:
    rows = known(ROWS, pl.col("click").mean(), over=ROWS).with_columns(pl.col("user").cast(pl.Float64))
    train, part = data_of(rows, kinds={"known": "dense"}).split("time", sizes=(0.7, 0.3))
    as_text = replace(part, frame=part.frame.with_columns(pl.col("user").cast(pl.String)))
    for one in (part, as_text):
        assert (
            len(list(find_hindsight(Sample.draw("training", train, 1.0), [Sample.draw("validation", one, 1.0)]))) == 1
        )


def test_what_was_known_before_is_no_leak() -> None:
    earlier, later = ROWS.head(6000), ROWS.tail(6000)
    assert found(known(later, pl.col("click").mean(), over=earlier)) == []
    assert found(ROWS.with_columns(known=pl.col("user").cos())) == []
    assert found(ROWS.with_columns(known=pl.lit(1.5))) == []


def test_a_running_mean_is_no_leak() -> None:
    before = (pl.col("click").cum_sum().over("user") - pl.col("click")) / pl.int_range(1, pl.len() + 1).over("user")
    assert found(ROWS.with_columns(known=before)) == []


def test_users_with_as_many_positives_each_have_no_luck_to_tell() -> None:
    """As where negatives were drawn for each positive."""
    even = ROWS.with_columns(click=(pl.int_range(pl.len()) // 600) % 2, known=pl.col("user").cos())
    assert found(even) == []


def test_parts_without_the_column_are_passed_over() -> None:
    rows = known(ROWS, pl.col("click").mean(), over=ROWS)
    train = Sample.draw("training", data_of(rows, kinds={"known": "dense"}), 1.0)
    part = Sample.draw("test", data_of(ROWS.drop("click"), label=None), 1.0)
    assert len(list(find_hindsight(train, [part]))) == 1
