"""Tables in files: what is made where, the same numbers as in memory, and nothing left behind."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import crossfield as cf
from crossfield import bundle
from crossfield.bundle import Bundle
from crossfield.errors import ConfigError, RunError
from crossfield.fitting import check_tables
from crossfield.layers.embedding import EmbeddingArena
from crossfield.mapped import copy_beside, fetch, in_order, is_on_disk, new_table, nowhere, on_disk, zeros_beside
from crossfield.recipe import Recipe

from .journeys.conftest import click_log

LOG = click_log(900)
ROLES = {"label": "click", "user": "user_id", "item": "item_id", "time": "ts"}


def table(folder: Path | None, num_rows: int = 5, dim: int = 3) -> Tensor:
    with on_disk(folder):
        return new_table(num_rows, dim)


def test_tables_are_made_in_the_folder_that_is_named_and_else_in_memory(tmp_path: Path) -> None:
    mapped, plain = table(tmp_path), table(None)
    assert is_on_disk(mapped) and not is_on_disk(plain) and not is_on_disk(new_table(5, 3))
    assert mapped.shape == plain.shape and mapped.dtype == torch.float32 and not mapped.any()
    with nowhere():
        assert new_table(10**15, 3).device.type == "meta"
    assert not is_on_disk(torch.empty(2, device="meta"))


def test_the_files_have_no_names(tmp_path: Path) -> None:
    mapped = table(tmp_path / "tables")
    assert list((tmp_path / "tables").iterdir()) == []
    mapped[2] = 7
    assert mapped.sum() == 21


def test_what_belongs_to_a_table_lies_beside_it(tmp_path: Path) -> None:
    mapped, plain = table(tmp_path), torch.ones(5, 3)
    for shape, dtype in (((5, 3), torch.float32), ((5,), torch.bfloat16)):
        state = zeros_beside(mapped, shape, dtype)
        assert is_on_disk(state) and state.shape == shape and state.dtype == dtype and not state.any()
        assert not is_on_disk(zeros_beside(plain, shape, dtype))
    value = torch.arange(15.0).view(5, 3)
    for weight, beside in ((mapped, True), (plain, False), (None, False)):
        copy = copy_beside(weight, value)
        assert is_on_disk(copy) is beside and torch.equal(copy, value) and copy.data_ptr() != value.data_ptr()
    assert not is_on_disk(copy_beside(mapped, torch.tensor(3)))  # a number, not a table


@pytest.mark.parametrize("count", [0, 1, 31, 32, 1000])
def test_fetching_changes_nothing(tmp_path: Path, count: int) -> None:
    mapped = table(tmp_path, 4000, 5)
    mapped.copy_(torch.randn(mapped.shape))
    before, rows = mapped.clone(), torch.randint(4000, (count,))
    fetch(mapped, rows)
    with in_order([mapped, before]):
        assert torch.equal(mapped, before)


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"no room for a table of 0\.0 GB in .*No space left.*--out on a larger disk"):
        table(tmp_path)
    assert list(tmp_path.iterdir()) == []


def fitted(out: Path, *, resume: bool = False, **train: Any) -> cf.Ranker:
    settings = {"epochs": 2, "batch_size": 64, "compile": "off", "seed": 3, **train}
    ranker = cf.Ranker("deepfm", embedding_dim=4, deep=[8], data=ROLES, train=settings)
    return ranker.fit(LOG, LOG.tail(200), out=out, resume=resume, quiet=True)


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


@pytest.mark.parametrize("optimizer", ["lazy_adam", "rowwise_adagrad", "adagrad", "sgd"])
def test_training_on_disk_gives_the_bits_of_training_in_memory(tmp_path: Path, optimizer: str) -> None:
    for tables in ("memory", "disk"):
        fitted(tmp_path / tables, tables=tables, optimizer=optimizer, table_state="bf16")
    assert weights(tmp_path / "memory") == weights(tmp_path / "disk")
    assert not [one for one in (tmp_path / "disk").rglob("*") if "tables" in one.name]


def test_updates_are_made_on_disk_too(tmp_path: Path) -> None:
    new, found = click_log(500, seed=9), {}
    for tables in ("memory", "disk"):
        ranker = fitted(tmp_path / tables, tables=tables)
        updated = ranker.update(new, out=tmp_path / f"{tables}-2", quiet=True)
        assert updated.recipe.train.tables == tables
        found[tables] = weights(tmp_path / f"{tables}-2")
    assert found["memory"] == found["disk"]


def is_map_of(path: Path, tensor: Tensor) -> bool:
    """Whether a tensor's memory is a map of a file, or of one in a folder."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        first, last = (int(one, 16) for one in span.split("-"))
        if first <= tensor.data_ptr() < last:
            return name.startswith(str(path))
    raise AssertionError("a tensor lies somewhere")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what memory is a map of")
def test_a_loaded_run_reads_large_tables_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = fitted(tmp_path)
    assert not any(is_map_of(tmp_path, one) for one in Bundle.load(tmp_path).model.parameters())
    monkeypatch.setattr(bundle, "LARGE_TABLE", 0)
    model = Bundle.load(tmp_path).model
    tables = [one.weight for one in model.modules() if isinstance(one, EmbeddingArena)]
    assert tables and all(is_map_of(tmp_path / "model.safetensors", one) for one in tables)
    known = {id(one) for one in tables}
    assert not any(is_map_of(tmp_path, one) for one in model.parameters() if id(one) not in known)
    loaded = cf.Ranker.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(LOG), trained.predict(LOG))
    trained.save(tmp_path, overwrite=True)  # the file that is mapped is replaced, not written over
    np.testing.assert_array_equal(loaded.predict(LOG), trained.predict(LOG))


@pytest.mark.parametrize(
    ("settings", "device", "said"),
    [({"optimizer": "adam"}, "cpu", "whole tables at every step.*lazy_adam"), ({}, "cuda:0", "for a CPU, not cuda:0")],
)
def test_what_cannot_have_tables_on_disk_is_refused(settings: dict[str, Any], device: str, said: str) -> None:
    recipe = Recipe.of({"model": {"name": "fm"}, "train": {"tables": "disk", **settings}})
    with pytest.raises(ConfigError, match=said):
        check_tables(recipe, device)
    check_tables(recipe.override({"train.tables": "memory"}), device)
