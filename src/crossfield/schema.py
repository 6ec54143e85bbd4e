"""What the columns mean (FeatureSchema, before encoding) and what the model sees (ModelSchema, after it)."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from crossfield.errors import SchemaError, nearest

_YES = frozenset({"1", "true", "yes"})


class Kind(StrEnum):
    """What a feature is."""

    DENSE = "dense"
    """A number whose size means something."""
    CATEGORICAL = "categorical"
    """One id per row."""
    MULTI = "multi"
    """Several ids per row, order without meaning: genres, tags."""
    SEQUENCE = "sequence"
    """Several ids per row, oldest first: a history."""
    CROSS = "cross"
    """The AND of two or more other features."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: a column, or a cross of columns."""

    name: str
    kind: Kind
    reason: str = ""
    """Why the kind was guessed, or that it was given; not part of the fingerprint."""
    separator: str | None = None
    """What splits a string column into its values; None where the column holds lists."""
    of: tuple[str, ...] = ()
    """The features a cross is made of."""
    embed: bool = False
    """Whether a cross is embedded as well; by default it feeds the wide part and logistic regression only."""


@dataclass(frozen=True, slots=True)
class Label:
    """Which rows are positives: ``column OPERATOR value``."""

    column: str
    operator: str = "=="
    """One of ``==``, ``>=``, ``>``, ``<=``, ``<``."""
    value: str | int | float | None = None  # an int apart: what is read back must not become 4.0
    """What a positive is compared with; None means the column already holds 0 and 1."""

    def __str__(self) -> str:
        return self.column if self.value is None else f"{self.column}{self.operator}{self.value}"

    def agrees_with(self, other: "Label") -> bool:
        """Whether both call the same rows positives: a plain 1 is written true or yes in another file."""
        return self._meaning == other._meaning

    @property
    def _meaning(self) -> tuple[str, str, str | None]:
        is_plain = self.value is None or (self.operator == "==" and str(self.value).lower() in _YES)
        return self.column, self.operator, None if is_plain else str(self.value)


