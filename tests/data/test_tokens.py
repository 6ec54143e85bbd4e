import datetime
import re
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfield.data.numeric import Buckets
from crossfield.data.text import NUMBER, reading
from crossfield.data.tokens import (
    Tokens,
    are_booleans,
    canonical,
    canonical_lists,
    cross_tokens,
    hash_tokens,
    is_list,
    respelled,
)
from crossfield.errors import DataError, SchemaError
from crossfield.schema import Feature, FeatureSchema, Kind
from tests.data.tables import categorical, cross, dense

NAN, INF = float("nan"), float("inf")


def tokens_of(values: list[Any], dtype: Any = None) -> list[str | None]:
    column = pl.Series("x", values, dtype=dtype)
    return column.to_frame().select(canonical(pl.col("x"), column.dtype)).to_series().to_list()


@pytest.mark.parametrize(
    ("values", "dtype", "tokens"),
    [
        ([12, None], pl.Int16, ["12", None]),
        ([2**64 - 1], pl.UInt64, ["18446744073709551615"]),
        ([12.0, -0.0, 0.5, NAN, None], pl.Float64, ["12", "0", "0.5", None, None]),
        ([1e20, INF], pl.Float64, ["1e+20", "inf"]),
        ([0.1, 3.0], pl.Float32, ["0.1", "3"]),
        ([Decimal("1.50"), Decimal("2.00")], pl.Decimal(10, 2), ["1.5", "2"]),
        ([Decimal("-0.10"), Decimal("100.00"), Decimal("0.00"), None], pl.Decimal(10, 2), ["-0.1", "100", "0", None]),
        ([True, False], pl.Boolean, ["true", "false"]),
        (["a ", " ", "", None], pl.String, ["a ", " ", None, None]),
        (["b", "a"], pl.Categorical, ["b", "a"]),
        ([None, None], pl.Null, [None, None]),
        ([datetime.date(2024, 1, 5)], pl.Date, ["2024-01-05"]),
        ([datetime.time(10, 5)], pl.Time, ["10:05:00"]),
    ],
)
def test_canonical_text(values: list[Any], dtype: Any, tokens: list[str | None]) -> None:
    assert tokens_of(values, dtype) == tokens


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_moment_reads_the_same_in_any_unit(unit: Any) -> None:
    moment = datetime.datetime(2024, 1, 5, 10, 0, 0, 120_000)
    assert tokens_of([moment], pl.Datetime(unit)) == ["2024-01-05T10:00:00.120"]
    assert tokens_of([moment.replace(microsecond=0)], pl.Datetime(unit)) == ["2024-01-05T10:00:00"]


def test_a_moment_with_a_zone_reads_as_utc() -> None:
    zoned = pl.Series([datetime.datetime(2024, 7, 1, 12)]).dt.replace_time_zone("Europe/Paris")
    assert tokens_of(zoned.to_list(), zoned.dtype) == ["2024-07-01T10:00:00Z"]


@pytest.mark.parametrize("value", [b"x", {"a": 1}, [1], datetime.timedelta(1)])
def test_what_cannot_be_a_category_is_refused(value: Any) -> None:
    with pytest.raises(SchemaError, match="cannot be a category"):
        tokens_of([value])


@given(st.integers(-(2**53), 2**53))
def test_whole_floats_read_as_integers(value: int) -> None:
    assert tokens_of([float(value)]) == tokens_of([value]) == [str(value)]


@given(st.integers(-(10**34), 10**34), st.sampled_from([0, 2]))
def test_whole_decimals_read_as_integers(value: int, scale: int) -> None:
    assert tokens_of([Decimal(value)], pl.Decimal(38, scale)) == [str(value)]


def test_decimals_too_large_for_a_float_are_told_apart() -> None:
    large = [Decimal(2**53) + one for one in (0, 1, Decimal("1.50"), Decimal("1.51"), 100)]
    assert tokens_of(large, pl.Decimal(38, 2)) == [str(one).replace(".50", ".5") for one in large]
    assert lists_of([large[:2]], pl.List(pl.Decimal(38, 0))) == [["9007199254740992", "9007199254740993"]]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_other_floats_read_as_themselves(value: float) -> None:
    assert float(str(tokens_of([value])[0])) == value


