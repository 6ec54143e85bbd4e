"""Numbers known in hindsight: a user's or item's mean label or count of rows, of which the rows to predict are part."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossfield.checks.finding import Finding
from crossfield.checks.sample import Sample
from crossfield.data.dataset import Dataset
from crossfield.data.labels import positive
from crossfield.data.numeric import number
from crossfield.data.source import reading
from crossfield.data.tokens import Meaning, meaning_of, token
from crossfield.errors import SchemaError
from crossfield.metrics import Vector
from crossfield.schema import Kind

MIN_IDS = 50
"""Users or items of several rows that it takes to tell."""
MAX_IDS = 100_000
"""Users or items that are looked at, drawn by their names."""
SAME = 0.99
"""Share of ids with one number in all their rows from which a column is about ids."""
LUCKY = 0.25
"""Share of chance's own spread: a number that was known before leaves all of it."""
_HASHES = 1 << 32


def find_hindsight(train: Sample, others: Sequence[Sample]) -> Iterator[Finding]:
    """Dense features, one number for each user (item), that tell even by what luck its rows came out."""
    schema = train.data.schema
    for role, column in (("user", schema.user), ("item", schema.item)):
        if column is None or column not in train.rows.columns or not (names := _of_ids(train, column)):
            continue
        like = [one for one in others if {column, *names} <= {*one.rows.columns}]
        whole = [train.data, *(one.data for one in like if (one.labels is None) == (train.labels is None))]
        of_training, of_all = (_by_id(parts, column, names) for parts in ([train.data], whole))
        for name in names:
            if told := _told(of_training, name) or _told(of_all, name):
                what = f"gives away each {role}'s {told}, luck included: it was made of the very rows to be predicted"
                advice = f"make it of the rows before each row only, or leave it out (--ignore {name})"
                yield Finding("warning", name, what, None, advice)


def _of_ids(train: Sample, column: str) -> list[str]:
    """Dense features with one number for each id in the rows drawn."""
    found = []
    for one in train.features:
        if one.kind is Kind.DENSE and one.name != column:
            with suppress(SchemaError):  # a column of another family is another check's finding
                numbers = train.rows.select(column, number(one.name, train.rows.schema[one.name]).alias("number"))
                known = numbers.drop_nulls().unique()
                found += [one.name] if len(known) and len(known) == known[column].n_unique() else []
    return found


def _by_id(parts: Sequence[Dataset], column: str, names: Sequence[str]) -> pl.DataFrame:
    """For each id of several rows: rows, positives (0 without labels), and the lowest and highest of its numbers."""
    meaning = meaning_of(parts[0].frame.collect_schema()[column])
    rows = pl.concat([_alike(part, column, names, meaning=meaning) for part in parts]).drop_nulls("id")
    numbers = pl.exclude("id", "label")
    with reading(parts[0].name):
        num_ids = rows.select(pl.col("id").approx_n_unique()).collect(engine="streaming").item()
        is_drawn = pl.col("id").hash() % _HASHES < int(min(1.0, MAX_IDS / max(num_ids, 1)) * _HASHES)
        facts = (pl.len().alias("rows"), pl.sum("label"), numbers.min(), numbers.max().name.prefix("high "))
        found = rows.filter(is_drawn).group_by("id").agg(facts)
        return found.filter(pl.col("rows") > 1).collect(engine="streaming")


def _alike(part: Dataset, column: str, names: Sequence[str], *, meaning: Meaning | None) -> pl.LazyFrame:
    """A part's ids, labels and numbers (each behind a prefix of its own), in types that all parts have."""
    dtypes, label = part.frame.collect_schema(), part.schema.label
    positives = pl.lit(None) if label is None else positive(label, dtypes[label.column])
    return part.frame.select(
        token(pl.col(column), dtypes[column], meaning).alias("id"),
        positives.cast(pl.Float64).alias("label"),
        *(number(name, dtypes[name]).alias(f"of {name}") for name in names),
    )


def _told(ids: pl.DataFrame, name: str) -> str | None:
    """What of the ids' own rows their numbers give away, in words."""
    known = ids.drop_nulls(f"of {name}")
    lows, highs = known[f"of {name}"].to_numpy(), known[f"high of {name}"].to_numpy()
    if len(known) < MIN_IDS or (lows == highs).mean() < SAME or not np.isfinite(highs).all():
        return None
    rows, positives = known["rows"].cast(pl.Float64).to_numpy(), known["label"].to_numpy()
    rate = positives.sum() / rows.sum()
    if 0 < rate < 1:
        expected = (positives + 2 * rate) / (rows + 2)
        if _is_too_close(lows, positives / rows, expected * (1 - expected) / rows):
            return "share of positives"
    return "number of rows" if _is_too_close(lows, rows, rows) else None


def _is_too_close(numbers: Vector, outcomes: Vector, variances: Vector) -> bool:
    """Whether a line through the numbers [ids] leaves less of the outcomes than chance would, and than their mean."""
    weights = 1 / np.sqrt(variances)
    constant = np.ones_like(numbers)
    spread, left = (
        _left(np.stack(some, axis=1) * weights[:, None], outcomes * weights)
        for some in ([constant], [constant, (numbers - numbers.mean()) / (numbers.std() or 1.0)])
    )
    return left < LUCKY * min(1.0, spread)


def _left(features: NDArray[np.float64], outcomes: Vector) -> float:
    """Mean square that least squares leaves."""
    solution = np.linalg.lstsq(features, outcomes)[0]
    return float(np.mean((outcomes - features @ solution) ** 2))
