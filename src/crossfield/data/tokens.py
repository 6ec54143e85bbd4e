"""Tokens: the one canonical text of a value, whatever type its column has, and the lists and crosses made of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np
import polars as pl

from crossfield.data.numeric import Buckets, number, squared_log
from crossfield.data.spelled import list_of
from crossfield.data.text import BOOLEAN, LIST, NUMBER, TEXT, can_be_category
from crossfield.errors import SchemaError
from crossfield.schema import Feature, FeatureSchema, Kind

AND = "\x1f"
"""Stands between the tokens of a cross: the ASCII unit separator, which text does not hold."""

Meaning = Literal["boolean", "number"]
"""What a column of ids held in training, where the same value can be written in several ways."""


def canonical(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The canonical text of values; null where there is no value (null, NaN, empty text).

    Integers and integer-valued floats read ``12``, other floats as the shortest text that gives the same float,
    decimals likewise and from 2**53 on with all their digits, booleans ``true`` and ``false``, dates and times as in
    ISO 8601; text stays as it is, blanks included.
    Raises SchemaError where the type cannot be a category.
    """
    if not can_be_category(dtype):
        raise SchemaError(f"values of type {dtype} cannot be a category; give it another kind, or ignore it")
    if dtype.is_float():
        return _float_text(values)
    if dtype.is_decimal():
        return _decimal_text(values)
    if isinstance(dtype, pl.Datetime):
        return _time_text(values, dtype)
    text = values.cast(pl.String)
    return pl.when(text != "").then(text) if dtype in (*TEXT, pl.Null) else text


