"""Whatever holds rows (files, folders, frames, dicts) as lazy columns, in its own row order."""

import glob
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

from crossfield.data.libsvm import is_libsvm, scan_libsvm
from crossfield.data.text import TEXT, Layout, reading, scan_text
from crossfield.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Layout", "Source", "Tabular", "open_source", "reading"]

Rows: TypeAlias = "Mapping[str, Any] | Sequence[Mapping[str, Any]]"
"""One row as a dict, or several."""
Tabular: TypeAlias = "str | Path | pl.DataFrame | pl.LazyFrame | pa.Table | pd.DataFrame | pd.Series[Any] | Rows"
"""What rows may come in: a path or glob, a frame, one row of pandas, or dicts."""

_MAGIC = {b"PAR1": "parquet", b"ARRO": "arrow"}
_COMPRESSED = frozenset({".gz", ".zst"})
_FOREIGN = (
    *(".json", ".jsonl", ".ndjson", ".xml", ".html", ".yaml", ".toml", ".xlsx", ".xls", ".ods", ".zip"),
    *(".pkl", ".pickle", ".npy", ".npz", ".h5", ".hdf5", ".orc", ".avro", ".db", ".sqlite"),
)
"""Endings that promise something else than a table of text."""


@dataclass(frozen=True)
class Source:
    """Rows that can be read, in order and as often as needed, without being held in memory."""

    frame: pl.LazyFrame
    name: str
    files: tuple[Path, ...] = ()
    spelled: tuple[str, ...] = ()
    """Columns of text files that were left as text where every value spells a number."""


def open_source(data: Tabular, layout: Layout = Layout()) -> Source:
    """Open rows of any kind lazily; text files are looked through once to find the columns' types.

    Raises DataError where the data are missing, empty, of mixed kinds or no table.
    """
    if isinstance(data, str | Path):
        return _open_files(str(data), layout)
    name, frame = _frame_of(data)
    return _checked(Source(frame=frame, name=name), layout)


def _open_files(place: str, layout: Layout) -> Source:
    files = find_files(place)
    kinds = {_kind_of(path) for path in files}
    if len(kinds) > 1:
        raise DataError(f"{place} holds files of different kinds ({', '.join(sorted(kinds))}); read one kind at a time")
    kind, name = kinds.pop(), Path(place).name or place
    if kind == "text":
        return Source(scan_text(files, layout), name, files, layout.spelled)
    if kind == "libsvm":
        return Source(scan_libsvm(files, layout), name, files)
    if kind == "arrow":
        return _checked(Source(pl.scan_ipc(list(files), glob=False), name, files), layout)
    # day=1/part.parquet holds a column of its own in its folder's name, unless the file itself was named.
    is_hive = not Path(place).is_file() and any("=" in path.parent.name for path in files)
    return _checked(Source(pl.scan_parquet(list(files), glob=False, hive_partitioning=is_hive), name, files), layout)


def find_files(place: str) -> tuple[Path, ...]:
    """The files of a path, folder or glob, by name, numbers by value; hidden files and ``_SUCCESS`` are passed over.

    Raises DataError where there are none, or where a folder holds several extensions.
    """
    path = Path(place).expanduser()
    if path.is_file():
        return (path,)
    if path.is_dir():
        files = [
            one
            for one in sorted(path.rglob("*"), key=_natural)
            if one.is_file() and not _is_hidden(one.relative_to(path))
        ]
        _check_extensions(place, files)
    elif glob.has_magic(place):
        files = [Path(one) for one in sorted(glob.glob(str(path), recursive=True), key=_natural) if Path(one).is_file()]
    else:
        raise DataError(f"there is no file or folder {place}; check the path (it is relative to {Path.cwd()})")
    if not files:
        raise DataError(f"{place} matches no file; check the pattern" if glob.has_magic(place) else f"{place} is empty")
    return tuple(files)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _check_extensions(place: str, files: list[Path]) -> None:
    counts = Counter(_extension(path) for path in files)
    if len(counts) > 1:
        found = ", ".join(f"{count} {extension or 'without extension'}" for extension, count in counts.most_common())
        raise DataError(f"{place} holds files of different kinds ({found}); name one kind, as in {place}/*.parquet")


def _extension(path: Path) -> str:
    return next((suffix.lower() for suffix in reversed(path.suffixes) if suffix.lower() not in _COMPRESSED), "")


