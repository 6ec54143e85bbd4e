"""What a column most likely is, judged by a sample of its values, and why, in one plain phrase."""

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from crossfield.data.text import BOOLEAN, LIST, NUMBER
from crossfield.schema import FeatureSchema, Kind

MIN_ROWS = 50
"""With fewer rows, values that never repeat prove nothing."""
FEW = 12
SEVERAL = 32
"""Up to FEW (up to SEVERAL, where nothing speaks for a quantity) integers that repeat are names, not sizes."""
TIME = "name it as the time, or give it a kind"
"""How the reasons end for which a column that looks like a time is left out."""

_ID_WORDS = frozenset({"id", "ids", "uid", "uuid", "guid", "code", "zip", "zipcode", "postcode", "user", "item"})
_NO_ID_WORDS = frozenset({"paid", "unpaid", "prepaid", "bid", "valid", "invalid", "grid", "aid", "covid", "avoid"})
_QUANTITY_WORDS = re.compile(
    "age|amount|avg|balance|clicks|cnt|count|days|distance|duration|gain|height|hours|impressions|income|length|loss|"
    "max|mean|median|min|minutes|months|num|percent|pct|price|qty|quantity|rate|ratio|revenue|salary|score|seconds|"
    "size|sum|total|views|weeks|weight|width|years"
)
_TIME_WORDS = frozenset({"time", "timestamp", "ts", "date", "datetime", "day", "hour", "at", "when"})
_HISTORY_WORDS = frozenset({"history", "hist", "seq", "sequence", "recent", "previous", "past"})
_SEPARATORS = ("|", ";", ",", " ")
_COMMA_NUMBER = r"^-?\d+(?:\.\d{3})*(?:,\d+)?$"
_ISO_TIME = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?$"
_DATE_NUMBERS = r"^(?:(?:19|20)?\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?:[01]\d|2[0-3])?$"


@dataclass(frozen=True)
class Guess:
    """A column's kind, and why; no kind means the column is left out."""

    kind: Kind | None
    reason: str
    separator: str | None = None
    is_unique: bool = False
    """Left out because no value comes twice; a sample alone cannot tell."""


def time_likes(schema: FeatureSchema) -> list[str]:
    """Columns that were left out because they look like a time and were not named as one."""
    return [name for name, reason in schema.ignored.items() if reason.endswith(TIME)]


def guess(column: pl.Series, *, whole: bool) -> Guess:
    """Judge one column by its values in the sample and by its name; ``whole`` says that the sample is all there is."""
    values = column.drop_nulls()
    values = values.drop_nans() if values.dtype.is_float() else values
    everywhere = "in every row" if whole else "in all rows looked at"
    if values.is_empty():
        return Guess(None, f"no value {everywhere}")
    if values.dtype == pl.Duration:
        return Guess(None, "a duration: no kind fits; make it a number, of seconds for instance")
    if values.dtype.is_temporal():
        return Guess(None, f"a date or time: {TIME}")
    if isinstance(values.dtype, pl.List | pl.Array):
        return _guess_list(values)
    if values.dtype.is_nested() or values.dtype in (pl.Binary, pl.Object):
        return Guess(None, f"values of type {values.dtype}: no kind fits")
    if values.n_unique() == 1 < len(values) == len(column):
        return Guess(None, f"the same value {everywhere}")
    if values.dtype == pl.Boolean:
        return Guess(Kind.CATEGORICAL, "true or false")
    distinct = "distinct" if whole else f"distinct in {len(column):,} rows"
    if values.dtype.is_numeric():
        return _guess_number(values, distinct)
    integers = _long_integers(values)
    return _guess_text(values, distinct) if integers is None else _guess_number(integers, distinct)


def _guess_list(values: pl.Series) -> Guess:
    parts = values.explode().drop_nulls()
    kind = _several(values.name)
    history = ", named like a history" if kind is Kind.SEQUENCE else ""
    if parts.is_empty():
        return Guess(None, "empty lists only")
    if parts.dtype.is_nested() or (parts.dtype.is_float() and not _is_whole(parts)):
        return Guess(None, f"lists of {parts.dtype} values: no kind fits")
    return Guess(kind, f"list of {'integers' if parts.dtype.is_numeric() else 'strings'}{history}")


