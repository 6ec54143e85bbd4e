"""Settings under which a run would need less memory: of each kind the mildest that is enough."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from crossfield.data.encode import Encoder
from crossfield.data.vocabulary import FIRST
from crossfield.errors import ConfigError, SchemaError
from crossfield.footprint import resized
from crossfield.recipe import Recipe
from crossfield.schema import Field, ModelSchema

Change = tuple[str, Recipe, ModelSchema]
"""A setting, and the recipe and schema that come of it."""
Needs = Callable[[Recipe, ModelSchema], int]
"""Bytes that a recipe needs on a schema."""

_MIN_COUNTS = (2, 5, 10, 20)
_HASHED_SHARES = (10, 100)
_LEAST_WIDTH, _LEAST_BATCH = 2, 64
_WORTH = 0.9
"""What saves less than a tenth is not worth a word."""


@dataclass(frozen=True)
class Saving:
    """A setting, and the bytes that the run would need under it."""

    setting: str
    needed: int


def savings(recipe: Recipe, encoder: Encoder, *, needs: Needs, room: int) -> tuple[Saving, ...]:
    """Settings that save a tenth or more, the best first; one that is not enough is the strongest of its kind."""
    schema = encoder.model_schema
    kinds = (
        _tables(recipe, schema),
        _optimizer(recipe, schema),
        _widths(recipe, schema),
        _min_counts(recipe, encoder),
        _hashing(recipe, encoder),
        _batches(recipe, schema),
    )
    found = [one for kind in kinds if (one := _mildest(kind, needs=needs, room=room)) is not None]
    most = _WORTH * needs(recipe, schema)
    return tuple(sorted((one for one in found if one.needed <= most), key=lambda one: one.needed))


def _mildest(changes: Iterator[Change], *, needs: Needs, room: int) -> Saving | None:
    found = None
    with suppress(ConfigError, SchemaError):  # some models cannot have every width, or tables on disk
        for setting, recipe, schema in changes:
            found = Saving(setting, needs(recipe, schema))
            if found.needed <= room:
                break
    return found


def _tables(recipe: Recipe, schema: ModelSchema) -> Iterator[Change]:
    if recipe.train.tables == "memory":
        yield _set(recipe, "train.tables", "disk", schema=schema)


def _optimizer(recipe: Recipe, schema: ModelSchema) -> Iterator[Change]:
    if recipe.train.optimizer in ("lazy_adam", "adagrad") and recipe.train.table_state == "fp32":
        yield _set(recipe, "train.table_state", "bf16", schema=schema)
    if recipe.train.optimizer != "rowwise_adagrad":
        yield _set(recipe, "train.optimizer", "rowwise_adagrad", schema=schema)


def _widths(recipe: Recipe, schema: ModelSchema) -> Iterator[Change]:
    width = getattr(recipe.model, "embedding_dim", 0)
    while (width := width // 2) >= _LEAST_WIDTH:
        yield _set(recipe, "model.embedding_dim", width, schema=schema)


def _batches(recipe: Recipe, schema: ModelSchema) -> Iterator[Change]:
    size = recipe.train.batch_size
    while (size := size // 2) >= _LEAST_BATCH:
        yield _set(recipe, "train.batch_size", size, schema=schema)


def _set(recipe: Recipe, key: str, value: int | str, *, schema: ModelSchema) -> Change:
    return f"{key}={value}", recipe.override({key: value}), schema


def _min_counts(recipe: Recipe, encoder: Encoder) -> Iterator[Change]:
    for least in _MIN_COUNTS:
        if least > recipe.encoder.min_count:

            def cut(field: Field, least: int = least) -> int:
                kept = int((encoder.counts(field.name) >= least).sum())
                return field.num_rows if is_hashed(encoder, field) else FIRST + kept

            yield f"encoder.min_count={least}", recipe, resized(encoder.model_schema, cut)


def _hashing(recipe: Recipe, encoder: Encoder) -> Iterator[Change]:
    largest = max(encoder.model_schema.fields, key=lambda one: one.num_rows, default=None)
    if largest is None or is_hashed(encoder, largest):
        return
    for share in _HASHED_SHARES:
        buckets = largest.num_rows // share

        def cut(field: Field, buckets: int = buckets) -> int:
            return FIRST + buckets if field == largest else field.num_rows

        if buckets:
            setting = f"encoder.features.{largest.name}.hash_buckets={buckets}"
            yield setting, recipe, resized(encoder.model_schema, cut)


def is_hashed(encoder: Encoder, field: Field) -> bool:
    """Whether the ids of a field are hashes."""
    return encoder.fitted.vocabularies[field.name].buckets is not None
