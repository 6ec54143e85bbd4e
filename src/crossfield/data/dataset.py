"""A data set: lazy columns, what they mean, and what can be asked of them before anything is encoded."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import polars as pl

from crossfield.data.infer import check_roles, complete_schema, edit_schema, infer_schema, parse_label
from crossfield.data.source import Layout, Source, Tabular, open_source, reading
from crossfield.data.split import sample_frame, split_frame
from crossfield.data.text import TEXT, can_be_category, to_floats
from crossfield.errors import DataError, RowError, SchemaError, nearest
from crossfield.files import read_object
from crossfield.schema import Feature, FeatureSchema, Kind

_SOURCE_ROW = "crossfield source row"
_PART_NAMES = {2: ("train", "test"), 3: ("train", "valid", "test")}


@dataclass(frozen=True)
class Cut:
    """What a part was split off from, and how."""

    whole: "Dataset"
    how: str | None
    sizes: tuple[float, ...]
    seed: int
    number: int
    """Which of the parts it is."""


@dataclass(frozen=True)
class Dataset:
    """Rows and their meaning; nothing is read before somebody asks."""

    frame: pl.LazyFrame
    schema: FeatureSchema
    name: str
    files: tuple[Path, ...] = ()
    layout: Layout = Layout()
    """How the rows' files are written, as ``load`` was told."""
    spelled: tuple[str, ...] = ()
    """Columns of text files that were left as text where every value spells a number."""
    cut: Cut | None = None
    """Where the rows are a part: of what."""

    @cached_property
    def num_rows(self) -> int:
        """Number of rows, counted once."""
        with reading(self.name):
            return int(self.frame.select(pl.len()).collect(engine="streaming").item())

    def head(self, n: int = 5) -> pl.DataFrame:
        """The first ``n`` rows, raw."""
        with reading(self.name):
            return self.frame.head(n).collect(engine="streaming")

    def sample(self, share: float, columns: Sequence[str] | None = None, *, seed: int = 0) -> pl.DataFrame:
        """About this share of the rows, drawn at random, raw and in their order; of all columns or of those named."""
        drawn = sample_frame(self.frame.select(columns or pl.all()), share, seed=seed)
        with reading(self.name):
            return drawn.collect(engine="streaming")

    def split(
        self, how: str | None = None, *, sizes: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
    ) -> tuple["Dataset", ...]:
        """Parts by time, random, user or leave_one_out, as ``split_frame`` says; without ``how`` by time if known."""
        with self.naming():
            frames = split_frame(self.frame, how, sizes=sizes, seed=seed, schema=self.schema)
        names = _PART_NAMES.get(len(frames), tuple(f"part {number}" for number in range(1, len(frames) + 1)))
        cuts = [Cut(self, how, tuple(sizes), seed, number) for number in range(len(frames))]
        return tuple(
            replace(self, frame=frame, name=f"{self.name} ({part})", cut=cut)
            for frame, part, cut in zip(frames, names, cuts, strict=True)
        )

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Put the name of the data before what a DataError says; of a row, that of its source and its number there."""
        try:
            yield
        except RowError as error:
            source, row = self._find_source(error.row)
            raise DataError(f"{source.name}: {error.of_row(row)}") from None
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from None

    def _find_source(self, row: int) -> tuple["Dataset", int]:
        """The whole that these rows are a part of, and the number of a row there: it is split once more."""
        if (cut := self.cut) is None:
            return self, row
        numbered = cut.whole.frame.with_row_index(_SOURCE_ROW)
        parts = split_frame(numbered, cut.how, sizes=cut.sizes, seed=cut.seed, schema=cut.whole.schema)
        with reading(cut.whole.name):
            numbers = parts[cut.number].select(_SOURCE_ROW).slice(row, 1).collect(engine="streaming")
        return cut.whole._find_source(numbers.item())

    def require(self, *, labelled: bool) -> "Dataset":
        """Check that every column the schema needs is there and of the right family; gives rows ready to encode.

        Only text in a column of numbers, or a column of another type, costs a look at the rows. Raises SchemaError
        naming a column that is gone or of another family, DataError naming the row and the text in a column of numbers.
        """
        with reading(self.name):
            dtypes = self.frame.collect_schema()
        needed = [*self.schema.columns]
        if labelled:
            if self.schema.label is None:
                raise SchemaError(f"{self.name} has no label; name it with label=... or --label COLUMN")
            needed += [self.schema.label.column, *filter(None, [self.schema.weight])]
        for name in needed:
            if name not in dtypes:
                raise SchemaError(f"{self.name} has no column {name!r}, which the schema needs{nearest(name, dtypes)}")
        features = [one for one in self.schema.features if one.kind is not Kind.CROSS]
        misfits = [one for one in features if not _fits(one, dtypes[one.name])]
        for feature in misfits:
            self._check_blank(feature, dtypes[feature.name])
        frame = self.frame.with_columns(pl.lit(None).alias(one.name) for one in misfits)
        numbers_as_text = [one.name for one in features if one.kind is Kind.DENSE and dtypes[one.name] in TEXT]
        with reading(self.name), self.naming():
            return replace(self, frame=_to_numbers(frame, numbers_as_text))

    def _check_blank(self, feature: Feature, dtype: pl.DataType) -> None:
        """Raise SchemaError where a column of another family holds a value; pandas makes one without any floats."""
        column = pl.col(feature.name)
        has_value = column.is_not_null() & column.is_not_nan() if dtype.is_float() else column.is_not_null()
        with reading(self.name):
            is_blank = self.frame.filter(has_value).head(1).collect(engine="streaming").is_empty()
        if not is_blank:
            raise SchemaError(
                f"{self.name}: column {feature.name!r} is {feature.kind} in the schema and holds {dtype} here; "
                "write it as values of that kind, or name another kind where the schema is made"
            )

    def describe(self) -> str:
        """A plain text table: what every column is and why, the roles, and what is left out."""
        schema = self.schema
        blocks = [
            _table(("column", "kind", "why"), [(one.name, str(one.kind), one.reason) for one in schema.features]),
            _table(("role", "column"), [(role, self._role_text(role)) for role in schema.role_columns]),
            _table(("left out", "why"), list(schema.ignored.items())),
        ]
        return "\n\n".join([self.name, *filter(None, blocks)])

    def _role_text(self, role: str) -> str:
        return str(self.schema.label) if role == "label" else self.schema.role_columns[role]


def load(
    data: Tabular,
    *,
    label: str | None = None,
    positive: str | float | None = None,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    ignore: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    separators: Mapping[str, str] | None = None,
    crosses: Sequence[Sequence[str]] = (),
    embed_crosses: bool = False,
    schema: FeatureSchema | Path | None = None,
    layout: Layout = Layout(),
) -> Dataset:
    """A data set from a file, folder, glob, frame or rows; what its columns mean is inferred, given, or both.

    ``label`` is a column or a condition (``rating>=4``), ``positive`` the label value that means yes. With a
    ``schema`` (or the path of one saved as JSON) nothing is inferred: the other arguments change it. A schema that is
    no file is that of a run or of other rows: ids in text files then stay as they are spelled (2.10 is not 2.1).
    Raises DataError for data that cannot be read, SchemaError for a column that is not there.
    """
    roles = {"user": user, "item": item, "time": time, "weight": weight}
    spoken_of = [label and re.split("[=<>]", label)[0].strip(), *roles.values(), *ignore, *(kinds or {})]
    layout = replace(layout, known=tuple(filter(None, spoken_of)), spelled=tuple(separators or ()))
    if schema is None:
        source = open_source(data, layout)
        known = infer_schema(
            source,
            label=label,
            positive=positive,
            **roles,
            ignore=ignore,
            kinds=kinds,
            separators=separators,
            crosses=crosses,
            embed_crosses=embed_crosses,
        )
        return Dataset(source.frame, known, source.name, source.files, layout, source.spelled)
    stored = schema if isinstance(schema, FeatureSchema) else _read_schema(schema)
    source = open_source(data, _layout_under(stored, layout, is_file=stored is not schema))
    given = {role: column for role, column in roles.items() if column is not None}
    known = _with_roles(source, stored, label=label, positive=positive, roles=given)
    known = edit_schema(
        known, kinds=kinds, separators=separators, ignore=ignore, crosses=crosses, embed_crosses=embed_crosses
    )
    # The schema of a run is whole: what rows to predict seem to say does not change it.
    if known != stored or stored is not schema:
        known = complete_schema(source, known)
    return Dataset(source.frame, known, source.name, source.files, layout, source.spelled)


def _read_schema(path: Path) -> FeatureSchema:
    """The schema of a file, which is there to be edited: a fingerprint in it speaks of what it said before.

    Raises CorruptError or SchemaError naming the file and what in it is wrong.
    """
    values = {key: value for key, value in read_object(path).items() if key != "fingerprint"}
    try:
        return FeatureSchema.from_json(values)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from None


def _layout_under(schema: FeatureSchema, layout: Layout, *, is_file: bool) -> Layout:
    """What a schema says of how rows are written; one from a file says nothing of rows that were read before."""
    return replace(
        layout,
        known=(*layout.known, *schema.columns),
        optional=() if schema.label is None else (schema.label.column,),
        laid_out=(*schema.columns, *schema.role_columns.values(), *schema.ignored),
        spelled=layout.spelled if is_file else (*layout.spelled, *_spelled(schema)),
    )


def _spelled(schema: FeatureSchema) -> list[str]:
    """The columns whose values are told apart by their text, whatever the other rows of a file hold."""
    columns = [one.name for one in schema.features if one.kind not in (Kind.DENSE, Kind.CROSS)]
    label = schema.label
    return [*columns, label.column] if label is not None and isinstance(label.value, str) else columns


def _with_roles(
    source: Source, schema: FeatureSchema, *, label: str | None, positive: str | float | None, roles: Mapping[str, str]
) -> FeatureSchema:
    """A schema with roles changed as given; ``positive`` alone speaks of the label column it has."""
    with reading(source.name):
        dtypes = source.frame.collect_schema()
    check_roles(roles, dtypes)
    if label is None and positive is not None and schema.label is not None:
        label = schema.label.column
    known = {role: roles.get(role, getattr(schema, role)) for role in ("user", "item", "time", "weight")}
    changed = replace(schema, label=parse_label(label, positive, dtypes) or schema.label, **known)
    kept = {*changed.role_columns.values(), *changed.columns}
    free = {column: f"was the {role}" for role, column in schema.role_columns.items() if column not in kept}
    return replace(changed, ignored={**schema.ignored, **free})


def _fits(feature: Feature, dtype: pl.DataType) -> bool:
    """Whether a column of this type can hold the values of its feature."""
    is_list, is_text = isinstance(dtype, pl.List | pl.Array), dtype in TEXT
    fits = {
        Kind.DENSE: dtype.is_numeric() or dtype == pl.Boolean or is_text,
        Kind.CATEGORICAL: can_be_category(dtype),
        Kind.MULTI: is_list or ((is_text or dtype.is_numeric()) and feature.separator is not None),
    }
    fits[Kind.SEQUENCE] = fits[Kind.MULTI]
    return fits[feature.kind] or dtype == pl.Null


def _to_numbers(frame: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
    """Numbers written as text as float64; RowError names the first text that is no number."""
    for column in columns:
        text = pl.col(column).cast(pl.String).str.strip_chars()
        blank = text.is_null() | (text == "")
        wrong = to_floats(text).is_null() & ~blank
        found = frame.select(column).with_row_index("crossfield row").filter(wrong).head(1)
        for row, value in found.collect(engine="streaming").iter_rows():
            advice = "; correct it, name it as missing, or make the column categorical"
            raise RowError(f"column {column!r} is dense and holds {value!r} in", row, advice)
        frame = frame.with_columns(to_floats(text).alias(column))
    return frame


def _table(header: tuple[str, ...], rows: Iterable[Sequence[str]]) -> str:
    """Columns of text, each as wide as its longest cell; empty where there are no rows."""
    cells = [header, *rows]
    if len(cells) == 1:
        return ""
    widths = [max(len(row[number]) for row in cells) for number in range(len(header))]
    cells.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