def _several(name: str) -> Kind:
    return Kind.SEQUENCE if _words(name) & _HISTORY_WORDS else Kind.MULTI


def _guess_number(values: pl.Series, distinct: str) -> Guess:
    if not _is_whole(values):
        return Guess(Kind.DENSE, "decimal number")
    counts = values.value_counts().sort(values.name)
    numbers, repeats = counts[values.name].cast(pl.Float64).to_numpy(), counts["count"].to_numpy()
    found = f"integer, {len(numbers):,} {distinct}"
    if len(values) >= MIN_ROWS and len(numbers) == len(values) and (_is_id(values.name) or _counts_rows(values)):
        return Guess(None, "different in every row", is_unique=True)
    if _is_id(values.name):
        return Guess(Kind.CATEGORICAL, f"{found}, named like an id")
    if len(numbers) > FEW and _is_time(values.name, numbers, rarely_repeat=2 * len(numbers) > len(values)):
        return Guess(None, f"a time as a number: {TIME}")
    if len(numbers) <= FEW and len(values) >= 2 * len(numbers):
        return Guess(Kind.CATEGORICAL, f"{found}: a flag" if len(numbers) == 2 else found)
    if why := _why_quantity(values.name, numbers, repeats):
        return Guess(Kind.DENSE, f"{found}, {why}: a quantity")
    return Guess(Kind.CATEGORICAL, found if len(numbers) <= SEVERAL else f"{found}: an id")


def _is_whole(values: pl.Series) -> bool:
    """Whether every number is an integer; a column of integers with gaps often comes as floats."""
    if not values.dtype.is_float():
        return values.dtype.is_integer() or bool((values == values.round()).all())
    return bool((values.is_finite() & (values == values.round())).all())


def _why_quantity(name: str, numbers: np.ndarray, repeats: np.ndarray) -> str | None:
    """What speaks for integers being sizes, not names; numbers [n] sorted and distinct, repeats [n]."""
    least, most = numbers[0], numbers[-1]
    if any(map(_QUANTITY_WORDS.fullmatch, _words(name))):
        return "named like one"
    if least < -1:
        return "some negative"
    if len(numbers) <= FEW:
        return None
    # Ids fill their range evenly; sizes (counts, amounts, prices) crowd at its lower end.
    if (np.median(numbers) - least) / (most - least) <= 0.2:
        return "most of them small"
    if least == 0 and 2 * repeats[0] > repeats.sum():
        return "mostly zero"
    if len(numbers) <= SEVERAL:
        return None
    if (least >= 0 and most <= 120) or (least >= 1800 and most <= 2100):
        return f"from {least:.0f} to {most:.0f}"
    # Among sizes the neighbour of a frequent value is frequent too; an id's neighbour is a stranger.
    logs = np.log(repeats)
    if logs.std() > 0.1 and np.corrcoef(logs[:-1], logs[1:])[0, 1] >= 0.85:
        return "neighbours equally frequent"
    return None


def _counts_rows(values: pl.Series) -> bool:
    return bool((values.cast(pl.Int64, strict=False).diff().drop_nulls() == 1).all())


def _is_time(name: str, numbers: np.ndarray, *, rarely_repeat: bool) -> bool:
    """Unix times (seconds to nanoseconds) of 1990 to 2040, and dates such as 20141021 or, so named, 14102100."""
    named = bool(_words(name) & _TIME_WORDS)
    for scale in (1, 1e3, 1e6, 1e9):
        # Ids of ten or nineteen digits (snowflakes) lie there too, but come again and again.
        if (named or rarely_repeat) and 6.3e8 * scale <= numbers[0] and numbers[-1] <= 2.2e9 * scale:
            return True
    texts = [f"{number:.0f}" for number in numbers]
    is_date = all(re.match(_DATE_NUMBERS, text) for text in texts)
    return is_date and (named or all(len(text) == 8 and text[:2] in ("19", "20") for text in texts))


