from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from crossfield.checks.columns import Facts, find_faults, find_misfits, look_through
from crossfield.checks.finding import Finding
from crossfield.data.dataset import load

from .rows import clean, data_of, said, sample_of

ROWS = clean()
RNG = np.random.default_rng(2)
NUMBER = pl.int_range(pl.len())


def found(rows: pl.DataFrame, part: pl.DataFrame | None = None, **words: object) -> list[Finding]:
    others = [] if part is None else [sample_of(part, "test", **words)]
    return list(find_faults(sample_of(rows, **words), others))


def test_clean_columns() -> None:
    assert found(ROWS.head(1600), ROWS.tail(400)) == []


def test_facts_by_hand() -> None:
    rows = pl.DataFrame(
        {
            "n": [1.0, 3.0, float("nan"), float("inf"), None],
            "c": ["a", "a", "b", "", None],
            "l": [["x"], None, ["y"], ["x"], ["x"]],
            "y": [0, 1, 0, 1, 0],
        }
    )
    data = load(rows, label="y", kinds={"n": "dense", "c": "categorical", "l": "multi"})
    facts = look_through(data.frame, data.schema.features)
    assert facts["n"] == Facts(pytest.approx(0.4), 3, None, 1.0, 3.0, pytest.approx(2**0.5), 1)
    assert (facts["c"].missing, facts["c"].filled) == (pytest.approx(0.4), 3)
    assert facts["l"] == Facts(pytest.approx(0.2), 4)


@pytest.mark.parametrize(("value", "kind"), [(pl.lit(7.0), "dense"), (pl.lit("x"), "categorical")])
def test_a_constant(value: pl.Expr, kind: str) -> None:
    (one,) = found(ROWS.with_columns(same=value), kinds={"same": kind})
    assert (one.severity, one.where) == ("warning", "same") and one.advice.endswith("--ignore same")


def test_what_the_schema_leaves_out_is_said() -> None:
    (one,) = found(ROWS.with_columns(same=pl.lit("x")))
    assert one.severity == "note" and "left out: the same value in every row" in one.what


@pytest.mark.parametrize("value", [timedelta(1), b"x", {"a": 1}])
def test_no_kind_is_advised_that_would_be_an_error(value: object) -> None:
    (one,) = found(ROWS.with_columns(odd=pl.Series([value] * len(ROWS))))
    assert (one.severity, one.where) == ("note", "odd") and "make columns of text or numbers of it" in one.advice
    assert "--kind odd=" not in one.advice


def test_an_id_that_is_not_a_number_is_missing() -> None:
    gappy = ROWS.with_columns(code=pl.when(NUMBER % 10 == 0).then(NUMBER % 7).otherwise(float("nan")))
    (one,) = found(gappy, kinds={"code": "categorical"})
    assert (one.severity, one.where, one.value) == ("note", "code", 0.9)


@pytest.mark.parametrize(("share", "severity"), [(0.995, "warning"), (0.8, "note"), (0.3, None)])
def test_gaps(share: float, severity: str | None) -> None:
    gappy = ROWS.with_columns(pl.when(share * pl.len() <= NUMBER).then("age").alias("age"))
    assert said(found(gappy, kinds={"age": "dense"})) == ([(severity, "age")] if severity else [])


def test_a_column_that_is_gone_from_a_part() -> None:
    (one,) = found(ROWS, ROWS.with_columns(age=pl.lit(None, pl.Float64)), kinds={"age": "dense"})
    assert (one.severity, one.where, one.value) == ("warning", "age", 1.0) and "100.0% of the test rows" in one.what


def test_infinite_numbers() -> None:
    odd = ROWS.with_columns(pl.when(NUMBER == 5).then(float("inf")).otherwise("age").alias("age"))
    (one,) = found(odd)
    assert (one.severity, one.value) == ("error", 1)


@pytest.mark.parametrize(("value", "rows"), [(1e12, 1), (-999_999.0, 20)])
def test_a_value_that_drowns_the_others(value: float, rows: int) -> None:
    odd = ROWS.with_columns(pl.when(NUMBER % (2000 // rows) == 7).then(value).otherwise("age").alias("age"))
    (one,) = found(odd)
    assert (one.severity, one.where, one.value) == ("warning", "age", value) and "transform=quantile" in one.advice


@pytest.mark.parametrize("values", [RNG.lognormal(0, 2, 2000), RNG.pareto(1.2, 2000), (RNG.random(2000) < 0.05) * 9e4])
def test_long_tails_and_mostly_zeros_are_no_fault(values: np.ndarray) -> None:
    assert found(ROWS.with_columns(amount=pl.Series(values))) == []


def test_text_among_numbers() -> None:
    ages = (pl.col("age").round().cast(pl.Int64)).cast(pl.String)
    few = ROWS.with_columns(age=pl.when(NUMBER % 9 == 0).then(pl.lit("unknown")).otherwise(ages))
    (one,) = found(few)
    assert (one.severity, one.where) == ("warning", "age") and "--missing 'unknown'" in one.advice
    name = ROWS.with_columns(age=pl.when(NUMBER % 9 == 0).then(pl.lit("other")).otherwise(ages))
    assert said(found(name)) == [("note", "age")]
    many = ROWS.with_columns(age=pl.when(NUMBER % 9 == 0).then(pl.concat_str(pl.lit("T"), NUMBER % 30)).otherwise(ages))
    assert said(found(many)) == [("note", "age")]


def test_text_that_says_no_value() -> None:
    words = pl.Series(["single", "married", "none", "?"])
    (one,) = found(ROWS.with_columns(status=words.gather(np.arange(2000) % 4)))
    assert one.severity == "note" and "--missing '?'" in one.advice


@pytest.mark.parametrize(("distinct", "severity"), [(1950, "warning"), (1400, "note"), (600, None)])
def test_more_ids_than_rows_can_teach(distinct: int, severity: str | None) -> None:
    many = ROWS.with_columns(session=pl.concat_str(pl.lit("s"), NUMBER % distinct))
    ones = found(many, kinds={"session": "categorical"})
    assert said(ones) == ([(severity, "session")] if severity else [])
    if ones:
        assert "min_count=2" in ones[0].advice


def test_users_with_one_row_are_worth_a_note() -> None:
    assert said(found(ROWS.with_columns(user=pl.concat_str(pl.lit("s"), NUMBER)))) == [("note", "user")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"age": pl.lit("old")}, "column 'age' is dense and holds 'old' in row 0"),
        ({"tags": pl.lit(3.0)}, "column 'tags' is multi in the schema and holds Float64 here"),
    ],
)
def test_a_part_that_a_fit_would_stop_at(change: dict[str, pl.Expr], words: str) -> None:
    schema = data_of(ROWS).schema
    part = load(ROWS.with_columns(**change), schema=schema)
    (one,) = find_misfits("test", part)
    assert (one.severity, one.where) == ("error", "test") and words in one.what and one.advice
    assert list(find_misfits("test", load(ROWS, schema=schema))) == []
    (gone,) = find_misfits("test", load(ROWS.drop("user"), schema=schema))
    assert "no column 'user'" in gone.what
