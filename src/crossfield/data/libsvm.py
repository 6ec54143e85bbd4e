"""libsvm files (``label index:value index:value ...``) as columns, by what their positions turn out to hold."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from crossfield.data.text import Layout, fit_names, read_head, reading
from crossfield.errors import DataError

SUFFIXES = frozenset({".libsvm", ".svm", ".svmlight", ".libfm"})
LINE = r"^\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?(?:\s+\d+:[-+]?[\d.]+(?:[eE][-+]?\d+)?)*\s*(?:#.*)?$"
MAX_WIDTH = 500
"""Most columns that rows without fixed positions are laid out in."""


@dataclass(frozen=True)
class Position:
    """One ``index:value`` of every row."""

    index: str | None
    """The index it has in every row; None where it changes."""
    ones: bool
    """Whether its value is 1 in every row."""


def is_libsvm(path: Path) -> bool:
    """Whether a text file is libsvm, by its name or its first lines."""
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if suffixes & SUFFIXES:
        return True
    if suffixes & {".csv", ".tsv", ".tab"}:
        return False
    lines = [line for line in read_head(path).splitlines()[:100] if line.strip()]
    return all(re.match(LINE, line) for line in lines) and any(":" in line for line in lines)


def scan_libsvm(files: Sequence[Path], layout: Layout) -> pl.LazyFrame:
    """The rows of libsvm files as lazy columns, in order: the label, then one column per position.

    A position whose values are all 1 holds ids, given as text (the index). A position whose index never changes is
    a number. Rows without fixed positions become one list of ids where all values are 1, else one number per index,
    0 where a row does not name it. Columns that ``layout.laid_out`` names are made whatever these rows would become
    by themselves, as far as they can be. Raises DataError naming the first line that is not libsvm.
    """
    read_head(files[0])
    lines = pl.concat([pl.scan_lines(path, glob=False) for path in files])
    lines = lines.filter(pl.col("line").str.strip_chars() != "")
    _check_lines(files, lines)
    cells = pl.col("line").str.replace(r"\s*#.*$", "").str.strip_chars().str.split(" ")
    rows = lines.select(cells.list.eval(pl.element().filter(pl.element() != "")).alias("cells"))
    with reading(str(files[0])):
        known = () if layout.columns else layout.laid_out
        frame = rows.select(_label(rows), *_features(files[0], rows, known))
        return _name(files[0], frame, layout)


def _check_lines(files: Sequence[Path], lines: pl.LazyFrame) -> None:
    wrong = lines.with_row_index("row", offset=1).filter(~pl.col("line").str.contains(LINE)).head(1)
    with reading(str(files[0])):
        found = wrong.collect(engine="streaming")
    for number, line in found.iter_rows():
        raise DataError(f"{files[0]}, row {number} is not libsvm (label index:value ...): {line[:80]!r}")


def _label(rows: pl.LazyFrame) -> pl.Expr:
    label = pl.col("cells").list.first().cast(pl.Float64)
    whole = rows.select((label == label.round()).all()).collect(engine="streaming").item()
    return (label.cast(pl.Int64) if whole else label).alias("label")


def _features(path: Path, rows: pl.LazyFrame, known: Sequence[str]) -> list[pl.Expr]:
    indices_of_numbers = [found[1] for name in known if (found := re.fullmatch(r"x_(\d+)", name))]
    if indices_of_numbers and not any(re.fullmatch(r"field_\d+", name) for name in known):
        return [_lookup(index) for index in indices_of_numbers]
    count = pl.col("cells").list.len() - 1
    least, most = rows.select(count.min().alias("least"), count.max().alias("most")).collect(engine="streaming").row(0)
    if least == most and "ids" not in known:
        positions = _look_at(rows, most)
        if all(one.ones or one.index is not None for one in positions):
            return [_fixed(number, one, known) for number, one in enumerate(positions, start=1)]
    pairs = pl.col("cells").list.slice(1)
    indices, values = _index(pl.element()), _value(pl.element())
    if rows.select(pairs.list.eval(values == 1).list.all().all()).collect(engine="streaming").item():
        return [pairs.list.eval(indices).alias("ids")]
    return _by_index(path, rows.select(pairs.alias("pairs")))


def _look_at(rows: pl.LazyFrame, num_positions: int) -> list[Position]:
    facts: list[pl.Expr] = []
    for number in range(1, num_positions + 1):
        pair = pl.col("cells").list.get(number)
        facts += [
            _index(pair).min().alias(f"least {number}"),
            _index(pair).max().alias(f"most {number}"),
            (_value(pair) == 1).all().alias(f"ones {number}"),
        ]
    found = rows.select(facts).collect(engine="streaming").row(0, named=True) if facts else {}
    return [
        Position(
            index=found[f"least {number}"] if found[f"least {number}"] == found[f"most {number}"] else None,
            ones=found[f"ones {number}"],
        )
        for number in range(1, num_positions + 1)
    ]


def _fixed(number: int, position: Position, known: Sequence[str]) -> pl.Expr:
    pair = pl.col("cells").list.get(number)
    # A position that is always 5053:1 is an id that happens not to vary (few rows, one city), so ones go first.
    is_field = position.ones and f"x_{position.index}" not in known
    return _index(pair).alias(f"field_{number}") if is_field else _value(pair).alias(f"x_{position.index}")


def _by_index(path: Path, pairs: pl.LazyFrame) -> list[pl.Expr]:
    distinct = pairs.select(pl.col("pairs").explode()).select(_index(pl.col("pairs")).unique())
    indices = sorted(distinct.collect(engine="streaming").to_series().drop_nulls(), key=int)
    if len(indices) > MAX_WIDTH:
        raise DataError(
            f"{path} has {len(indices):,} different indices with values other than 1 at changing positions; at most "
            f"{MAX_WIDTH:,} can become columns"
        )
    return [_lookup(index) for index in indices]


def _lookup(index: str) -> pl.Expr:
    found = pl.element().filter(_index(pl.element()) == index).first()
    value = pl.col("cells").list.slice(1).list.eval(_value(found)).list.first()
    return value.fill_null(0.0).alias(f"x_{index}")


def _index(pair: pl.Expr) -> pl.Expr:
    return pair.str.extract(r"^(\d+):")


def _value(pair: pl.Expr) -> pl.Expr:
    return pair.str.extract(r":(.+)$").cast(pl.Float64)


def _name(path: Path, frame: pl.LazyFrame, layout: Layout) -> pl.LazyFrame:
    names = frame.collect_schema().names()
    if layout.columns is None:
        return frame
    return frame.rename(dict(zip(names, fit_names(path, len(names), layout), strict=True)))
