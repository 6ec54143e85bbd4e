"""From columns to a schema: what the user said, and for the rest a guess with its reason."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from crossfield.data.guess import Guess, find_separator, guess
from crossfield.data.source import Source, reading
from crossfield.data.text import TEXT
from crossfield.errors import ConfigError, SchemaError, nearest
from crossfield.schema import Feature, FeatureSchema, Kind, Label

HEAD_ROWS = 10_000
STRIDED_ROWS = 40_000
"""The sample: the first rows, and this many spread evenly over all of them."""
SEVERAL = (Kind.MULTI, Kind.SEQUENCE)
_ROW = "crossfield row"
_CONDITION = r"^(.+?)\s*(==|>=|<=|>|<)\s*(.+)$"
_ANY_CONDITION = r"^(.+?)\s*([=!<>~]+)\s*(.*)$"
_YES, _NO = frozenset({"true", "yes"}), frozenset({"false", "no"})
_WANTED = {None: _YES, "1": _YES, "1.0": _YES, "0": _NO, "0.0": _NO}
"""What a label's value means where the column holds texts of these two."""


def infer_schema(
    source: Source,
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
) -> FeatureSchema:
    """The schema of a source's columns: roles and kinds as given, the rest guessed from a sample of the rows.

    ``label`` is a column or a condition on one (``rating>=4``), ``positive`` the label value that means yes. User and
    item are features too; label, time and weight are not. Raises SchemaError naming a column that does not exist and
    the nearest one that does, ConfigError where two arguments contradict each other.
    """
    with reading(source.name):
        dtypes = source.frame.collect_schema()
    parsed = parse_label(label, positive, dtypes)
    roles = {"label": parsed.column if parsed else None, "user": user, "item": item, "time": time, "weight": weight}
    check_roles(roles, dtypes, ignore=ignore)
    said = _state_features(roles, kinds or {}, separators or {}, dtypes)
    # A recipe's kinds may speak of a column that a flag then ignores.
    stated = {name: one for name, one in said.items() if name not in ignore}
    used = {*_no_features(roles), *ignore, *stated}
    guesses = _look_at(source, [name for name in dtypes if name not in used])
    features = [
        stated[name] if name in stated else _to_feature(name, guesses[name])
        for name in dtypes
        if name in stated or (name in guesses and guesses[name].kind is not None)
    ]
    ignored = {name: one.reason for name, one in guesses.items() if one.kind is None}
    if not features:
        raise SchemaError(f"{source.name} has no column to learn from{_why_none(ignored)}; give one a kind")
    schema = FeatureSchema(
        features=tuple(features),
        label=parsed,
        user=user,
        item=item,
        time=time,
        weight=weight,
        ignored={**dict.fromkeys(ignore, "given"), **ignored},
    )
    return complete_schema(source, edit_schema(schema, crosses=crosses, embed_crosses=embed_crosses))


def edit_schema(
    schema: FeatureSchema,
    *,
    kinds: Mapping[str, str] | None = None,
    separators: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    crosses: Sequence[Sequence[str]] = (),
    embed_crosses: bool = False,
) -> FeatureSchema:
    """A schema with other kinds (an ignored column comes back), with columns left out, or with crosses added.

    Raises SchemaError where a column or a part of a cross is none of the schema's, or a cross needs what is left out;
    ConfigError where a column would have two uses.
    """
    roles = schema.role_columns
    features = {one.name: one for one in schema.features if one.name not in _no_features(roles)}
    ignored = dict(schema.ignored)
    known = list(dict.fromkeys([*features, *ignored, *roles.values()]))
    check_roles(roles, known, ignore=ignore)
    for name, one in _state_features(roles, kinds or {}, separators or {}, known).items():
        before = features.get(name, one)
        keeps = one.separator is None and one.kind in SEVERAL
        features[name] = replace(one, separator=before.separator) if keeps else one
        ignored.pop(name, None)
    for name in ignore:
        features.pop(name, None)
        ignored[name] = "given"
    for of in crosses:
        cross = _cross(of)
        features[cross.name] = replace(cross, embed=embed_crosses)
    _check_parts(features, ignored)
    return replace(schema, features=tuple(features.values()), ignored=ignored)


def complete_schema(source: Source, schema: FeatureSchema) -> FeatureSchema:
    """A schema with what only the rows tell: what separates several values, and which text of a label means yes.

    Raises SchemaError where nothing seems to separate them.
    """
    with reading(source.name):
        dtypes = source.frame.collect_schema()
    features = _with_separators(source, schema.features, dtypes)
    return replace(schema, features=features, label=_with_yes(source, schema.label, dtypes))


