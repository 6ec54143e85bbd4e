from typing import Any

import numpy as np
import polars as pl
import pytest

from crossfield.data.encode import Encoder, EncoderConfig
from crossfield.data.engines.polars import PolarsEngine
from crossfield.data.fitting import Fit, Fitted
from crossfield.errors import DataError, SchemaError
from crossfield.schema import Feature, FeatureSchema, Kind
from tests.data.tables import Rows, categorical, cross, dataset, dense


def learn(rows: Rows, columns: list[Feature], **config: Any) -> Fitted:
    frame = pl.DataFrame(rows).lazy()
    return Fit(frame, FeatureSchema(tuple(columns)), config=EncoderConfig.of(config), engine=PolarsEngine()).run()


def test_means_of_the_transformed_numbers() -> None:
    found = learn({"x": [0.0, np.e - 1, None], "y": [1, 3, 5]}, dense("x", "y"), features={"x": {"transform": "log1p"}})
    x, y = found.scales
    assert (x.mean, x.std) == pytest.approx((0.5, 0.5))
    assert (y.mean, y.std) == pytest.approx((3, np.sqrt(8 / 3)))
    assert found.gaps == ("x",)


def test_quantile_buckets_and_given_ones() -> None:
    rows = {"x": [1, 2, 3, 4], "y": [1, 2, 3, 4]}
    config = {"x": {"transform": "buckets", "num_buckets": 2}, "y": {"boundaries": [1.5]}}
    found = learn(rows, dense("x", "y"), features=config)
    assert {name: one.boundaries for name, one in found.buckets.items()} == {"x": (3,), "y": (1.5,)}
    assert found.vocabularies["x"].tokens.to_list() == ["(-inf, 3)", "[3, inf)"]
    assert found.vocabularies["y"].tokens.to_list() == ["[1.5, inf)", "(-inf, 1.5)"]
    assert found.scales == ()


def test_squared_logs_of_a_categorical_feature_are_ids() -> None:
    rows = {"n": [100, 101, 2, None, 2, 2]}
    found = learn(rows, categorical("n"), features={"n": {"transform": "squared_log"}})
    assert found.vocabularies["n"].tokens.to_list() == ["2", "21"]
    assert found.vocabularies["n"].counts.to_list() == [3, 2]


def test_crosses_have_counts_of_their_own() -> None:
    rows: Rows = {"a": ["x", "x", "y", None], "tags": ["p|q", "p", "", "p"]}
    features = [*categorical("a"), Feature("tags", Kind.MULTI, separator="|"), cross("a", "tags")]
    vocabulary = learn(rows, features).vocabularies["a x tags"]
    assert vocabulary.table().rows() == [("x\x1fp", 2), ("x\x1fq", 1)]


def test_hashed_ids_are_counted_too() -> None:
    vocabulary = learn({"a": ["x", "x", None, "y"]}, categorical("a"), hash_buckets=3).vocabularies["a"]
    assert vocabulary.num_rows == 5
    assert vocabulary.counts.sum() == 3


def test_notes_say_what_was_done() -> None:
    rows: Rows = {"x": [1.0, None, 3.0, 4.0], "a": ["p", "p", "q", ""], "h": ["1", "2", "3", "4"]}
    config = {"a": {"min_count": 2}, "h": {"hash_buckets": 8}}
    notes = learn(rows, [*dense("x"), *categorical("a", "h")], features=config).notes
    assert notes == (
        "x: 1 (25.0 %) of the training rows have no value; a missing value becomes the training mean "
        "(0 after standardize)",
        "a: the rarest ids (1), 1 (25.0 %) of the values, became the unseen id",
        "a: 1 (25.0 %) of the rows have no value: id 0",
        "h: hashed into 8 ids",
        "ids: a 1, h 8",
    )


def test_no_rows() -> None:
    with pytest.raises(DataError, match="no training rows"):
        learn({"a": []}, categorical("a"))


@pytest.mark.parametrize("kind", [Kind.DENSE, Kind.CATEGORICAL])
def test_text_in_numbers_names_the_row(kind: Kind) -> None:
    with pytest.raises(DataError, match=r"row 1 .*'many'"):
        learn({"n": ["1", "many"]}, [Feature("n", kind)], features={"n": {"transform": "squared_log"}})


def test_infinite_numbers_name_the_row() -> None:
    with pytest.raises(DataError, match=r"'x' has inf in row 2 "):
        learn({"x": [1.0, None, np.inf]}, dense("x"))


def test_a_column_that_is_gone_is_named() -> None:
    with pytest.raises(SchemaError, match=r"no column 'ago'.*did you mean 'age'"):
        Encoder.fit(dataset({"age": [1]}, dense("ago")))
