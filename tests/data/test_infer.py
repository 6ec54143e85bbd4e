from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crossfield.data.infer import HEAD_ROWS, STRIDED_ROWS, edit_schema, infer_schema, parse_label, take_sample
from crossfield.data.options import DataConfig
from crossfield.data.public import data_folder
from crossfield.data.source import Layout, Source, open_source
from crossfield.errors import ConfigError, SchemaError
from crossfield.schema import Feature, FeatureSchema, Kind, Label

ROWS = {
    "user": [1, 2, 1, 3],
    "film": ["a", "b", "c", "a"],
    "genres": ["Action|Comedy", "Comedy", "Action", "Action|Comedy"],
    "price": [1.5, 2.0, 3.5, 1.0],
    "rating": [5, 3, 4, 1],
    "seconds": [10, 20, 30, 40],
    "nothing": [None, None, None, None],
}


def source() -> Source:
    return open_source(pl.DataFrame(ROWS))


def kinds_of(schema: FeatureSchema) -> dict[str, str]:
    return {one.name: str(one.kind) for one in schema.features}


def test_roles_and_guesses_together() -> None:
    schema = infer_schema(source(), label="rating>=4", user="user", item="film", time="seconds")
    assert schema.features == (
        Feature("user", Kind.CATEGORICAL, "given: the user"),
        Feature("film", Kind.CATEGORICAL, "given: the item"),
        Feature("genres", Kind.MULTI, "split at '|' in 50% of rows", separator="|"),
        Feature("price", Kind.DENSE, "decimal number"),
    )
    assert schema.role_columns == {"label": "rating", "user": "user", "item": "film", "time": "seconds"}
    assert schema.ignored == {"nothing": "no value in every row"}


def test_what_is_given_is_not_guessed() -> None:
    schema = infer_schema(
        source(),
        kinds={"user": "dense", "nothing": "categorical", "film": Kind.SEQUENCE},
        separators={"film": "-", "genres": "|"},
        ignore=("price",),
        weight="seconds",
    )
    assert kinds_of(schema) == {
        "user": "dense",
        "film": "sequence",
        "genres": "multi",
        "rating": "categorical",
        "nothing": "categorical",
    }
    assert schema.ignored == {"price": "given"}
    assert schema["film"] == Feature("film", Kind.SEQUENCE, "given", separator="-")


def test_ignoring_wins_over_a_kind_and_something_must_be_left() -> None:
    schema = infer_schema(source(), kinds={"price": "dense"}, ignore=("price",))
    assert ("price" in schema.columns, schema.ignored["price"]) == (False, "given")
    with pytest.raises(SchemaError, match="rows has no column to learn from; 'x': the same value in every row"):
        infer_schema(open_source([{"x": 1, "y": 0}, {"x": 1, "y": 1}]), label="y")


def test_a_separator_is_looked_for_where_the_kind_asks_for_one() -> None:
    assert infer_schema(source(), kinds={"genres": "multi"})["genres"].separator == "|"
    with pytest.raises(SchemaError, match="column 'film' is text and nothing seems to split it"):
        infer_schema(source(), kinds={"film": "multi"})


