from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crossfield.batch import Batch
from crossfield.data.entities import Entities
from crossfield.data.negatives import NegativeSampler, keep_mask
from crossfield.data.store import Reader, Store, write_store
from crossfield.errors import DataError
from crossfield.schema import Label
from tests.data.tables import Rows, categorical, cross, dataset, fitted

USERS, ITEMS = 40, 30


def prepare(folder: Path, rows: Rows, **roles: Any) -> tuple[Store, Entities]:
    data = dataset(rows, [*categorical("user", "item", "genre", "hour"), cross("user", "genre")], **roles)
    encoder = fitted(data)
    blocks = encoder.stream(data, labelled="label" in roles)
    store = write_store(blocks, folder, model_schema=encoder.model_schema, fingerprint=encoder.fingerprint)
    return store, Entities.fit(store, encoder)


@pytest.fixture(scope="module")
def implicit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Entities]:
    """Forty users with a fifth of thirty items each, item k met by more users the smaller k is."""
    random = np.random.default_rng(0)
    pairs = [(u, i) for u in range(USERS) for i in range(ITEMS) if random.random() < 0.4 - 0.012 * i]
    rows = {
        "user": [u for u, _ in pairs],
        "item": [i for _, i in pairs],
        "genre": [i % 3 for _, i in pairs],
        "hour": list(random.integers(0, 24, len(pairs))),
    }
    return prepare(tmp_path_factory.mktemp("implicit"), rows, user="user", item="item")


def columns(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    return batch.categorical[:, 0].numpy(), batch.categorical[:, 1].numpy()


@pytest.mark.parametrize("kind", ["uniform", "popularity"])
def test_negatives_are_items_the_user_did_not_meet(implicit: tuple[Store, Entities], kind: Any) -> None:
    store, entities = implicit
    sampler = NegativeSampler(entities, per_positive=3, kind=kind, seed=1)
    batch = store.batch(np.arange(store.num_rows))
    extended = sampler.extend(batch, epoch=0, index=0)
    users, items = columns(extended)
    assert extended.size == 4 * batch.size
    assert users.reshape(4, -1).tolist() == [columns(batch)[0].tolist()] * 4
    assert not entities.has_seen(users[batch.size :], items[batch.size :]).any()
    assert extended.labels is not None
    assert extended.labels[:, 0].tolist() == [1] * batch.size + [0] * 3 * batch.size
    assert extended.weights is None


def test_the_item_side_is_the_items_and_the_rest_the_positives(implicit: tuple[Store, Entities]) -> None:
    store, entities = implicit
    assert entities.item_side == ("genre",)
    batch = store.batch(np.arange(50))
    negatives = NegativeSampler(entities, per_positive=2).extend(batch, epoch=0, index=0).select(torch.arange(50, 150))
    expected = entities.with_items(batch.select(torch.arange(50).repeat(2)), columns(negatives)[1])
    assert negatives.categorical.tolist() == expected.categorical.tolist()
    assert negatives.categorical[:, 3].tolist() == batch.categorical[:, 3].tolist() * 2
    assert negatives.groups is not None
    assert batch.groups is not None
    assert negatives.groups.tolist() == batch.groups.tolist() * 2


def test_draws_depend_on_seed_epoch_and_index_alone(implicit: tuple[Store, Entities]) -> None:
    store, entities = implicit
    batch = store.batch(np.arange(200))

    def drawn(seed: int, epoch: int, index: int) -> list[int]:
        sampler = NegativeSampler(entities, per_positive=1, seed=seed)
        return list(columns(sampler.extend(batch, epoch=epoch, index=index))[1][200:])

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    assert len({tuple(drawn(*some)) for some in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (3, 2, 1)]}) == 5


def test_ranks_draw_what_one_process_would(implicit: tuple[Store, Entities]) -> None:
    store, entities = implicit
    sampler = NegativeSampler(entities, per_positive=2, seed=4)

    def drawn(rank: int, world: int) -> set[tuple[int, ...]]:
        reader = Reader(store, batch_size=32, rank=rank, world=world)
        batches = [sampler.extend(one, epoch=0, index=index) for index, one in enumerate(reader.epoch())]
        return {
            (int(row), *ids) for one in batches for row, ids in zip(rows_of(one), one.categorical.tolist(), strict=True)
        }

    assert drawn(0, 1) == drawn(0, 3) | drawn(1, 3) | drawn(2, 3)


def rows_of(batch: Batch) -> list[int]:
    assert batch.rows is not None
    return batch.rows.tolist()


def test_uniform_and_popular_draws_have_their_shares(implicit: tuple[Store, Entities]) -> None:
    _, entities = implicit
    newcomers = np.ones(20_000, dtype=np.int64)
    for kind, weights in (
        ("uniform", np.ones(len(entities.items))),
        ("popularity", entities.popularity[entities.items]),
    ):
        drawn = NegativeSampler(entities, per_positive=1, kind=kind).draw(newcomers)  # type: ignore[arg-type]
        shares = np.bincount(drawn[:, 0], minlength=len(entities.popularity))[entities.items] / len(drawn)
        np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.008)


def test_drawn_lists_exclude_what_the_user_met(implicit: tuple[Store, Entities]) -> None:
    _, entities = implicit
    users = np.arange(2, 2 + USERS)
    drawn = NegativeSampler(entities, per_positive=9, seed=7).draw(users)
    assert drawn.shape == (USERS, 9)
    assert not entities.has_seen(np.repeat(users, 9), drawn.reshape(-1)).any()
    assert np.array_equal(drawn, NegativeSampler(entities, per_positive=9, seed=7).draw(users))


