import polars as pl
import pytest

from crossfield.data.cinema import LABEL, PAIRS, TRIPLES, make_cinema
from crossfield.data.dataset import load
from crossfield.data.encode import Encoder
from crossfield.errors import SchemaError
from crossfield.landmarks import (
    LADDER,
    LANDMARKS,
    LATER,
    MLP,
    NO_MLP,
    SIZES,
    Landmark,
    build,
    cinema_schema,
)
from crossfield.models import CATALOGUE
from crossfield.models.base import num_numbers
from crossfield.schema import Field, ModelSchema

COLUMNS = tuple(Field(name, 20) for name in ("user", "film", "genre"))
SCHEMA = ModelSchema(dense=("price",), categorical=COLUMNS, user="user", item="film")


def test_the_tour_shows_the_whole_catalogue() -> None:
    whole = (*LANDMARKS, *LATER)
    assert {one.model for one in whole} == set(CATALOGUE)
    assert [one.name for one in whole] == [one.model for one in whole]


def test_names_are_distinct_and_every_landmark_says_in_one_line_what_it_adds() -> None:
    everything = (*LANDMARKS, *LATER, *LADDER)
    assert len({one.name for one in everything}) == len(everything)
    assert all(one.adds.endswith(".") and len(one.adds) < 100 for one in everything)


def test_the_ladder_has_no_mlp_and_the_triples_are_named_there_only() -> None:
    assert not [one for one in (*LANDMARKS, *LATER, *LADDER) if one.name in NO_MLP and one.family == MLP]
    assert {one.crosses for one in LANDMARKS} == {(), PAIRS}
    assert {one.crosses for one in LADDER} == {(), PAIRS, PAIRS + TRIPLES}


@pytest.mark.parametrize("landmark", [*LANDMARKS, *LATER, *LADDER], ids=lambda one: one.name)
def test_every_landmark_is_built_in_the_tours_sizes(landmark: Landmark) -> None:
    config = build(landmark, SCHEMA).config.model_dump()
    expected = {**SIZES, **(landmark.settings or {})}
    assert all(config[key] == value for key, value in expected.items() if key in config)


def test_a_landmark_that_needs_user_and_item_refuses_other_columns() -> None:
    neumf = next(one for one in LANDMARKS if one.name == "neumf")
    with pytest.raises(SchemaError, match="user"):
        build(neumf, ModelSchema(categorical=COLUMNS))


def test_the_cinemas_schema_is_what_its_encoder_finds() -> None:
    cinema = make_cinema(60_000)
    rows = load(pl.DataFrame(cinema.columns), label=LABEL, user="user", item="film", crosses=PAIRS)
    found, said = Encoder.fit(rows).model_schema, cinema_schema(PAIRS)
    assert [(one.name, one.num_rows, one.embed) for one in found.categorical[:9]] == [
        (one.name, one.num_rows, one.embed) for one in said.categorical[:9]
    ]
    assert [one.num_rows for one in found.categorical[9:]] == [one.num_rows for one in said.categorical[9:]]
    assert (found.user, found.item) == (said.user, said.item)


def test_numbers_of_a_solved_model_are_what_it_counted() -> None:
    popularity, fm = (build(one, cinema_schema()) for one in LANDMARKS if one.name in ("popularity", "fm"))
    assert num_numbers(popularity) == 402
    assert num_numbers(fm) == 1 + 9 * 1_589
