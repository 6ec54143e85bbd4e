import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from crossfield.data.dataset import Dataset
from crossfield.data.encode import Encoded, EncoderConfig
from crossfield.data.store import Position, Reader, Store, fit_store, write_store
from crossfield.errors import ConfigError, CorruptError
from crossfield.files import MANIFEST
from crossfield.schema import Feature, Field, Kind, Label, ModelSchema
from tests.data.tables import Rows, categorical, dataset, dense, fitted

SCHEMA = ModelSchema(("x", "y"), (Field("a", 1 << 20), Field("b", 9)), (Field("m", 4, Kind.MULTI),))


def block(start: int, num_rows: int, *, labelled: bool = True) -> Encoded:
    """Row i holds the number i everywhere, and i % 3 values in its list."""
    rows = np.arange(start, start + num_rows)
    lengths = rows % 3
    return Encoded(
        dense=np.stack([rows, -rows], 1).astype(np.float32),
        categorical=np.stack([rows, rows % 9], 1).astype(np.int32),
        sequences={"m": (np.repeat(rows % 4, lengths).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))},
        labels=(rows % 2).astype(np.float32) if labelled else None,
        weights=None,
        groups=rows * 7,
        rows=rows,
    )


def write(folder: Path, blocks: list[Encoded], schema: ModelSchema = SCHEMA) -> Store:
    return write_store(blocks, folder, model_schema=schema, fingerprint="abc")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write(tmp_path / "store", [block(0, 4), block(4, 0), block(4, 6)])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Store:
    schema = ModelSchema((), (Field("a", 1 << 20),))
    rows = np.arange(600_000)
    none = np.empty((len(rows), 0), np.float32)
    encoded = Encoded(none, rows.reshape(-1, 1).astype(np.int32), {}, None, None, np.zeros(len(rows), np.int64), rows)
    return write(tmp_path_factory.mktemp("large") / "store", [encoded], schema)


def test_a_batch_holds_the_rows_asked_for(store: Store) -> None:
    batch = store.batch(np.array([9, 0, 4]))
    assert batch.dense.tolist() == [[9, -9], [0, 0], [4, -4]]
    assert batch.categorical.tolist() == [[9, 0], [0, 0], [4, 4]]
    assert batch.labels is not None
    assert batch.labels.tolist() == [[1], [0], [0]]
    assert batch.groups is not None
    assert batch.groups.tolist() == [63, 0, 28]


