"""The doctor: what is wrong with the rows of a fit before anything is trained, worst first, and what to do."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from crossfield.checks.columns import find_faults, find_misfits
from crossfield.checks.copies import find_copies
from crossfield.checks.finding import Finding, worst_first
from crossfield.checks.hindsight import find_hindsight
from crossfield.checks.labels import find_one_class, find_rate_changes, find_rates, find_untold
from crossfield.checks.leaks import find_changes, find_leaks
from crossfield.checks.overlap import find_overlap
from crossfield.checks.sample import Sample
from crossfield.data.dataset import Dataset
from crossfield.data.encode import COLUMNAR
from crossfield.data.engines.polars import PolarsEngine
from crossfield.data.source import reading

ROWS = 100_000
"""Rows of each part that the doctor looks at one by one."""
QUICK_ROWS = 20_000
"""Rows of each part that a fit looks at."""


@dataclass(frozen=True)
class Diagnosis:
    """What was looked at, and what was found."""

    rows: dict[str, int]
    """Rows of each part."""
    looked_at: int
    """Training rows that were drawn for checks that need no more."""
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values of what was looked at."""
        return {"rows": self.rows, "looked_at": self.looked_at}


def look_quickly(
    train: Dataset, valid: Dataset | None, *, valid_rows: int | None = None, split: str | None = None
) -> list[Finding]:
    """What a fit checks by itself: leaks in single columns and between the parts, on rows drawn at random.

    One pass over the training rows and a few over two of their columns, one over the validation rows, whose number
    ``valid_rows`` saves another where it is known; two more where hardly a row has one of the labels. ``split`` is how
    they were parted, where that is known.
    """
    first = Sample.draw("training", train, _share(QUICK_ROWS, train.num_rows))
    others = []
    if valid is not None:
        share = _share(QUICK_ROWS, valid.num_rows if valid_rows is None else valid_rows)
        others = [Sample.draw("validation", valid, share, features=False)]
    return worst_first(_find_quickly(first, others, split))


def examine(train: Dataset, parts: Mapping[str, Dataset], *, split: str | None = None) -> Diagnosis:
    """All checks; ``parts`` are the other rows by name (validation, test).

    A few passes over the rows in bounded memory: text is written to a scratch Parquet file first. Leaks and labels
    over time are judged by up to 100,000 training rows drawn at random, of a rare label by more of its rows; columns,
    labels and overlaps by all of them.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="crossfield-")))
        train, parts = _columnar(train, folder), {name: _columnar(one, folder) for name, one in parts.items()}
        misfits = {name: [*find_misfits(name, one)] for name, one in {"training": train, **parts}.items()}
        fitting = {name: one for name, one in parts.items() if not misfits[name]}
        first = Sample.draw("training", train, _share(ROWS, train.num_rows))
        others = [Sample.draw(name, one, _share(ROWS, one.num_rows)) for name, one in fitting.items()]
        found = [*_find_quickly(first, others, split), *_find_slowly(first, others)]
        findings = worst_first([*chain(*misfits.values()), *found])
        rows = {"training": train.num_rows, **{name: one.num_rows for name, one in parts.items()}}
        return Diagnosis(rows, len(first.rows), tuple(findings))


def _columnar(data: Dataset, folder: Path) -> Dataset:
    """The same rows, of text files as one Parquet file: they are read several times."""
    if all(path.suffix.lower() in COLUMNAR for path in data.files):
        return data
    path = folder / f"{len(list(folder.iterdir()))}.parquet"
    with reading(data.name):
        PolarsEngine().to_parquet(data.frame, path)
    return replace(data, frame=pl.scan_parquet(path), files=(path,))


def _share(wanted: int, num_rows: int) -> float:
    return min(1.0, wanted / max(num_rows, 1))


def _find_quickly(train: Sample, others: list[Sample], split: str | None) -> Iterator[Finding]:
    yield from find_leaks(train.with_rare)
    for part in (train, *others):
        yield from find_one_class(part)
    for part in others:
        yield from find_overlap(train, part, split=split)
        yield from find_rates(train, part)


def _find_slowly(train: Sample, others: list[Sample]) -> Iterator[Finding]:
    for part in (train, *others):
        yield from find_untold(part.name, part.data)
    yield from find_changes(train.with_rare)
    yield from find_rate_changes(train)
    yield from find_hindsight(train, others)
    yield from find_faults(train, others)
    yield from find_copies(train.data, {one.name: one.data for one in others})
    schema = train.data.schema
    if schema.label is None and {*train.data.frame.collect_schema()} - {*schema.role_columns.values()}:
        advice = "if there is one, name it: --label COLUMN"
        yield Finding("note", "training", "no label was named, so nothing was looked for in it", None, advice)
