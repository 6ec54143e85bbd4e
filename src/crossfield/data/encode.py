"""The encoder: fitted on training rows, it makes model input of any row, one way for files, frames and dict rows."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import polars as pl

from crossfield.data.dataset import Dataset
from crossfield.data.encoded import Encoded as Encoded
from crossfield.data.encoded import Lists
from crossfield.data.encoding import EncoderConfig as EncoderConfig
from crossfield.data.encoding import FeatureEncoding as FeatureEncoding
from crossfield.data.engines import Arrays, Engine
from crossfield.data.engines.polars import PolarsEngine
from crossfield.data.fitting import Fit, Fitted, is_number, token_writer, values_of
from crossfield.data.guess import time_likes
from crossfield.data.labels import read_labels, read_weights
from crossfield.data.numeric import Buckets, Scale, number, refuse_infinite, refuse_text
from crossfield.data.source import plain_value
from crossfield.data.text import reading
from crossfield.data.tokens import Tokens, canonical, cross_tokens, hash_tokens, is_list, token
from crossfield.data.vocabulary import (
    FIRST,
    MISSING,
    UNSEEN,
    Evict,
    Growth,
    Vocabulary,
    read_vocabularies,
    write_vocabularies,
)
from crossfield.errors import CorruptError, CrossfieldError, DataError, SchemaError, nearest
from crossfield.files import atomic_path, read_object, write_json
from crossfield.schema import Feature, FeatureSchema, Field, Kind, ModelSchema

CHUNK_ROWS = 131_072
_NOT_AN_ENCODER = (KeyError, TypeError, ValueError, AttributeError, OSError, pl.exceptions.PolarsError)
"""What reading a file that is no encoder raises."""
COLUMNAR = (".parquet", ".arrow", ".feather", ".ipc")
"""File endings that can be read one column at a time."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """Vocabularies, scales and buckets of a schema's features: a raw row in, model input out."""

    schema: FeatureSchema
    config: EncoderConfig
    fitted: Fitted

    @classmethod
    def fit(cls, dataset: Dataset, config: EncoderConfig | None = None, *, engine: Engine | None = None) -> Self:
        """Learn from the training rows, which must be the only rows of ``dataset``.

        Raises SchemaError where a column is gone or has an impossible type, ConfigError where the config does not
        fit the features, DataError where there are no rows or a number is text or infinite.
        """
        config, engine = config or EncoderConfig(), engine or PolarsEngine()
        config.check(dataset.schema)
        with on_disk(dataset, engine=engine) as rows:
            _require(rows.frame.collect_schema().names(), dataset.schema.columns)
            with reading(dataset.name), dataset.naming():
                fitted = Fit(rows.frame, rows.schema, config=config, engine=engine, spelled=rows.spelled).run()
        return cls(dataset.schema, config, fitted)

    def grown(
        self, dataset: Dataset, *, update: int, evict: Evict = "last_use", engine: Engine | None = None
    ) -> tuple[Self, dict[str, Growth]]:
        """With the ids of new rows added, and how the ids of each field changed; numbers are read as before.

        ``update`` counts the updates, from 1. A field's ``max_size`` is its budget. Raises as ``fit``.
        """
        engine, fitted = engine or PolarsEngine(), self.fitted
        grown, growths = {}, {}
        # In new rows a column may well look like none of a model's, by being constant.
        with on_disk(replace(dataset, schema=self.schema), engine=engine) as rows:
            _require(rows.frame.collect_schema().names(), self.columns(labelled=False))
            tokens = self._tokens(rows.frame.collect_schema())
            with reading(dataset.name):
                num_rows = engine.num_rows(rows.frame)
                for one in self._id_features:
                    rule = self.config.rule(one)
                    counts = engine.counts(rows.frame, values_of(self.schema, one, tokens, rule=rule))
                    grown[one.name], growths[one.name] = self._vocabulary(one.name).grown(
                        counts, min_count=rule.min_count, budget=rule.max_size, update=update, evict=evict
                    )
        if not num_rows:
            raise DataError("there are no new rows")
        fitted = replace(fitted, num_rows=fitted.num_rows + num_rows, vocabularies=grown)
        return replace(self, fitted=fitted), growths

    @cached_property
    def model_schema(self) -> ModelSchema:
        """Tensor order and table sizes."""
        indicators = self.fitted.gaps if self.config.missing_indicator else ()
        single, several = [self._field(one) for one in self._single], [self._field(one) for one in self._several]
        names = {one.name for one in single}
        return ModelSchema(
            dense=tuple(one.name for one in self.fitted.scales) + tuple(f"{name} is missing" for name in indicators),
            categorical=tuple(single),
            sequences=tuple(several),
            user=self.schema.user if self.schema.user in names else None,
            item=self.schema.item if self.schema.item in names else None,
        )

    def _field(self, feature: Feature) -> Field:
        is_cross = feature.kind is Kind.CROSS
        kind = Kind.CATEGORICAL if feature.kind is Kind.DENSE else feature.kind
        num_rows = self.fitted.vocabularies[feature.name].num_rows
        return Field(feature.name, num_rows, kind, embed=feature.embed if is_cross else True)

    @cached_property
    def _id_features(self) -> list[Feature]:
        features = [one for one in self.schema.features if one.name in self.fitted.vocabularies]
        return sorted(features, key=lambda one: one.kind is Kind.CROSS)

    @cached_property
    def _single(self) -> list[Feature]:
        return [one for one in self._id_features if not is_list(self.schema, one)]

    @cached_property
    def _several(self) -> list[Feature]:
        return [one for one in self._id_features if is_list(self.schema, one)]

    @property
    def notes(self) -> tuple[str, ...]:
        """Plain sentences on what was done with missing values and rare ids."""
        return self.fitted.notes

    @property
    def missing_dense(self) -> np.ndarray:
        """What a row without any number holds, [N] float32."""
        fill = [one.missing for one in self.fitted.scales]
        return np.array(fill + [1.0] * (len(self.model_schema.dense) - len(fill)), dtype=np.float32)

    def columns(self, *, labelled: bool) -> list[str]:
        """The raw columns that encoding reads, each once."""
        roles = self.schema.role_columns
        needed = ["user", "label", "weight"] if labelled else ["user"]
        return list(dict.fromkeys([*self.schema.columns, *(roles[role] for role in needed if role in roles)]))

    def encode(self, frame: pl.DataFrame, *, labelled: bool, first_row: int = 0) -> Encoded:
        """Encode rows; ``first_row`` is the number of the first one in its data set.

        Where the schema has no label, every labelled row is a positive. Missing and unseen ids are welcome.
        Raises SchemaError where a column is gone, RowError naming the row where a number is text or infinite, or a
        label or weight is bad.
        """
        _require(frame.columns, self.columns(labelled=labelled))
        refuse_text(frame, self._numbers, first_row)
        tokens = self._tokens(frame.schema)
        ids = [self._vocabularies[one.name].ids(tokens.of(one)) for one in self._single]
        return Encoded(
            dense=self._dense(frame, first_row),
            categorical=_matrix(frame, ids, np.int32),
            sequences={one.name: self._lists(frame, one, tokens) for one in self._several},
            labels=self._labels(frame, first_row) if labelled else None,
            weights=read_weights(frame, self.schema.weight, first_row) if labelled and self.schema.weight else None,
            groups=self._groups(frame),
            rows=np.arange(first_row, first_row + len(frame), dtype=np.int64),
        )

    def _tokens(self, dtypes: Mapping[str, pl.DataType]) -> Tokens:
        buckets, meanings = self.fitted.buckets, self.fitted.meanings
        return token_writer(self.schema, self.config, dtypes=dtypes, buckets=buckets, meanings=meanings)

    @property
    def _vocabularies(self) -> Mapping[str, Vocabulary]:
        return self.fitted.vocabularies

    @cached_property
    def _numbers(self) -> list[str]:
        return [one.name for one in self.schema.features if is_number(one, self.config.rule(one))]

    def _dense(self, frame: pl.DataFrame, first_row: int) -> np.ndarray:
        scales, dtypes = self.fitted.scales, frame.schema
        columns = [one.apply(number(one.name, dtypes[one.name])) for one in scales]
        if self.config.missing_indicator:
            missing = [number(name, dtypes[name]).is_null().cast(pl.Float32) for name in self.fitted.gaps]
            columns += missing
        values = _matrix(frame, columns, np.float32)
        refuse_infinite(values, frame, names=[one.name for one in scales], first_row=first_row)
        return values

    def _lists(self, frame: pl.DataFrame, feature: Feature, tokens: Tokens) -> Lists:
        long = tokens.long(frame.lazy(), feature)
        ids = long.select(self._vocabularies[feature.name].ids(pl.col("token")).alias("id"), "row").collect()
        lengths = np.bincount(ids["row"].to_numpy(), minlength=len(frame))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return ids["id"].to_numpy(writable=True), offsets

    def _labels(self, frame: pl.DataFrame, first_row: int) -> np.ndarray:
        if self.schema.label is None:
            return np.ones(len(frame), dtype=np.float32)
        return read_labels(frame, self.schema.label, first_row)

    def _groups(self, frame: pl.DataFrame) -> np.ndarray:
        user = self.schema.user
        if user is None:
            return np.zeros(len(frame), dtype=np.int64)
        written = token(pl.col(user), frame.schema[user], self.fitted.meanings.get(user))
        return hash_tokens(frame.select(written).to_series())

    def encode_rows(self, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Encoded:
        """Encode one row or several, given as dicts; None is a missing value, a missing key an error (SchemaError)."""
        several = [rows] if isinstance(rows, Mapping) else list(rows)
        columns = self.columns(labelled=False)
        for row in several:
            _require(list(row), columns)
        frame = pl.DataFrame({name: _series(name, [row[name] for row in several]) for name in columns})
        with reading("rows"):
            return self.encode(frame, labelled=False)

    def stream(
        self, dataset: Dataset, *, labelled: bool, chunk_rows: int = CHUNK_ROWS, engine: Engine | None = None
    ) -> Iterator[Encoded]:
        """Encode a dataset in its order, ``chunk_rows`` at a time, in bounded memory. Raises as ``encode``."""
        columns = self.columns(labelled=labelled)
        _require(dataset.frame.collect_schema().names(), columns)

        def arrays_of(rows: pl.DataFrame, first_row: int) -> Arrays:
            return self.encode(rows, labelled=labelled, first_row=first_row).arrays()

        names = [one.name for one in self._several]
        with reading(dataset.name), dataset.naming():
            for arrays in (engine or PolarsEngine()).blocks(dataset.frame.select(columns), chunk_rows, arrays_of):
                yield Encoded.of(arrays, names)

    def stream_beside(
        self, dataset: Dataset, kept: Sequence[str], *, labelled: bool, chunk_rows: int = CHUNK_ROWS
    ) -> Iterator[tuple[pl.DataFrame, Encoded]]:
        """What ``stream`` gives by Polars, each block beside its rows' ``kept`` columns as they came, in one pass."""
        columns = self.columns(labelled=labelled)
        _require(dataset.frame.collect_schema().names(), columns)
        first_row = 0
        with reading(dataset.name), dataset.naming():
            wanted = dataset.frame.select(list(dict.fromkeys([*columns, *kept])))
            for rows in PolarsEngine().batches(wanted, chunk_rows):
                yield rows.select(kept), self.encode(rows, labelled=labelled, first_row=first_row)
                first_row += len(rows)

    def vocabulary(self, name: str) -> pl.DataFrame:
        """The tokens of a field with their training counts (token, count), in the order of their ids, which start at 2.

        Raises SchemaError where there is no such field or its ids are hashed.
        """
        vocabulary = self._vocabulary(name)
        if vocabulary.buckets is not None:
            hashed = f"{name!r} is hashed into {vocabulary.buckets} ids, which do not tell its values"
            raise SchemaError(f"{hashed}; leave encoder.hash_buckets out for it")
        return vocabulary.table()

    def _vocabulary(self, name: str) -> Vocabulary:
        if name not in self._vocabularies:
            raise SchemaError(f"no id field {name!r}{nearest(name, self._vocabularies)}")
        return self._vocabularies[name]

    def decode(self, name: str, ids: np.ndarray) -> list[str | None]:
        """The tokens of ids [n] of a field; None for missing, unseen and hashed ones."""
        return self._vocabulary(name).decode(ids).to_list()

    def counts(self, name: str) -> np.ndarray:
        """How many training values had each id of a field, [num_rows] int64; 0 for missing and unseen."""
        counts: np.ndarray = np.concatenate([np.zeros(FIRST, dtype=np.int64), self._vocabulary(name).counts.to_numpy()])
        return counts

    def id_of(self, name: str, values: Sequence[Any] | pl.Series) -> np.ndarray:
        """The ids [n] int64 of raw values of a single-valued feature that is one column."""
        vocabulary, column = self._vocabulary(name), _series(name, values)
        if self.schema[name].kind is Kind.CROSS:
            raise SchemaError(f"{name!r} is a cross; encode whole rows instead")
        token = self._tokens({name: column.dtype}).of(self.schema[name])
        ids = column.to_frame().select(vocabulary.ids(token)).to_series()
        return ids.cast(pl.Int64).to_numpy(writable=True)

    def cross_ids(self, name: str, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The ids [n] int32 of a cross from the ids [n] of its parts, in the order of the parts.

        Missing where a part is missing, unseen where one is unseen. Raises SchemaError where a part is hashed: its
        ids do not tell the tokens that a cross is made of.
        """
        features = self.schema[name].of
        hashed = [one for one in features if self._vocabulary(one).buckets is not None]
        if hashed:
            raise SchemaError(f"cross {name!r} cannot be told from the ids of {hashed[0]!r}, which are hashed")
        decoded = [self._vocabulary(one).decode(ids) for one, ids in zip(features, parts, strict=True)]
        tokens = cross_tokens(decoded).to_frame()
        ids = tokens.select(self._vocabulary(name).ids(pl.first())).to_series()
        # A part without a token is missing or unseen; only its id tells which.
        found = np.where(tokens.to_series().is_null().to_numpy(), UNSEEN, ids.to_numpy())
        return np.where(np.any([ids == MISSING for ids in parts], axis=0), MISSING, found).astype(np.int32)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that decides what a row becomes."""
        digests = {name: one.digest() for name, one in self._vocabularies.items()}
        content = {**self._to_json(), "schema": self.schema.fingerprint, "notes": None, "digests": digests}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _to_json(self) -> dict[str, Any]:
        meanings = dict(self.fitted.meanings)
        return {
            "schema": self.schema.to_json(),
            "config": self.config.model_dump(mode="json"),
            # Left out where there are none, so that the fingerprint of an encoder from before there were any holds.
            **({"meanings": meanings} if meanings else {}),
            "num_rows": self.fitted.num_rows,
            "scales": [asdict(one) for one in self.fitted.scales],
            "gaps": list(self.fitted.gaps),
            "buckets": {name: list(one.boundaries) for name, one in self.fitted.buckets.items()},
            "hashed": {name: one.buckets for name, one in self._vocabularies.items()},
            "notes": list(self.notes),
        }

    def save(self, folder: Path) -> None:
        """Write encoder.json and vocabularies.arrow into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "vocabularies.arrow") as path:
            write_vocabularies(path, self._vocabularies)
        write_json(folder / "encoder.json", {**self._to_json(), "fingerprint": self.fingerprint})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; raises CorruptError where it is not that, or was changed."""
        content = read_object(folder / "encoder.json")
        try:
            vocabularies = read_vocabularies(folder / "vocabularies.arrow", content["hashed"])
            encoder = cls._from_json(content, vocabularies)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OSError,
            pl.exceptions.PolarsError,
            CrossfieldError,
        ) as error:
            raise CorruptError(f"{folder} holds no encoder that can be read: {error}") from error
        if encoder.fingerprint != content.get("fingerprint"):
            raise CorruptError(f"the encoder in {folder} was changed after it was written (its fingerprint differs)")
        return encoder

    @classmethod
    def _from_json(cls, content: Mapping[str, Any], vocabularies: dict[str, Vocabulary]) -> Self:
        fitted = Fitted(
            num_rows=content["num_rows"],
            scales=tuple(Scale.from_json(one) for one in content["scales"]),
            gaps=tuple(content["gaps"]),
            buckets={name: Buckets(tuple(one)) for name, one in content["buckets"].items()},
            vocabularies=vocabularies,
            notes=tuple(content["notes"]),
            meanings=content.get("meanings", {}),
        )
        return cls(FeatureSchema.from_json(content["schema"]), EncoderConfig.of(content["config"]), fitted)


@contextmanager
def on_disk(dataset: Dataset, *, folder: Path | None = None, engine: Engine | None = None) -> Iterator[Dataset]:
    """The dataset in a form that the engine can read one column at a time.

    Text files, and what else it does not read where it is, are written once to a scratch Parquet file (in ``folder``),
    gone at the end of the block: the columns of the schema and what looks like a time; anything else stays as it is.
    """
    engine = engine or PolarsEngine()
    if all(path.suffix.lower() in COLUMNAR for path in dataset.files) and engine.reads(dataset.frame):
        yield dataset
        return
    known = dataset.frame.collect_schema().names()
    schema = dataset.schema
    wanted = dict.fromkeys([*schema.columns, *schema.role_columns.values(), *time_likes(schema)])
    with TemporaryDirectory(dir=folder, prefix=".crossfield-") as scratch:
        path = Path(scratch) / "rows.parquet"
        with reading(dataset.name):
            engine.to_parquet(dataset.frame.select(name for name in wanted if name in known), path)
        yield replace(dataset, frame=pl.scan_parquet(path), files=(path,))


def _require(known: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in known:
            raise SchemaError(f"the data has no column {name!r}, which the schema names{nearest(name, known)}")


def _matrix(frame: pl.DataFrame, columns: Sequence[pl.Expr], dtype: type[np.generic]) -> np.ndarray:
    """Columns side by side, [n, number of columns], row-major and writable."""
    if not columns:
        return np.empty((len(frame), 0), dtype=dtype)
    named = [one.alias(str(index)) for index, one in enumerate(columns)]
    return frame.select(named).to_numpy(order="c", writable=True)


def _series(name: str, values: Sequence[Any] | pl.Series) -> pl.Series:
    """Python values as a column; numbers among texts become their canonical text."""
    if isinstance(values, pl.Series):
        return values.alias(name)
    values = [plain_value(one) for one in values]
    if any(isinstance(one, str) for one in values):
        values = [one if one is None or isinstance(one, str | list | tuple) else _text(one) for one in values]
    try:
        return pl.Series(name, values, strict=False)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise DataError(f"column {name!r} holds values that make no column: {error}") from None


def _text(value: Any) -> str | None:
    one = pl.Series([value])
    text: str | None = one.to_frame().select(canonical(pl.first(), one.dtype)).item()
    return text