def test_blocks_hold_all_rows_in_order(store: Store) -> None:
    blocks = list(store.blocks(4))
    assert [one.rows.tolist() for one in blocks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert blocks[2].sequences["m"][0].tolist() == [0, 0]
    # Rows 5 and 8 have two values, 4 and 7 one, 9 none.
    assert store.batch(np.array([8, 9, 7, 5])).sequences["m"].values.tolist() == [0, 0, 3, 1, 1]
    assert store.batch(np.array([8, 9, 7, 5])).sequences["m"].offsets.tolist() == [0, 2, 2, 3, 5]


def test_what_a_store_says_of_itself(store: Store) -> None:
    assert (store.num_rows, store.positives, store.fingerprint) == (10, 5, "abc")
    assert store.model_schema == SCHEMA
    assert store.labels is not None
    assert store.labels.tolist() == [0, 1] * 5
    assert store.weights is None
    assert store.groups.tolist() == list(range(0, 70, 7))
    assert store.categorical[:, 0].tolist() == list(range(10))


def test_unlabelled_rows_have_no_labels(tmp_path: Path) -> None:
    write(tmp_path, [block(0, 3)])
    store = write(tmp_path, [block(0, 3, labelled=False)])
    assert store.labels is None
    assert store.batch(np.array([1])).labels is None


def test_a_store_without_rows(tmp_path: Path) -> None:
    store = Store.open(write(tmp_path, []).folder)
    assert store.num_rows == 0
    assert store.batch(np.array([], dtype=np.int64)).size == 0
    assert list(Reader(store, batch_size=4).epoch()) == []


def test_an_id_out_of_range_is_refused_where_a_batch_is_born(tmp_path: Path) -> None:
    schema = ModelSchema(("x", "y"), (Field("a", 5), Field("b", 9)), SCHEMA.sequences)
    store = write(tmp_path, [block(0, 6)], schema)
    store.batch(np.arange(5))
    with pytest.raises(Exception, match="field 'a' has id 5, its table has 5 rows"):
        store.batch(np.arange(6))


def test_a_changed_a_cut_and_a_lost_file_are_refused(store: Store) -> None:
    for name in (MANIFEST, "dense", "categorical", "labels", "values0", "offsets0"):
        path = store.folder / name
        content = path.read_bytes()
        for damaged in (content[:-3], bytes([content[0] ^ 1]) + content[1:]):
            path.write_bytes(damaged)
            with pytest.raises(CorruptError, match=name):
                Store.open(store.folder)
        path.unlink()
        with pytest.raises(CorruptError, match=name):
            Store.open(store.folder)
        path.write_bytes(content)
    assert Store.open(store.folder).num_rows == 10


def test_a_foreign_store_is_refused(store: Store, tmp_path: Path) -> None:
    Store.open(store.folder, fingerprint="abc")
    with pytest.raises(CorruptError, match="another encoder"):
        Store.open(store.folder, fingerprint="other")
    with pytest.raises(CorruptError, match="not a Crossfield store"):
        Store.open(tmp_path)


def test_a_store_can_be_rewritten_while_it_is_read(store: Store) -> None:
    labels = store.labels
    assert labels is not None
    write(store.folder, [block(0, 2)])
    assert labels.tolist() == [0, 1] * 5


def numbers(reader: Reader) -> list[list[int]]:
    return [batch.rows.tolist() for batch in reader.epoch() if batch.rows is not None]


def test_unshuffled_batches_are_in_order(store: Store) -> None:
    reader = Reader(store, batch_size=4, shuffle=False)
    assert reader.num_batches == 3
    assert numbers(reader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_an_epoch_is_a_permutation(large: Store) -> None:
    batches = numbers(Reader(large, batch_size=100_000, seed=3))
    assert [len(one) for one in batches] == [100_000] * 6
    order = np.concatenate(batches)
    assert np.array_equal(np.sort(order), np.arange(600_000))
    # Rows come from all over the file within a pool of 64 blocks, 262,144 rows.
    assert np.std(order[:1000] // 4096) > 30


def test_the_order_depends_on_seed_and_epoch_alone(large: Store) -> None:
    first, again, other = (Reader(large, batch_size=100_000, seed=seed) for seed in (3, 3, 4))
    epochs = [numbers(first), numbers(first)]
    assert epochs == [numbers(again), numbers(again)]
    assert epochs[0] != epochs[1]
    assert epochs[0] != numbers(other)


def test_the_order_does_not_depend_on_the_batch_size(large: Store) -> None:
    orders = [np.concatenate(numbers(Reader(large, batch_size=size))) for size in (7_001, 300_000)]
    assert np.array_equal(orders[0], orders[1])


def test_a_position_continues_with_the_exact_next_batch(large: Store) -> None:
    reader = Reader(large, batch_size=70_000, seed=1)
    numbers(reader)
    assert reader.position == Position(1, 0)
    batches = reader.epoch()
    for _ in range(5):
        next(batches)
    saved = reader.position.to_json()
    assert saved == {"epoch": 1, "batch": 5}
    rest = [one.rows.tolist() for one in batches if one.rows is not None]
    resumed = Reader(large, batch_size=70_000, seed=1)
    resumed.position = Position.from_json(saved)
    assert numbers(resumed) == rest
    assert len(rest) == 4
    assert resumed.position == reader.position == Position(2, 0)


def test_the_end_of_an_epoch_is_a_position_too(store: Store) -> None:
    reader = Reader(store, batch_size=4)
    reader.position = Position(0, 3)
    assert numbers(reader) == []
    assert reader.position == Position(1, 0)


@pytest.mark.parametrize("position", [Position(0, 4), Position(0, -1), Position(-1, 0)])
def test_an_impossible_position_is_refused(store: Store, position: Position) -> None:
    with pytest.raises(CorruptError, match="not one of this reader"):
        Reader(store, batch_size=4).position = position


@pytest.mark.parametrize("world", [1, 3])
def test_the_places_of_a_rank_are_those_of_the_rows_it_gives(store: Store, world: int) -> None:
    for rank in range(world):
        reader = Reader(store, batch_size=4, shuffle=False, rank=rank, world=world)
        given = np.concatenate([batch.rows.numpy() for batch in reader.epoch() if batch.rows is not None])
        assert (store.encoded.rows[reader.places] == given).all()


@pytest.mark.parametrize("world", [2, 3, 7])
def test_ranks_share_each_global_batch(store: Store, world: int) -> None:
    whole = numbers(Reader(store, batch_size=4, seed=5))
    ranks = [numbers(Reader(store, batch_size=4, seed=5, rank=rank, world=world)) for rank in range(world)]
    assert {len(one) for one in ranks} == {3}
    for index, rows in enumerate(whole):
        shards = [one[index] for one in ranks]
        interleaved = [row for some in itertools.zip_longest(*shards) for row in some if row is not None]
        assert interleaved == rows


@pytest.mark.parametrize(
    "settings", [{"batch_size": 0}, {"batch_size": 4, "rank": 2, "world": 2}, {"batch_size": 4, "seed": -1}]
)
def test_impossible_readers(store: Store, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        Reader(store, **settings)


def test_fit_and_store_a_text_file_in_one_go(tmp_path: Path) -> None:
    rows: Rows = {"a": ["x", "y", "x"], "n": [1.0, 2.0, 3.0], "y": [0, 1, 1]}
    data = dataset(
        rows, [*categorical("a"), *dense("n"), Feature("a x a", Kind.CROSS, of=("a", "a"))], label=Label("y")
    )
    data.frame.collect().write_csv(tmp_path / "rows.csv")
    text = Dataset(pl.scan_csv(tmp_path / "rows.csv"), data.schema, "rows.csv", (tmp_path / "rows.csv",))
    encoder, store = fit_store(text, tmp_path / "store", config=EncoderConfig())
    assert encoder.fingerprint == store.fingerprint == fitted(data).fingerprint
    assert store.categorical.tolist() == [[2, 2], [3, 3], [2, 2]]
    assert store.positives == 2
