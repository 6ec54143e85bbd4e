"""What the encoder learns from the training rows: buckets, scales, vocabularies, and notes on what it did."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from crossfield.data.encoding import EncoderConfig, Rule
from crossfield.data.engines import Arrays, Engine, RowLocal
from crossfield.data.numeric import (
    Buckets,
    Moments,
    Scale,
    bucket_boundaries,
    number,
    quantile_boundaries,
    refuse_infinite,
    refuse_text,
)
from crossfield.data.text import BOOLEAN, NUMBER, TEXT
from crossfield.data.tokens import Meaning, Tokens, all_spell, is_list, meaning_of
from crossfield.data.vocabulary import MISSING, Vocabulary, hash_ids
from crossfield.errors import DataError
from crossfield.schema import Feature, FeatureSchema, Kind

MOMENT_ROWS = 131_072
"""Rows per step of the moments; fixed, because the rounding of a mean depends on it."""
_FIRST_ROWS = 1000


@dataclass(frozen=True)
class Fitted:
    """What was learned, features in schema order."""

    num_rows: int
    scales: tuple[Scale, ...]
    gaps: tuple[str, ...]
    """Dense features with missing training values."""
    buckets: Mapping[str, Buckets]
    vocabularies: Mapping[str, Vocabulary]
    notes: tuple[str, ...]
    meanings: Mapping[str, Meaning] = field(default_factory=dict)
    """Columns of ids that held booleans or numbers: later values are read as such."""


class Fit:
    """The passes over the training rows: exact quantiles, then moments, then one count per id feature."""

    def __init__(
        self,
        frame: pl.LazyFrame,
        schema: FeatureSchema,
        *,
        config: EncoderConfig,
        engine: Engine,
        spelled: Collection[str] = (),
    ) -> None:
        self._frame, self._schema, self._engine, self._config = frame, schema, engine, config
        self._spelled = spelled
        self._dtypes = frame.collect_schema()
        self._rules = {one.name: config.rule(one) for one in schema.features}

    def run(self) -> Fitted:
        """Learn everything; raises DataError where there are no rows, or where a number is text or infinite."""
        num_rows = self._engine.num_rows(self._frame)
        if not num_rows:
            raise DataError("there are no training rows")
        scales, missing = self._scales(num_rows)
        buckets = {one.name: self._buckets(one) for one in self._schema.features if self._is("buckets", one)}
        meanings = self._meanings()
        tokens = token_writer(self._schema, self._config, dtypes=self._dtypes, buckets=buckets, meanings=meanings)
        notes = [_dense_note(scale, count, num_rows) for scale, count in zip(scales, missing, strict=True) if count]
        vocabularies = {}
        for one in self._schema.features:
            if one.kind is not Kind.DENSE or one.name in buckets:
                vocabularies[one.name], counts = self._vocabulary(one, tokens)
                notes += _vocabulary_notes(one.name, vocabularies[one.name], counts)
        sizes = [f"{name} {len(one.tokens):,}" for name, one in vocabularies.items()]
        notes += [f"ids: {', '.join(sizes)}"] if sizes else []
        gaps = tuple(scale.name for scale, count in zip(scales, missing, strict=True) if count)
        return Fitted(num_rows, scales, gaps, buckets, vocabularies, tuple(notes), meanings)

    def _meanings(self) -> dict[str, Meaning]:
        names = [one.name for one in self._schema.features if one.kind is Kind.CATEGORICAL and self._is("none", one)]
        texts = [name for name in names if self._dtypes[name] in TEXT]
        booleans = self._that_spell(BOOLEAN, texts)
        # Without a schema the file's numbers would have come as numbers: it makes no other ids of them.
        numbers = self._that_spell(NUMBER, [name for name in texts if name in self._spelled and name not in booleans])
        typed = {name: meaning for name in names if (meaning := meaning_of(self._dtypes[name])) is not None}
        return {**dict.fromkeys(booleans, "boolean"), **dict.fromkeys(numbers, "number"), **typed}

    def _that_spell(self, pattern: str, names: list[str]) -> list[str]:
        """The columns of text whose every value has this form; most others show it in their first rows."""
        head = self._engine.batches(self._frame.select(names).head(_FIRST_ROWS), _FIRST_ROWS) if names else ()
        for rows in head:
            names = [name for name in names if all_spell(rows[name], pattern)]
        counts = {name: self._engine.counts(self._frame.select(name), lambda rows: rows) for name in names}
        return [name for name, one in counts.items() if all_spell(one["value"], pattern)]

    def _is(self, transform: str, feature: Feature) -> bool:
        return self._rules[feature.name].transform == transform

    def _number_counts(self, name: str) -> pl.DataFrame:
        dtype = self._dtypes[name]
        return self._engine.counts(self._frame, lambda rows: rows.select(number(name, dtype)))

    def _buckets(self, feature: Feature) -> Buckets:
        rule = self._rules[feature.name]
        return Buckets(rule.boundaries or bucket_boundaries(self._number_counts(feature.name), rule.num_quantiles))

    def _scales(self, num_rows: int) -> tuple[tuple[Scale, ...], list[int]]:
        """The dense features, and how many training values each misses."""
        shapes = [self._shape(one.name) for one in self._schema.features if is_dense(one, self._rules[one.name])]
        moments = self._moments(shapes)
        means, stds = moments.mean.tolist(), moments.std.tolist()
        scales = tuple(replace(one, mean=mean, std=std) for one, mean, std in zip(shapes, means, stds, strict=True))
        return scales, [num_rows - int(count) for count in moments.count]

    def _shape(self, name: str) -> Scale:
        rule = self._rules[name]
        if rule.transform != "quantile":
            return Scale(name, rule.transform)
        return Scale(name, rule.transform, quantile_boundaries(self._number_counts(name), rule.num_quantiles))

    def _moments(self, shapes: list[Scale]) -> Moments:
        """Moments of the transformed numbers, in one pass that also refuses what is no finite number."""
        numeric = [one.name for one in self._schema.features if is_number(one, self._rules[one.name])]
        names = [one.name for one in shapes]
        columns = [one.shape(number(one.name, self._dtypes[one.name])).alias(one.name) for one in shapes]

        def moments_of(rows: pl.DataFrame, first_row: int) -> Arrays:
            refuse_text(rows, numeric, first_row)
            values = rows.select(columns).to_numpy() if columns else np.empty((len(rows), 0))
            refuse_infinite(values, rows, names=names, first_row=first_row)
            return vars(Moments.of(values))

        moments = Moments.of(np.empty((0, len(shapes))))
        for one in self._engine.blocks(self._frame.select(numeric), MOMENT_ROWS, moments_of) if numeric else ():
            moments = moments.merge(Moments(**one))
        return moments

    def _vocabulary(self, feature: Feature, tokens: Tokens) -> tuple[Vocabulary, pl.DataFrame]:
        """The vocabulary of a feature, and the counts it was made of."""
        rule = self._rules[feature.name]
        counts = self._engine.counts(self._frame, values_of(self._schema, feature, tokens, rule=rule))
        if rule.hash_buckets is not None:
            return Vocabulary.hashed(counts, rule.hash_buckets), counts
        return Vocabulary.of(counts, min_count=rule.min_count, max_size=rule.max_size), counts


def values_of(schema: FeatureSchema, feature: Feature, tokens: Tokens, *, rule: Rule) -> RowLocal:
    """What makes the tokens of an id feature of rows, one per value, or their ids where they are hashed."""

    def values(rows: pl.LazyFrame) -> pl.LazyFrame:
        if is_list(schema, feature):
            found = tokens.long(rows, feature).select("token")
        else:
            found = rows.select(tokens.of(feature).alias("token"))
        return found if rule.hash_buckets is None else found.select(hash_ids(pl.col("token"), rule.hash_buckets))

    return values


def is_number(feature: Feature, rule: Rule) -> bool:
    """Whether a feature's column is read as numbers."""
    return feature.kind is Kind.DENSE or (feature.kind is Kind.CATEGORICAL and rule.transform != "none")


