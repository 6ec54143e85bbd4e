from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import crossfield.data.entities as module
from crossfield.batch import Batch
from crossfield.data.encode import Encoder
from crossfield.data.entities import FILES, Entities
from crossfield.data.store import Store, write_store
from crossfield.errors import CorruptError, SchemaError
from crossfield.schema import Feature, Kind, Label
from tests.data.tables import categorical, cross, dataset, dense, fitted

ROWS: dict[str, list[Any]] = {
    "user": ["u1", "u1", "u1", "u2", "u2", "u3"],
    "item": ["i1", "i2", "i2", "i1", "i3", ""],
    "sex": ["m", "m", "m", "f", "f", "m"],
    "year": [1999, 2005, 2005, 1999, 2010, 2010],
    "tags": ["a|b", "", "", "a|b", "c", "c"],
    "hour": ["1", "2", "1", "2", "1", "2"],
    "click": [1, 1, 0, 0, 1, 1],
}
FEATURES = [
    *categorical("user", "item", "sex", "hour"),
    *dense("year"),
    Feature("tags", Kind.MULTI, separator="|"),
    cross("sex", "item"),
    cross("sex", "tags"),
    cross("hour", "sex"),
]
# user u1: 2, u2: 3, u3: 4; item i1: 2, i2: 3, i3: 4; sex m: 2, f: 3; tags a: 2, b: 3, c: 4.
U1, U2, U3 = 2, 3, 4
I1, I2, I3 = 2, 3, 4


def stored(folder: Path, features: list[Feature] = FEATURES, **config: Any) -> tuple[Store, Encoder]:
    data = dataset(ROWS, features, label=Label("click"), user="user", item="item")
    encoder = fitted(data, dense="none", **config)
    blocks = encoder.stream(data, labelled=True)
    return write_store(blocks, folder, model_schema=encoder.model_schema, fingerprint=encoder.fingerprint), encoder


@pytest.fixture(scope="module")
def encoder_and_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Encoder]:
    return stored(tmp_path_factory.mktemp("entities"))


@pytest.fixture(scope="module")
def store(encoder_and_store: tuple[Store, Encoder]) -> Store:
    return encoder_and_store[0]


@pytest.fixture(scope="module")
def entities(encoder_and_store: tuple[Store, Encoder]) -> Entities:
    return Entities.fit(*encoder_and_store)


def test_sides(entities: Entities) -> None:
    assert entities.user_side == ("sex",)
    assert set(entities.item_side) == {"year", "tags"}
    assert entities.mixed_crosses == ["sex x item", "hour x sex", "sex x tags"]


def test_seen_pairs_and_popularity(entities: Entities) -> None:
    assert [entities.seen(user).tolist() for user in range(5)] == [[], [], [I1, I2], [I1, I3], []]
    # Positive rows: i1 once, i2 once (its other row is no click), i3 once; the row without an item is nobody's.
    assert entities.popularity.tolist() == [0, 0, 1, 1, 1]
    assert entities.items.tolist() == [I1, I2, I3]
    places, items = entities.seen_pairs(np.array([U2, 1, U1, U2]))
    assert list(zip(places.tolist(), items.tolist(), strict=True)) == [
        *((0, I1), (0, I3)),
        *((2, I1), (2, I2)),
        *((3, I1), (3, I3)),
    ]


@pytest.mark.parametrize("most_bits", [1 << 29, 0])
def test_who_met_what(entities: Entities, monkeypatch: pytest.MonkeyPatch, most_bits: int) -> None:
    monkeypatch.setattr(module, "MOST_BITS", most_bits)
    entities = replace(entities)
    pairs = np.array([[U1, I1], [U1, I3], [U2, I3], [U3, I1], [0, 0], [1, I3]])
    assert entities.has_seen(pairs[:, 0], pairs[:, 1]).tolist() == [True, False, True, False, False, False]


def test_pairs_are_what_the_encoder_makes_of_such_rows(entities: Entities, store: Store) -> None:
    batch = entities.pair_batch(np.array([U1, U2, U3]), np.array([I3, I2, I1]))
    rows = [
        {"user": "u1", "item": "i3", "sex": "m", "year": 2010, "tags": "c", "hour": None},
        {"user": "u2", "item": "i2", "sex": "f", "year": 2005, "tags": "", "hour": None},
        {"user": "u3", "item": "i1", "sex": "m", "year": 1999, "tags": "a|b", "hour": None},
    ]
    expect_equal(batch, entities.encoder.encode_rows(rows).batch(store.model_schema))
    assert (batch.labels, batch.groups, batch.rows) == (None, None, None)


def expect_equal(left: Batch, right: Batch) -> None:
    assert left.categorical.tolist() == right.categorical.tolist()
    assert left.dense.tolist() == right.dense.tolist()
    for name, lists in left.sequences.items():
        assert lists.values.tolist() == right.sequences[name].values.tolist()
        assert lists.offsets.tolist() == right.sequences[name].offsets.tolist()