def _long_integers(values: pl.Series) -> pl.Series | None:
    """The integers that text spells, one of 19 digits among them: a text file leaves these text, a typed table not."""
    texts = values.cast(pl.String)
    if not texts.str.contains(r"^-?\d{19}$").any() or not texts.str.contains(r"^(?:0|-?[1-9]\d{0,18})$").all():
        return None
    integers = texts.cast(pl.Int64, strict=False)
    return None if integers.null_count() else integers


def _guess_text(values: pl.Series, distinct: str) -> Guess:
    texts = values.cast(pl.String)
    num_distinct = texts.n_unique()
    if texts.str.contains(BOOLEAN).all():
        return Guess(Kind.CATEGORICAL, "true or false")
    if texts.str.contains(_ISO_TIME).all():
        return Guess(None, f"a date or time as text: {TIME}")
    if texts.str.contains(NUMBER).all() and texts.str.contains(".", literal=True).any() and not _is_id(values.name):
        return Guess(Kind.DENSE, "decimal number written as text")
    if texts.str.contains(LIST).all():
        return Guess(_several(values.name), "lists written as text", ",")
    if _several(values.name) is Kind.MULTI and (number := _comma_number(texts)):
        point = number.replace(".", "").replace(",", ".")
        return Guess(None, f"decimal commas, it seems: write {number} as {point}, or say that it holds several (multi)")
    if separator := find_separator(texts):
        share = _share(texts.str.contains(separator, literal=True))
        return Guess(_several(values.name), f"split at {separator!r} in {share:.0%} of rows", separator)
    if len(texts) >= MIN_ROWS and num_distinct == len(texts):
        return Guess(None, "different in every row", is_unique=True)
    is_long = texts.str.count_matches(" ", literal=True) >= 5
    if 2 * num_distinct > len(texts) >= MIN_ROWS and _share(is_long) > 0.5:
        return Guess(None, "free text")
    return Guess(Kind.CATEGORICAL, f"string, {num_distinct:,} {distinct}{_odd_one(texts)}")


def _comma_number(texts: pl.Series) -> str | None:
    """The first number with a decimal comma, where all texts are numbers as much of Europe writes them."""
    if not texts.str.contains(_COMMA_NUMBER).all():
        return None
    return next(iter(texts.filter(texts.str.contains(",", literal=True))), None)


def _odd_one(texts: pl.Series) -> str:
    """Says so where nearly all texts are numbers: the others may mean "missing"."""
    is_number = texts.str.contains(r"^[-+]?[\d.]+$")
    if not 0.5 < _share(is_number) < 1:
        return ""
    return f", numbers but for {texts.filter(~is_number)[0]!r:.40} and such"


def _share(mask: pl.Series) -> float:
    return float(mask.sum()) / max(len(mask), 1)


def find_separator(texts: pl.Series) -> str | None:
    """What splits strings such as ``Action|Comedy`` into values that recombine, or lists; None where nothing does.

    Recombine means that the parts come again in other strings; those of a title with a comma, or of a sentence, do
    not. A bar is rare in prose and needs little proof; a space a lot: numbers, or few words in many strings.
    """
    strings = texts.drop_nulls().unique(maintain_order=True)
    if len(strings) and strings.str.contains(LIST).all():
        return ","
    for separator in _SEPARATORS:
        if _share(strings.str.contains(separator, literal=True)) < 0.05:
            continue
        parts = strings.str.split(separator).explode().str.strip_chars()
        parts = parts.filter(parts != "")
        num_parts, uses = parts.n_unique(), len(parts) / max(parts.n_unique(), 1)
        if separator == "|" and uses >= 1.5 and num_parts < len(strings):
            return separator
        if separator in ";," and uses >= 2 and num_parts < 0.7 * len(strings):
            return separator
        is_prose = _share(parts.str.contains(r"^\d+$")) < 0.9 and num_parts > 0.1 * len(strings)
        if separator == " " and uses >= 4 and num_parts < 0.7 * len(strings) and not is_prose:
            return separator
    return None


def _is_id(name: str) -> bool:
    last = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)[-1:]
    word = last[0].lower() if last else ""
    return word in _ID_WORDS or (word.endswith("id") and word not in _NO_ID_WORDS)


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