def _why_none(ignored: Mapping[str, str]) -> str:
    return "".join(f"; {name!r}: {reason}" for name, reason in ignored.items())


def check_column(name: str, columns: Iterable[str]) -> None:
    """Raise SchemaError naming the nearest column where ``name`` is none."""
    known = list(columns)
    if name not in known:
        raise SchemaError(f"no column {name!r}{nearest(name, known)}")


def check_roles(roles: Mapping[str, str | None], columns: Iterable[str], *, ignore: Collection[str] = ()) -> None:
    """Check that the roles' and the ignored columns exist and that no column has two uses.

    Raises SchemaError for a column that does not exist, ConfigError for one with two uses.
    """
    known = list(columns)
    for column in (*filter(None, roles.values()), *ignore):
        check_column(column, known)
    uses: dict[str, str] = dict.fromkeys(ignore, "ignored")
    for role, name in roles.items():
        if name in uses:
            raise ConfigError(f"column {name!r} is {uses[name]} and also named as the {role}; say one of the two")
        if name is not None:
            uses[name] = f"the {role}"


def to_kind(name: str, kind: str) -> Kind:
    """The kind a user named for a column; raises ConfigError with the kinds there are."""
    known = [one.value for one in Kind if one is not Kind.CROSS]
    if kind not in known:
        raise ConfigError(f"column {name!r} cannot be of kind {str(kind)!r}{nearest(str(kind), known)}")
    return Kind(kind)


def parse_label(label: str | None, positive: str | float | None, dtypes: Mapping[str, pl.DataType]) -> Label | None:
    """The label a user means: a column, a condition such as ``rating>=4``, or a column and its positive value.

    Raises SchemaError where there is no such column, ConfigError where the value cannot be compared with it.
    """
    if label is None:
        if positive is not None:
            raise ConfigError(f"positive={positive!r} needs to know the label column; name it with label")
        return None
    condition = re.match(_CONDITION, label)
    if label in dtypes or condition is None:
        _check_label_column(label, label, dtypes)
        return Label(label) if positive is None else Label(label, "==", _comparable(label, positive, dtypes[label]))
    column, operator, text = condition.groups()
    _check_label_column(column, label, dtypes)
    if positive is not None:
        raise ConfigError(f"label={label!r} and positive={positive!r} both say which rows are positive; say one")
    if operator == "==":
        return Label(column, operator, _comparable(column, text.strip("'\""), dtypes[column]))
    return Label(column, operator, _to_number(column, text))


def _check_label_column(column: str, label: str, dtypes: Mapping[str, pl.DataType]) -> None:
    """As ``check_column``; raises ConfigError where a label compares a column in a way that there is not."""
    likely = re.match(_ANY_CONDITION, label)
    if column not in dtypes and likely is not None and likely[1] in dtypes:
        compared = f"compares {likely[1]!r} by {likely[2]!r} with {likely[3]!r}"
        raise ConfigError(f"label={label!r} {compared}; write ==, >=, >, <= or < and a value after it")
    check_column(column, dtypes)


def _comparable(column: str, value: str | float, dtype: pl.DataType) -> str | float:
    if dtype.is_numeric():
        return _to_number(column, value)
    if isinstance(value, bool) or dtype == pl.Boolean:
        text = str(value).lower()
        return {"1": "true", "1.0": "true", "0": "false", "0.0": "false"}.get(text, text)
    return f"{value:.15g}" if isinstance(value, int | float) else value


def _to_number(column: str, value: str | float) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ConfigError(f"label column {column!r} cannot be compared with {value!r}, which is no number") from None
    return int(number) if number.is_integer() else number


def _no_features(roles: Mapping[str, str | None]) -> set[str | None]:
    """What a model must not learn from: the label itself, and columns that only weigh or order the rows."""
    return {roles.get(role) for role in ("label", "time", "weight")}


def _state_features(
    roles: Mapping[str, str | None], kinds: Mapping[str, str], separators: Mapping[str, str], columns: Iterable[str]
) -> dict[str, Feature]:
    """The features whose kind needs no guess: those named with a kind or a separator, the user and the item."""
    told: dict[str, object] = {"kinds": kinds, "separators": separators}
    for what, some in told.items():
        if not isinstance(some, Mapping):
            raise ConfigError(f"{what} must name columns and say something of each, as {{'COLUMN': ...}}, not {some!r}")
    for name in (*kinds, *separators):
        check_column(name, columns)
        if name in _no_features(roles):
            raise ConfigError(f"column {name!r} has a role (label, time or weight), so it cannot be a feature too")
    stated = {name: Feature(name, to_kind(name, kind), "given") for name, kind in kinds.items()}
    for name, separator in separators.items():
        kind = stated[name].kind if name in stated else Kind.MULTI
        if kind not in SEVERAL:
            raise ConfigError(f"column {name!r} has a separator but is {kind}; only multi and sequence are split")
        stated[name] = Feature(name, kind, "given", separator=separator)
    for role in ("user", "item"):
        column = roles.get(role)
        if column in stated and stated[column].kind is not Kind.CATEGORICAL:
            raise ConfigError(
                f"column {column!r} is the {role}, so it is categorical and cannot be {stated[column].kind}"
            )
        if column is not None:
            stated[column] = Feature(column, Kind.CATEGORICAL, f"given: the {role}")
    return stated


