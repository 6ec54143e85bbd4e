"""Hand-made tables for the tests of the encoder and what stands on it."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from crossfield.data.dataset import Dataset
from crossfield.data.encode import Encoder, EncoderConfig
from crossfield.schema import Feature, FeatureSchema, Kind

Rows = Mapping[str, Sequence[Any]]


def dataset(rows: pl.DataFrame | Rows, features: Sequence[Feature], **roles: Any) -> Dataset:
    return Dataset(pl.DataFrame(rows).lazy(), FeatureSchema(tuple(features), **roles), "table")


def fitted(data: Dataset, **config: Any) -> Encoder:
    return Encoder.fit(data, EncoderConfig.of(config))


def categorical(*names: str) -> list[Feature]:
    return [Feature(name, Kind.CATEGORICAL) for name in names]


def dense(*names: str) -> list[Feature]:
    return [Feature(name, Kind.DENSE) for name in names]


def cross(*parts: str, embed: bool = False) -> Feature:
    return Feature(" x ".join(parts), Kind.CROSS, of=parts, embed=embed)
