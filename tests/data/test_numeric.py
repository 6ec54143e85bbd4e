import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfield.data.numeric import (
    Buckets,
    Moments,
    Scale,
    bucket_boundaries,
    number,
    quantile_boundaries,
    refuse_infinite,
    refuse_text,
    signed_log1p,
    squared_log,
)
from crossfield.errors import DataError, SchemaError

NAN = float("nan")


def apply(expression: pl.Expr, values: Sequence[float | None]) -> list[Any]:
    return pl.DataFrame({"x": values}, schema={"x": pl.Float64}).select(expression).to_series().to_list()


def counts_of(values: Sequence[float | None]) -> pl.DataFrame:
    return pl.Series("value", values, dtype=pl.Float64).value_counts(name="count")


def test_numbers_of_every_column_type() -> None:
    frame = pl.DataFrame({"i": [1, None], "t": ["2.5", ""], "b": [True, False], "n": [None, None], "f": [NAN, 3.0]})
    columns = [number(name, dtype) for name, dtype in frame.schema.items()]
    assert frame.select(columns).to_dict(as_series=False) == {
        "i": [1.0, None],
        "t": [2.5, None],
        "b": [1.0, 0.0],
        "n": [None, None],
        "f": [None, 3.0],
    }


def test_a_list_is_no_number() -> None:
    with pytest.raises(SchemaError, match="'x' of type List"):
        number("x", pl.List(pl.Int64))


def test_text_among_numbers_names_row_and_value() -> None:
    frame = pl.DataFrame({"x": ["1", "", None, "NaN", "12k"]})
    with pytest.raises(DataError, match=r"column 'x'.*row 104 .*'12k'"):
        refuse_text(frame, ["x"], 100)
    refuse_text(frame.head(4), ["x"], 0)


def test_infinite_numbers_name_row_and_value() -> None:
    raw = pl.DataFrame({"x": [1.0, 2.0], "y": [1.0, -math.inf]})
    with pytest.raises(DataError, match=r"column 'y' has -inf in row 11 "):
        refuse_infinite(raw.to_numpy(), raw, names=["x", "y"], first_row=10)


def test_squared_log_is_criteos() -> None:
    # ln(3)^2 = 1.2, ln(100)^2 = 21.2; -1, 0, 1 and 2 stay distinct.
    assert apply(squared_log(pl.col("x")), [-1, 0, 1, 2, 3, 100, -2.7, 1.9, None]) == [-1, 0, 1, 2, 1, 21, -2, 1, None]


def test_log1p_is_odd() -> None:
    assert apply(signed_log1p(pl.col("x")), [0, math.e - 1, 1 - math.e, None]) == pytest.approx([0, 1, -1, None])


def test_quantiles_of_ten_distinct_values() -> None:
    counts = counts_of([float(x) for x in range(1, 11)])
    assert quantile_boundaries(counts, 5) == (3, 5, 7, 9)
    assert quantile_boundaries(counts, 2) == (6,)


def test_quantiles_of_one_value_lie_above_it() -> None:
    assert quantile_boundaries(counts_of([4.0, None]), 3) == (np.nextafter(4.0, 5.0),) * 2
    assert quantile_boundaries(counts_of([None]), 3) == ()


def test_a_value_that_fills_most_rows_is_one_bucket() -> None:
    counts = counts_of([0.0] * 8 + [1.0, 2.0])
    assert quantile_boundaries(counts, 5) == (1, 1, 1, 1)
    assert bucket_boundaries(counts, 5) == (1,)
    assert bucket_boundaries(counts_of([4.0]), 5) == ()


@given(st.lists(st.integers(-5, 5), min_size=1), st.integers(2, 8))
def test_the_quantile_of_a_value_is_its_share_of_smaller_ones(values: list[int], num: int) -> None:
    boundaries = Buckets(quantile_boundaries(counts_of([float(x) for x in values]), num))
    found = apply(boundaries.index(pl.col("x")), [float(x) for x in values])
    assert found == [num * sum(other < x for other in values) // len(values) for x in values]


@given(st.lists(st.integers(-5, 5), min_size=1), st.integers(2, 8))
def test_no_bucket_is_empty(values: list[int], num: int) -> None:
    buckets = Buckets(bucket_boundaries(counts_of([float(x) for x in values]), num))
    found = apply(buckets.index(pl.col("x")), [float(x) for x in values])
    assert set(found) == set(range(len(buckets.boundaries) + 1))


def test_a_boundary_belongs_to_the_bucket_above() -> None:
    buckets = Buckets((18.0, 25.5))
    assert apply(buckets.index(pl.col("x")), [17.9, 18, 25.4, 25.5, None]) == [0, 1, 1, 2, None]
    labels = apply(buckets.labels(pl.col("x")), [17, 18, 99, None])
    assert labels == ["(-inf, 18)", "[18, 25.5)", "[25.5, inf)", None]


def test_no_boundaries_make_one_bucket() -> None:
    assert apply(Buckets(()).labels(pl.col("x")), [3, None]) == ["(-inf, inf)", None]


def test_moments_do_not_count_what_is_missing() -> None:
    moments = Moments.of(np.array([[1.0, NAN], [3.0, 5.0]]))
    assert moments.count.tolist() == [2, 1]
    assert moments.mean.tolist() == [2, 5]
    assert moments.std.tolist() == [1, 0]


def test_moments_of_nothing() -> None:
    moments = Moments.of(np.empty((0, 1)))
    assert moments.merge(moments).std.tolist() == [0]


@given(st.lists(st.floats(-1e3, 1e3), max_size=20), st.lists(st.floats(-1e3, 1e3), max_size=20))
def test_merged_moments_are_those_of_all(left: list[float], right: list[float]) -> None:
    columns = [np.array(one, dtype=np.float64).reshape(-1, 1) for one in (left, right)]
    merged, whole = Moments.of(columns[0]).merge(Moments.of(columns[1])), Moments.of(np.concatenate(columns))
    np.testing.assert_allclose(merged.mean, whole.mean, atol=1e-9)
    np.testing.assert_allclose(merged.squares, whole.squares, atol=1e-6)


def test_a_constant_has_no_deviation() -> None:
    assert Moments.of(np.full((7, 1), 0.1)).std.tolist() == [0]


def test_standardised_numbers() -> None:
    scale = Scale("x", "standardize", mean=2.0, std=4.0)
    assert apply(scale.apply(pl.col("x")), [2, 10, None]) == [0, 2, 0]


def test_a_constant_is_standardised_to_zero() -> None:
    assert apply(Scale("x", "standardize", mean=2.0).apply(pl.col("x")), [2, 5]) == [0, 0]


def test_unscaled_numbers_miss_to_the_mean() -> None:
    assert apply(Scale("x", "none", mean=2.5, std=1).apply(pl.col("x")), [7, None]) == [7, 2.5]
    assert apply(Scale("x", "squared_log", mean=2.5, std=1).apply(pl.col("x")), [100, None]) == [21, 2.5]


def test_wide_and_deeps_quantiles_go_from_0_to_1() -> None:
    scale = Scale("x", "quantile", quantile_boundaries(counts_of([1.0, 2.0, 3.0]), 3), mean=0.5)
    assert apply(scale.apply(pl.col("x")), [1, 2, 3, -9, 2.5, 99, None]) == [0, 0.5, 1, 0, 0.5, 1, 0.5]
