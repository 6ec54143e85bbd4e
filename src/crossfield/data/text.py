"""Text tables: what separates the cells, whether there is a header, and the narrowest type of each column."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from crossfield.errors import DataError

if TYPE_CHECKING:
    from _csv import Reader

TEXT = (pl.String, pl.Categorical, pl.Enum)
HEAD_BYTES = 1 << 20
"""How much of a file is looked at to find out how it is written."""
HEAD_ROWS = 1000

# An id must survive: a leading zero, a plus sign or more digits than the type holds keep a column text.
INTEGER = r"^(?:0|-?[1-9]\d{0,17})$"
# Digits with a bare exponent ("68e01234") are far more often hexadecimal than a number somebody wrote.
_DIGITS = r"(?:0|[1-9]\d{0,14})"
NUMBER = rf"^(?:-?(?:{_DIGITS}(?:\.\d*)?|\.\d+)(?:[eE][+-]\d+)?|-?{_DIGITS}\.\d*[eE]\d+|(?i:nan|-?inf))$"
BOOLEAN = r"^(?i:true|false)$"
LIST = r"(?s)^\s*\[.*\]\s*$"
"""A list as Python, JSON and numpy write it: what pandas makes of lists in a CSV file."""
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_SEPARATORS = (",", "\t", ";", "|", "::")
_NOT_UTF8 = "not UTF-8 text; convert the file, for example with: iconv -f latin1 -t utf-8"
_POLARS_ADVICE = r", (?:consider passing|hint:)[^.]*"
"""How to call Polars otherwise, which is no help to somebody who does not call it."""
_EXTENSION_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


def can_be_category(dtype: pl.DataType) -> bool:
    """Whether values of this type have a canonical text, as ids do."""
    plain = (*TEXT, pl.Boolean, pl.Date, pl.Time, pl.Null)
    return dtype.is_numeric() or dtype in plain or isinstance(dtype, pl.Datetime)


@dataclass(frozen=True)
class Layout:
    """How a text file is written, where the user knows better than a look at its first rows."""

    columns: tuple[str, ...] | None = None
    """Names for the columns of text files; a header that has these names keeps its own order."""
    optional: tuple[str, ...] = ()
    """Those of ``columns`` that a file may lack: the label, in rows to predict."""
    known: tuple[str, ...] = ()
    """Columns somebody spoke of: a first row that holds one of these names is a header."""
    header: bool | None = None
    """Whether the first row holds names; guessed where None."""
    separator: str | None = None
    """What stands between two cells, of any length; guessed where None."""
    missing: tuple[str, ...] = ("",)
    """Cells that mean "no value", in rows of any kind; the empty cell always does."""
    laid_out: tuple[str, ...] = ()
    """Columns that a schema has: libsvm rows, which do not name theirs, are laid out in these."""
    spelled: tuple[str, ...] = ()
    """Columns that stay text where a number would lose their spelling: ids of which 2.10 is another one than 2.1."""

    @property
    def missing_cells(self) -> tuple[str, ...]:
        """The filled cells of ``missing``, numbers in both spellings: what is -999 here is -999.0 in another file."""
        spellings = [str(number) for one in self.missing_numbers for number in (one, float(one))]
        return tuple(dict.fromkeys([*filter(None, self.missing), *spellings]))

    @property
    def missing_numbers(self) -> tuple[int | float, ...]:
        """The numbers that ``missing`` spells, integers with all their digits."""
        floats = [float(cell) for cell in self.missing if re.match(NUMBER, cell)]
        whole = [int(cell) for cell in self.missing if re.match(r"^(?:0|-?[1-9]\d{0,37})$", cell)]
        return tuple(dict.fromkeys([*whole, *(int(one) if one.is_integer() else one for one in floats)]))


@dataclass(frozen=True)
class Form:
    """How a text table turned out to be written."""

    names: tuple[str, ...]
    separator: str
    header: bool
    quoted: bool
    padded: bool
    """Whether cells have spaces around them, as in ``39, State-gov``."""
    rows: tuple[tuple[str, ...], ...]
    """The first rows below the header, cells stripped."""


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what Polars or the system says about unreadable data into a DataError that names the data."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().split("\n")[0]
        reason = _NOT_UTF8 if "utf" in reason.lower() else re.sub(_POLARS_ADVICE, "", reason)
        raise DataError(f"{name} cannot be read: {reason}") from None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error}") from None


def to_floats(text: pl.Expr) -> pl.Expr:
    """The numbers that text spells, float64: true is 1 and false 0, as in a column of booleans; null for other text."""
    trimmed = text.cast(pl.String).str.strip_chars()
    truth = (trimmed.str.to_lowercase() == "true").cast(pl.Float64)
    return pl.when(trimmed.str.contains(BOOLEAN)).then(truth).otherwise(trimmed.cast(pl.Float64, strict=False))


def open_text(path: Path) -> pa.NativeFile:
    """A byte stream of a file, decompressed where its first bytes say gzip or zstd."""
    with path.open("rb") as file:
        magic = file.read(4)
    compression = next((name for start, name in _COMPRESSIONS.items() if magic.startswith(start)), None)
    return pa.input_stream(str(path), compression=compression)


def read_head(path: Path) -> str:
    """The first whole lines of a text file, decompressed.

    Raises DataError where the file is missing, empty, binary or not UTF-8.
    """
    with reading(str(path)), open_text(path) as stream:
        content: bytes = stream.read(HEAD_BYTES)
    if b"\0" in content:
        raise DataError(
            f"{path} is no table: its content is binary; Crossfield reads CSV, TSV, libsvm, Parquet and Arrow files"
        )
    if len(content) == HEAD_BYTES:
        content = content[: content.rfind(b"\n") + 1 or None]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: {_NOT_UTF8}") from None
    if not text.strip():
        raise DataError(f"{path} is empty; expected a table with at least one row")
    return text


def scan_text(files: Sequence[Path], layout: Layout) -> pl.LazyFrame:
    """The rows of text files as lazy columns, in order, each as Int64, Float64 or String.

    Which it is follows from these rows alone, but for columns that are ``layout.spelled``: these are never Float64.

    Raises DataError where a file is empty, has only a header, is no table, or has a row that is too long.
    """
    form = sniff(files[0], layout)
    for path in files[1:]:
        _check_same_header(files[0], path, form)
    frame = _split_lines(files, form) if len(form.separator) > 1 else _scan_csv(files, form, layout.missing_cells)
    if form.padded:
        frame = frame.with_columns(pl.all().str.strip_chars())
    if form.padded or len(form.separator) > 1:
        frame = frame.with_columns(pl.all().replace({cell: None for cell in ("", *layout.missing_cells)}))
    return _narrow(frame, files, form, layout)


def sniff(path: Path, layout: Layout = Layout()) -> Form:
    """Look at the head of a file: separator, header, names, quotes, spaces around cells."""
    text = read_head(path)
    separator = _told_separator(layout) or _guess_separator(path, text)
    quoted = _is_quoted(text, separator)
    raw = _records(text, separator, quoted)
    rows = [tuple(cell.strip() for cell in cells) for cells in raw]
    header = _guess_header(rows, {*layout.known, *(layout.columns or ())}) if layout.header is None else layout.header
    if header and len(rows) == 1:
        names = ", ".join(rows[0][:5])
        raise DataError(f"{path} has a header ({names}) and no rows; if that is a row, say that there is no header")
    first = rows[0] if header else ("",) * _common_width(rows)[0]
    return Form(
        names=_name_columns(path, first, layout),
        separator=separator,
        header=header,
        quoted=quoted,
        padded=_is_padded(raw, separator),
        rows=tuple(rows[header:]),
    )


def _told_separator(layout: Layout) -> str | None:
    """The separator that was named; ``", "`` is a comma with spaces around the cells, which are found anyway."""
    told = layout.separator
    return told.strip() or told[:1] if told else None


def _records(text: str, separator: str, quoted: bool) -> list[list[str]]:
    """The cells of the first rows, blank lines left out."""
    if len(separator) > 1:
        lines = (line.split(separator) for line in text.splitlines() if line.strip())
        return list(islice(lines, HEAD_ROWS))
    records: list[list[str]] = []
    # A quote that is never closed makes one endless cell, which csv refuses; what came before it still tells a lot.
    with suppress(csv.Error):
        records.extend(islice(filter(None, _parse(io.StringIO(text, newline=""), separator, quoted)), HEAD_ROWS))
    return records or [[text[:80]]]


def _parse(lines: Iterable[str], separator: str, quoted: bool) -> "Reader":
    return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)


def _is_quoted(text: str, separator: str) -> bool:
    """Whether quotes around a cell belong to the cell's writing."""
    if separator in ",;":
        return True
    # Elsewhere a quote is text more often than not (5" pipe), so whole quoted cells have to be seen first.
    lines = text.splitlines()[:HEAD_ROWS]
    return any(len(cell) > 1 and cell[0] == cell[-1] == '"' for line in lines for cell in line.split(separator))


