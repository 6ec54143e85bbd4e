from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from crossfield.data.guess import Guess, find_separator, guess, time_likes
from crossfield.schema import FeatureSchema, Kind

RNG = np.random.default_rng(0)
DENSE, CATEGORICAL, MULTI, SEQUENCE = Kind.DENSE, Kind.CATEGORICAL, Kind.MULTI, Kind.SEQUENCE


def judge(values: Iterable[object], name: str = "x") -> Guess:
    return guess(pl.Series(name, values), whole=True)


@pytest.mark.parametrize(
    ("name", "values", "kind", "reason"),
    [
        ("age", RNG.integers(17, 90, 2000), DENSE, "integer, 73 distinct, named like one: a quantity"),
        ("x", RNG.integers(17, 90, 2000), DENSE, "integer, 73 distinct, from 17 to 89: a quantity"),
        ("x", RNG.integers(1930, 2020, 2000), DENSE, "from 1930 to 2019"),
        ("x", np.floor(RNG.lognormal(3, 1.5, 2000)).astype(int), DENSE, "most of them small"),
        ("x", RNG.integers(-50, 50, 2000), DENSE, "some negative"),
        ("x", RNG.binomial(1, 0.1, 2000) * RNG.integers(1, 999, 2000), DENSE, "mostly zero"),
        ("x", RNG.normal(5000, 60, 50_000).round().astype(int), DENSE, "neighbours equally frequent"),
        ("x", RNG.normal(size=100), DENSE, "decimal number"),
        ("hour_of_day", np.arange(2000) % 24, CATEGORICAL, "integer, 24 distinct"),
        ("stars", np.arange(2000) % 5 + 1, CATEGORICAL, "integer, 5 distinct"),
        ("owns_car", np.arange(2000) % 2, CATEGORICAL, "integer, 2 distinct: a flag"),
        ("userId", RNG.integers(0, 60, 2000), CATEGORICAL, "integer, 60 distinct, named like an id"),
        ("zip_code", RNG.integers(10_000, 99_999, 2000) // 100, CATEGORICAL, "named like an id"),
        ("x", RNG.integers(1, 900, 20_000), CATEGORICAL, "integer, 899 distinct: an id"),
        ("paid", RNG.normal(size=100), DENSE, "decimal number"),
    ],
)
def test_integers_are_names_or_sizes(name: str, values: np.ndarray, kind: Kind, reason: str) -> None:
    found = judge(values, name)
    assert found.kind is kind
    assert reason in found.reason


def test_true_and_false_in_any_case_are_booleans() -> None:
    assert judge(["True", "False", "TRUE", None]) == Guess(CATEGORICAL, "true or false") == judge([True, False])
    assert judge(["True", "False", "maybe"]).reason == "string, 3 distinct"


@pytest.mark.parametrize("least", [1_100_000_000, 1_100_000_000_000_000_000])
def test_ids_that_lie_where_times_do_are_ids_because_they_come_again(least: int) -> None:
    ids = least + RNG.integers(0, least // 2, 60)[RNG.integers(0, 60, 2000)]
    expected = Guess(CATEGORICAL, "integer, 60 distinct: an id")
    assert judge(ids, "tweet") == judge([str(one) for one in ids] if least > 10**18 else ids, "tweet") == expected
    assert judge(ids, "posted_at").reason.startswith("a time as a number")


def test_text_is_judged_as_integers_only_where_a_text_file_would_have_left_them_text() -> None:
    times = [1_700_000_000_000_000_000 + one for one in RNG.permutation(10**9)[:100].tolist()]
    assert judge(times) == judge(map(str, times)) and judge(times).kind is None
    for texts in (["12", "13"], ["9999999999999999999", "1"], ["0700000000000000000", "1"]):
        assert judge(texts * 20).reason.startswith("string, 2 distinct")


def test_lists_that_were_written_as_text() -> None:
    assert judge(["['Drama', 'Comedy']", "[]", "['Drama']"]) == Guess(MULTI, "lists written as text", ",")
    assert judge(["[1, 2]", "[3]"], "view_history").kind is SEQUENCE
    assert judge(["['Drama' 'Comedy']", "['Drama'\n 'War']"]) == Guess(MULTI, "lists written as text", ",")


def test_integers_with_gaps_are_judged_as_integers() -> None:
    with_gap = judge([None, *([1.0, 2.0, 3.0] * 20)])
    assert (with_gap.kind, with_gap.reason) == (CATEGORICAL, "integer, 3 distinct")
    assert judge([float("nan"), 1.5, 2.0]).kind is DENSE


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("x", [None, None], "no value in every row"),
        ("x", [4, 4, 4], "the same value in every row"),
        ("x", [date(2024, 1, 1), date(2024, 1, 2)], "a date or time"),
        ("x", 881_250_949 + RNG.integers(0, 10**7, 100), "a time as a number"),
        ("x", [20140000 + 100 * month + day for month in range(1, 13) for day in range(1, 28)], "a time as a number"),
        ("hour", [14102100 + 100 * day + hour for day in range(9) for hour in range(24)], "a time as a number"),
        ("x", np.arange(100) + 500, "different in every row"),
        ("ad_id", RNG.permutation(10**6)[:100], "different in every row"),
        ("x", [f"key {i}" for i in range(100)], "different in every row"),
        ("x", ["2024-01-01 10:00:00", "2024-01-02 11:30:00"], "a date or time as text"),
        ("x", [{"a": 1}, {"a": 2}], "no kind fits"),
        ("x", [timedelta(1), timedelta(2)], "a duration: no kind fits; make it a number, of seconds for instance"),
        ("x", [[0.5, 0.1], [0.2, 0.3]], "no kind fits"),
        ("x", [[], []], "empty lists only"),
    ],
)
def test_what_says_nothing_about_another_row_is_left_out(name: str, values: Iterable[object], reason: str) -> None:
    found = judge(values, name)
    assert found.kind is None
    assert found.reason.startswith(reason) or reason in found.reason


