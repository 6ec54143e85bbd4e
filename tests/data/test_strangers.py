import numpy as np
import polars as pl

from crossfield.data.strangers import MIN_VALUES, Strangers
from crossfield.schema import Feature, Kind
from tests.data.tables import categorical, cross, dataset, fitted

TAGS = Feature("tags", Kind.MULTI, separator="|")
TRAIN = pl.DataFrame({"user": ["a", "b"] * 20, "shop": ["x", "y"] * 20, "tags": ["p|q", "q"] * 20})
ENCODER = fitted(dataset(TRAIN, [*categorical("user", "shop"), TAGS, cross("user", "shop")], user="user"))


def notes_of(rows: pl.DataFrame) -> list[str]:
    strangers = Strangers(ENCODER.model_schema)
    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        strangers.add(ENCODER.encode(half, labelled=False))
    return strangers.notes()


def test_a_field_without_any_known_value_is_named() -> None:
    assert notes_of(TRAIN) == []
    shops = notes_of(TRAIN.with_columns(pl.col("shop").str.to_uppercase()))
    assert len(shops) == 1 and "none of the 40 values of 'shop'" in shops[0]
    assert len(notes_of(TRAIN.with_columns(pl.col("user", "tags").str.to_uppercase()))) == 2


def test_one_known_value_or_none_at_all_or_a_few_are_no_reason() -> None:
    news = TRAIN.with_columns(pl.lit("new").alias("shop"))
    assert notes_of(news) and notes_of(news[: MIN_VALUES - 1]) == []
    assert notes_of(pl.concat([news, TRAIN[:2]])) == []
    assert notes_of(TRAIN.with_columns(pl.lit(None, pl.String).alias("shop"))) == []


def test_one_new_user_is_no_reason() -> None:
    assert notes_of(TRAIN.with_columns(pl.lit("new").alias("user"))) == []


def test_ids_of_one_field() -> None:
    strangers = Strangers(ENCODER.model_schema)
    strangers.add_ids("shop", np.ones(MIN_VALUES, dtype=np.int64))
    strangers.add_ids("user", np.zeros(MIN_VALUES, dtype=np.int64))
    assert len(strangers.notes()) == 1
