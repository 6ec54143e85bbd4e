"""Leaks are found where they are planted, and nowhere else."""

import numpy as np
import polars as pl
import pytest

from crossfield.checks.leaks import find_changes, find_leaks
from crossfield.checks.sample import Sample

from .rows import clean, data_of, said, sample_of

RNG = np.random.default_rng(1)
IS_CLICK = pl.col("click") == 1


def test_clean_rows() -> None:
    assert list(find_leaks(sample_of(clean()))) == list(find_changes(sample_of(clean()))) == []


@pytest.mark.parametrize(
    "leak",
    [
        pl.col("click") * 3.5 + pl.col("age") / 1000,
        -pl.col("click") * 3.5 + pl.col("age") / 1000,
        pl.when(IS_CLICK).then(pl.lit("paid")).otherwise(pl.lit("open")),
        pl.when(IS_CLICK).then(pl.lit("paid|card")).otherwise(pl.lit("card|open")),
        pl.concat_str(pl.col("click"), pl.lit("-"), pl.col("item")),
    ],
)
def test_a_column_that_tells_the_label_alone(leak: pl.Expr) -> None:
    (found,) = find_leaks(sample_of(clean().with_columns(leak=leak)))
    assert (found.severity, found.where, found.value) == ("error", "leak", 1.0)
    assert "AUC 1.0000 in 2,000 rows" in str(found) and "--ignore leak" in found.advice


def test_an_id_of_every_row_or_two_is_no_leak() -> None:
    rows = clean().with_columns(visit=pl.concat_str(pl.lit("v"), pl.int_range(pl.len()) // 2))
    assert list(find_leaks(sample_of(rows, kinds={"visit": "categorical"}))) == []


@pytest.mark.parametrize(
    ("is_filled", "severity", "words"),
    [
        (IS_CLICK, "error", "filled only where the label is 1"),
        (~IS_CLICK, "error", "filled only where the label is 0"),
        (IS_CLICK & (pl.col("item") < 15), "warning", "filled only where the label is 1"),
        (IS_CLICK | (pl.col("item") < 25), "warning", "missing only where the label is 0"),
    ],
)
@pytest.mark.parametrize("kind", ["dense", "categorical"])
def test_a_column_that_is_filled_as_the_label_has_it(is_filled: pl.Expr, severity: str, words: str, kind: str) -> None:
    value = pl.Series(RNG.normal(size=2000) if kind == "dense" else RNG.integers(0, 9, 2000))
    rows = clean().with_columns(paid=value).with_columns(pl.when(is_filled).then("paid").alias("paid"))
    (found,) = find_leaks(sample_of(rows, kinds={"paid": kind}))
    assert (found.severity, found.where) == (severity, "paid") and words in found.what


def test_gaps_that_only_lean_to_one_label_are_no_leak() -> None:
    gap = pl.Series(RNG.random(2000)) < pl.when(IS_CLICK).then(0.2).otherwise(0.6)
    rows = clean().with_columns(pl.when(~gap).then("age").alias("age"))
    few = clean().with_columns(pl.when(pl.int_range(pl.len()) < 5).then("age").alias("age"))
    assert list(find_leaks(sample_of(rows))) == list(find_leaks(sample_of(few, kinds={"age": "dense"}))) == []


def test_rare_positives_make_no_leak_of_a_gap() -> None:
    rows = clean().with_columns(click=(pl.int_range(pl.len()) % 500 == 0).cast(pl.Int64))
    rows = rows.with_columns(pl.when(pl.int_range(pl.len()) % 2 == 1).then("age").alias("age"))
    assert list(find_leaks(sample_of(rows))) == []


def test_shares_of_a_rare_class_are_those_of_all_rows() -> None:
    number = pl.int_range(pl.len())
    rows = clean(50_000).with_columns(click=(number % 500 == 7).cast(pl.Int64))
    # A value in all positive rows and in as many others, of which few are drawn.
    rows = rows.with_columns(paid=pl.when((number % 500).is_in([7, 8])).then("age"))
    train = Sample.draw("training", data_of(rows, kinds={"paid": "dense"}), 0.02).with_rare
    assert train.labels is not None and train.labels.sum() == 100 and train.weights[1] == pytest.approx(0.02, rel=0.2)
    (found,) = find_leaks(train)
    assert (found.severity, found.where) == ("error", "paid") and "missing only where the label is 0" in found.what
    assert 20 < float(found.what.split(": ")[1].split("%")[0]) < 90


@pytest.mark.parametrize("is_early", [True, False])
def test_a_column_that_was_filled_in_afterwards(is_early: bool) -> None:
    tells = (pl.int_range(pl.len()) < 1000) == is_early
    noise = pl.Series(RNG.normal(size=2000))
    rows = clean().with_columns(total=noise + pl.when(tells).then(2 * pl.col("click")).otherwise(0))
    (found,) = find_changes(sample_of(rows))
    assert (found.severity, found.where) == ("warning", "total") and "changes sharply with time" in found.what
    assert list(find_leaks(sample_of(rows))) == []


def test_without_labels_or_times_there_is_nothing_to_find() -> None:
    bare = clean().drop("ts")
    assert list(find_changes(sample_of(bare))) == list(find_leaks(sample_of(bare.drop("click"), label=None))) == []
    assert said(list(find_leaks(sample_of(clean().with_columns(click=pl.lit(0)))))) == []