@dataclass(frozen=True)
class FeatureSchema:
    """The meaning of every column: features in model order, and roles. Knows no data, no files, no sizes."""

    features: tuple[Feature, ...]
    label: Label | None = None
    user: str | None = None
    item: str | None = None
    time: str | None = None
    weight: str | None = None
    ignored: Mapping[str, str] = field(default_factory=dict)
    """Column -> why it is not used."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The raw columns a prediction needs, in order; a cross has none of its own."""
        return tuple(one.name for one in self.features if one.kind is not Kind.CROSS)

    @property
    def role_columns(self) -> dict[str, str]:
        """Role -> column, for the roles that are set."""
        roles = {"user": self.user, "item": self.item, "time": self.time, "weight": self.weight}
        named = {role: column for role, column in roles.items() if column is not None}
        return {"label": self.label.column, **named} if self.label else named

    def __getitem__(self, name: str) -> Feature:
        for one in self.features:
            if one.name == name:
                return one
        raise SchemaError(f"no feature {name!r}{nearest(name, [one.name for one in self.features])}")

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the features' names, kinds and order, and of the roles; reasons do not count."""
        plain = [{k: v for k, v in asdict(one).items() if k != "reason"} for one in self.features]
        text = json.dumps([plain, self.role_columns, str(self.label)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def with_features(self, features: Iterable[Feature]) -> Self:
        """The same roles with other features."""
        return replace(self, features=tuple(features))

    def to_json(self) -> dict[str, Any]:
        """Plain values for schema.json, with the fingerprint."""
        return {**asdict(self), "ignored": dict(self.ignored), "fingerprint": self.fingerprint}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The schema that ``to_json`` wrote.

        Raises SchemaError where a key is unknown or missing, a kind does not exist, or the fingerprint differs.
        """
        try:
            given = dict(values)
            rest = {key: value for key, value in given.items() if key not in ("features", "label", "fingerprint")}
            features = tuple(map(_feature, values["features"]))
            label = Label(**values["label"]) if values.get("label") else None
            schema = cls(features=features, label=label, **rest)
            _FEATURE_SCHEMA.validate_python(asdict(schema))
        except ValidationError as error:
            first = error.errors()[0]
            where, said = ".".join(map(str, first["loc"])), first["msg"]
            raise SchemaError(f"not a schema: {where} is {first['input']!r}: {said[:1].lower()}{said[1:]}") from None
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise SchemaError(f"not a schema: {said}; crossfield schema ROWS --out FILE writes one") from None
        if given.get("fingerprint", schema.fingerprint) != schema.fingerprint:
            raise SchemaError("the schema was changed after its fingerprint was taken; remove the key to accept it")
        return schema


def _feature(values: Mapping[str, Any]) -> Feature:
    """A feature from plain values; raises SchemaError naming its column where a key or its kind does not exist."""
    name, known, kinds = values["name"], [one.name for one in fields(Feature)], [one.value for one in Kind]
    if odd := next((key for key in values if key not in known), None):
        raise SchemaError(f"column {name!r} has an unknown key {odd!r}{nearest(odd, known)}")
    if (kind := values["kind"]) not in kinds:
        raise SchemaError(f"column {name!r} cannot be of kind {kind!r}; known: {', '.join(kinds)}")
    return Feature(**{**values, "kind": Kind(kind), "of": tuple(values.get("of", ()))})


@dataclass(frozen=True, slots=True)
class Field:
    """One id field as a model sees it."""

    name: str
    num_rows: int
    """Rows of its embedding table, missing (0) and unseen (1) included."""
    kind: Kind = Kind.CATEGORICAL
    embed: bool = True
    """False for crosses that only feed a wide part or logistic regression."""


@dataclass(frozen=True)
class ModelSchema:
    """Tensor order and table sizes, made by ``Encoder.fit``: all a model may know about the data."""

    dense: tuple[str, ...] = ()
    categorical: tuple[Field, ...] = ()
    sequences: tuple[Field, ...] = ()
    user: str | None = None
    """Name of the categorical field that holds the user."""
    item: str | None = None
    """Name of the categorical field that holds the item."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """All id fields: categorical, then sequences."""
        return self.categorical + self.sequences

    @property
    def embedded(self) -> tuple[Field, ...]:
        """The id fields that get an embedding."""
        return tuple(one for one in self.fields if one.embed)

    def position(self, role: str) -> int:
        """Column of the user or item id in ``Batch.categorical``.

        Raises SchemaError where the role is not set, or its column holds several ids per row.
        """
        name = {"user": self.user, "item": self.item}[role]
        if name is None:
            raise SchemaError(f"this model needs the {role}: name its column with {role}=... or --{role} COLUMN")
        for position, one in enumerate(self.categorical):
            if one.name == name:
                return position
        raise SchemaError(f"the {role} column {name!r} holds several ids per row; name one that holds a single id")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The schema that ``to_json`` wrote; raises SchemaError where it is not one."""

        def read(fields: Sequence[Mapping[str, Any]]) -> tuple[Field, ...]:
            return tuple(Field(**{**one, "kind": Kind(one["kind"])}) for one in fields)

        try:
            schema = cls(
                dense=tuple(values["dense"]),
                categorical=read(values["categorical"]),
                sequences=read(values["sequences"]),
                user=values["user"],
                item=values["item"],
            )
            _MODEL_SCHEMA.validate_python(asdict(schema))
            return schema
        except (TypeError, KeyError, ValueError) as error:
            raise SchemaError(f"not a model schema: {error}") from None


# What checks that values from a file have the types they must have.
_FEATURE_SCHEMA, _MODEL_SCHEMA = TypeAdapter(FeatureSchema), TypeAdapter(ModelSchema)
