"""Settings that save memory, on rows whose counts are known."""

import polars as pl

from crossfield.data.dataset import load
from crossfield.data.encode import Encoder
from crossfield.errors import ConfigError
from crossfield.recipe import Recipe
from crossfield.savings import Saving, is_hashed, savings
from crossfield.schema import ModelSchema

# One item of 40 rows, 5 of 4 rows each, 40 of one row: 46 ids. Two days of 50 rows each.
ITEMS = ["common"] * 40 + [f"some {one}" for one in range(5) for _ in range(4)] + [f"rare {one}" for one in range(40)]
FRAME = pl.DataFrame({"click": [0, 1] * 50, "item": ITEMS, "day": ["mo", "tu"] * 50})


def recipe_of(**sections: object) -> Recipe:
    return Recipe.of({"model": {"name": "fm", "embedding_dim": 8}, **sections})


def encoder_of(recipe: Recipe) -> Encoder:
    return Encoder.fit(load(FRAME, label="click", kinds={"item": "categorical"}), recipe.encoder)


def table_rows(recipe: Recipe, schema: ModelSchema) -> int:
    return sum(one.num_rows for one in schema.fields)


def width(recipe: Recipe, schema: ModelSchema) -> int:
    return int(recipe.model.embedding_dim)  # type: ignore[attr-defined]


def test_rows_that_min_count_and_hashing_leave() -> None:
    recipe = recipe_of()
    encoder = encoder_of(recipe)
    assert table_rows(recipe, encoder.model_schema) == 48 + 4
    found = savings(recipe, encoder, needs=table_rows, room=51)
    # min_count=2 leaves 6 items, a tenth of 48 rows is 4 buckets; both need two rows more, and so do the two days.
    assert found == (Saving("encoder.features.item.hash_buckets=4", 10), Saving("encoder.min_count=2", 12))


def test_the_mildest_that_is_enough_or_the_strongest_there_is() -> None:
    recipe = recipe_of()
    encoder = encoder_of(recipe)
    assert savings(recipe, encoder, needs=table_rows, room=7)[0] == Saving("encoder.min_count=5", 7)
    assert savings(recipe, encoder, needs=table_rows, room=6)[0] == Saving("encoder.min_count=20", 7)
    assert savings(recipe, encoder, needs=width, room=5) == (Saving("model.embedding_dim=4", 4),)
    assert savings(recipe, encoder, needs=width, room=1) == (Saving("model.embedding_dim=2", 2),)


def test_little_is_not_worth_a_word() -> None:
    recipe = recipe_of()
    encoder = encoder_of(recipe)
    assert savings(recipe, encoder, needs=lambda recipe, schema: 100 + width(recipe, schema), room=0) == ()


def test_batch_and_optimiser() -> None:
    recipe = recipe_of()
    encoder = encoder_of(recipe)
    halved = savings(recipe, encoder, needs=lambda recipe, _: recipe.train.batch_size, room=2000)
    assert halved == (Saving("train.batch_size=1024", 1024),)
    chosen = savings(recipe, encoder, needs=lambda recipe, _: len(recipe.train.optimizer) % 14, room=0)
    assert chosen == (Saving("train.optimizer=rowwise_adagrad", 1),)


def test_tables_on_disk() -> None:
    def needs(recipe: Recipe, schema: ModelSchema) -> int:
        return 1 if recipe.train.tables == "disk" else 10

    recipe = recipe_of()
    encoder = encoder_of(recipe)
    assert savings(recipe, encoder, needs=needs, room=5) == (Saving("train.tables=disk", 1),)
    assert savings(recipe.override({"train.tables": "disk"}), encoder, needs=needs, room=0) == ()


def test_what_is_set_already_is_not_proposed() -> None:
    recipe = recipe_of(encoder={"hash_buckets": 10}, train={"optimizer": "rowwise_adagrad"})
    encoder = encoder_of(recipe)
    assert all(is_hashed(encoder, one) for one in encoder.model_schema.fields)
    assert savings(recipe, encoder, needs=table_rows, room=1) == ()
    assert savings(recipe, encoder, needs=lambda recipe, _: len(recipe.train.optimizer), room=0) == ()


def test_a_width_that_a_model_cannot_have_is_passed_over() -> None:
    def picky(recipe: Recipe, schema: ModelSchema) -> int:
        if width(recipe, schema) < 4:
            raise ConfigError("no model is that narrow")
        return width(recipe, schema)

    recipe = recipe_of()
    assert savings(recipe, encoder_of(recipe), needs=picky, room=1) == (Saving("model.embedding_dim=4", 4),)
