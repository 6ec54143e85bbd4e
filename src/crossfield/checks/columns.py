"""The columns themselves: constant, empty, exploding, of mixed types, with more ids than rows can teach."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from crossfield.checks.finding import Finding
from crossfield.checks.sample import Sample
from crossfield.data.dataset import Dataset
from crossfield.data.guess import time_likes
from crossfield.data.numeric import number
from crossfield.data.source import reading
from crossfield.data.text import TEXT, can_be_category
from crossfield.data.tokens import canonical
from crossfield.errors import CrossfieldError, SchemaError
from crossfield.schema import Feature, FeatureSchema, Kind

MOSTLY = 0.5
"""Share of missing values worth a note, and share of numbers that makes a column one of numbers."""
NEARLY_ALL = 0.99
"""Share of missing values from which a column is hardly there."""
APART = 0.5
"""Difference of the missing shares of two parts."""
DROWNED = 0.002
"""Spread of the middle four fifths over the standard deviation: less, and a few values hide all others."""
MANY_ROWS = 1000
"""Rows from which the size of a vocabulary says something."""
MANY_IDS, ALL_IDS = 0.5, 0.9
"""Ids over rows from which most of them are met once, and nearly all."""
FEW_WORDS = 10
"""Different texts among numbers up to which these are odd ones; more are names that digits may spell too."""
NEARLY_NUMBERS = 0.95
"""Share of numbers from which any text among them is an odd one."""
SHOWN = 3
"""Odd ones that are shown."""
MISSING_WORDS = frozenset({"?", "na", "n/a", "#n/a", "nan", "null", "\\n", "<na>", "nat"})
"""Texts that mean "no value" wherever they stand; those below do among numbers."""
AMONG_NUMBERS = MISSING_WORDS | {"unknown", "none", "missing", "undefined", "-", "--", "nil"}
_NUMBER = r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$"


@dataclass(frozen=True)
class Facts:
    """What one pass over all rows of a part says of a column."""

    missing: float
    """Share of the rows."""
    filled: int
    """Rows with a value."""
    distinct: int | None = None
    """Different values, about; None for numbers and lists."""
    low: float | None = None
    high: float | None = None
    std: float | None = None
    infinite: int = 0


def find_misfits(name: str, data: Dataset) -> Iterator[Finding]:
    """A part that lacks a column of the schema, or holds values of another family in one: a fit would stop there."""
    try:
        data.require(labelled=data.schema.label is not None)
    except CrossfieldError as error:
        what, _, advice = str(error).partition("; ")
        yield Finding("error", name, what, None, advice or "a fit would stop there")


def look_through(frame: pl.LazyFrame, features: Iterable[Feature]) -> dict[str, Facts]:
    """Facts of each feature that is a column here, in one pass in bounded memory."""
    dtypes = frame.collect_schema()
    wanted: dict[str, dict[str, pl.Expr]] = {}
    for feature in features:
        if feature.name in dtypes and (found := _facts(feature, dtypes[feature.name])):
            wanted[feature.name] = found
    if not wanted:
        return {}
    flat = [one.alias(f"{name} {fact}") for name, some in wanted.items() for fact, one in some.items()]
    with reading("the rows"):
        row = frame.select(pl.len().alias("crossfield rows"), *flat).collect(engine="streaming").row(0, named=True)
    num_rows = max(row["crossfield rows"], 1)
    return {name: _read(num_rows, {fact: row[f"{name} {fact}"] for fact in some}) for name, some in wanted.items()}


def _facts(feature: Feature, dtype: pl.DataType) -> dict[str, pl.Expr]:
    """What to ask of a column; nothing of one that has no values of its kind."""
    column = pl.col(feature.name)
    try:
        if feature.kind is Kind.DENSE:
            values = number(feature.name, dtype)
            finite = values.filter(values.is_finite())
            low, high, std = finite.min(), finite.max(), finite.std()
            return {
                "filled": values.count(),
                "low": low,
                "high": high,
                "std": std,
                "infinite": values.is_infinite().sum(),
            }
        if feature.kind is Kind.CATEGORICAL:
            canonical(column, dtype)
            column = column.fill_nan(None) if dtype.is_float() else column
            filled = column.count() if dtype not in TEXT else (column.cast(pl.String) != "").sum()
            return {"filled": filled, "distinct": column.approx_n_unique()}
    except SchemaError:
        return {}
    return {"filled": column.count()} if feature.kind is not Kind.CROSS else {}


def _read(num_rows: int, facts: Mapping[str, Any]) -> Facts:
    return Facts(missing=1 - facts["filled"] / num_rows, **facts)


def find_faults(train: Sample, others: Sequence[Sample]) -> Iterator[Finding]:
    """What is wrong with the training columns, of all rows, beside the rows drawn of other parts."""
    facts = look_through(train.data.frame, train.features)
    of_parts = {one.name: look_through(one.rows.lazy(), one.features) for one in others}
    for feature in train.features:
        if (one := facts.get(feature.name)) is not None:
            yield from _constant(feature, one)
            yield from _missing(feature, one)
            yield from _missing_elsewhere(feature, one, of_parts)
            yield from _infinite(feature, one)
            yield from _drowned(feature, one, train.rows)
            yield from _mixed(feature, train.rows)
            yield from _vocabulary(feature, one, train.data)
    yield from _left_out(train.data.schema, train.data.frame.collect_schema())


def _left_out(schema: FeatureSchema, dtypes: Mapping[str, pl.DataType]) -> Iterator[Finding]:
    times = time_likes(schema)
    for name, reason in schema.ignored.items():
        if reason != "given":
            is_time = name in times and schema.time is None
            advice = f"--time {name} if it says when a row happened; " if is_time else ""
            is_category = name not in dtypes or can_be_category(dtypes[name])
            how = f"--kind {name}=categorical" if is_category else "make columns of text or numbers of it"
            advice += f"to use it all the same: {how}"
            yield Finding("note", name, f"left out: {reason.partition(': name it')[0]}", None, advice)


def _constant(feature: Feature, facts: Facts) -> Iterator[Finding]:
    is_constant = (
        facts.distinct == 1 if facts.distinct is not None else facts.low is not None and facts.low == facts.high
    )
    if facts.filled and is_constant and not facts.missing and not facts.infinite:
        advice = f"there is nothing to learn from it: --ignore {feature.name}"
        yield Finding("warning", feature.name, "the same value in every row", facts.low, advice)


def _missing(feature: Feature, facts: Facts) -> Iterator[Finding]:
    what, share = f"{facts.missing:.1%} of the training rows have no value", round(facts.missing, 6)
    if facts.missing > NEARLY_ALL:
        advice = f"see whether it is read as it should be, or --ignore {feature.name}"
        yield Finding("warning", feature.name, what, share, advice)
    elif facts.missing > MOSTLY:
        means = {
            Kind.DENSE: "become the mean; --set encoder.missing_indicator=true tells the model",
            Kind.CATEGORICAL: "get an id of their own",
        }
        yield Finding("note", feature.name, what, share, f"they {means.get(feature.kind, 'have no ids there')}")


def _missing_elsewhere(feature: Feature, facts: Facts, parts: Mapping[str, Mapping[str, Facts]]) -> Iterator[Finding]:
    for part, others in parts.items():
        other = others.get(feature.name)
        if other is not None and abs(other.missing - facts.missing) > APART:
            what = (
                f"no value in {other.missing:.1%} of the {part} rows, and in {facts.missing:.1%} of the training rows"
            )
            advice = "what a model learns of it does not hold there: see how the parts were made"
            yield Finding("warning", feature.name, what, round(other.missing, 6), advice)


def _infinite(feature: Feature, facts: Facts) -> Iterator[Finding]:
    if facts.infinite:
        what = f"infinite in {facts.infinite:,} training rows"
        advice = "a fit would stop there: correct them or make them missing"
        yield Finding("error", feature.name, what, facts.infinite, advice)


def _drowned(feature: Feature, facts: Facts, rows: pl.DataFrame) -> Iterator[Finding]:
    """A dense column of which a few values are so large that, standardised, all others are one."""
    if feature.kind is not Kind.DENSE or not facts.std or facts.low is None or facts.high is None:
        return
    values = rows.select(number(feature.name, rows.schema[feature.name]).alias("value")).to_series().drop_nulls()
    # Zeros apart: where nearly all are, the others' spread is what counts.
    some = values.filter((values != 0) & values.is_finite())
    low, high = some.quantile(0.1), some.quantile(0.9)
    if low is None or high is None or low == high or (high - low) / facts.std >= DROWNED:
        return
    farthest = max(facts.low, facts.high, key=abs)
    what = f"most values lie between {low:.4g} and {high:.4g}, and one is {farthest:.4g}: beside it they look the same"
    advice = f"correct it, or --set encoder.features.{feature.name}.transform=quantile (log1p for counts)"
    yield Finding("warning", feature.name, what, farthest, advice)


def _mixed(feature: Feature, rows: pl.DataFrame) -> Iterator[Finding]:
    """Text among numbers, or text that says "no value"."""
    if feature.kind is not Kind.CATEGORICAL or rows.schema[feature.name] not in TEXT:
        return
    texts = rows[feature.name].cast(pl.String).str.strip_chars()
    texts = texts.filter(texts != "")
    is_number = texts.str.contains(_NUMBER)
    words = texts.filter(~is_number).unique(maintain_order=True)
    share = float(is_number.sum()) / max(len(texts), 1)
    missing = [one for one in words if one.lower() in MISSING_WORDS]
    if MOSTLY < share < 1 and (len(words) <= FEW_WORDS or share > NEARLY_NUMBERS):
        shown = ", ".join(repr(one) for one in words.head(SHOWN))
        what = f"numbers in {share:.1%} of the rows, and text such as {shown}"
        if all(one.lower() in AMONG_NUMBERS for one in words):
            advice = "say that it means missing: " + " ".join(f"--missing '{one}'" for one in words)
            yield Finding("warning", feature.name, what, round(share, 6), advice)
        else:
            advice = "fine if these are names; else correct the odd ones, or name them as missing (--missing TEXT)"
            yield Finding("note", feature.name, what, round(share, 6), advice)
    elif missing:
        advice = f"if it means missing, say so: --missing '{missing[0]}'"
        yield Finding("note", feature.name, f"{missing[0]!r} is a value like any other", missing[0], advice)


def _vocabulary(feature: Feature, facts: Facts, train: Dataset) -> Iterator[Finding]:
    if facts.distinct is None or facts.filled < MANY_ROWS or facts.distinct < MANY_IDS * facts.filled:
        return
    num_ids = min(facts.distinct, facts.filled)  # an estimate, which may be above what can be
    ratio = num_ids / facts.filled
    what = f"about {num_ids:,} ids in {facts.filled:,} rows: most are met once, and teach next to nothing"
    is_role = feature.name in (train.schema.user, train.schema.item)
    advice = f"--set encoder.features.{feature.name}.min_count=2 makes one of these"
    advice += "" if is_role else f", or --ignore {feature.name}"
    yield Finding("warning" if ratio > ALL_IDS and not is_role else "note", feature.name, what, round(ratio, 4), advice)