def test_crosses_are_features_of_their_own() -> None:
    schema = infer_schema(source(), crosses=[("user", "genres")])
    assert schema["user x genres"] == Feature("user x genres", Kind.CROSS, "given", of=("user", "genres"))
    with pytest.raises(SchemaError, match="no feature 'genre'; did you mean 'genres'"):
        infer_schema(source(), crosses=[("user", "genre")])
    with pytest.raises(SchemaError, match=r"needs 'nothing', which is left out \(no value in every row\)"):
        infer_schema(source(), crosses=[("user", "nothing")])
    with pytest.raises(ConfigError, match="two or more different features"):
        infer_schema(source(), crosses=[("user", "user")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label": "ratings"}, "no column 'ratings'; did you mean 'rating'"),
        ({"label": "ratings>=4"}, "no column 'ratings'; did you mean 'rating'"),
        ({"user": "usr"}, "no column 'usr'; did you mean 'user'"),
        ({"ignore": ["prices"]}, "no column 'prices'; did you mean 'price'"),
        ({"kinds": {"genre": "multi"}}, "no column 'genre'; did you mean 'genres'"),
        ({"separators": {"genre": "|"}}, "no column 'genre'; did you mean 'genres'"),
    ],
)
def test_an_unknown_column_is_named_with_the_nearest(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        infer_schema(source(), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": {"price": "denze"}}, "cannot be of kind 'denze'; did you mean 'dense'"),
        ({"kinds": {"price": "cross"}}, "cannot be of kind 'cross'"),
        ({"user": "film", "item": "film"}, "column 'film' is the user and also named as the item"),
        ({"label": "rating", "ignore": ["rating"]}, "column 'rating' is ignored and also named as the label"),
        (
            {"user": "user", "kinds": {"user": "dense"}},
            "is the user, so it is categorical and cannot be dense",
        ),
        ({"time": "seconds", "kinds": {"seconds": "dense"}}, "'seconds' has a role"),
        ({"kinds": {"price": "dense"}, "separators": {"price": "|"}}, "has a separator but is dense"),
        ({"positive": 1}, "positive=1 needs to know the label column"),
        ({"kinds": ["price"]}, r"kinds must name columns .*, not \['price'\]"),
        ({"separators": "|"}, r"separators must name columns .*, not '\|'"),
    ],
)
def test_contradictions_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        infer_schema(source(), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("label", "positive", "expected"),
    [
        ("rating", None, Label("rating")),
        ("rating>=4", None, Label("rating", ">=", 4)),
        ("rating > 3.5", None, Label("rating", ">", 3.5)),
        ("rating==5", None, Label("rating", "==", 5)),
        ("film==a", None, Label("film", "==", "a")),
        ("film", ">50K", Label("film", "==", ">50K")),
        ("film", 1, Label("film", "==", "1")),
        ("rating", "1", Label("rating", "==", 1)),
        ("odd>=name", None, Label("odd>=name")),
        ("flag", True, Label("flag", "==", "true")),
        ("flag", "False", Label("flag", "==", "false")),
        ("flag==1", None, Label("flag", "==", "true")),
        ("flag", 0.0, Label("flag", "==", "false")),
        ("film", True, Label("film", "==", "true")),
        (None, None, None),
    ],
)
def test_labels_are_columns_conditions_or_values(
    label: str | None, positive: str | float | None, expected: Label | None
) -> None:
    dtypes = {"rating": pl.Int64(), "film": pl.String(), "odd>=name": pl.Int64(), "flag": pl.Boolean()}
    assert parse_label(label, positive, dtypes) == expected


def test_a_label_that_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ConfigError, match="'rating' cannot be compared with 'yes', which is no number"):
        parse_label("rating", "yes", {"rating": pl.Int64()})
    for label, operator in {"rating!=0": "!=", "rating = 4": "=", "rating=>4": "=>"}.items():
        with pytest.raises(ConfigError, match=f"compares 'rating' by '{operator}' with .*; write ==, >=, >, <= or <"):
            parse_label(label, None, {"rating": pl.Int64()})
    with pytest.raises(ConfigError, match="both say which rows are positive"):
        parse_label("rating>=4", 5, {"rating": pl.Int64()})


def test_true_and_false_as_text_mean_the_obvious() -> None:
    rows = [{"x": 1.5, "click": "True"}, {"x": 0.5, "click": "False"}]
    assert infer_schema(open_source(rows), label="click").label == Label("click", "==", "True")
    for positive, text in ((1, "True"), ("1", "True"), (0, "False"), ("false", "false")):
        assert infer_schema(open_source(rows), label="click", positive=positive).label == Label("click", "==", text)
    assert infer_schema(open_source(rows), label="click==1").label == Label("click", "==", "True")
    rows.append({"x": 0.5, "click": "maybe"})
    assert infer_schema(open_source(rows), label="click", positive=1).label == Label("click", "==", "1")
    assert infer_schema(open_source(rows), label="click").label == Label("click")


def test_a_recipe_can_say_that_true_is_positive() -> None:
    assert DataConfig.of({"label": "y", "positive": True}).positive is True
    assert DataConfig.of({"label": "y", "positive": 1}).positive == 1
    assert DataConfig.of({"label": "y", "positive": "1"}).positive == "1"
    for value in (date(2024, 1, 1), [1]):
        with pytest.raises(
            ConfigError, match=r"^data\.positive: .* is no label value: write a text in quotes, a number"
        ):
            DataConfig.of({"label": "y", "positive": value}, prefix="data")


