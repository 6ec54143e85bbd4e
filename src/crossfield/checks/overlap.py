"""What a part shares with the training rows: users, items, pairs of both, and times that come after its own."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from crossfield.checks.finding import Finding, Severity
from crossfield.checks.sample import Sample, times_of
from crossfield.data.dataset import Dataset
from crossfield.data.guess import time_likes
from crossfield.data.labels import positive
from crossfield.data.source import reading
from crossfield.data.split import sort_key
from crossfield.data.tokens import canonical, meaning_of, token
from crossfield.metrics import auc

MIN_ROWS = 20
"""Rows of a part that say something about all of it."""
FEW_KNOWN = 0.5
"""Share of rows whose user (item) training has met under which a part mostly measures new ones."""
SOME = 0.01
"""Share of rows from which a leak is worth a warning."""
MANY_TIMES = 10
"""So many times as often as inside training, a pair on both sides is the split's doing."""
TOO_GOOD = 0.99
"""AUC of "the label this pair had in training" from which the pairs give their labels away."""
KEPT = 0.99
"""Share of rows later than all training rows of their user from which each user's order is kept."""
_HASHES = 1 << 16
_SAMPLED_PAIRS = 200_000


def find_overlap(train: Sample, part: Sample, *, split: str | None = None) -> Iterator[Finding]:
    """Ids that training does not know, pairs that it knows too well, and training rows from the part's future."""
    schema = train.data.schema
    for role, column in (("user", schema.user), ("item", schema.item)):
        if column is not None and column in part.rows.columns and role != split:
            yield from _unknown_ids(train, part, role, column)
    pair = [one for one in (schema.user, schema.item) if one is not None and one in part.rows.columns]
    if len(pair) == 2:
        yield from _pairs(train, part, pair)
    yield from _future(train, part)


def met_in_training(part: pl.DataFrame, train: Dataset, columns: Sequence[str], *found: pl.Expr) -> pl.DataFrame:
    """What training knows of the ids in each row of a part, in its order, in memory that follows the part alone.

    Columns: has_ids, whether the row has all of them; rows, how many training rows have the same ids; and aggregates
    ``found`` of these. Null where there are none.
    """
    dtypes = train.frame.collect_schema()
    odd = {name: meaning_of(dtypes[name]) for name in columns if dtypes[name] != part.schema[name]}
    theirs = train.frame.with_columns(canonical(pl.col(name), dtypes[name]).alias(name) for name in odd)
    ours = part.select(columns).with_columns(
        token(pl.col(name), part.schema[name], meaning).alias(name) for name, meaning in odd.items()
    )
    with reading(train.name):
        known = (
            theirs.join(ours.drop_nulls().unique().lazy(), on=columns, how="semi")
            .group_by(columns)
            .agg(pl.len().alias("rows"), *found)
            .collect(engine="streaming")
        )
    has_ids = pl.all_horizontal(pl.col(columns).is_not_null()).alias("has_ids")
    return ours.with_columns(has_ids).join(known, on=columns, how="left", maintain_order="left").drop(columns)


def _unknown_ids(train: Sample, part: Sample, role: str, column: str) -> Iterator[Finding]:
    rows = met_in_training(part.rows, train.data, [column]).filter("has_ids")
    share = _share(rows["rows"].is_not_null())
    if len(rows) < MIN_ROWS or share >= FEW_KNOWN:
        return
    if share:
        what = f"training has met the {role} of only {share:.1%} of the rows"
        advice = f"read {role}:seen and {role}:new of the evaluation apart"
        yield Finding("note", part.name, what, round(share, 4), advice)
    else:
        what = f"not one {role} of its {len(rows):,} rows was met in training"
        advice = f"if {column} is written in another way there, correct it; if you split by {role}, all is well"
        yield Finding("warning", part.name, what, 0.0, advice)


def _share(mask: pl.Series) -> float:
    return float(mask.sum()) / max(len(mask), 1)


def _pairs(train: Sample, part: Sample, pair: Sequence[str]) -> Iterator[Finding]:
    """User-item pairs on both sides: for implicit rows the answer itself, for labels one where they always agree."""
    label = train.data.schema.label if part.labels is not None else None
    rate = [positive(label, train.data.frame.collect_schema()[label.column]).mean().alias("rate")] if label else []
    rows = met_in_training(part.rows, train.data, pair, *rate)
    is_met = rows["rows"].is_not_null()
    share = _share(is_met.filter(rows["has_ids"]))
    if rows["has_ids"].sum() < MIN_ROWS or share < SOME:
        return
    said = f"{share:.1%} of the rows hold a user and an item that training holds as a pair too"
    if part.labels is None or label is None:
        advice = "evaluation leaves these out of the ranking: keep each pair once before splitting"
        yield Finding("warning", part.name, said, round(share, 4), advice)
        return
    memory = auc(part.labels[is_met.to_numpy()], rows["rate"].filter(is_met))
    if memory > TOO_GOOD or share > MANY_TIMES * _repeated(train.data, pair):
        told = "" if np.isnan(memory) else f"; the label it had there tells the one here with AUC {memory:.3f}"
        advice = "keep each pair on one side, or split by time"
        yield Finding("warning", part.name, said + told, round(share, 4), advice)


def _repeated(train: Dataset, pair: Sequence[str]) -> float:
    """Share of the training rows whose pair has other rows too, among pairs drawn at random."""
    share = min(1.0, _SAMPLED_PAIRS / max(train.num_rows, 1))
    is_drawn = pl.struct(pair).hash(0) % _HASHES < int(share * _HASHES)
    counts = train.frame.select(pair).filter(is_drawn).group_by(pair).agg(pl.len().alias("rows"))
    with reading(train.name):
        found = counts.collect(engine="streaming")
    return float(found.filter(pl.col("rows") > 1)["rows"].sum()) / max(int(found["rows"].sum()), 1)


def _future(train: Sample, part: Sample) -> Iterator[Finding]:
    """Training rows later than the middle row of the part, by the time or by the first column that looks like one."""
    time = train.data.schema.time or next(iter(time_likes(train.data.schema)), None)
    if time is None or time not in train.rows.columns or time not in part.rows.columns or len(part.rows) < MIN_ROWS:
        return
    times = times_of(train.rows, time)
    theirs = times_of(part.rows, time).cast(times.dtype, strict=False).drop_nulls().sort()
    share = _share(times > theirs[len(theirs) // 2]) if len(theirs) else 0.0
    if share < SOME:
        return
    what = f"{share:.1%} of the training rows are later than its middle row"
    severity: Severity = "warning"
    if train.data.schema.time is None:
        what += f", if {time} says when a row happened"
        advice = f"--time {time} splits by it; if it says something else, --ignore {time}"
    elif _keeps_order(train, part, time):
        severity = "note"
        advice = "each user's rows come before, but those of others tell the time's trends: a split by time does not"
    else:
        advice = "the model is told the future; split by time (--split time), or claim nothing about tomorrow's rows"
    yield Finding(severity, part.name, what, round(share, 4), advice)


def _keeps_order(train: Sample, part: Sample, time: str) -> bool:
    """Whether nearly every row of the part is as late as the last training row of its user."""
    user = train.data.schema.user
    if user is None or user not in part.rows.columns:
        return False
    key = sort_key(train.rows.lazy(), time)
    last = met_in_training(part.rows, train.data, [user], key.max().alias("last"))["last"]
    is_after = (times_of(part.rows, time).cast(last.dtype, strict=False) >= last).drop_nulls()
    return len(is_after) >= MIN_ROWS and _share(is_after) >= KEPT
