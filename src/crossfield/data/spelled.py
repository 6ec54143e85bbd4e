"""Lists as text spells them: what Python, JSON and numpy write of a list, and what pandas puts into a CSV file."""

import json
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

from crossfield.data.text import NUMBER

Values: TypeAlias = list[str | float]
"""Floats apart: their text is for others to write."""

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "'": "'", '"': '"', "\\": "\\"}
_QUOTE = "\0"
"""Stands for a quoted value while the text around it is looked at."""
_WRAPPED = re.compile(r"\bnp\.\w+\(([^()]*)\)")
"""A list of numpy's values: [np.int64(3), np.str_('a')]."""
_NOTHING = frozenset({"", "none", "null", "nan", "nat", "<na>"})
_TRUTHS = frozenset({"true", "false"})


def list_of(text: str) -> Values | None:
    """The values of the list that bracketed text spells, those that are missing left out; None where it spells none.

    Values without quotes go from comma to comma, as in ``[Drama, War]``; numpy's have spaces between them.
    """
    # PERF: Python's lists are read as JSON where only the quotes differ, twice as fast as by the quotes.
    is_plain = '"' not in text and "\\" not in text
    try:
        return _typed(json.loads(text.replace("'", '"') if is_plain else text))
    except (ValueError, RecursionError):
        return _parsed(text.strip()[1:-1])


def _typed(values: list[Any]) -> Values | None:
    """What JSON holds as values; None where it holds lists and objects, or what is no text."""
    if not all(isinstance(one, str | int | float | None) for one in values):
        return None
    "".join(one for one in values if isinstance(one, str)).encode()
    known = (one for one in values if one is not None and one == one)
    return [str(one).lower() if isinstance(one, bool) else one if isinstance(one, float) else str(one) for one in known]


def _parsed(inside: str) -> Values | None:
    """What is no JSON, by its quotes: they tell values apart, and none may stand within what is not quoted."""
    quoted = _QUOTED.findall(inside)
    rest = _WRAPPED.sub(r"\1", _QUOTED.sub(_QUOTE, inside))
    parts = [one.strip() for one in rest.split(",")]
    if len(parts) == 1 and all(one == _QUOTE or _is_plain(one) for one in rest.split()):
        parts = rest.split()
    if any(one != _QUOTE and (_QUOTE in one or re.match(r"\[|[^\[]*\]", one) or one == "...") for one in parts):
        return None
    if parts.count(_QUOTE) != len(quoted) or (quoted and re.search("['\"]", rest)):
        return None
    try:
        texts = iter([_unquoted(one) for one in quoted])
    except (ValueError, OverflowError):  # what no text holds
        return None
    return list(_values(parts, texts))


def _values(parts: list[str], texts: Iterator[str]) -> Iterator[str | float]:
    for part in parts:
        if part == _QUOTE:
            yield next(texts)
        elif part.lower() not in _NOTHING:
            yield float(part) if re.match(NUMBER, part) else part.lower() if _is_plain(part) else part


def _is_plain(text: str) -> bool:
    """Whether this is a number, a truth or nothing, which no list has in quotes."""
    return re.match(NUMBER, text) is not None or text.lower() in _NOTHING | _TRUTHS


def _unquoted(text: str) -> str:
    found = _ESCAPE.sub(_unescaped, text[1:-1])
    found.encode()
    return found


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    # A backslash that escapes nothing stays one, as in Python.
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPES.get(code, escape[0])