def _is_padded(records: list[list[str]], separator: str) -> bool:
    cells = [cell for record in records for cell in record[1:] if cell]
    return separator != " " and bool(cells) and all(cell.startswith(" ") for cell in cells)


def _guess_separator(path: Path, text: str) -> str:
    """The separator that gives nearly every row the same number of cells; most cells win."""
    records = {one: _records(text, one, _is_quoted(text, one)) for one in (*_SEPARATORS, " ")}
    tried = {one: _common_width(rows) for one, rows in records.items()}
    good = [one for one, (num_cells, share) in tried.items() if num_cells > 1 and share >= 0.9]
    # The decimal comma of "price;age" above "7,5;30" splits every row but the header.
    good = [one for one in good if len(records[one][0]) == tried[one][0]] or good
    for suffix in path.suffixes:
        if (told := _EXTENSION_SEPARATORS.get(suffix.lower())) in good:
            return str(told)
    if good:
        # A space is the last resort: it also stands inside dates and after the commas of "39, State-gov".
        return max((one for one in good if one != " "), key=lambda one: tried[one][0], default=" ")
    if all(found == (1, 1.0) for found in tried.values()):
        return ","
    raise DataError(
        f"{path} is no table: no separator gives its rows the same number of cells; "
        "if it is one, name what separates its columns (separator)"
    )


