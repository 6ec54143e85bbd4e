"""Logits of all pairs from one vector of each side, against the pairs one by one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from crossfield.layers import pairs
from crossfield.layers.embedding import FieldEmbedding, id_pair
from crossfield.layers.linear import Linear
from crossfield.layers.mlp import MLP
from crossfield.layers.pairs import PairTower, dot_pairs, item_vectors, user_vectors
from tests.contract.cases import SCHEMAS, random_batch

USERS, ITEMS = torch.randn(5, 3, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)


def tower_and_head(hidden: tuple[int, ...], **settings: Any) -> tuple[MLP, Linear]:
    torch.manual_seed(0)
    tower = MLP(3 + 4, hidden, **settings).double()
    tower(torch.randn(20, 7, dtype=torch.float64))  # moves the running statistics of a batch norm
    head = Linear(tower.output_dim, 1).double()
    torch.nn.init.normal_(head.bias)
    return tower.eval(), head


def join(tower: MLP, head: Linear, users: Tensor = USERS, items: Tensor = ITEMS) -> Tensor:
    both = PairTower(tower, head.weight, b=head.bias)
    return both.join(both.user_half(users), both.item_half(items))


@torch.no_grad()
@pytest.mark.parametrize("at_once", [1, 3, 10, 4096])
@pytest.mark.parametrize(
    ("hidden", "settings"),
    [((), {}), ((6,), {}), ((6, 2), {"batch_norm": True, "dropout": 0.4}), ((6, 2), {"activation": "tanh"})],
)
def test_a_tower_over_all_pairs(
    hidden: tuple[int, ...], settings: dict[str, Any], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", at_once)
    tower, head = tower_and_head(hidden, **settings)
    naive = [[head(tower(torch.cat([x, y]).unsqueeze(0))).item() for y in ITEMS] for x in USERS]
    torch.testing.assert_close(join(tower, head), torch.tensor(naive, dtype=torch.float64))


@torch.no_grad()
@pytest.mark.parametrize("at_once", [1, 3, 4096])
def test_users_with_items_of_their_own(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", at_once)
    tower, head = tower_and_head((6, 2))
    both, own = PairTower(tower, head.weight, b=head.bias), torch.tensor([[0, 3], [6, 6], [1, 2], [5, 0], [4, 4]])
    found = both.join(both.user_half(USERS), both.item_half(ITEMS)[own])
    torch.testing.assert_close(found, join(tower, head).gather(1, own))
    torch.testing.assert_close(dot_pairs(USERS, ITEMS[own][..., :3]), dot_pairs(USERS, ITEMS[:, :3]).gather(1, own))


@torch.no_grad()
def test_nobody_and_nothing() -> None:
    tower, head = tower_and_head((6, 2))
    assert join(tower, head, users=USERS[:0]).shape == (0, 7)
    assert join(tower, head, items=ITEMS[:0]).shape == (5, 0)


@torch.no_grad()
def test_joining_leaves_the_halves_as_they_are() -> None:
    tower, head = tower_and_head(())
    both = PairTower(tower, head.weight, b=head.bias)
    users, items = both.user_half(USERS), both.item_half(ITEMS)
    before = users.clone(), items.clone()
    both.join(users, items)
    assert torch.equal(users, before[0]) and torch.equal(items, before[1])


def test_vectors_of_the_two_ids_and_no_others() -> None:
    schema = SCHEMAS["no dense"]  # here the item comes before the user
    pair = FieldEmbedding(id_pair(schema), schema, 3)
    user, item = schema.position("user"), schema.position("item")
    batch = random_batch(schema, 6)
    both = torch.stack(
        [user_vectors(pair, batch.categorical[:, user]), item_vectors(pair, batch.categorical[:, item])], 1
    )
    assert torch.equal(both, pair(batch))
    for vectors, num_rows in ((user_vectors, 7), (item_vectors, 9)):
        for one in (-1, num_rows):
            with pytest.raises(IndexError):
                vectors(pair, torch.tensor([one]))


def test_dot_products_by_hand() -> None:
    found = dot_pairs(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([[1.0, 1.0], [4.0, 0.0], [0.0, -1.0]]))
    assert found.tolist() == [[3, 4, -2], [3, 0, -3]]
