"""Rows that are there more than once, inside the training rows and on both sides of a split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor

import polars as pl

from crossfield.checks.finding import Finding
from crossfield.data.dataset import Dataset
from crossfield.data.labels import positive
from crossfield.data.source import reading
from crossfield.data.text import TEXT

SAMPLED = 200_000
"""Training rows that are compared, drawn by their content: copies come together, or not at all."""
SOME = 0.001
"""Share of rows from which copies are worth a word."""
MIN_ROWS = 10
"""Copies that are worth a word."""
AGREE = 0.95
"""Agreement of the labels of like rows, 0 as by chance and 1 always, from which they are copies and no repeats."""
MIN_DISAGREEMENTS = 10
"""Unlike labels that chance would give at least, for agreement to say anything."""
SHARED = 0.05
"""Share of unlike rows whose user has others at the very time, from which a time does not tell events apart."""
_HASHES = 1 << 32


@dataclass(frozen=True)
class Copies:
    """What like rows of the training part say; shares of rows."""

    copies: float
    """Rows that have been there before, label included."""
    twins: float
    """Rows that are there elsewhere too, label included."""
    num_copies: int
    agreement: float | None
    """Of the labels of rows that are alike in all else; None where there are too few to tell."""


def find_copies(train: Dataset, parts: dict[str, Dataset]) -> Iterator[Finding]:
    """Copied training rows, and rows of other parts that training holds too.

    Where nothing but the label tells rows apart, the same thing may simply have happened again: copies always have
    the same label, repeats do not.
    """
    columns = list(train.frame.collect_schema())
    share = min(1.0, SAMPLED / max(train.num_rows, 1))
    ours = _digests(train, train, columns, share)
    found = measure(ours)
    are_copies = _are_copies(found, train, share)
    if found.copies > SOME and found.num_copies >= MIN_ROWS:
        yield _inside(found, are_copies)
    for name, part in parts.items():
        there = part.frame.collect_schema()
        if {*train.schema.columns, *train.schema.role_columns.values()} <= {*there}:
            dtypes = train.frame.collect_schema()
            both = [one for one in columns if one in there and there[one].is_nested() == dtypes[one].is_nested()]
            known = ours if both == columns else _digests(train, train, both, share)
            yield from _across(name, _digests(part, train, both, share), known, found, are_copies)


def _digests(part: Dataset, train: Dataset, columns: Sequence[str], share: float) -> pl.DataFrame:
    """Rows drawn by their content: whole and rest [n], hashes with the label and without, and the label.

    A row is drawn by its rest, so that all rows that are alike in it are drawn or none.
    """
    dtypes, label = train.frame.collect_schema(), train.schema.label
    # Categories are hashed by their numbers, which are a file's own.
    types = {name: pl.String() if dtypes[name] in TEXT else dtypes[name] for name in columns}
    frame = part.frame.select(pl.col(name).cast(dtype, strict=False) for name, dtype in types.items())
    rest, whole, is_positive = pl.col("rest"), pl.col("rest"), pl.lit(None)
    if label is not None:
        whole, is_positive = rest ^ pl.col(label.column).hash(len(columns)), positive(label, types[label.column])
    rows = frame.with_columns(_hash_of(columns, None if label is None else label.column).alias("rest")).select(
        "rest", whole.alias("whole"), is_positive.cast(pl.Float64).alias("label")
    )
    with reading(part.name):
        return rows.filter(pl.col("rest") % _HASHES < int(share * _HASHES)).collect(engine="streaming")


def _hash_of(columns: Sequence[str], but: str | None = None) -> pl.Expr:
    """One hash of a row, of all columns ``but`` one."""
    return reduce(xor, [pl.col(one).hash(seed) for seed, one in enumerate(columns) if one != but])


def measure(rows: pl.DataFrame) -> Copies:
    """Copies among drawn rows (columns whole, rest, label)."""
    counts = rows.group_by("whole").agg(pl.len().alias("rows"))["rows"]
    num_copies = int((counts - 1).sum())
    twins = int(counts.filter(counts > 1).sum())
    total = max(len(rows), 1)
    return Copies(num_copies / total, twins / total, num_copies, _agreement(rows))


def _agreement(rows: pl.DataFrame) -> float | None:
    """1 less the unlike labels among like rows over those that chance would give: Cohen's kappa."""
    alike = (
        rows.drop_nulls("label")
        .group_by("rest")
        .agg(pl.len().cast(pl.Float64).alias("rows"), pl.col("label").sum())
        .filter(pl.col("rows") > 1)
    )
    count, positives = alike["rows"], alike["label"]
    # Of n rows, n - 1 are repeats; of their pairs, this share has two labels.
    unlike = float((2 * positives * (count - positives) / count).sum())
    rate = float(positives.sum()) / max(float(count.sum()), 1.0)
    expected = 2 * rate * (1 - rate) * float((count - 1).sum())
    return 1 - unlike / expected if expected >= MIN_DISAGREEMENTS else None


def _are_copies(found: Copies, train: Dataset, share: float) -> bool:
    """Whether like rows are copies: by their labels, else by a time that no two events are likely to share."""
    if found.agreement is not None:
        return found.agreement > AGREE
    return train.schema.label is None and train.schema.time is not None and _share_of_one_time(train, share) < SHARED


def _share_of_one_time(train: Dataset, share: float) -> float:
    """How many of the unlike rows, of a share of the users, have another of their user at the very time, such as a day.

    Where no column names the user, of anybody.
    """
    keys = [one for one in (train.schema.user, train.schema.time) if one is not None]
    is_drawn = pl.col(keys[0]).hash() % _HASHES < int(share * _HASHES)
    rows = train.frame.filter(is_drawn).select(*keys, _hash_of([*train.frame.collect_schema()]).alias("crossfield row"))
    with reading(train.name):
        counts = rows.unique().group_by(keys).len("rows").collect(engine="streaming")["rows"]
    return float(counts.filter(counts > 1).sum()) / max(float(counts.sum()), 1.0)


def _inside(found: Copies, are_copies: bool) -> Finding:
    what = f"{found.copies:.1%} of the rows have been there before"
    if found.agreement is not None:
        what += f"; labels of rows alike in all else agree {'always' if found.agreement > AGREE else 'as repeats do'}"
    if are_copies:
        advice = "they count twice, and a split at random puts them on both sides: drop the copies"
        return Finding("warning", "training", what, round(found.copies, 6), advice)
    advice = "fine where the same thing happened again; drop them where the file was written twice"
    return Finding("note", "training", what, round(found.copies, 6), advice)


def _across(name: str, theirs: pl.DataFrame, ours: pl.DataFrame, found: Copies, are_copies: bool) -> Iterator[Finding]:
    """Rows on both sides, where they are copies, or more frequent than they would be in a split at random."""
    count = int(theirs["whole"].is_in(ours["whole"].unique().implode()).sum())
    share = count / max(len(theirs), 1)
    if (are_copies or share > 2 * found.twins) and share > SOME and count >= MIN_ROWS:
        what = f"{share:.1%} of the rows stand in training too, label included"
        yield Finding("warning", name, what, round(share, 6), "the model has seen the answers: drop them from one side")