def lists_of(values: list[Any], dtype: Any = None, separator: str | None = None) -> list[list[str] | None]:
    column = pl.Series("x", values, dtype=dtype)
    lists = column.to_frame().select(canonical_lists(pl.col("x"), column.dtype, separator))
    return lists.to_series().to_list()


def test_split_text_leaves_out_empty_values() -> None:
    assert lists_of(["a|b||a", "", None, "c"], separator="|") == [["a", "b", "a"], None, None, ["c"]]


def test_lists_leave_out_missing_values() -> None:
    assert lists_of([[1.0, NAN, 2.5, None], [], None]) == [["1", "2.5"], [], None]
    assert lists_of([["a", ""]]) == [["a"]]
    assert lists_of([[1, 2]], pl.Array(pl.Int64, 2)) == [["1", "2"]]


def test_a_single_value_is_a_list_of_one() -> None:
    assert lists_of([7, None]) == [["7"], []]


def test_text_that_spells_a_list_gives_its_values() -> None:
    texts = ["['Drama', 'Comedy']", '["Drama","Comedy"]', "[3, 4]", "[]", " [a]", "a, b", None]
    expected = [["Drama", "Comedy"], ["Drama", "Comedy"], ["3", "4"], [], ["a"], ["a", " b"], None]
    assert lists_of(texts, separator=",") == expected
    assert lists_of(["[a]|[b]"], separator="|") == [["[a]", "[b]"]]


def test_lists_have_the_same_tokens_in_text() -> None:
    lists = [[1.0, 2.5, NAN, None], [1e-7, 1e20, -0.0], [], None, [3.0]]
    texts = ["[1.0, 2.5, nan, None]", "[1e-07, 1e+20, -0.0]", "[]", None, "[3.]"]
    assert lists_of(texts, separator=",") == lists_of(lists)
    assert lists_of(["[true, null]", "['a,b' \n 'c']", '["say \\"hi\\""]'], separator=",") == [
        ["true"],
        ["a,b", "c"],
        ['say "hi"'],
    ]


def test_text_in_brackets_that_spells_no_list_is_named() -> None:
    column = pl.Series("tags", ["a,b", "['a' b]"])
    said = r"^rows cannot be read: column 'tags' holds .*, which spells no list of values; .* ignore the column$"
    with pytest.raises(DataError, match=said), reading("rows"):
        column.to_frame().select(canonical_lists(pl.col("tags"), column.dtype, ","))


def test_hash_is_blake2b_little_endian() -> None:
    expected = int.from_bytes(blake2b("ü".encode(), digest_size=8).digest(), "little", signed=True)
    assert hash_tokens(pl.Series(["ü", None, "ü", "u"])).tolist()[:3] == [expected, 0, expected]
    assert hash_tokens(pl.Series([None], dtype=pl.String)).tolist() == [0]


def writer(frame: pl.DataFrame, features: list[Feature], **settings: Any) -> Tokens:
    given = {"buckets": {}, "squared": frozenset(), "max_length": 50, "meanings": {}, **settings}
    return Tokens(FeatureSchema(tuple(features)), frame.schema, **given)


def test_a_cross_joins_the_tokens_of_its_parts() -> None:
    frame = pl.DataFrame({"a": [1.0, None, 3.0], "b": ["x", "y", ""], "c": [True, True, False]})
    three = cross("a", "b", "c")
    tokens = writer(frame, [*categorical("a", "b", "c"), three])
    assert frame.select(tokens.of(three)).to_series().to_list() == ["1\x1fx\x1ftrue", None, None]


def test_a_cross_of_bucketised_and_squared_numbers() -> None:
    frame = pl.DataFrame({"age": [17, 18, None], "n": [100, 2, 1]})
    both = cross("age", "n")
    buckets, squared = {"age": Buckets((18.0,))}, frozenset({"n"})
    tokens = writer(frame, [*dense("age"), *categorical("n"), both], buckets=buckets, squared=squared)
    # ln(100)^2 = 21.2
    assert frame.select(tokens.of(both)).to_series().to_list() == ["(-inf, 18)\x1f21", "[18, inf)\x1f2", None]