def _common_width(records: Sequence[Sequence[str]]) -> tuple[int, float]:
    """The most frequent number of cells in a row, and the share of rows that have it."""
    counts = [len(cells) for cells in records]
    common = max(set(counts), key=counts.count)
    return common, counts.count(common) / len(counts)


def _guess_header(rows: list[tuple[str, ...]], known: set[str]) -> bool:
    """Whether the first row holds names: a known one, or no numbers, all different, and unlike the rows below."""
    first, below = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    if known.intersection(first):
        return True
    if len(set(first)) < len(first) or any(map(_is_numeric, first)):
        return False
    columns = [[cell for cell in column if cell] for column in zip(*below, strict=True)]
    if not below:
        return True
    if any(cell in column for cell, column in zip(first, columns, strict=True)):
        return False
    if any(_has_digits(column) and not _has_digits([cell]) for cell, column in zip(first, columns, strict=True)):
        return True
    repeats = any(len(column) >= 10 and 2 * len(set(column)) <= len(column) for column in columns)
    return repeats or all(
        _shape(cell) not in set(map(_shape, column)) for cell, column in zip(first, columns, strict=True)
    )


def _is_numeric(cell: str) -> bool:
    return re.fullmatch(r"[-+.,:/\d]*\d[-+.,:/\d]*", cell) is not None or re.match(NUMBER, cell) is not None


def _has_digits(column: list[str]) -> bool:
    return sum(any(map(str.isdigit, cell)) for cell in column) > 0.8 * len(column)


def _shape(cell: str) -> str:
    """A cell with every run of letters as ``a`` and of digits as ``0``."""
    return re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", "a", cell))


def _name_columns(path: Path, first: Sequence[str], layout: Layout) -> tuple[str, ...]:
    """The header's names (``first``, empty where there is no header) or those given, all different."""
    given = layout.columns
    if given is not None and not set(first) <= set(given):
        names = fit_names(path, len(first), layout)
    else:
        names = tuple(cell or f"column_{number}" for number, cell in enumerate(first, start=1))
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path} has two columns named {name!r}; give every column its own name")
    return names


def fit_names(path: Path, num_columns: int, layout: Layout) -> tuple[str, ...]:
    """The given names, without the optional ones where the file is that much narrower.

    Raises DataError where neither fits.
    """
    given = layout.columns or ()
    required = tuple(name for name in given if name not in layout.optional)
    for names in (given, required):
        if len(names) == num_columns:
            return names
    raise DataError(f"{path} has {num_columns} columns, {len(given)} names were given: {', '.join(given)}")


def _check_same_header(reference: Path, path: Path, form: Form) -> None:
    """Polars lays the files of one scan side by side by position; a reordered header would swap columns unseen."""
    first, expected = (_records(read_head(one), form.separator, form.quoted)[0] for one in (path, reference))
    if (form.header and first != expected) or len(first) != len(expected):
        raise DataError(f"{path} has other columns ({', '.join(first[:8])}) than {reference}; read them apart")


def _scan_csv(files: Sequence[Path], form: Form, missing: tuple[str, ...]) -> pl.LazyFrame:
    names = {"new_columns": list(form.names)} if form.header else {"schema": dict.fromkeys(form.names, pl.String)}
    return pl.scan_csv(
        list(files),
        has_header=form.header,
        separator=form.separator,
        quote_char='"' if form.quoted else None,
        infer_schema=False,
        null_values=list(missing) or None,
        glob=False,
        **names,
    )


