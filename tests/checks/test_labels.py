import polars as pl
import pytest

from crossfield.checks.labels import find_one_class, find_rate_changes, find_rates, find_untold

from .rows import clean, data_of, said, sample_of

ROWS = clean()
NUMBER = pl.int_range(pl.len())


def test_clean_labels() -> None:
    train, part = sample_of(ROWS.head(1600)), sample_of(ROWS.tail(400), "test")
    assert [*find_untold("training", train.data), *find_one_class(train), *find_one_class(part)] == []
    assert [*find_rates(train, part), *find_rate_changes(train)] == []


@pytest.mark.parametrize(("value", "shown"), [(2, "2"), (None, "missing")])
def test_labels_that_cannot_be_told(value: int | None, shown: str) -> None:
    odd = ROWS.with_columns(pl.when(NUMBER % 10 == 3).then(pl.lit(value)).otherwise("click").alias("click"))
    (found,) = find_untold("training", data_of(odd))
    assert (found.severity, found.where, found.value) == ("error", "click", 200) and found.what.endswith(shown)
    assert list(find_untold("training", data_of(odd, label="click>=1"))) == [] or value is None


@pytest.mark.parametrize(("name", "severity"), [("training", "error"), ("validation", "warning")])
def test_one_class(name: str, severity: str) -> None:
    (found,) = find_one_class(sample_of(ROWS.with_columns(click=pl.lit(1)), name))
    assert (found.severity, found.where) == (severity, name)


@pytest.mark.parametrize(("kept", "severity"), [(0.2, "warning"), (0.65, "note"), (0.95, None)])
def test_rates_of_parts(kept: float, severity: str | None) -> None:
    drawn = ROWS.filter((pl.col("click") == 1) | (pl.Series(range(2000)).hash(0) % 100 < kept * 100))
    assert said(list(find_rates(sample_of(ROWS), sample_of(drawn, "test")))) == (
        [(severity, "test")] if severity else []
    )


def test_labels_that_have_not_come_in_yet() -> None:
    late = ROWS.with_columns(pl.when(NUMBER < 1800).then("click").otherwise(pl.lit(0)).alias("click"))
    (found,) = find_rate_changes(sample_of(late))
    assert (found.severity, found.value) == ("warning", 0.0) and "not all come in" in found.advice
    early = ROWS.with_columns(pl.when(NUMBER > 200).then("click").otherwise(pl.lit(0)).alias("click"))
    assert said(list(find_rate_changes(sample_of(early)))) == [("note", "training")]
    assert list(find_rate_changes(sample_of(late.drop("ts")))) == []


def test_parts_without_labels() -> None:
    none = sample_of(ROWS.drop("click"), label=None)
    assert [*find_one_class(none), *find_rates(none, none), *find_rate_changes(none)] == []
    assert list(find_untold("training", none.data)) == []
