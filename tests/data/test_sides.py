from pathlib import Path
from typing import Any

import pytest

from crossfield.data.encode import Encoder
from crossfield.data.sides import Side, learn_sides
from crossfield.schema import Feature, Kind
from tests.data.tables import categorical, cross, dataset, dense, fitted

ROWS: dict[str, list[Any]] = {
    "user": ["u1", "u1", "u2", "u2", "u3", None],
    "item": ["i1", "i2", "i1", "i2", "i1", "i1"],
    "age": [20, 20, 30, 30, 40, 99],
    "sex": ["m", "m", "f", "f", "m", "x"],
    "year": [1999, 2005, 1999, 2005, 1999, 1999],
    "tags": ["a|b", "", "a|b", "", "a|b", "a|b"],
    "liked": ["p", "p", "q|r", "q|r", "", "z"],
    "hour": [1, 2, 3, 4, 5, 6],
    "site": ["s"] * 6,
}
FEATURES = [
    *categorical("user", "item", "sex", "hour", "site"),
    *dense("age", "year"),
    Feature("tags", Kind.MULTI, separator="|"),
    Feature("liked", Kind.SEQUENCE, separator="|"),
    cross("sex", "user"),
    cross("tags", "item"),
    cross("sex", "tags"),
    cross("hour", "item"),
]


def learn(rows: dict[str, list[Any]], features: list[Feature] = FEATURES) -> tuple[Encoder, dict[str, Side]]:
    data = dataset(rows, features, user="user", item="item")
    encoder = fitted(data, dense="none")
    sides, _ = learn_sides(encoder.encode(data.frame.collect(), labelled=False), encoder)
    return encoder, {str(role): side for role, side in sides.items()}


@pytest.fixture(scope="module")
def sides() -> dict[str, Side]:
    return learn(ROWS)[1]


def test_what_belongs_to_whom(sides: dict[str, Side]) -> None:
    # The row without a user says nothing about users. A constant goes to the role with fewer ids: two items.
    assert set(sides["user"].names) == {"sex", "age", "liked", "sex x user"}
    assert set(sides["item"].names) == {"year", "tags", "site", "tags x item"}


def test_values_by_id(sides: dict[str, Side]) -> None:
    # u1: 2, u2: 3, u3: 4; m: 2, f: 3; ids 0 and 1 are nobody's.
    assert sides["user"].columns["sex"].tolist() == [0, 0, 2, 3, 2]
    mean = sum(ROWS["age"]) / 6
    assert sides["user"].columns["age"].tolist() == pytest.approx([mean, mean, 20, 30, 40])
    assert sides["item"].columns["year"].tolist()[2:] == [1999, 2005]
    values, offsets = sides["user"].lists["liked"]
    assert offsets.tolist() == [0, 0, 0, 1, 3, 3]
    assert values.tolist() == [2, 3, 4]
    assert sides["item"].lists["tags"][1].tolist() == [0, 0, 0, 2, 2]


def test_one_contradiction_is_enough() -> None:
    changed = {**ROWS, "sex": ["m", "m", "f", "f", "m", "x"], "year": [1999, 2005, 1999, 2005, 2000, 1999]}
    changed["liked"] = ["p", "q", "q|r", "q|r", "", "z"]
    names = {name for side in learn(changed)[1].values() for name in side.names}
    assert "sex" in names
    assert not names & {"year", "liked"}


def test_a_list_in_another_order_is_another_list() -> None:
    changed = {**ROWS, "tags": ["a|b", "", "b|a", "", "a|b", "a|b"]}
    assert "tags" not in learn(changed)[1]["item"].names


def test_a_tie_goes_to_the_role_with_fewer_ids() -> None:
    rows = {"user": ["a", "b", "c"], "item": ["i", "i", "j"], "site": ["s", "s", "t"]}
    found = learn(rows, categorical("user", "item", "site"))[1]
    assert (found["user"].names, found["item"].names) == ((), ("site",))
    rows = {"user": ["a", "a", "b"], "item": ["i", "j", "k"], "site": ["s", "s", "t"]}
    found = learn(rows, categorical("user", "item", "site"))[1]
    assert (found["user"].names, found["item"].names) == (("site",), ())


def test_crosses_follow_their_parts_and_not_accident() -> None:
    # Every pair is one row, so user x item has one value per user; it still belongs to both.
    rows = {"user": ["a", "b"], "item": ["i", "j"]}
    found = learn(rows, [*categorical("user", "item"), cross("user", "item")])[1]
    assert found["user"].names + found["item"].names == ()


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch, sides: dict[str, Side], tmp_path: Path) -> None:
    monkeypatch.setattr("crossfield.data.sides.CHUNK_ROWS", 2)
    again = learn(ROWS)[1]
    assert [again[role].names for role in again] == [sides[role].names for role in sides]
    assert again["item"].columns["year"].tolist() == sides["item"].columns["year"].tolist()