def _natural(path: str | Path) -> list[tuple[int, str]]:
    """Sorts part-2 before part-10, as whoever wrote the parts counted them."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _kind_of(path: Path) -> str:
    """The kind of a file, by its first bytes rather than its name where they tell."""
    with reading(str(path)), path.open("rb") as file:
        magic = file.read(4)
    if magic in _MAGIC:
        return _MAGIC[magic]
    if _extension(path) in _FOREIGN or magic.startswith((b'{"', b"[{")):
        raise DataError(f"{path}: unsupported format; give CSV, TSV, Parquet, Arrow or libsvm")
    return "libsvm" if is_libsvm(path) else "text"


def _frame_of(data: Any) -> tuple[str, pl.LazyFrame]:
    if isinstance(data, pl.LazyFrame | pl.DataFrame):
        return "Polars frame", data.lazy()
    if isinstance(data, pa.Table):
        return "Arrow table", _converted("Arrow table", pl.from_arrow, data).lazy()
    if _is_pandas(data, "DataFrame"):
        return "pandas frame", _from_pandas(data).lazy()
    if _is_pandas(data, "Series"):
        data = _row_of(data)
    rows = [data] if isinstance(data, Mapping) else data
    if isinstance(rows, list | tuple) and all(isinstance(row, Mapping) for row in rows):
        return "rows", _from_rows(rows).lazy()
    raise DataError(
        f"cannot read rows from a {type(data).__name__}; give a path, a Polars, pandas or Arrow frame, or dict rows"
    )


def _is_pandas(data: Any, kind: str) -> bool:
    return type(data).__module__.split(".")[0] == "pandas" and type(data).__name__ == kind


def _row_of(series: Any) -> dict[str, Any]:
    """A row that was taken out of a pandas frame."""
    if not all(isinstance(name, str) for name in series.index):
        raise DataError("a pandas Series is read as one row, its index as the columns' names; give a frame of several")
    return dict(series)


def _from_pandas(data: Any) -> pl.DataFrame:
    # An index with a name is a column somebody set aside (user_id), one without is a row number.
    named = any(name is not None for name in data.index.names)
    return _converted("pandas frame", pl.from_pandas, data, include_index=named)


def _from_rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    plain = [{key: plain_value(value) for key, value in row.items()} for row in rows]
    return _converted("rows", pl.DataFrame, plain, infer_schema_length=None, strict=False)


def plain_value(value: Any) -> Any:
    """A value of a dict row as Polars takes it: None for what other libraries put where there is none, lists for sets.

    Pandas' ``to_dict("records")`` gives NaN in columns of any type, and NaT and NA.
    """
    if isinstance(value, list | tuple | set):
        return [plain_value(one) for one in value]
    is_nan = isinstance(value, float | np.floating) and value != value
    return None if is_nan or type(value).__name__ in ("NaTType", "NAType") else value


def _converted(name: str, convert: Any, data: Any, **options: Any) -> pl.DataFrame:
    """What a frame is in Polars; DataError where a column holds things no table holds, or a mixture."""
    try:
        frame = convert(data, **options)
    except (pl.exceptions.PolarsError, pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = str(error).strip().split("\n")[0]
        raise DataError(f"{name}: a column holds values of different kinds ({reason}); make them one kind") from None
    assert isinstance(frame, pl.DataFrame)
    for column, dtype in frame.schema.items():
        if dtype == pl.Object:
            raise DataError(
                f"{name}: column {column!r} holds Python objects ({frame[column][0]!r:.60}); make them values"
            )
    return frame


def _checked(source: Source, layout: Layout) -> Source:
    """A source with names and types of its own: it has columns and rows, and no values that "missing" names."""
    with reading(source.name):
        schema = source.frame.collect_schema()
        empty = source.frame.head(1).collect(engine="streaming").is_empty()
    if empty or not schema:
        raise DataError(f"{source.name} has no rows; expected a table with at least one")
    columns = [_without(pl.col(name), dtype, layout) for name, dtype in schema.items()]
    return Source(source.frame.with_columns(one for one in columns if one is not None), source.name, source.files)


def _without(values: pl.Expr, dtype: pl.DataType, layout: Layout) -> pl.Expr | None:
    """A column without the values that mean "no value"; None where its type holds none of them."""
    if dtype in (*TEXT, pl.Date) and layout.missing_cells:
        return pl.when(~values.cast(pl.String).is_in(layout.missing_cells)).then(values)
    if dtype.is_numeric() and layout.missing_numbers:
        return pl.when(pl.all_horizontal(values != number for number in layout.missing_numbers)).then(values)
    return None
