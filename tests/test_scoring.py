"""Scores of users with items: whichever way a model allows, they are those of its pairs one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from crossfield import scoring
from crossfield.data.entities import Entities
from crossfield.data.store import write_store
from crossfield.models.base import Model
from crossfield.schema import Feature, Kind
from crossfield.scoring import FieldSides, PairByPair, RowByRow, SideBySide, scorer_of
from tests.contract.cases import build
from tests.data.tables import categorical, cross, dataset, dense, fitted

Ids = NDArray[np.int64]
FEATURES = [
    *categorical("item", "user", "sex", "hour"),
    *dense("year", "age"),
    Feature("tags", Kind.MULTI, separator="|"),
]


def entities_of(features: list[Feature], folder: Path) -> Entities:
    """40 rows: sex and age belong to the user, year and tags to the item, the hour to nobody."""
    random = np.random.default_rng(0)
    user, item = random.integers(0, 9, 40), random.integers(0, 12, 40)
    rows = pl.DataFrame({"user": user, "item": item, "hour": random.integers(0, 4, 40), "sex": user % 2})
    rows = rows.with_columns(age=20.5 + user, year=1990.5 + item, tags=pl.Series(["a|b", "", "c"]).gather(item % 3))
    data = dataset(rows.cast({"user": pl.String, "item": pl.String}), features, user="user", item="item")
    encoder = fitted(data)
    blocks = encoder.stream(data, labelled=False)
    store = write_store(blocks, folder, model_schema=encoder.model_schema, fingerprint=encoder.fingerprint)
    return Entities.fit(store, encoder)


@pytest.fixture(scope="module")
def entities(tmp_path_factory: pytest.TempPathFactory) -> Entities:
    return entities_of(FEATURES, tmp_path_factory.mktemp("store"))


def pair_by_pair(model: Model, entities: Entities, users: Ids, items: Ids) -> NDArray[np.float32]:
    with torch.no_grad():
        logits = model(entities.pair_batch(np.repeat(users, items.shape[1]), items.reshape(-1)))
    return np.asarray(logits.view(items.shape))


WAYS = [
    *((name, SideBySide) for name in ("mf", "gmf", "mlp", "neumf", "fm", "logistic_regression", "popularity", "ials")),
    ("ease", RowByRow),
    *((name, PairByPair) for name in ("dlrm", "deepfm")),
]


@pytest.mark.parametrize("at_once", [2, 7, 4096])
@pytest.mark.parametrize(("name", "way"), WAYS)
def test_scores_are_those_of_the_pairs(
    name: str, way: type[Any], at_once: int, entities: Entities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "PAIRS_PER_PASS", at_once)
    monkeypatch.setattr(scoring, "ROWS_PER_PASS", at_once)
    model = build(name, entities.encoder.model_schema, batch_norm=True, dropout=0.5)
    for value in model.state_dict().values():
        value.add_((0.1 * torch.rand(value.shape)).to(value.dtype))  # the running statistics of batch norms too
    scorer, users = scorer_of(model, entities), np.array([1, 5, 2, 0, 5])
    assert isinstance(scorer, way)
    own = np.random.default_rng(1).integers(0, 12, (5, 3))
    whole, lists = scorer.catalogue(users), scorer.lists(users, own)
    assert all(module.training for module in model.modules())
    every = np.tile(entities.items, (5, 1))
    np.testing.assert_allclose(whole, pair_by_pair(model.eval(), entities, users, every), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(lists, pair_by_pair(model, entities, users, own), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["neumf", "fm", "ease", "dlrm"])
def test_nobody_and_nothing(name: str, entities: Entities) -> None:
    scorer = scorer_of(build(name, entities.encoder.model_schema), entities)
    nobody = np.empty(0, np.int64)
    assert scorer.catalogue(nobody).shape == (0, len(entities.items))
    assert scorer.lists(nobody, np.empty((0, 3), np.int64)).shape == (0, 3)
    assert scorer.lists(np.array([2]), np.empty((1, 0), np.int64)).shape == (1, 0)


def test_a_cross_of_user_and_item_needs_every_pair(tmp_path: Path) -> None:
    entities = entities_of([*FEATURES, cross("sex", "item")], tmp_path)
    schema = entities.encoder.model_schema
    assert isinstance(scorer_of(build("fm", schema), entities), PairByPair)
    assert isinstance(scorer_of(build("mf", schema), entities), SideBySide)


@pytest.mark.parametrize("name", ["neumf", "fm", "ease", "dlrm"])
def test_scores_are_in_full_precision_without_gradients(name: str, entities: Entities) -> None:
    scorer, users = scorer_of(build(name, entities.encoder.model_schema), entities), np.array([2, 3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = scorer.catalogue(users)
    assert not rounded.requires_grad
    torch.testing.assert_close(rounded, scorer_of(scorer._model, entities).catalogue(users), rtol=0, atol=0)  # type: ignore[attr-defined]


def test_field_sides_agree_in_double_precision(entities: Entities) -> None:
    model = build("fm", entities.encoder.model_schema)
    sides = FieldSides(model, model, entities=entities)  # type: ignore[arg-type]
    users, items = torch.arange(6), torch.arange(9)
    with torch.no_grad():
        found = sides.join_sides(sides.encode_users(users), sides.encode_items(items))
    pairs = pair_by_pair(model, entities, users.numpy(), np.tile(items.numpy(), (6, 1)))
    np.testing.assert_allclose(found, pairs, rtol=0, atol=1e-6)