def _float_text(values: pl.Expr) -> pl.Expr:
    # A column with a gap reads 1.0, tomorrow's reads 1: both are the same id.
    whole = (values == values.round()) & (values.abs() < 2.0**63)
    text = pl.when(whole).then(values.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(values.cast(pl.String))
    return pl.when(values.is_not_nan()).then(text)


def _decimal_text(values: pl.Expr) -> pl.Expr:
    # A decimal reads like the float or integer of another file, until floats are too coarse to tell two ids apart.
    floats = values.cast(pl.Float64)
    exact = values.cast(pl.String).str.replace(r"^(-?\d+(?:\.\d*[1-9])?)\.?0*$", "$1")
    return pl.when(floats.abs() < 2.0**53).then(_float_text(floats)).otherwise(exact)


def _time_text(values: pl.Expr, dtype: pl.Datetime) -> pl.Expr:
    # %.f leaves out zeros at the end, so the text does not depend on whether the column counts in ms, us or ns.
    if dtype.time_zone is None:
        return values.dt.to_string("%Y-%m-%dT%H:%M:%S%.f")
    return values.dt.convert_time_zone("UTC").dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ")


def meaning_of(dtype: pl.DataType) -> Meaning | None:
    """What a column of this type holds, where the same value can be written in several ways."""
    if dtype == pl.Boolean:
        return "boolean"
    return "number" if dtype.is_numeric() else None


def token(values: pl.Expr, dtype: pl.DataType, meaning: Meaning | None) -> pl.Expr:
    """The canonical text of values of a column that had this meaning in training; raises as ``canonical``."""
    text = canonical(values, dtype)
    return text if meaning in (None, meaning_of(dtype)) else respelled(text, meaning)


def respelled(text: pl.Expr, meaning: Meaning) -> pl.Expr:
    """Text with the token of the value that it spells: TRUE is ``true``, 3.0 and 3. are ``3``, 1.50 is ``1.5``.

    1 and 0 are true and false where these are meant, and the other way round; other text stays as it is. What spells
    a number is what makes a column of a text file one of numbers.
    """
    if meaning == "boolean":
        lower = text.str.to_lowercase()
        return lower.str.replace(r"^1(?:\.0*)?$", "true").str.replace(r"^0(?:\.0*)?$", "false")
    truths = text.str.replace(r"^(?i:true)$", "1").str.replace(r"^(?i:false)$", "0")
    # An id with a gap beside it may come as 12345678901234567.0, of more digits than a float holds.
    short = truths.str.replace(r"^(-?\d+)\.0+$", "$1")
    return pl.when(short.str.contains(NUMBER)).then(_float_text(short.cast(pl.Float64, strict=False))).otherwise(short)


def are_booleans(column: pl.Series) -> bool:
    """Whether every value of a column of text spells true or false; missing ones don't count."""
    return all_spell(column, BOOLEAN)


def all_spell(column: pl.Series, pattern: str) -> bool:
    """Whether every value of a column of text has this form; missing ones don't count."""
    text = column.cast(pl.String)
    return bool(text.filter(text != "").str.contains(pattern).all())


def canonical_lists(values: pl.Expr, dtype: pl.DataType, separator: str | None) -> pl.Expr:
    """The canonical texts of each row's values, as lists; values that are missing inside a list are left out.

    Text such as ``['a', 'b']``, split at commas, gives the values of the list that it spells; text in brackets that
    spells none is a Polars error where the rows are read.
    """
    if isinstance(dtype, pl.Array | pl.List):
        lists = values.arr.to_list() if isinstance(dtype, pl.Array) else values
        inner = dtype.inner() if isinstance(dtype.inner, type) else dtype.inner
        return lists.list.eval(canonical(pl.element(), inner).drop_nulls())
    text = canonical(values, dtype)
    if separator is None:
        return pl.concat_list([text]).list.drop_nulls()
    parts = text.str.split(separator)
    if separator == ",":
        bracketed = pl.when(text.str.contains(LIST)).then(text)
        spelled = bracketed.map_batches(_spelled_lists, return_dtype=pl.List(pl.String), is_elementwise=True)
        parts = pl.when(bracketed.is_not_null()).then(spelled).otherwise(parts)
    return parts.list.eval(pl.element().filter(pl.element() != ""))


def _spelled_lists(texts: pl.Series) -> pl.Series:
    """The canonical texts of the values of the lists that texts spell; each distinct text is read once."""
    distinct = texts.drop_nulls().unique(maintain_order=True)
    lists = [list_of(text) for text in distinct]
    for text, values in zip(distinct, lists, strict=True):
        if values is None:
            raise pl.exceptions.ComputeError(
                f"column {texts.name!r} holds {text!r:.80}, which spells no list of values; "
                'write lists as JSON does, ["a", "b"], name that text as missing, or ignore the column'
            )
    floats = pl.Series([one for values in lists for one in values or () if isinstance(one, float)], dtype=pl.Float64)
    written = dict(zip(floats, floats.to_frame().select(_float_text(pl.first())).to_series(), strict=True))
    tokens = [[written.get(one, one) for one in values or ()] for values in lists]
    table = pl.DataFrame({"text": distinct, "values": pl.Series(tokens, dtype=pl.List(pl.String))})
    return texts.alias("text").to_frame().join(table, on="text", how="left", maintain_order="left")["values"]


def hash_tokens(tokens: pl.Series) -> np.ndarray:
    """BLAKE2b (8 bytes, little endian) of the UTF-8 tokens as int64 [n]; 0 where there is none.

    Each distinct token is hashed once.
    """
    distinct = tokens.unique().drop_nulls()
    digests = [int.from_bytes(blake2b(one.encode(), digest_size=8).digest(), "little", signed=True) for one in distinct]
    hashes = pl.Series(digests, dtype=pl.Int64)
    return tokens.replace_strict(distinct, hashes, default=0, return_dtype=pl.Int64).to_numpy(writable=True)


@dataclass(frozen=True)
class Tokens:
    """Writes the tokens of features for a frame of given column types."""

    schema: FeatureSchema
    dtypes: Mapping[str, pl.DataType]
    buckets: Mapping[str, Buckets]
    """Features that become categories by their size."""
    squared: frozenset[str]
    """Categorical features that are numbers, taken as their squared logarithm."""
    max_length: int
    meanings: Mapping[str, Meaning]
    """Columns of ids whose values are read as booleans or numbers."""

    def of(self, feature: Feature) -> pl.Expr:
        """The token of each row of a single-valued feature; of a cross, the tokens of its parts; null is missing."""
        if feature.kind is Kind.CROSS:
            parts = [self.of(self.schema[name]) for name in feature.of]
            return pl.concat_str(parts, separator=AND, ignore_nulls=False)
        name, dtype = feature.name, self.dtypes[feature.name]
        if name in self.buckets:
            return self.buckets[name].labels(number(name, dtype))
        if name in self.squared:
            return canonical(squared_log(number(name, dtype)), pl.Float64())
        with _naming(name):
            return token(pl.col(name), dtype, self.meanings.get(name))

    def lists(self, feature: Feature) -> pl.Expr:
        """The tokens of each row of a multi-valued feature, the last ``max_length`` of them."""
        name = feature.name
        with _naming(name):
            values = canonical_lists(pl.col(name), self.dtypes[name], feature.separator)
        return values.list.tail(self.max_length)

    def long(self, frame: pl.LazyFrame, feature: Feature) -> pl.LazyFrame:
        """Rows and tokens of a feature that has several per row: columns token, row (uint32), in row order.

        A cross has one token for each combination of its parts' values, and none where a part has none.
        """
        parts = [self.schema[name] for name in feature.of] or [feature]
        several = [is_list(self.schema, one) for one in parts]
        columns = [self.lists(one) if many else self.of(one) for one, many in zip(parts, several, strict=True)]
        names = [f"part{index}" for index in range(len(parts))]
        rows = frame.select(column.alias(name) for name, column in zip(names, columns, strict=True))
        rows = rows.with_row_index("row")
        for name, many in zip(names, several, strict=True):
            rows = rows.explode(name) if many else rows
        return rows.drop_nulls().select(pl.concat_str(names, separator=AND).alias("token"), "row")


@contextmanager
def _naming(column: str) -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise SchemaError(f"column {column!r}: {error}") from None


def is_list(schema: FeatureSchema, feature: Feature) -> bool:
    """Whether a feature has several tokens per row; a cross has if one of its parts has."""
    if feature.kind is Kind.CROSS:
        return any(is_list(schema, schema[name]) for name in feature.of)
    return feature.kind in (Kind.MULTI, Kind.SEQUENCE)


def cross_tokens(parts: Sequence[pl.Series]) -> pl.Series:
    """The tokens of a cross from those of its parts, row by row; null where a part is."""
    frame = pl.DataFrame({f"part{index}": part for index, part in enumerate(parts)})
    return frame.select(pl.concat_str(pl.all(), separator=AND, ignore_nulls=False)).to_series()
