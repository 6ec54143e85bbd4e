"""What is minimised, by hand."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.errors import ConfigError, DataError
from crossfield.models.mf import MF
from crossfield.objectives import (
    Branches,
    Objective,
    bce_objective,
    bpr_loss,
    choose_objective,
    distillation_objective,
    tri_bce_objective,
)
from tests.contract.cases import SCHEMAS, build, random_batch


class Fixed(nn.Module):
    """Gives the same logits to any batch."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits).unsqueeze(1)

    def forward(self, batch: Batch) -> Tensor:
        return self.logits


def batch(size: int, labels: list[float] | None = None, weights: list[float] | None = None) -> Batch:
    return Batch(
        torch.zeros(size, 0),
        torch.zeros(size, 1, dtype=torch.int64),
        labels=None if labels is None else torch.tensor(labels).unsqueeze(1),
        weights=None if weights is None else torch.tensor(weights),
    )


def test_cross_entropy_counts_rows_by_their_weights() -> None:
    # ln 2 for a logit of 0; a logit of ln 3 has probability 3/4, so a negative costs ln 4.
    model = Fixed([0.0, math.log(3)])
    even = bce_objective(model, batch(2, [1.0, 0.0]))
    assert even.item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    weighted = bce_objective(model, batch(2, [1.0, 0.0], [3.0, 1.0]))
    assert weighted.item() == pytest.approx((3 * math.log(2) + math.log(4)) / 4)


def test_bpr_pairs_each_positive_with_its_own_negatives() -> None:
    objective = bpr_loss(SimpleNamespace(per_positive=2))  # type: ignore[arg-type]
    logits = torch.tensor([[1.0], [2.0], [0.0], [4.0], [1.0], [2.0]])
    loss = objective(logits, batch(6))
    # Positives 1 and 2; their negatives 0 and 4, then 1 and 2: differences 1, -2, 0, 0.
    expected = sum(math.log(1 + math.exp(-difference)) for difference in (1, -2, 0, 0)) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    weighted = objective(logits, batch(6, weights=[1.0, 1.0, 1.0, 0.0, 2.0, 0.0]))
    assert weighted.item() == pytest.approx((math.log(1 + math.exp(-1)) + 2 * math.log(2)) / 3, rel=1e-6)


def test_what_is_missing_is_said_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="compares positives with drawn negatives; leave the label out"):
        bpr_loss(None)
    with pytest.raises(DataError, match="these rows have no labels; name the label column"):
        bce_objective(Fixed([0.0]), batch(1))


class Fork(nn.Module):
    """Gives the same logits of a whole and its two branches to any batch, and keeps their gradients."""

    def __init__(self, *logits: list[float]) -> None:
        super().__init__()
        self.logits = [torch.tensor(one).unsqueeze(1).requires_grad_() for one in logits]

    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        return tuple(self.logits)

    @property
    def gradients(self) -> list[list[float]]:
        return [one.grad[:, 0].tolist() for one in self.logits if one.grad is not None]


def test_distillation_teaches_the_branches_what_they_say_together() -> None:
    # The whole says 3/4, the branches 1/2 and 9/10; the row is a positive.
    fork = Fork([math.log(3)], [0.0], [math.log(9)])
    loss = distillation_objective(fork, batch(1, [1.0]))
    first = math.log(2)  # 3/4 ln 2 + 1/4 ln 2
    second = 0.75 * math.log(10 / 9) + 0.25 * math.log(10)
    assert loss.item() == pytest.approx(math.log(4 / 3) + first + second, rel=1e-6)
    loss.backward()  # type: ignore[no-untyped-call]
    # Of a cross-entropy: what is said minus what is so. The teacher learns from the label alone.
    assert [one[0] for one in fork.gradients] == pytest.approx([0.75 - 1, 0.5 - 0.75, 0.9 - 0.75], rel=1e-5)


