"""Predicting, reports by slice, ranking among candidates and in the catalogue, recommending."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.data.dataset import load
from crossfield.data.entities import Entities
from crossfield.data.store import fit_store
from crossfield.errors import ConfigError, DataError
from crossfield.evaluate import (
    Predictions,
    click_report,
    id_slices,
    predict,
    rank_candidates,
    rank_catalogue,
    recommend,
)
from crossfield.models.base import Model
from crossfield.schema import Field, ModelSchema
from crossfield.scoring import PAIRS_PER_PASS

Ids = NDArray[np.int64]


class Scores(Model):
    """The logit of a pair stands in a table [users, items]."""

    table: Tensor

    def __init__(self, table: NDArray[np.float64]) -> None:
        users, items = table.shape
        super().__init__(ModelSchema(categorical=(Field("user", users), Field("item", items))), None)
        self.register_buffer("table", torch.tensor(table, dtype=torch.float32))
        self.largest_batch = 0

    def forward(self, batch: Batch) -> Tensor:
        self.largest_batch = max(self.largest_batch, batch.size)
        return self.table[batch.categorical[:, 0], batch.categorical[:, 1]].unsqueeze(1)


@dataclass
class Pairs:
    """Users and items with nothing but ids, and what was seen in training."""

    num_items: int
    """Rows of the item table, missing and unseen included."""
    met: Mapping[int, list[int]] = field(default_factory=dict)
    mixed_crosses: tuple[str, ...] = ()

    @property
    def items(self) -> Ids:
        return np.arange(2, self.num_items)

    def has_seen(self, user_ids: Ids, item_ids: Ids) -> NDArray[np.bool_]:
        pairs = zip(user_ids.tolist(), item_ids.tolist(), strict=True)
        return np.array([item in self.met.get(user, []) for user, item in pairs], bool)

    def seen_pairs(self, user_ids: Ids) -> tuple[Ids, Ids]:
        pairs = [(row, item) for row, user in enumerate(user_ids.tolist()) for item in self.met.get(user, [])]
        rows, items = np.array(pairs, np.int64).reshape(-1, 2).T
        return rows, items

    def pair_batch(self, user_ids: Ids, item_ids: Ids) -> Batch:
        ids = torch.from_numpy(np.column_stack([user_ids, item_ids]))
        return Batch(dense=torch.zeros(len(ids), 0), categorical=ids)


class Affine(Model):
    """A linear layer with dropout behind it, so that the mode and the precision show."""

    def __init__(self) -> None:
        super().__init__(ModelSchema(dense=("a", "b", "c")), None)
        self.linear, self.dropout, self.frozen = nn.Linear(3, 1), nn.Dropout(0.5), nn.BatchNorm1d(3)
        self.frozen.eval()
        self.fails = False

    def forward(self, batch: Batch) -> Tensor:
        if self.fails:
            raise RuntimeError("out of luck")
        logits: Tensor = self.dropout(self.linear(batch.dense))
        return logits


def dense_batches(sizes: list[int]) -> list[Batch]:
    generator, first, batches = torch.Generator().manual_seed(0), 0, []
    for size in sizes:
        batches.append(
            Batch(
                dense=torch.randn(size, 3, generator=generator),
                categorical=torch.zeros(size, 0, dtype=torch.int64),
                labels=torch.ones(size, 1),
                weights=torch.full((size,), 0.5),
                groups=torch.full((size,), 7, dtype=torch.int64),
                rows=torch.arange(first, first + size),
            )
        )
        first += size
    return batches


# Predict


def test_predict_keeps_order_and_what_belongs_to_the_rows() -> None:
    model, batches = Affine(), dense_batches([4, 0, 3])
    found = predict(model, batches)
    expected = model.linear(torch.cat([batch.dense for batch in batches])).flatten()
    np.testing.assert_allclose(found.logits, expected.detach().double().numpy(), rtol=1e-6)
    assert found.logits.dtype == np.float64
    assert found.labels is not None and found.labels.tolist() == [1] * 7
    assert found.weights is not None and found.weights.tolist() == [0.5] * 7
    assert found.groups is not None and found.groups.tolist() == [7] * 7
    assert found.rows is not None and found.rows.tolist() == list(range(7))


def test_predict_needs_no_labels_and_no_rows() -> None:
    bare = [replace(batch, labels=None, weights=None, groups=None, rows=None) for batch in dense_batches([2])]
    found = predict(Affine(), bare, device="cpu")
    assert (len(found.logits), found.labels, found.weights, found.groups, found.rows) == (2, None, None, None, None)
    assert len(predict(Affine(), []).logits) == 0


def test_predict_is_fp32_even_inside_autocast() -> None:
    model, batches = Affine(), dense_batches([50])
    expected = predict(model, batches).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(predict(model, batches).logits, expected)


def test_predict_gives_every_module_its_mode_back() -> None:
    model = Affine()
    predict(model, dense_batches([2]))
    assert (model.training, model.dropout.training, model.frozen.training) == (True, True, False)
    model.fails = True
    with pytest.raises(RuntimeError, match="out of luck"):
        predict(model, dense_batches([2]))
    assert (model.training, model.dropout.training, model.frozen.training) == (True, True, False)


def test_batches_made_while_predicting_can_be_trained_on() -> None:
    kept: list[Batch] = []

    def reader() -> Iterator[Batch]:
        for batch in dense_batches([2, 2]):
            kept.append(replace(batch, dense=batch.dense * 2))
            yield kept[-1]

    model = Affine()
    predict(model, reader())
    model(kept[0]).sum().backward()
    assert model.linear.weight.grad is not None


# Click reports


def drawn_predictions(num_rows: int = 400) -> Predictions:
    random = np.random.default_rng(0)
    labels = (random.random(num_rows) < 0.3).astype(float)
    return Predictions(random.normal(labels), labels, groups=random.integers(1, 40, num_rows))


def test_click_report_agrees_with_scikit_learn() -> None:
    rows = drawn_predictions()
    assert rows.labels is not None
    report = click_report(rows, train_rate=0.25, intervals=False)
    assert report["n"] == 400 and report["positives"] == rows.labels.sum()
    assert report["auc"] == pytest.approx(roc_auc_score(rows.labels, rows.logits))
    expected = log_loss(rows.labels, 1 / (1 + np.exp(-rows.logits)))
    assert report["log_loss"] == pytest.approx(expected)
    constant = log_loss(rows.labels, np.full(400, rows.labels.mean()))
    assert report["ne"] == pytest.approx(expected / constant)
    assert report["ne_base_rate"] == report["rate"] == pytest.approx(rows.labels.mean())
    assert report["train_rate"] == 0.25
    assert "intervals" not in report and "slices" not in report
    assert set(report) >= {"gauc", "calibration", "ece"}


def test_click_report_weighs_rows() -> None:
    rows = drawn_predictions()
    times = np.random.default_rng(1).integers(0, 3, 400)
    copied = np.repeat(np.arange(400), times)
    assert rows.labels is not None and rows.groups is not None
    twice = Predictions(rows.logits[copied], rows.labels[copied], groups=rows.groups[copied])
    weighted = click_report(replace(rows, weights=times.astype(float)), intervals=False)
    for name in ("rate", "auc", "gauc", "log_loss", "ne", "calibration", "ece"):
        assert weighted[name] == pytest.approx(click_report(twice, intervals=False)[name]), name


def test_slices_are_reports_of_their_rows() -> None:
    rows = drawn_predictions()
    assert rows.labels is not None
    mask = np.arange(400) < 100
    slices = {"user:seen": mask, "user:new": ~mask, "nobody": np.zeros(400, bool), "clicks": rows.labels > 0}
    report = click_report(rows, slices=slices)
    assert report["slices"]["user:seen"]["auc"] == pytest.approx(roc_auc_score(rows.labels[mask], rows.logits[mask]))
    assert report["slices"]["user:seen"]["n"] + report["slices"]["user:new"]["n"] == 400
    assert report["slices"]["user:seen"]["ne_base_rate"] == pytest.approx(rows.labels[mask].mean())
    assert report["slices"]["clicks"]["auc"] is None and report["slices"]["clicks"]["log_loss"] > 0
    for one in (report, *report["slices"].values()):
        assert {"calibration", "ece", "reliability"} <= one.keys()
        assert sum(one["reliability"]["num_rows"]) == one["n"]
    bins = {name: np.array(values) for name, values in report["slices"]["user:seen"]["reliability"].items()}
    gap = np.abs(bins["predicted"] - bins["observed"])
    assert report["slices"]["user:seen"]["ece"] == pytest.approx(np.average(gap, weights=bins["num_rows"]))
    assert ((bins["low"] <= bins["observed"]) & (bins["observed"] <= bins["high"])).all()
    assert report["slices"]["nobody"]["n"] == 0 and report["slices"]["nobody"]["intervals"]["auc"] == [None, None]
    json.dumps(report, allow_nan=False)


def test_intervals_hold_their_metric() -> None:
    report = click_report(drawn_predictions())
    assert set(report["intervals"]) == {"auc", "gauc", "log_loss", "ne", "calibration"}
    for name, (low, high) in report["intervals"].items():
        assert low < report[name] < high


def test_intervals_are_over_users_where_there_are_users() -> None:
    random = np.random.default_rng(0)
    labels, logits = (np.repeat(random.random(60) < 0.4, 20).astype(float), np.repeat(random.normal(size=60), 20))

    def width(groups: Ids) -> float:
        low, high = click_report(Predictions(logits, labels, groups=groups))["intervals"]["log_loss"]
        return float(high - low)

    rows, users = width(np.zeros(1200, np.int64)), width(np.repeat(np.arange(1, 61), 20))
    assert users == pytest.approx(rows * np.sqrt(20), rel=0.3)


def test_rows_without_a_user_are_no_user() -> None:
    labels, logits = np.array([1.0, 0, 1, 0]), np.array([2.0, 1, 0, 5])
    mixed = click_report(Predictions(logits, labels, groups=np.array([9, 9, 0, 0])))
    assert mixed["gauc"] == 1.0
    assert "gauc" not in click_report(Predictions(logits, labels, groups=np.zeros(4, np.int64)))
    # One user among 79 rows of nobody: the draws are of 80, not of two.
    lonely = Predictions(np.tile(logits, 20), np.tile(labels, 20), groups=np.array([9, *[0] * 79]))
    low, high = click_report(lonely)["intervals"]["log_loss"]
    rows = click_report(replace(lonely, groups=None))["intervals"]["log_loss"]
    assert high - low == pytest.approx(rows[1] - rows[0], rel=0.2)


def test_a_report_needs_labels() -> None:
    with pytest.raises(DataError, match="no labels"):
        click_report(Predictions(np.zeros(3)))


def test_id_slices_put_every_row_in_one() -> None:
    counts = np.array([0, 50, 30, 10, 9, 0])  # missing, unseen, then four ids; the last one never came
    masks = id_slices("item", [2, 3, 4, 5, 1], counts)
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "item:seen": [True, True, False, False, False],
        "item:rare": [False, False, True, False, False],
        "item:new": [False, False, False, True, True],
    }
    with_missing = id_slices("user", [0, 2, 4], counts)
    assert with_missing["user:missing"].tolist() == [True, False, False]
    assert np.sum(list(with_missing.values()), axis=0).tolist() == [1, 1, 1]


# Ranking among candidates


def test_candidates_by_hand() -> None:
    table = np.zeros((4, 8))
    table[2, [2, 3, 4, 5]] = [3, 4, 1, 3]  # target 2: one better, one tied
    table[3, [6, 7, 2, 3]] = [9, 1, 2, 3]  # target 6: first
    report = rank_candidates(Scores(table), Pairs(8), [2, 3], [2, 6], [[3, 4, 5], [7, 2, 3]], ks=(1, 2))
    assert report["hr@1"] == pytest.approx((0 + 1) / 2)
    assert report["hr@2"] == pytest.approx((1 / 2 + 1) / 2)
    assert report["ndcg@2"] == pytest.approx((1 / np.log2(3) / 2 + 1) / 2)
    assert report["mrr"] == pytest.approx(((1 / 2 + 1 / 3) / 2 + 1) / 2)
    assert (report["n"], report["candidates"], report["self_negatives"], report["ties"]) == (2, 4, 0, "expected")
    json.dumps(report, allow_nan=False)


def test_the_best_rank_rule_flatters_a_constant_scorer() -> None:
    negatives = np.tile(np.arange(3, 102), (5, 1))
    arguments = Scores(np.zeros((7, 102))), Pairs(102), np.arange(2, 7), np.full(5, 2), negatives
    assert rank_candidates(*arguments)["hr@10"] == pytest.approx(10 / 100)
    assert rank_candidates(*arguments, ties="best")["hr@10"] == 1.0


def test_an_item_does_not_compete_with_itself() -> None:
    report = rank_candidates(Scores(np.zeros((3, 10))), Pairs(10), [2], [5], [[5, 6, 7]], ks=(1,))
    assert (report["hr@1"], report["self_negatives"], report["candidates"]) == (pytest.approx(1 / 3), 1, 3)


def test_repeated_negatives_count_as_often_as_drawn_unless_merged() -> None:
    table = np.zeros((3, 10))
    table[2, 6] = 1
    arguments = Scores(table), Pairs(10), [2], [5], [[6, 8, 6, 8]]
    assert rank_candidates(*arguments, ks=(3,))["hr@3"] == pytest.approx(1 / 3)  # ranks 3, 4, 5
    merged = rank_candidates(*arguments, ks=(3,), merge_duplicates=True)
    assert (merged["hr@3"], merged["candidates"], merged["mrr"]) == (1.0, 3, pytest.approx((1 / 2 + 1 / 3) / 2))


def test_items_that_share_the_unseen_id_tie_but_are_not_the_same() -> None:
    table = np.zeros((3, 5))
    for merged in (True, False):
        report = rank_candidates(Scores(table), Pairs(5), [2], [1], [[1, 1, 3]], ks=(1,), merge_duplicates=merged)
        assert (report["hr@1"], report["self_negatives"], report["candidates"]) == (1 / 4, 0, 4)


def test_intervals_of_ranks_are_over_users() -> None:
    table = np.zeros((60, 3))
    table[2:, 2] = np.random.default_rng(0).choice([-1, 1], 58)
    users = np.arange(2, 60)
    once = rank_candidates(Scores(table), Pairs(4), users, np.full(58, 2), np.full((58, 1), 1), ks=(1,))
    again = np.repeat(users, 9)
    often = rank_candidates(Scores(table), Pairs(4), again, np.full(522, 2), np.full((522, 1), 1), ks=(1,))
    assert once["intervals"]["hr@1"][0] < once["hr@1"] < once["intervals"]["hr@1"][1]
    assert often["intervals"]["hr@1"] == pytest.approx(once["intervals"]["hr@1"])


def test_slices_of_candidates_by_user_and_item() -> None:
    table = np.zeros((4, 8))
    table[2, 5] = 1  # user 2 finds item 5, user 3 nothing, the new user no new item
    user_counts, item_counts = [0, 0, 50, 9], [0, 0, 30, 30, 30, 3, 30, 30]
    arguments = Scores(table), Pairs(8), [2, 3, 1], [5, 2, 1], [[2, 3], [3, 4], [3, 4]]
    report = rank_candidates(*arguments, ks=(1,), counts={"user": user_counts, "item": item_counts})
    found = {name: (one["n"], one["hr@1"]) for name, one in report["slices"].items()}
    third = pytest.approx(1 / 3)
    assert found == {
        "user:seen": (1, 1.0),
        "user:rare": (1, third),
        "user:new": (1, third),
        "item:seen": (1, third),
        "item:rare": (1, 1.0),
        "item:new": (1, third),
    }
    assert "slices" not in rank_candidates(*arguments) and "intervals" in report["slices"]["user:seen"]
    without = rank_candidates(*arguments, counts={"user": user_counts, "item": item_counts}, intervals=False)
    assert "intervals" not in without and "intervals" not in without["slices"]["user:seen"]
    json.dumps(report, allow_nan=False)


def test_nobody_to_rank_for() -> None:
    report = rank_candidates(Scores(np.zeros((3, 5))), Pairs(5), [], [], np.empty((0, 3)))
    assert report["n"] == 0 and report["hr@10"] is None and report["mrr"] is None
    assert rank_catalogue(Scores(np.zeros((3, 5))), Pairs(5), {})["recall@10"] is None


def test_impossible_cut_offs_are_refused() -> None:
    with pytest.raises(ConfigError, match="cut-offs"):
        rank_candidates(Scores(np.zeros((3, 5))), Pairs(5), [2], [2], [[3]], ks=(0,))
    with pytest.raises(ConfigError, match="cut-offs"):
        rank_catalogue(Scores(np.zeros((3, 5))), Pairs(5), {2: [3]}, ks=())


# The whole catalogue


@pytest.mark.parametrize("block", [1, 50, 1 << 20])
def test_catalogue_agrees_with_scikit_learn_in_any_blocks(block: int) -> None:
    random = np.random.default_rng(0)
    table = random.integers(0, 5, (12, 22)).astype(float)
    met = {user: random.choice(np.arange(2, 12), 4, replace=False).tolist() for user in range(2, 12)}
    targets = {user: random.choice(np.arange(12, 22), user % 4 + 1, replace=False).tolist() for user in range(2, 12)}
    report = rank_catalogue(Scores(table), Pairs(22, met), targets, ks=(3, 16), block=block)
    left = {user: np.setdiff1d(np.arange(2, 22), met[user]) for user in met}
    for k in (3, 16):
        per_user = [ndcg_score([np.isin(left[u], targets[u])], [table[u, left[u]]], k=k) for u in targets]
        assert report[f"ndcg@{k}"] == pytest.approx(np.mean(per_user))
    assert report["recall@16"] == report["hr@16"] == 1.0
    assert (report["n"], report["candidates"], report["targets"]) == (10, 16, sum(map(len, targets.values())))
    json.dumps(report, allow_nan=False)


def test_a_constant_scorer_gets_k_out_of_the_catalogue() -> None:
    met = {2: [2, 3], 3: [4]}
    report = rank_catalogue(Scores(np.zeros((4, 12))), Pairs(12, met), {2: [5], 3: [5, 6]}, ks=(4,))
    assert report["recall@4"] == pytest.approx((4 / 8 + 4 / 9) / 2)
    assert report["hr@4"] == pytest.approx((4 / 8 + (1 - (5 * 4) / (9 * 8))) / 2)


def test_targets_met_in_training_are_left_out_and_new_ones_missed() -> None:
    table = np.tile(np.arange(10.0), (5, 1))
    # 2: the best item and two unseen ones; 3: met already; 4: second best, named twice; 1: any number of new users.
    targets = {2: [9, 1, 1], 3: [9], 4: [8, 8], 1: [9, 8, 7]}
    report = rank_catalogue(Scores(table), Pairs(10, {3: [9, 1]}), targets, ks=(1, 2))
    assert (report["n"], report["targets"], report["seen_targets"], report["new_targets"]) == (2, 4, 1, 2)
    assert report["new_user_targets"] == 3
    assert report["recall@1"] == pytest.approx((1 / 3 + 0) / 2)
    assert report["recall@2"] == pytest.approx((1 / 3 + 1) / 2)
    assert report["mrr"] == pytest.approx((1 + 1 / 2) / 2)


def test_slices_of_the_catalogue_take_the_targets_apart() -> None:
    table = np.tile(np.arange(10.0), (4, 1))
    counts = {"user": [0, 0, 12, 4], "item": [0, 0, *[20] * 6, 2, 20]}
    # 2: the best item, a rare one behind it, and one that training never met; 3: the third best.
    report = rank_catalogue(Scores(table), Pairs(10), {2: [9, 8, 1], 3: [7]}, ks=(1, 2), counts=counts)
    found = {name: (one["n"], one["targets"], one["recall@2"]) for name, one in report["slices"].items()}
    assert found == {
        "user:seen": (1, 3, pytest.approx(2 / 3)),
        "user:rare": (1, 1, 0.0),
        "user:new": (0, 0, None),
        "item:seen": (2, 2, 0.5),
        "item:rare": (1, 1, 1.0),
        "item:new": (1, 1, 0.0),
    }
    assert report["slices"]["item:rare"]["ndcg@2"] == pytest.approx(1 / np.log2(3))  # of one target, found second
    json.dumps(report, allow_nan=False)


def test_the_catalogue_is_what_training_saw() -> None:
    class Gaps(Pairs):
        @property
        def items(self) -> Ids:
            return np.array([3, 6, 8])

    table = np.tile(np.arange(10.0), (4, 1))
    report = rank_catalogue(Scores(table), Gaps(10, {2: [8]}), {2: [3, 7, 9]}, ks=(1, 2))
    assert (report["candidates"], report["targets"], report["new_targets"]) == (2, 3, 2)
    assert (report["recall@1"], report["recall@2"]) == (0, pytest.approx(1 / 3))
    items, scores = recommend(Scores(table), Gaps(10, {2: [8]}), [2, 3], 2)
    assert items.tolist() == [[6, 3], [8, 6]] and scores.tolist() == [[6, 3], [8, 6]]


def test_a_pass_never_holds_more_pairs_than_it_should() -> None:
    model = Scores(np.zeros((4, PAIRS_PER_PASS + 10)))
    rank_catalogue(model, Pairs(PAIRS_PER_PASS + 10), {2: [5], 3: [6]})
    assert model.largest_batch == PAIRS_PER_PASS


def test_ranking_over_real_users_and_items(tmp_path: Path) -> None:
    # Film 0 was watched by users 0 to 8, film 1 by 0 to 7, and so on: scored by popularity, user 5 has met the four
    # most popular films, and of the five others film 4 comes first and film 8 last.
    rows = [{"user": f"u{user}", "film": f"f{film}"} for film in range(9) for user in range(9 - film)]
    encoder, store = fit_store(load(rows, user="user", item="film"), tmp_path / "store")
    entities = Entities.fit(store, encoder)
    model = Scores(np.tile(entities.popularity.astype(float), (len(encoder.vocabulary("user")) + 2, 1)))
    user, films = int(encoder.id_of("user", ["u5"])[0]), encoder.id_of("film", [f"f{film}" for film in range(9)])
    report = rank_catalogue(model, entities, {user: films[[4, 8]]}, ks=(1, 4, 5))
    assert (report["candidates"], report["recall@1"], report["recall@4"], report["recall@5"]) == (5, 1 / 2, 1 / 2, 1)
    items, scores = recommend(model, entities, [user], 2)
    assert encoder.decode("film", items[0]) == ["f4", "f5"] and scores.tolist() == [[5, 4]]
    among = rank_candidates(model, entities, [user], films[[6]], films[[[7, 8, 5]]], ks=(1, 2))
    assert (among["hr@1"], among["hr@2"]) == (0, 1)


# Recommend


def test_recommend_the_best_items_not_met_yet() -> None:
    table = np.zeros((4, 7))
    table[2] = [9, 9, 1, 5, 2, 5, 3]  # missing and unseen are no items
    table[3] = [9, 9, 5, 4, 3, 2, 1]
    items, scores = recommend(Scores(table), Pairs(7, {3: [2, 3, 1]}), [2, 3], 3)
    assert items.tolist() == [[3, 5, 6], [4, 5, 6]]  # equal scores: the lower id first
    assert scores.tolist() == [[5, 5, 3], [3, 2, 1]]
    everything, _ = recommend(Scores(table), Pairs(7, {3: [2, 3]}), [3], 2, filter_seen=False)
    assert everything.tolist() == [[2, 3]]


@pytest.mark.parametrize("block", [1, 90, 1 << 20])
@pytest.mark.parametrize("num_levels", [3, 30, 10_000])
def test_recommend_agrees_with_sorting_everything(num_levels: int, block: int) -> None:
    random = np.random.default_rng(num_levels)
    table = random.integers(0, num_levels, (9, 42)).astype(float)
    met = {user: random.choice(np.arange(2, 42), random.integers(0, 39), replace=False).tolist() for user in range(9)}
    users = random.integers(0, 9, 20)
    items, scores = recommend(Scores(table), Pairs(42, met), users, 5, block=block)
    for user, found, values in zip(users.tolist(), items.tolist(), scores.tolist(), strict=True):
        left = sorted(set(range(2, 42)) - set(met[user]), key=lambda item: (-table[user, item], item))[:5]
        filling = 5 - len(left)
        assert found == left + [0] * filling
        assert values == [table[user, item] for item in left] + [-np.inf] * filling


def test_ties_at_the_cut_go_to_the_lower_id() -> None:
    items, _ = recommend(Scores(np.zeros((3, 500))), Pairs(500), [2], 5)
    assert items.tolist() == [[2, 3, 4, 5, 6]]


def test_too_few_items_are_filled_up_with_none() -> None:
    items, scores = recommend(Scores(np.ones((3, 5))), Pairs(5, {2: [2]}), [2], 4)
    assert items.tolist() == [[3, 4, 0, 0]]
    assert scores.tolist() == [[1, 1, -np.inf, -np.inf]]


def test_recommend_for_nobody() -> None:
    items, scores = recommend(Scores(np.ones((3, 5))), Pairs(5), [], 4)
    assert items.shape == scores.shape == (0, 4)
    with pytest.raises(ConfigError, match="cut-offs"):
        recommend(Scores(np.ones((3, 5))), Pairs(5), [2], 0)