def test_few_rows_prove_nothing_about_uniqueness() -> None:
    assert judge(["a"]) == Guess(CATEGORICAL, "string, 1 distinct")
    assert judge(["a", "b", "c"]) == Guess(CATEGORICAL, "string, 3 distinct")


def test_one_value_or_none_is_a_feature() -> None:
    assert judge(["x", None, "x"]) == Guess(CATEGORICAL, "string, 1 distinct")


def test_a_sample_does_not_claim_to_be_everything() -> None:
    found = guess(pl.Series("city", ["x", "y"] * 50), whole=False)
    assert found.reason == "string, 2 distinct in 100 rows"
    assert guess(pl.Series("city", ["x", "x"]), whole=False).reason == "the same value in all rows looked at"


@pytest.mark.parametrize(
    ("values", "separator"),
    [
        (["Action|Comedy", "Comedy", "Action", "Drama|Action"], "|"),
        (["a,b", "b,c", "a,c", "a", "b", "c", "a,b,c"], ","),
        (["News;Sport", "Sport", "News", "Sport;News;Music", "Music", "Music;News"], ";"),
        ([" ".join(map(str, RNG.integers(0, 50, 8))) for _ in range(300)], " "),
        (["Shawshank, The", "Godfather, The", "Casablanca", "Heat, The"], None),
        (["United States", "United Kingdom", "France", "South Korea", "South Africa"], None),
        ([f"the film {i} is a {w} one" for i, w in enumerate(["good", "bad", "long"] * 40)], None),
        (["a|b", "c|d", "e|f"], None),
        (["['a' 'b']", "['c|d'\n 'e']"], ","),
    ],
)
def test_strings_are_split_where_their_parts_recombine(values: list[str], separator: str | None) -> None:
    assert find_separator(pl.Series(values)) == separator


def test_several_values_are_told_from_one() -> None:
    genres = judge(["Action|Comedy", "Comedy", "Action"] * 30, "genres")
    assert genres == Guess(MULTI, "split at '|' in 33% of rows", "|")
    assert judge([["a"], ["b", "c"]]).reason == "list of strings"
    clicked = judge([[1, 2], [3]], "click_history")
    assert (clicked.kind, clicked.reason) == (SEQUENCE, "list of integers, named like a history")


def test_text_that_holds_numbers_says_so() -> None:
    assert judge(["0.5", "1", "2.25"]) == Guess(DENSE, "decimal number written as text")
    codes = judge(["55105", "98107", "T8H1N"] * 2, "area")
    assert codes == Guess(CATEGORICAL, "string, 3 distinct, numbers but for 'T8H1N' and such")
    assert judge(["05105", "98107"] * 2).reason == "string, 2 distinct"


@pytest.mark.parametrize(
    ("values", "number"),
    [
        (["7,5", "30", None, "-0,25"] * 50, "7,5 as 7.5"),
        (["1.234,5", "7"] * 50, "1.234,5 as 1234.5"),
        ([f"{one},0" for one in range(90)], "0,0 as 0.0"),
    ],
)
def test_numbers_with_a_decimal_comma_are_no_lists(values: list[str], number: str) -> None:
    found = judge(values)
    assert (found.kind, found.reason) == (
        None,
        f"decimal commas, it seems: write {number}, or say that it holds several (multi)",
    )


def test_numbers_in_lists_are_no_decimals() -> None:
    lists = ["1,2", "2", "1,3", "3,2,1", "2,3"] * 20
    assert judge(lists) == Guess(MULTI, "split at ',' in 80% of rows", ",")
    assert judge(["1,2", "2,1", "1,1", "2"] * 20, "recent_views").kind is SEQUENCE


def test_long_prose_is_left_out_and_short_text_is_not() -> None:
    words = ["slow", "warm", "loud", "odd", "bright"]
    prose = [f"it was {words[i % 5]} and then {words[i % 3]} and number {i} of many" for i in range(100)]
    assert judge([*prose, prose[0]]).reason == "free text"
    assert judge(["Toy Story", "Heat"] * 50).kind is CATEGORICAL


def test_booleans_are_categories() -> None:
    assert judge([True, False, None]) == Guess(CATEGORICAL, "true or false")


def test_which_columns_were_left_out_as_times() -> None:
    times = {"a": judge([date(2024, 1, 2)] * 3), "b": judge([f"2024-01-0{day}" for day in range(1, 9)])}
    reasons = {name: one.reason for name, one in times.items()} | {"c": "given", "d": judge([1.5] * 99).reason}
    assert time_likes(FeatureSchema((), ignored=reasons)) == ["a", "b"]
