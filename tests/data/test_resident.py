"""Rows on a device are the rows of the store; a CPU counts as a device here."""

from pathlib import Path

import numpy as np
import pytest
import torch

from crossfield.data.encode import Encoded
from crossfield.data.resident import ResidentRows, keep_on, num_bytes
from crossfield.data.store import Reader, Store, write_store
from crossfield.errors import SchemaError
from crossfield.schema import Field, ModelSchema

SCHEMA = ModelSchema(dense=("price",), categorical=(Field("user", 50), Field("item", 30)))
CPU = torch.device("cpu")


def store_of(folder: Path, highest: int = 30) -> Store:
    random = np.random.default_rng(0)
    rows = Encoded(
        dense=random.normal(size=(40, 1)).astype(np.float32),
        categorical=np.stack([np.arange(40) + 2, np.arange(40) % highest], 1).astype(np.int32),
        sequences={},
        labels=(np.arange(40) % 2).astype(np.float32),
        weights=random.random(40).astype(np.float32),
        groups=np.arange(40) // 4,
        rows=np.arange(40) + 100,
    )
    return write_store([rows], folder, model_schema=SCHEMA, fingerprint="f")


def test_a_batch_is_the_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfield.data.resident.CHECKED_ROWS", 16)
    store, places = store_of(tmp_path), np.array([5, 39, 5, 0])
    theirs, ours = ResidentRows(store, CPU).batch(places), store.batch(places)
    for name in ("dense", "categorical", "labels", "weights", "groups", "rows"):
        assert torch.equal(getattr(theirs, name), getattr(ours, name)), name
        assert getattr(theirs, name).dtype == getattr(ours, name).dtype


def test_a_reader_gives_the_same_batches_from_there(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    plain, resident = (Reader(store, batch_size=16, seed=3) for _ in range(2))
    resident.source = ResidentRows(store, CPU)
    for ours, theirs in zip(plain.epoch(), resident.epoch(), strict=True):
        assert torch.equal(ours.categorical, theirs.categorical) and torch.equal(ours.dense, theirs.dense)


def test_ids_are_checked_on_the_way(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="'item' has id 30"):
        ResidentRows(store_of(tmp_path, highest=31), CPU)


def test_a_cpu_keeps_its_store(tmp_path: Path) -> None:
    reader = Reader(store_of(tmp_path), batch_size=16)
    assert not keep_on(reader, CPU) and reader.source is reader.store
    assert num_bytes(SCHEMA, 40) == 40 * 4 * 9
