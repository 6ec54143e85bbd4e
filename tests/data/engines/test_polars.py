from pathlib import Path

import numpy as np
import polars as pl

from crossfield.data.engines.polars import PolarsEngine

ROWS = pl.DataFrame({"a": ["x", None, "x", "y"], "n": [3, 1, 2, 0]}).lazy()


def test_counts_distinct_values_and_null() -> None:
    counts = PolarsEngine().counts(ROWS, lambda rows: rows.select("a"))
    assert sorted(counts.rows(), key=str) == [("x", 2), ("y", 1), (None, 1)]
    assert counts.schema == {"value": pl.String, "count": pl.Int64}


def test_counts_what_rows_are_turned_into() -> None:
    counts = PolarsEngine().counts(ROWS, lambda rows: rows.select(pl.col("n") % 2))
    assert sorted(counts.rows()) == [(0, 2), (1, 2)]


def test_batches_keep_the_order_and_are_full_but_for_the_last() -> None:
    rows = pl.DataFrame({"n": range(1000)}).lazy().filter(pl.col("n") % 3 == 0)
    batches = list(PolarsEngine().batches(rows, 100))
    assert [len(one) for one in batches] == [100, 100, 100, 34]
    assert pl.concat(batches)["n"].to_list() == list(range(0, 1000, 3))


def test_batches_of_no_rows() -> None:
    assert list(PolarsEngine().batches(ROWS.head(0), 10)) == []


def test_blocks_are_made_of_batches_and_the_numbers_of_their_first_rows() -> None:
    rows = pl.DataFrame({"n": range(5)}).lazy()
    blocks = PolarsEngine().blocks(rows, 2, lambda some, first: {"sum": np.array([some["n"].sum(), first])})
    assert [one["sum"].tolist() for one in blocks] == [[1, 0], [5, 2], [4, 4]]


def test_any_columns_are_read_where_they_are() -> None:
    assert PolarsEngine().reads(ROWS.filter(pl.col("n") > 1))


def test_num_rows() -> None:
    assert PolarsEngine().num_rows(ROWS) == 4


def test_parquet_keeps_rows_in_order(tmp_path: Path) -> None:
    PolarsEngine().to_parquet(ROWS, tmp_path / "rows.parquet")
    assert pl.read_parquet(tmp_path / "rows.parquet").equals(ROWS.collect())