def test_installed_app_and_impression_app() -> None:
    frame = pl.DataFrame({"installed": ["netflix|hulu", "", "pandora"], "impression": ["hulu", "hulu", None]})
    both = cross("installed", "impression")
    features = [Feature("installed", Kind.MULTI, separator="|"), *categorical("impression"), both]
    rows = writer(frame, features).long(frame.lazy(), both).collect()
    assert rows["token"].to_list() == ["netflix\x1fhulu", "hulu\x1fhulu"]
    assert rows["row"].to_list() == [0, 0]


def test_a_cross_of_two_lists_has_every_combination() -> None:
    frame = pl.DataFrame({"a": [[1, 2]], "b": [["x", "y"]]})
    both = cross("a", "b")
    features = [Feature("a", Kind.MULTI), Feature("b", Kind.MULTI), both]
    rows = writer(frame, features).long(frame.lazy(), both).collect()
    assert rows["token"].to_list() == ["1\x1fx", "1\x1fy", "2\x1fx", "2\x1fy"]


def test_max_length_keeps_the_last() -> None:
    frame = pl.DataFrame({"h": [[1, 2, 3], [4]]})
    history = Feature("h", Kind.SEQUENCE)
    rows = writer(frame, [history], max_length=2).long(frame.lazy(), history).collect()
    assert rows.rows() == [("2", 0), ("3", 0), ("4", 1)]


def test_a_list_in_a_categorical_column_is_named() -> None:
    frame = pl.DataFrame({"tags": [["a"]]})
    with pytest.raises(SchemaError, match=r"'tags'.*cannot be a category"):
        writer(frame, categorical("tags")).of(categorical("tags")[0])


def test_is_list() -> None:
    schema = FeatureSchema((*categorical("a", "b"), Feature("m", Kind.MULTI), cross("a", "m"), cross("a", "b")))
    assert [is_list(schema, one) for one in schema.features] == [False, False, True, True, False]


def test_cross_tokens_of_parts() -> None:
    parts = [pl.Series(["a", None]), pl.Series(["1", "2"])]
    assert cross_tokens(parts).to_list() == ["a\x1f1", None]


def test_text_has_the_token_of_what_it_spells() -> None:
    truths = pl.DataFrame({"x": ["True", "FALSE", "1", "0.0", "2", "1.05", None]})
    truths = truths.select(respelled(pl.col("x"), "boolean"))
    assert truths["x"].to_list() == ["true", "false", "true", "false", "2", "1.05", None]
    spelled = {
        **{"True": "1", "FALSE": "0", "truest": "truest"},
        **{
            "3.0": "3",
            "-4.00": "-4",
            "7.": "7",
            "-0": "0",
            ".50": "0.5",
            "3.10": "3.1",
            "1e+2": "100",
            "1.5E3": "1500",
        },
        **{"12345678901234567.0": "12345678901234567", "NaN": None, "-INF": "-inf"},
        **{"v1.0": "v1.0", "007": "007", "+3": "+3", "68e01234": "68e01234", "2.1.0": "2.1.0"},
    }
    numbers = pl.DataFrame({"x": [*spelled, None]}).select(respelled(pl.col("x"), "number"))
    assert numbers["x"].to_list() == [*spelled.values(), None]


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["{!r}", "{:.3f}", "{:e}"]))
def test_a_number_in_text_has_the_token_of_the_number(value: float, form: str) -> None:
    text = form.format(value)
    found = pl.DataFrame({"x": [text]}).select(respelled(pl.col("x"), "number")).item()
    assert found == (tokens_of([float(text)])[0] if re.match(NUMBER, text) else re.sub(r"\.0+$", "", text))


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["True", "FALSE", "", None], True), (["true", "maybe"], False), (["True "], False), (["1", "0"], False)],
)
def test_are_booleans(values: list[Any], expected: bool) -> None:
    assert are_booleans(pl.Series(values)) is expected


def test_only_columns_with_a_meaning_are_respelled() -> None:
    frame = pl.DataFrame({"a": ["True"], "b": ["True"], "c": [True]})
    tokens = writer(frame, categorical("a", "b", "c"), meanings={"a": "boolean", "c": "boolean"})
    found = frame.select(tokens.of(one).alias(one.name) for one in categorical("a", "b", "c"))
    assert found.row(0) == ("true", "True", "true")