def test_nobody_in_particular(entities: Entities) -> None:
    batch = entities.pair_batch(np.array([1, 0]), np.array([I1, 1]))
    assert batch.categorical[:, :4].tolist() == [[1, I1, 0, 0], [0, 1, 0, 0]]
    mean = sum(ROWS["year"]) / 6
    assert batch.dense[:, 0].tolist() == pytest.approx([1999, mean])
    assert batch.sequences["tags"].offsets.tolist() == [0, 2, 2]


def test_no_pairs(entities: Entities) -> None:
    assert entities.pair_batch(np.array([], dtype=np.int64), np.array([], dtype=np.int64)).size == 0


def test_ids_out_of_range_are_refused(entities: Entities) -> None:
    with pytest.raises(SchemaError, match="item ids go from 2 to 5"):
        entities.pair_batch(np.array([2, 2]), np.array([2, 5]))
    with pytest.raises(SchemaError, match="user ids go from -1 "):
        entities.pair_batch(np.array([-1]), np.array([2]))


def test_other_items_leave_user_and_context_alone(entities: Entities, store: Store) -> None:
    batch = store.batch(np.array([3, 1]))
    changed = entities.with_items(batch, np.array([I3, I1]))
    rows = [
        {"user": "u2", "item": "i3", "sex": "f", "year": 2010, "tags": "c", "hour": "2"},
        {"user": "u1", "item": "i1", "sex": "m", "year": 1999, "tags": "a|b", "hour": "2"},
    ]
    expect_equal(changed, entities.encoder.encode_rows(rows).batch(store.model_schema))
    assert changed.rows is not None
    assert changed.rows.tolist() == [3, 1]
    assert batch.categorical[:, 1].tolist() == [I1, I2]


def test_saved_and_loaded(entities: Entities, tmp_path: Path) -> None:
    entities.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    loaded = Entities.load(tmp_path, entities.encoder)
    users, items = np.array([U1, U2, 1]), np.array([I3, I2, 0])
    expect_equal(loaded.pair_batch(users, items), entities.pair_batch(users, items))
    assert loaded.seen(U1).tolist() == [I1, I2]
    assert loaded.popularity.tolist() == entities.popularity.tolist()
    assert loaded.items.tolist() == entities.items.tolist()


def test_what_is_damaged_or_foreign_is_refused(entities: Entities, tmp_path: Path) -> None:
    entities.save(tmp_path)
    with pytest.raises(CorruptError, match="another encoder"):
        Entities.load(tmp_path, stored(tmp_path / "other", min_count=2)[1])
    (tmp_path / "seen.arrow").write_bytes(b"ARROW1\0\0")
    with pytest.raises(CorruptError, match="no users and items that can be read"):
        Entities.load(tmp_path, entities.encoder)


def test_a_store_of_another_encoder_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="another encoder"):
        Entities.fit(store, stored(tmp_path, min_count=2)[1])


def test_crosses_of_hashed_sides_cannot_be_made_anew(tmp_path: Path) -> None:
    entities = Entities.fit(*stored(tmp_path, features_hash := FEATURES, hash_buckets=8))
    assert features_hash is FEATURES
    with pytest.raises(SchemaError, match="which are hashed"):
        entities.pair_batch(np.array([2]), np.array([2]))


def test_without_an_item_there_are_no_entities(tmp_path: Path) -> None:
    data = dataset(ROWS, categorical("user", "item"), user="user")
    encoder = fitted(data)
    blocks = encoder.stream(data, labelled=False)
    store = write_store(blocks, tmp_path, model_schema=encoder.model_schema, fingerprint=encoder.fingerprint)
    with pytest.raises(SchemaError, match="item"):
        Entities.fit(store, encoder)


def test_pair_batches_are_fast_enough_to_rank_with(tmp_path: Path) -> None:
    """Vectorised: 50,000 pairs take far less than a row-by-row loop would."""
    random = np.random.default_rng(0)
    rows = {name: random.integers(0, 300, 5000) for name in ("user", "item")}
    frame = pl.DataFrame({**rows, "genre": rows["item"] % 7})
    data = dataset(frame, [*categorical("user", "item", "genre"), cross("user", "genre")], user="user", item="item")
    encoder = fitted(data)
    blocks = encoder.stream(data, labelled=False)
    store = write_store(blocks, tmp_path, model_schema=encoder.model_schema, fingerprint=encoder.fingerprint)
    entities = Entities.fit(store, encoder)
    users, items = (random.integers(2, 300, 50_000) for _ in range(2))
    batch = entities.pair_batch(users, items)
    expected = encoder.id_of("genre", [int(one or 0) % 7 for one in encoder.decode("item", items[:100])])
    assert batch.categorical[:100, 2].tolist() == expected.tolist()