def _split_lines(files: Sequence[Path], form: Form) -> pl.LazyFrame:
    """Rows of a file whose separator is longer than the one character Polars' reader takes (``::``)."""
    lines = pl.concat([pl.scan_lines(path, glob=False).slice(int(form.header)) for path in files])
    lines = lines.filter(pl.col("line").str.strip_chars() != "")
    num_cells = pl.col("line").str.count_matches(form.separator, literal=True) + 1
    with reading(str(files[0])):
        too_long = lines.filter(num_cells > len(form.names)).head(1).collect(engine="streaming")
    if len(too_long):
        _check_widths(files, form)
    cells = pl.col("line").str.splitn(form.separator, len(form.names)).struct.rename_fields(list(form.names))
    return lines.select(cells.alias("cells")).unnest("cells")


def _narrow(frame: pl.LazyFrame, files: Sequence[Path], form: Form, layout: Layout) -> pl.LazyFrame:
    """Give every column its narrowest type, decided over every row.

    Guessing types from the first rows makes a lazy scan fail in its middle or, worse, turns a late "T8H1N" among zip
    codes into a missing value. So all columns are read as text first, and one streaming pass over the whole file
    looks whether those that begin as numbers stay so; it also meets a row that is too long, or is not UTF-8, at the
    door. PERF: 1.3 s for 1 M Criteo rows (250 MB, 40 columns) on two cores, in constant memory.
    """
    # The first rows may be shorter than the header, or longer.
    columns = islice(zip_longest(form.names, *form.rows, fillvalue=""), len(form.names))
    candidates = [
        name
        for name, *cells in columns
        if all(cell in ("", *layout.missing_cells) or re.match(f"{NUMBER}|{INTEGER}", cell) for cell in cells)
    ]
    facts = _look_through(frame, candidates, files, form)
    if facts["blank"] and len(form.names) > 1 and _has_blank_lines(files):
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    types = {name: _narrowest(name, facts, is_spelled=name in layout.spelled) for name in candidates}
    return frame.with_columns(pl.col(name).cast(dtype) for name, dtype in types.items())


def _narrowest(name: str, facts: dict[str, int], *, is_spelled: bool) -> pl.DataType:
    """The narrowest type that loses nothing of a column: an integer reads as it is spelled, 2.10 and 2.1 don't."""
    if not facts[f"filled {name}"]:
        return pl.String()
    if facts[f"integer {name}"]:
        return pl.Int64()
    return pl.Float64() if facts[f"number {name}"] and not is_spelled else pl.String()


def _look_through(frame: pl.LazyFrame, candidates: list[str], files: Sequence[Path], form: Form) -> dict[str, int]:
    """One pass over every cell: how many rows have no value at all, and what each candidate column holds."""
    tests = [pl.all_horizontal(pl.all().is_null()).sum().alias("blank")]
    for name in candidates:
        column = pl.col(name)
        tests += [
            column.str.contains(INTEGER).all().alias(f"integer {name}"),
            column.str.contains(NUMBER).all().alias(f"number {name}"),
            column.count().alias(f"filled {name}"),
        ]
    try:
        with reading(str(files[0]) if len(files) == 1 else f"one of {files[0]} to {files[-1]}"):
            return frame.select(tests).collect(engine="streaming").row(0, named=True)
    except DataError:
        _check_widths(files, form)
        raise


def _check_widths(files: Sequence[Path], form: Form) -> None:
    """Raise DataError showing the first row that has more cells than there are columns; slow, for the error path."""
    for path in files:
        lines = io.TextIOWrapper(open_text(path), "utf-8", "replace", newline="")
        with lines, suppress(csv.Error, OSError):
            for number, cells in _numbered(lines, form):
                if len(cells) > len(form.names):
                    raise DataError(
                        f"{path}, line {number}: a row has {len(cells)} cells instead of {len(form.names)}: "
                        f"{form.separator.join(cells)[:80]!r}; it is split at {form.separator!r}: put quotes around "
                        "cells that hold it, or name another separator (--separator)"
                    )


def _numbered(lines: Iterable[str], form: Form) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, and the number of the line it ends on, from 1."""
    if len(form.separator) > 1:
        for number, line in enumerate(lines, start=1):
            yield number, line.rstrip("\r\n").split(form.separator)
        return
    reader = _parse(lines, form.separator, form.quoted)
    for cells in reader:
        yield reader.line_num, cells


def _has_blank_lines(files: Sequence[Path]) -> bool:
    lines = pl.concat([pl.scan_lines(path, glob=False) for path in files])
    return not lines.filter(pl.col("line").str.strip_chars() == "").head(1).collect(engine="streaming").is_empty()
