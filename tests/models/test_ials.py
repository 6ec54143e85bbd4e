"""iALS against the paper's formulas written out in float64, one user and one item at a time."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from crossfield.batch import Batch
from crossfield.errors import ConfigError
from crossfield.models import ials
from crossfield.models.base import Interactions
from crossfield.models.ials import IALS, IALSConfig, blocks
from crossfield.schema import Field, ModelSchema

NUM_USERS, NUM_ITEMS = 12, 10
SCHEMA = ModelSchema((), (Field("item", NUM_ITEMS), Field("user", NUM_USERS)), user="user", item="item")


def interactions(num_rows: int = 60, *, seed: int = 0) -> Interactions:
    """Random rows with labels and weights, some pairs several times, users 0 and 1 and item 1 among them."""
    generator = torch.Generator().manual_seed(seed)
    users, items = (torch.randint(high, (num_rows,), generator=generator) for high in (NUM_USERS - 1, NUM_ITEMS - 1))
    labels = torch.randint(2, (num_rows,), generator=generator).float()
    return Interactions(users, items, labels, 0.5 + torch.rand(num_rows, generator=generator))


def model(seed: int = 0, **settings: float) -> IALS:
    torch.manual_seed(seed)
    return IALS(SCHEMA, IALSConfig.of({"embedding_dim": 4, "epochs": 3, **settings}))


def chosen(rows: Interactions) -> dict[tuple[int, int], float]:
    """c_ui of every pair with a positive row of a known user."""
    found: dict[tuple[int, int], list[float]] = {}
    for user, item, label, weight in zip(*(one.tolist() for one in vars(rows).values()), strict=True):
        if label and user > 1:
            found.setdefault((user, item), []).append(weight)
    return {pair: sum(some) / len(some) for pair, some in found.items()}


def loss(W: Tensor, H: Tensor, S: dict[tuple[int, int], float], config: IALSConfig) -> float:
    W, H = W.double(), H.double()
    users, items = ({pair[side] for pair in S} for side in (0, 1))
    total = sum(c * float(W[u] @ H[i] - 1) ** 2 for (u, i), c in S.items())
    total += config.alpha0 * sum(float(W[u] @ H[i]) ** 2 for u in users for i in items)
    for side, table, num_others in ((0, W, len(items)), (1, H, len(users))):
        for one in {pair[side] for pair in S}:
            frequency = sum(c for pair, c in S.items() if pair[side] == one) + config.alpha0 * num_others
            total += config.l2 * frequency**config.nu * float(table[one].square().sum())
    return total


class Watched(IALS):
    """Notes the loss after every half-step."""

    losses: list[float]
    S: dict[tuple[int, int], float]

    def half_step(self, sought: Tensor, held: Tensor, blocks: Sequence[ials.Block], *, num_held: int) -> None:
        super().half_step(sought, held, blocks, num_held=num_held)
        self.losses.append(loss(self.W, self.H, self.S, self.config))


@pytest.mark.parametrize("settings", [{}, {"nu": 0.0, "l2": 0.3}, {"nu": 0.5, "alpha0": 2.0, "l2": 0.1}])
def test_the_loss_falls_with_every_half_step(settings: dict[str, float]) -> None:
    torch.manual_seed(0)
    one = Watched(SCHEMA, IALSConfig.of({"embedding_dim": 3, "epochs": 6, **settings}))
    one.losses, one.S = [], chosen(interactions())
    one.solve(interactions())
    assert len(one.losses) == 12
    assert all(after <= before * (1 + 1e-6) for before, after in zip(one.losses, one.losses[1:], strict=False))
    assert one.losses[-1] < 0.9 * one.losses[0]


@pytest.mark.parametrize("numbers_at_once", [1, 40, 1 << 20])
@pytest.mark.parametrize("settings", [{}, {"nu": 0.5, "alpha0": 2.0, "l2": 0.1}])
def test_vectors_are_those_of_one_linear_system_each(
    settings: dict[str, float], numbers_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ials, "NUMBERS_AT_ONCE", numbers_at_once)
    found, S = model(**settings), chosen(interactions())
    users, items = (sorted({pair[side] for pair in S}) for side in (0, 1))
    config, d = found.config, 4
    H = found.H.double().clone()
    H[[one for one in range(NUM_ITEMS) if one not in items]] = 0
    W = torch.zeros(NUM_USERS, d, dtype=torch.float64)
    for _ in range(3):
        for side, sought, held, ids in ((0, W, H, users), (1, H, W, items)):
            num_held = len(items if side == 0 else users)
            for one in ids:
                mine = [(pair[1 - side], c) for pair, c in S.items() if pair[side] == one]
                frequency = sum(c for _, c in mine) + config.alpha0 * num_held
                system = config.alpha0 * held.t() @ held + config.l2 * frequency**config.nu * torch.eye(d).double()
                for other, c in mine:
                    system += c * torch.outer(held[other], held[other])
                right = sum((c * held[other] for other, c in mine), torch.zeros(d, dtype=torch.float64))
                sought[one] = torch.linalg.solve(system, right)
    found.solve(interactions())
    torch.testing.assert_close(found.W[users].double(), W[users], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.H.double(), H, rtol=1e-4, atol=1e-5)


def test_unknown_users_have_the_mean_score_and_items_that_nobody_chose_have_none() -> None:
    one, S = model(), chosen(interactions())
    one.solve(interactions())
    users = sorted({user for user, _ in S})
    absent = [user for user in range(NUM_USERS) if user not in users]
    assert {0, 1, NUM_USERS - 1} <= set(absent)
    scores = one.join_sides(one.encode_users(torch.arange(NUM_USERS)), one.encode_items(torch.arange(NUM_ITEMS)))
    torch.testing.assert_close(scores[absent], scores[users].mean(0).expand(len(absent), -1))
    assert not one.H[NUM_ITEMS - 1].any() and scores.isfinite().all()


def test_nothing_chosen_scores_nothing() -> None:
    one = model()
    one.solve(interactions(0))
    assert not one(Batch(torch.zeros(3, 0), torch.ones(3, 2, dtype=torch.int64))).any()


def test_two_camps_are_told_apart() -> None:
    # Users and items 2 to 9; everybody chose the items of their own parity, but for the one after their own.
    pairs = torch.cartesian_prod(torch.arange(2, 10), torch.arange(2, 10))
    alike = (pairs.sum(1) % 2 == 0) & (pairs[:, 1] != 2 + pairs[:, 0] % 8)
    users, items = pairs[alike].t()
    one = model(embedding_dim=2, epochs=10)
    one.solve(Interactions(users, items, torch.ones(len(users)), torch.ones(len(users))))
    scores = one.join_sides(one.encode_users(torch.arange(2, 10)), one.encode_items(torch.arange(2, 10)))
    own = (pairs.sum(1) % 2 == 0).view(8, 8)
    assert scores[own].min() > 0.5 > scores[~own].max()


def test_systems_that_rounding_spoils_are_an_error_that_names_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"model\.l2"):
        model(embedding_dim=2 * NUM_ITEMS, l2=1e-30).solve(interactions())


def test_the_start_does_not_grow_with_the_width() -> None:
    torch.manual_seed(0)
    schema = ModelSchema((), (Field("user", 3), Field("item", 4000)), user="user", item="item")
    one = IALS(schema, IALSConfig(embedding_dim=64))
    assert float(one.H.std()) == pytest.approx(0.1 / math.sqrt(64), rel=0.02)


def test_blocks_hold_every_pair_once_and_fill_up_little() -> None:
    ids, met = torch.tensor([5, 3, 5, 5, 7, 3]), torch.tensor([0, 1, 2, 3, 4, 5])
    found = blocks(ids, met, torch.arange(1.0, 7.0), dim=10**9)
    assert [one.ids.tolist() for one in found] == [[5], [3], [7]]
    assert [one.met.tolist() for one in found] == [[[0, 2, 3]], [[1, 5]], [[4]]]
    whole = blocks(ids, met, torch.arange(1.0, 7.0), dim=1)[0]
    assert whole.ids.tolist() == [5, 3, 7]
    assert whole.c.tolist() == [[1, 3, 4], [2, 6, 0], [5, 0, 0]]


@pytest.mark.parametrize("setting", [{"alpha0": 0}, {"l2": 0}, {"nu": 1.5}, {"epochs": 0}, {"init_std": 0}])
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        IALSConfig.of(setting)