def _look_at(source: Source, names: list[str]) -> dict[str, Guess]:
    """A guess for every column named, in that order."""
    if not names:
        return {}
    sample, whole = take_sample(source, names)
    guesses = {name: guess(sample[name], whole=whole) for name in names}
    doubtful = [name for name, one in guesses.items() if one.is_unique and not whole]
    for name in _that_repeat(source, doubtful):
        guesses[name] = Guess(Kind.CATEGORICAL, f"{sample[name].n_unique():,} or more distinct, rarely repeated")
    return guesses


def take_sample(source: Source, names: Sequence[str]) -> tuple[pl.DataFrame, bool]:
    """The first rows and evenly spread ones, in order, and whether these are all rows there are."""
    frame = source.frame.select(names)
    with reading(source.name):
        num_rows = frame.select(pl.len()).collect(engine="streaming").item()
        if num_rows <= HEAD_ROWS + STRIDED_ROWS:
            return frame.collect(engine="streaming"), True
        row = pl.col(_ROW)
        picked = (row < HEAD_ROWS) | (row % -(-num_rows // STRIDED_ROWS) == 0)
        return frame.with_row_index(_ROW).filter(picked).drop(_ROW).collect(engine="streaming"), False


def _that_repeat(source: Source, names: list[str]) -> list[str]:
    """Columns that looked unique in the sample and are not: ten million users can look so in 50,000 rows."""
    if not names:
        return []
    tests = [(pl.col(name).approx_n_unique() < 0.9 * pl.col(name).count()).alias(name) for name in names]
    with reading(source.name):
        found = source.frame.select(tests).collect(engine="streaming").row(0, named=True)
    return [name for name in names if found[name]]


def _to_feature(name: str, found: Guess) -> Feature:
    assert found.kind is not None
    return Feature(name, found.kind, found.reason, separator=found.separator)


def _with_separators(
    source: Source, features: Sequence[Feature], dtypes: Mapping[str, pl.DataType]
) -> tuple[Feature, ...]:
    """Find what splits text columns that were said to hold several values.

    Raises SchemaError where nothing does.
    """
    names = [
        one.name for one in features if one.kind in SEVERAL and one.separator is None and dtypes.get(one.name) in TEXT
    ]
    if not names:
        return tuple(features)
    sample, _ = take_sample(source, names)
    found = {name: find_separator(sample[name].cast(pl.String)) for name in names}
    for name, separator in found.items():
        if separator is None:
            raise SchemaError(f"column {name!r} is text and nothing seems to split it; name what does with separators")
    return tuple(replace(one, separator=found.get(one.name, one.separator)) for one in features)


def _with_yes(source: Source, label: Label | None, dtypes: Mapping[str, pl.DataType]) -> Label | None:
    """A label that holds True and False, or yes and no, as text means the obvious, and so does a 1 or 0 beside it."""
    if label is None or label.operator != "==" or label.value not in _WANTED or dtypes.get(label.column) != pl.String:
        return label
    values: list[Any] = take_sample(source, [label.column])[0].to_series().drop_nulls().unique().to_list()
    found = [value for value in values if value.lower() in _WANTED[label.value]]
    if len(found) == 1 and all(value.lower() in _YES | _NO for value in values):
        return Label(label.column, "==", found[0])
    return label


def _cross(of: Sequence[str]) -> Feature:
    if isinstance(of, str) or len(set(of)) < 2:
        raise ConfigError(f"a cross needs two or more different features, not {of!r}")
    return Feature(" x ".join(of), Kind.CROSS, "given", of=tuple(of))


def _check_parts(features: Mapping[str, Feature], ignored: Mapping[str, str]) -> None:
    plain = [name for name, one in features.items() if one.kind is not Kind.CROSS]
    for cross in features.values():
        for part in cross.of:
            if part in ignored:
                raise SchemaError(
                    f"cross {cross.name!r} needs {part!r}, which is left out ({ignored[part]}); give it a kind"
                )
            if part not in plain:
                raise SchemaError(f"cross {cross.name!r}: no feature {part!r}{nearest(part, plain)}")
