import pytest

from crossfield.data.cinema import PAIRS, TRIPLES
from crossfield.errors import SchemaError
from crossfield.landmarks import LADDER, LANDMARKS, MLP, NO_MLP, SIZES, Landmark, build
from crossfield.models import CATALOGUE
from crossfield.schema import Field, ModelSchema

COLUMNS = tuple(Field(name, 20) for name in ("user", "film", "genre"))
SCHEMA = ModelSchema(dense=("price",), categorical=COLUMNS, user="user", item="film")


def test_the_tour_shows_the_whole_catalogue() -> None:
    assert {one.model for one in LANDMARKS} == set(CATALOGUE)
    assert [one.name for one in LANDMARKS] == [one.model for one in LANDMARKS]


def test_names_are_distinct_and_every_landmark_says_in_one_line_what_it_adds() -> None:
    everything = (*LANDMARKS, *LADDER)
    assert len({one.name for one in everything}) == len(everything)
    assert all(one.adds.endswith(".") and len(one.adds) < 100 for one in everything)


def test_the_ladder_has_no_mlp_and_the_triples_are_named_there_only() -> None:
    assert not [one for one in (*LANDMARKS, *LADDER) if one.name in NO_MLP and one.family == MLP]
    assert {one.crosses for one in LANDMARKS} == {(), PAIRS}
    assert {one.crosses for one in LADDER} == {(), PAIRS, PAIRS + TRIPLES}


@pytest.mark.parametrize("landmark", [*LANDMARKS, *LADDER], ids=lambda one: one.name)
def test_every_landmark_is_built_in_the_tours_sizes(landmark: Landmark) -> None:
    config = build(landmark, SCHEMA).config.model_dump()
    expected = {**SIZES, **(landmark.settings or {})}
    assert all(config[key] == value for key, value in expected.items() if key in config)


def test_a_landmark_that_needs_user_and_item_refuses_other_columns() -> None:
    neumf = next(one for one in LANDMARKS if one.name == "neumf")
    with pytest.raises(SchemaError, match="user"):
        build(neumf, ModelSchema(categorical=COLUMNS))