def test_tri_bce_weighs_a_branch_by_how_much_worse_it_is() -> None:
    # A positive that the whole gives 3/4, the first branch 1/2 (worse), the second 9/10 (better: no weight).
    fork = Fork([math.log(3)], [0.0], [math.log(9)])
    loss = tri_bce_objective(fork, batch(1, [1.0]))
    whole, first = math.log(4 / 3), math.log(2)
    assert loss.item() == pytest.approx(whole + (first - whole) * first, rel=1e-6)
    loss.backward()  # type: ignore[no-untyped-call]
    # d/dL = 1 - L_1, d/dL_1 = 2 L_1 - L, d/dL_2 = 0; each times (what is said - 1).
    expected = [(1 - first) * (0.75 - 1), (2 * first - whole) * (0.5 - 1), 0.0]
    assert [one[0] for one in fork.gradients] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("objective", [distillation_objective, tri_bce_objective])
def test_branch_objectives_count_rows_by_their_weights(objective: Objective) -> None:
    fork = Fork([1.0, 9.0], [0.5, -9.0], [2.0, 0.0])
    weighted = objective(fork, batch(2, [1.0, 0.0], [2.0, 0.0]))
    alone = objective(Fork([1.0], [0.5], [2.0]), batch(1, [1.0]))
    assert weighted.item() == pytest.approx(alone.item(), rel=1e-6)
    with pytest.raises(DataError, match="these rows have no labels"):
        objective(fork, batch(2))
    none = objective(Fork([], [], []), batch(0, []))
    assert none.item() == 0


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("fcn", {}, tri_bce_objective),
        ("finalnet", {}, distillation_objective),
        ("finalnet", {"structure": "1B"}, bce_objective),
        ("dualmlp", {}, bce_objective),
    ],
)
def test_a_model_of_branches_gets_what_its_paper_minimises(
    name: str, settings: dict[str, Any], expected: Objective
) -> None:
    model, rows = build(name, SCHEMAS["mixed"], **settings), random_batch(SCHEMAS["mixed"], 8)
    called, objective = choose_objective(model, "bce", None)
    assert objective is expected
    plain = bce_objective(model, rows)
    assert (called is model) == (objective is bce_objective)
    assert (objective(called, rows) > plain).item() == (objective is not bce_objective)


def test_a_pairwise_objective_looks_at_the_score_alone() -> None:
    model = build("fcn", SCHEMAS["mixed"])
    assert choose_objective(model, "bpr", SimpleNamespace(per_positive=2))[0] is model  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["fcn", "finalnet"])
def test_branches_say_together_what_the_model_says(name: str) -> None:
    model, rows = build(name, SCHEMAS["mixed"]), random_batch(SCHEMAS["mixed"], 8)
    called, _ = choose_objective(model, "bce", None)
    whole, first, second = called(rows)
    assert isinstance(called, Branches) and torch.equal(whole, model(rows))
    torch.testing.assert_close((first + second) / 2, whole)


def test_a_penalty_is_part_of_the_loss_of_its_example() -> None:
    schema = SCHEMAS["pair"]
    plain, penalised = build("mf", schema), build("mf", schema, l2=0.5)
    penalised.load_state_dict(plain.state_dict())
    rows = random_batch(schema, 6)
    chosen = [choose_objective(one, "bce", None) for one in (plain, penalised)]
    values = [objective(called, rows) for called, objective in chosen]
    added = 0.0
    assert isinstance(plain, MF)
    user, item = (schema.position(role) for role in ("user", "item"))
    for ids in rows.categorical.tolist():
        for name, place in (("user", user), ("item", item)):
            looked_up = [table.table(name)[ids[place]] for table in (plain.embedding, plain.biases)]
            added += sum(one.square().sum().item() for one in looked_up)
    assert values[1].item() - values[0].item() == pytest.approx(0.5 / 2 * added / 6, rel=1e-4)
    with_pairs = choose_objective(penalised, "bpr", SimpleNamespace(per_positive=1))  # type: ignore[arg-type]
    without = choose_objective(plain, "bpr", SimpleNamespace(per_positive=1))  # type: ignore[arg-type]
    pairs = [objective(called, rows).item() for called, objective in (without, with_pairs)]
    assert pairs[1] - pairs[0] == pytest.approx(0.5 / 2 * added / 6, rel=1e-4)