def small(folder: Path, **extra: Any) -> tuple[Store, Entities]:
    """User a met x, y and z, user b only x; w is nobody's but c's."""
    rows: Rows = {"user": list("aaabc"), "item": list("xyzxw"), "genre": list("ggggh"), "hour": [1, 2, 3, 4, 5]}
    return prepare(folder, {**rows, **extra}, user="user", item="item", **({"label": Label("y")} if extra else {}))


def test_a_user_with_one_item_left_gets_it(tmp_path: Path) -> None:
    store, entities = small(tmp_path)
    (w,) = entities.encoder.id_of("item", ["w"])
    extended = NegativeSampler(entities, per_positive=50).extend(store.batch(np.array([0])), epoch=0, index=0)
    assert set(columns(extended)[1][1:]) == {w}


def test_negatives_of_a_user_who_met_everything_weigh_nothing(tmp_path: Path) -> None:
    rows: Rows = {"user": list("aab"), "item": list("xyx"), "genre": list("ggg"), "hour": [1, 2, 3]}
    store, entities = prepare(tmp_path, rows, user="user", item="item")
    extended = NegativeSampler(entities, per_positive=2).extend(store.batch(np.arange(3)), epoch=0, index=0)
    assert extended.weights is not None
    assert extended.weights.tolist() == [1, 1, 1, 0, 0, 1, 0, 0, 1]
    (y,) = entities.encoder.id_of("item", ["y"])
    assert columns(extended)[1][[5, 8]].tolist() == [y, y]


def test_popular_negatives_where_only_unpopular_ones_are_left(tmp_path: Path) -> None:
    store, entities = small(tmp_path, y=[1, 1, 1, 1, 0])
    (w,) = entities.encoder.id_of("item", ["w"])
    sampler = NegativeSampler(entities, per_positive=1, kind="popularity")
    assert columns(sampler.extend(store.batch(np.array([1])), epoch=0, index=0))[1][1] == w


def test_given_negatives_stay_and_get_none_of_their_own(tmp_path: Path) -> None:
    store, entities = small(tmp_path, y=[1, 0, 1, 0, 0])
    extended = NegativeSampler(entities, per_positive=2).extend(store.batch(np.arange(5)), epoch=0, index=0)
    assert extended.labels is not None
    assert extended.labels[:, 0].tolist() == [1, 0, 1, 0, 0, 0, 0, 0, 0]
    assert rows_of(extended) == [0, 1, 2, 3, 4, 0, 2, 0, 2]


def test_a_batch_without_positives_and_one_without_rows(tmp_path: Path) -> None:
    store, entities = small(tmp_path, y=[1, 0, 1, 0, 0])
    sampler = NegativeSampler(entities, per_positive=2)
    assert sampler.extend(store.batch(np.array([1, 3])), epoch=0, index=0).size == 2
    assert sampler.extend(store.batch(np.array([], dtype=np.int64)), epoch=0, index=0).size == 0


def test_no_item_to_draw_is_an_error(tmp_path: Path) -> None:
    rows: Rows = {"user": ["a"], "item": [None], "genre": ["g"], "hour": [1]}
    with pytest.raises(DataError, match="no items"):
        NegativeSampler(prepare(tmp_path, rows, user="user", item="item")[1], per_positive=1)


def test_downsampling_keeps_positives_and_a_share_of_negatives() -> None:
    labels, rows = np.tile([0.0, 1.0, 0.0, 0.0], 10_000), np.arange(40_000)
    kept = keep_mask(labels, rows, rate=0.3, seed=5)
    assert kept[labels == 1].all()
    assert abs(kept[labels == 0].mean() - 0.3) < 0.01
    assert not np.array_equal(kept, keep_mask(labels, rows, rate=0.3, seed=6))
    assert keep_mask(labels, rows, rate=1.0).all()


def test_downsampling_does_not_depend_on_blocks() -> None:
    labels, rows = np.zeros(1000), np.arange(1000)
    halves = [keep_mask(labels[part], rows[part], rate=0.5) for part in (slice(0, 300), slice(300, 1000))]
    assert np.array_equal(np.concatenate(halves), keep_mask(labels, rows, rate=0.5))


@pytest.mark.parametrize("at_once", [1, 50, 10_000])
def test_batches_together_get_what_each_would_get_alone(
    implicit: tuple[Store, Entities], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    store, entities = implicit
    monkeypatch.setattr("crossfield.data.negatives.ROWS_AT_ONCE", at_once)
    sampler, batches = NegativeSampler(entities, per_positive=3), list(Reader(store, batch_size=16, seed=1).epoch())
    together = list(sampler.stream(batches, epoch=2, index=5))
    for number, (batch, one) in enumerate(zip(batches, together, strict=True), start=5):
        alone = sampler.extend(batch, epoch=2, index=number)
        for name in ("dense", "categorical", "labels", "weights", "groups", "rows"):
            left, right = getattr(one, name), getattr(alone, name)
            assert (left is None) == (right is None) and (left is None or torch.equal(left, right)), name
        for name, lists in alone.sequences.items():
            assert torch.equal(one.sequences[name].values, lists.values)
            assert torch.equal(one.sequences[name].offsets, lists.offsets)