def is_dense(feature: Feature, rule: Rule) -> bool:
    """Whether a feature reaches the model as a number."""
    return feature.kind is Kind.DENSE and rule.transform != "buckets"


def token_writer(
    schema: FeatureSchema,
    config: EncoderConfig,
    *,
    dtypes: Mapping[str, pl.DataType],
    buckets: Mapping[str, Buckets],
    meanings: Mapping[str, Meaning],
) -> Tokens:
    """What writes the tokens of a frame whose columns have the given types."""
    categorical = [one for one in schema.features if one.kind is Kind.CATEGORICAL]
    squared = frozenset(one.name for one in categorical if config.rule(one).transform == "squared_log")
    return Tokens(schema, dtypes, buckets, squared, config.max_length, meanings)


def _dense_note(scale: Scale, missing: int, num_rows: int) -> str:
    return (
        f"{scale.name}: {_share(missing, num_rows)} of the training rows have no value; "
        f"a missing value becomes the training mean ({scale.missing:.4g} after {scale.transform})"
    )


def _vocabulary_notes(name: str, vocabulary: Vocabulary, counts: pl.DataFrame) -> list[str]:
    is_missing = pl.col("value").is_null() if vocabulary.buckets is None else pl.col("value") == MISSING
    known = counts.filter(~is_missing)
    total, values, kept = (int(one.sum()) for one in (counts["count"], known["count"], vocabulary.counts))
    cut = len(known) - len(vocabulary.tokens) if vocabulary.buckets is None else 0
    notes = [f"{name}: hashed into {vocabulary.buckets:,} ids"] if vocabulary.buckets is not None else []
    notes += [
        f"{name}: the rarest ids ({cut:,}), {_share(values - kept, total)} of the values, became the unseen id"
    ] * (cut > 0)
    return notes + [f"{name}: {_share(total - values, total)} of the rows have no value: id 0"] * (total > values)


def _share(count: int, total: int) -> str:
    return f"{count:,} ({100 * count / total:.1f} %)"
