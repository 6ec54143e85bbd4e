import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfield.data.spelled import list_of

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["a,b", "c"], ["a,b", "c"]),
        (["it's", 'say "hi"', "both ' \""], ["it's", 'say "hi"', "both ' \""]),
        (["Drama [1999]", "a\\b", "two\nlines", "é"], ["Drama [1999]", "a\\b", "two\nlines", "é"]),
        (["x", None, float("nan")], ["x"]),
        ([1.0, 2.5], [1.0, 2.5]),
        (["1.0", "None"], ["1.0", "None"]),
        ([True, False, None], ["true", "false"]),
        ([], []),
    ],
)
def test_a_list_has_its_values_whoever_wrote_it(values: list[Any], expected: list[Any]) -> None:
    assert list_of(str(values)) == list_of(json.dumps(values)) == expected
    assert list_of(json.dumps(values, ensure_ascii=False)) == list_of(str(np.array(values, dtype=object))) == expected


@given(TEXTS)
def test_any_text_comes_back(values: list[str]) -> None:
    assert list_of(str(values)) == list_of(json.dumps(values)) == list_of(repr(values)) == values


def test_long_arrays_of_numpy_run_over_lines() -> None:
    names = [f"name {number}" for number in range(100)]
    assert "\n" in str(np.array(names)) and list_of(str(np.array(names))) == names
    assert list_of(str(np.arange(100))) == list(range(100))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (" [Drama, War] ", ["Drama", "War"]),
        ("[New York]", ["New York"]),
        ("[Schindler's List, Heat [1995]]", ["Schindler's List", "Heat [1995]"]),
        ("[007, , None]", ["007"]),
        ("[12345678901234567, 1]", ["12345678901234567", "1"]),
        ("[np.int64(3), np.str_('a(b)')]", [3.0, "a(b)"]),
        (r"['C:\data', '\'', '\x']", [r"C:\data", "'", r"\x"]),
        (r"['\xe9\u2028\U0001f600\\n' '\n']", ["é\u2028\U0001f600\\n", "\n"]),
    ],
)
def test_values_without_quotes_and_other_spellings(text: str, values: list[Any]) -> None:
    assert list_of(text) == values


@pytest.mark.parametrize(
    "text",
    [
        "[['a'], ['b']]",
        "[[1 2]\n [3 4]]",
        '[{"a": 1}]',
        "['a' 'b' ... 'c']",
        "['a' 'b', 'c']",
        "['a''b']",
        "['New York' Rome]",
        "['it's', 'b']",
        "[Schindler's List, Ocean's Eleven]",
        "[Drama], [War]",
        "[Drama] [War]",
        r'["\ud800"]',
        r"['\ud800']",
        r"['\U00110000']",
        r"['\Uffffffff']",
        "['a', \0]",
        "[" * 100_000 + "]" * 100_000,
    ],
)
def test_what_may_be_read_in_two_ways_is_not_read(text: str) -> None:
    assert list_of(text) is None
