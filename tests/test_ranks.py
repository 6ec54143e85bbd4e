"""Several ranks before they are launched: against numbers worked out by hand, and against what two processes send."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from crossfield.batch import Batch
from crossfield.data.dataset import load
from crossfield.data.store import Reader, Store
from crossfield.distributed import spread
from crossfield.distributed.team import Team
from crossfield.errors import ConfigError
from crossfield.fitting import Prepared, prepare
from crossfield.models import CATALOGUE
from crossfield.ranks import DenseShare, RankPlan, TableShare, check_ranks, plan_ranks
from crossfield.recipe import Recipe
from crossfield.train import Trainer
from tests.distributed.launch import all_well, launch

# 100 rows: 3 users, one of them in half of the rows, and 6 items.
FRAME = pl.DataFrame(
    {
        "click": [0, 1] * 50,
        "user": ["a", "b", "c", "a"] * 25,
        "item": ["once", "never again"] + ["p", "q", "r", "s", "p", "q", "r"] * 14,
        "price": [float(one) for one in range(100)],
    }
)
CPU = torch.device("cpu")
ROWS = 13  # 3 users, 6 items, and each field's missing and unseen


def recipe_of(name: str = "fm", **train: Any) -> Recipe:
    train = {"batch_size": 40, "compile": "off", "precision": "fp32", **train}
    model = {"name": name} if name in ("popularity", "neumf") else {"name": name, "embedding_dim": 4}
    return Recipe.of({"model": model, "train": train})


def prepared_rows(recipe: Recipe, folder: Path, frame: pl.DataFrame = FRAME) -> Prepared:
    named = {"label": "click", "kinds": {"price": "dense"}} if "click" in frame.columns else {}
    return prepare(recipe, load(frame, user="user", item="item", **named), None, work=folder)


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    def plan(recipe: Recipe, ranks: int, *, device: str = "cpu") -> RankPlan:
        return plan_ranks(recipe, prepared_rows(recipe, tmp_path), ranks, device=torch.device(device))

    return plan


def tables(found: RankPlan) -> dict[str, TableShare]:
    return {one.name: one for one in found.tables}


def test_large_tables_lie_by_rows(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "SMALL_TABLE", 4 * ROWS)  # the first-order weights are on every rank
    found = plan(recipe_of(batch_size=100), 4)
    one, small = tables(found)["vectors.ids"], tables(found)["linear.ids"]
    assert (one.rows, one.dim, one.fields) == (ROWS, 4, ("user", "item"))
    assert one.by_rows and not small.by_rows and small.balance is None
    # Weights and two moments; 4 of 13 rows are on the first rank; the count of steps is whole everywhere.
    assert one.bytes == 3 * ROWS * 16 + 4 and one.rank_bytes == 3 * 4 * 16 + 4
    assert small.rank_bytes == small.bytes
    assert (found.steps, found.slice_examples, one.batch_rows) == (1, 25, 9)
    assert one.sent_vectors == one.sent_gradients == 2 * one.sent_ids  # 16 bytes a vector, 8 an id
    # To each of three others the number of each row and its one number.
    assert small.sent_gradients == pytest.approx(3 * (8 + 4) * small.slice_rows)
    assert found.rank_bytes == one.rank_bytes + small.rank_bytes + found.dense.rank_bytes
    assert found.sent["vectors"] == one.sent_vectors and found.whole == 4 * (5 * ROWS + 6)


def test_ids_are_sent_once_where_the_model_finds_them_once(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "SMALL_TABLE", 0)
    shared = tables(plan(recipe_of("fm"), 2))
    assert sorted(one.sent_ids > 0 for one in shared.values()) == [False, True]
    assert all(one.sent_vectors > 0 for one in shared.values())
    assert all(one.sent_ids > 0 for one in tables(plan(recipe_of("neumf"), 2)).values())


def test_balance_is_the_busiest_rank_over_the_mean(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "SMALL_TABLE", 0)
    found = plan(recipe_of(batch_size=100), 4)
    # Rows by falling count: a 2, b 3, c 4 of the user; the item's rows begin at 5: q 7, p and r 8 and 9 and so on.
    ids = np.zeros(4)
    for row, count in zip((2, 3, 4, *range(7, 13)), (50, 25, 25, 28, 28, 28, 14, 1, 1), strict=True):
        ids[row % 4] += count
    assert found.balance_of_ids == pytest.approx(ids.max() / ids.mean())
    assert 1 <= found.balance < found.balance_of_ids


def test_replicated_tables_of_a_dense_optimiser_are_summed_whole(plan: Any) -> None:
    found = tables(plan(recipe_of(optimizer="adam"), 4))["vectors.ids"]
    assert found.sent_gradients == 2 * 3 / 4 * ROWS * 16


@pytest.mark.parametrize(("mesh", "device", "sizes"), [("1x4", "cuda", 2 * 3 / 4), ("1x4", "cpu", 3 * 3 / 4)])
def test_a_sharded_dense_part(plan: Any, mesh: str, device: str, sizes: float) -> None:
    found: DenseShare = plan(recipe_of("deepfm", mesh=mesh), 4, device=device).dense
    # The vector and the weight of the price, and what has no dimension, are not sharded.
    common = 4 * found.parameters - found.gathered
    assert found.sent == pytest.approx(sizes * found.gathered + 2 * 3 / 4 * common)
    assert found.bytes / 4 < found.rank_bytes < 0.3 * found.bytes and common < 100


def test_several_sharded_replicas_send_less(plan: Any) -> None:
    found: DenseShare = plan(recipe_of("deepfm", mesh="2x2"), 4, device="cuda").dense
    common = 4 * found.parameters - found.gathered
    # Gathered and scattered between two, and the half of it summed with the other replica's.
    assert found.sent == pytest.approx((2 / 2 + 2 / 2 / 2) * found.gathered + 2 * 3 / 4 * common)
    assert (found.replicas, found.shards) == (2, 2)


def test_replicas_sum_all_gradients(plan: Any) -> None:
    found: DenseShare = plan(recipe_of("deepfm"), 8).dense
    assert (found.replicas, found.shards, found.gathered) == (8, 1, 0)
    assert found.rank_bytes == found.bytes and found.sent == 2 * 7 / 8 * 4 * found.parameters


def test_one_rank_sends_nothing(plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "SMALL_TABLE", 0)
    found = plan(recipe_of(), 1)
    assert sum(found.sent.values()) == 0 and found.balance is None
    assert found.rank_bytes == sum(one.bytes for one in found.tables) + found.dense.bytes
    assert found.to_json()["rank_bytes"] == found.rank_bytes


def test_drawn_negatives_are_part_of_a_slice(tmp_path: Path) -> None:
    recipe = recipe_of("gmf", batch_size=100, negatives=3)
    prepared = prepared_rows(recipe, tmp_path, FRAME.select("user", "item"))
    assert plan_ranks(recipe, prepared, 4, device=CPU).slice_examples == 25 * 4


@pytest.mark.parametrize(
    ("recipe", "ranks", "said"),
    [
        (recipe_of(), 0, "1 rank or more, not 0"),
        (recipe_of("popularity"), 2, "popularity is solved"),
        (recipe_of(compile="on"), 2, "train.compile is for one process"),
    ],
)
def test_teams_that_cannot_be(recipe: Recipe, ranks: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_ranks(recipe, ranks)


def test_a_mesh_for_others(plan: Any) -> None:
    with pytest.raises(ConfigError, match="is for 4 processes and there are 8"):
        plan(recipe_of(mesh="2x2"), 8)


def bytes_sent(team: Team, values: dict[str, Any], folder: Path, small_table: int) -> int:
    """What one process sends by exchanges in the steps of an epoch, counts left out."""
    spread.SMALL_TABLE, exchange, total, is_step = small_table, team.exchange, 0, False

    def counted(rows: Tensor, *, sent: Any, received: Any) -> Tensor:
        nonlocal total
        total += is_step * rows[:1].nbytes * (sum(sent) - sent[team.rank])
        return exchange(rows, sent=sent, received=received)

    def uncounted(counts: Tensor) -> list[int]:
        return exchange(counts, sent=[1] * team.size, received=[1] * team.size).tolist()

    team.exchange, team.swap_counts = counted, uncounted  # type: ignore[method-assign]  # of this process alone
    recipe, store = Recipe.of(values), Store.open(folder)
    model = CATALOGUE[recipe.name](store.model_schema, recipe.model)
    reader = Reader(store, batch_size=recipe.train.batch_size, rank=team.rank, world=team.size)
    trainer = Trainer(model, reader, recipe.train, team=team)
    train = trainer._train

    def step(batch: Batch) -> None:
        nonlocal is_step
        is_step = True
        train(batch)
        is_step = False

    trainer._train = step  # type: ignore[method-assign]  # so that what the end of a training sends is not counted
    trainer.fit()
    return total


@pytest.mark.parametrize(("name", "small_table"), [("fm", 4 * ROWS), ("neumf", 0)])
def test_two_processes_send_what_was_planned(
    name: str, small_table: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(name, epochs=1)
    prepared = prepared_rows(recipe, tmp_path)
    monkeypatch.setattr(spread, "SMALL_TABLE", small_table)
    found = plan_ranks(recipe, prepared, 2, device=CPU)
    assert found.steps == 3
    planned = sum(found.sent[one] for one in ("ids", "vectors", "row_gradients"))
    answers = all_well(launch(bytes_sent, 2, recipe.plain(), prepared.train.folder, small_table))
    assert sum(answers) == pytest.approx(2 * found.steps * planned)
