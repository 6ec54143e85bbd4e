import json
from dataclasses import replace

import pytest

from crossfield.errors import SchemaError
from crossfield.schema import Feature, FeatureSchema, Field, Kind, Label, ModelSchema

SCHEMA = FeatureSchema(
    features=(
        Feature("age", Kind.DENSE, "a number"),
        Feature("film", Kind.CATEGORICAL),
        Feature("genres", Kind.MULTI, separator="|"),
        Feature("film AND genres", Kind.CROSS, of=("film", "genres")),
    ),
    label=Label("rating", ">=", 4),
    item="film",
    time="ts",
    ignored={"note": "constant"},
)
MODEL = ModelSchema(
    dense=("age",),
    categorical=(Field("user", 5), Field("film", 9)),
    sequences=(Field("genres", 4, Kind.MULTI), Field("film AND genres", 20, Kind.CROSS, embed=False)),
    item="film",
)


def test_json_round_trips() -> None:
    assert FeatureSchema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA
    assert ModelSchema.from_json(json.loads(json.dumps(MODEL.to_json()))) == MODEL


def test_a_prediction_needs_the_features_columns_only() -> None:
    assert SCHEMA.columns == ("age", "film", "genres")
    assert SCHEMA.role_columns == {"label": "rating", "item": "film", "time": "ts"}


def test_fingerprint_sees_kinds_and_order_but_not_reasons() -> None:
    first, *rest = SCHEMA.features
    assert SCHEMA.with_features([replace(first, reason="other"), *rest]).fingerprint == SCHEMA.fingerprint
    assert SCHEMA.with_features([replace(first, kind=Kind.CATEGORICAL), *rest]).fingerprint != SCHEMA.fingerprint
    assert SCHEMA.with_features([*rest, first]).fingerprint != SCHEMA.fingerprint
    assert replace(SCHEMA, label=Label("rating", ">=", 5)).fingerprint != SCHEMA.fingerprint


def test_an_edited_file_is_noticed() -> None:
    values = SCHEMA.to_json()
    values["features"][0]["kind"] = "categorical"
    with pytest.raises(SchemaError, match="changed after its fingerprint"):
        FeatureSchema.from_json(values)
    del values["fingerprint"]
    assert FeatureSchema.from_json(values)["age"].kind is Kind.CATEGORICAL


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "not a schema: 'features' is missing; crossfield schema ROWS --out FILE writes one"),
        ({"features": ["age"]}, "not a schema: "),
        ({"features": [], "x": 1}, "not a schema: .*'x'"),
        ({"features": [], "user": 7}, "not a schema: user is 7: input should be a valid string$"),
        (
            {"features": [{"name": "age", "kind": "numeric"}]},
            "column 'age' cannot be of kind 'numeric'; known: dense, categorical, multi, sequence, cross$",
        ),
        ({"features": [{"name": "age", "kind": ["dense"]}]}, r"column 'age' cannot be of kind \['dense'\]"),
        ({"features": [{"name": "age", "kid": "dense"}]}, "column 'age' has an unknown key 'kid'; did you mean 'kind'"),
    ],
)
def test_what_is_not_a_schema_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        FeatureSchema.from_json(values)
    with pytest.raises(SchemaError, match="not a model schema"):
        ModelSchema.from_json(values)


def test_unknown_feature_is_named_with_the_nearest() -> None:
    with pytest.raises(SchemaError, match="no feature 'genre'; did you mean 'genres'"):
        SCHEMA["genre"]


def test_positions_and_embedded_fields() -> None:
    assert MODEL.position("item") == 1
    with pytest.raises(SchemaError, match="needs the user: name its column"):
        MODEL.position("user")
    with pytest.raises(SchemaError, match="holds several ids per row"):
        replace(MODEL, user="genres").position("user")
    assert [one.name for one in MODEL.embedded] == ["user", "film", "genres"]
    assert str(SCHEMA.label) == "rating>=4"


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        (Label("y"), Label("y", "==", "True"), True),
        (Label("y", "==", 1), Label("y", "==", "yes"), True),
        (Label("y", "==", 4), Label("y", "==", "4"), True),
        (Label("y", ">=", 1), Label("y"), False),
        (Label("y", ">=", 4), Label("y", ">=", 5), False),
        (Label("y", "==", "a"), Label("y", "==", "A"), False),
        (Label("y"), Label("z"), False),
    ],
)
def test_labels_that_agree_on_the_positives(one: Label, other: Label, agree: bool) -> None:
    assert one.agrees_with(other) is other.agrees_with(one) is agree