def test_a_sample_is_the_first_rows_and_evenly_spread_ones() -> None:
    num_rows = 3 * STRIDED_ROWS
    frame = pl.LazyFrame({"row": np.arange(num_rows)})
    sample, whole = take_sample(Source(frame, "rows"), ["row"])
    expected = [row for row in range(num_rows) if row < HEAD_ROWS or row % 3 == 0]
    assert (sample["row"].to_list(), whole) == (expected, False)


def test_ids_that_look_unique_in_a_sample_only_are_kept() -> None:
    num_rows = 4 * (HEAD_ROWS + STRIDED_ROWS)
    keys = np.arange(num_rows)
    frame = pl.LazyFrame({"user": [f"u{k % (num_rows // 4)}" for k in keys], "row": [f"r{k}" for k in keys]})
    frame = frame.with_columns(later=(pl.int_range(pl.len()) % 7).cast(pl.String))
    sorted_rows = frame.collect().sample(fraction=1.0, seed=1, shuffle=True).lazy()
    schema = infer_schema(Source(sorted_rows, "rows"))
    assert schema.ignored == {"row": "different in every row"}
    assert schema["later"].reason.startswith("string, 7 distinct in ")
    assert schema["user"].kind is Kind.CATEGORICAL


def test_an_edited_schema_keeps_its_order_and_brings_columns_back() -> None:
    schema = infer_schema(source(), label="rating", user="user")
    edited = edit_schema(
        schema, kinds={"price": "categorical", "nothing": "dense"}, ignore=("film",), crosses=[("user", "price")]
    )
    assert list(kinds_of(edited).items()) == [
        ("user", "categorical"),
        ("genres", "multi"),
        ("price", "categorical"),
        ("seconds", "dense"),
        ("nothing", "dense"),
        ("user x price", "cross"),
    ]
    assert edited.ignored == {"film": "given"}
    assert edit_schema(schema, kinds={"genres": "sequence"})["genres"].separator == "|"
    assert edit_schema(schema, separators={"genres": ";"})["genres"].separator == ";"
    with pytest.raises(ConfigError, match="column 'user' is ignored and also named as the user"):
        edit_schema(schema, ignore=("user",))
    with pytest.raises(SchemaError, match=r"needs 'price', which is left out \(given\)"):
        edit_schema(edited, ignore=("price",))


ADULT = {
    "dense": "age fnlwgt education_num capital_gain capital_loss hours_per_week",
    "categorical": "workclass education marital_status occupation relationship race sex native_country",
}


def real(*parts: str) -> Path:
    path = data_folder().joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


def test_adult_is_guessed_as_a_person_would() -> None:
    first = "age workclass fnlwgt education education_num marital_status occupation relationship race sex"
    names = f"{first} capital_gain capital_loss hours_per_week native_country income".split()
    opened = open_source(real("adult", "adult.data"), Layout(columns=tuple(names), missing=("?",)))
    found = kinds_of(infer_schema(opened, label="income", positive=">50K"))
    assert {kind: " ".join(name for name in found if found[name] == kind) for kind in ADULT} == ADULT


def test_criteo_is_numbers_then_ids_but_for_the_smallest_counts() -> None:
    opened = open_source(real("criteo-sample", "wide_resdnn.train.csv"))
    kinds = list(kinds_of(infer_schema(opened, label="column_1")).values())
    assert kinds[13:] == ["categorical"] * 26
    assert kinds[:13].count("dense") == 12


def test_avazu_is_ids_throughout() -> None:
    opened = open_source(real("avazu-sample", "wide_resdnn.train.csv"))
    schema = infer_schema(opened, label="click")
    assert set(kinds_of(schema).values()) == {"categorical"}
    assert dict(schema.ignored) == {"id": "different in every row", "hour": "the same value in every row"}


def test_ratings_without_a_header_are_ids_stars_and_a_time() -> None:
    schema = infer_schema(open_source(real("movielens-100k", "u.data")))
    assert list(kinds_of(schema).values()) == ["categorical"] * 3
    assert schema["column_3"].reason.startswith("integer, 5 distinct")
    assert schema.ignored == {"column_4": "a time as a number: name it as the time, or give it a kind"}
