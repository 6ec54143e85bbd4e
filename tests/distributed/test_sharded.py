"""A table whose rows are spread is, to its users, the whole table."""

from typing import Any

import pytest
import torch

from crossfield.distributed.sharded import Routed, ShardedArena, rows_of
from crossfield.distributed.team import ALONE, Team
from crossfield.layers.embedding import EmbeddingArena, find
from tests.distributed.launch import all_well, launch

NUM_ROWS = (7, 4)
IDS = [torch.tensor([[3, 0], [6, 3], [3, 0]]), torch.empty(0, 2, dtype=torch.int64), torch.tensor([[0, 0], [3, 1]])]


def arena() -> EmbeddingArena:
    torch.manual_seed(0)
    return EmbeddingArena(NUM_ROWS, 3).double()


def looked_up(team: Team) -> list[dict[str, Any]]:
    """Vectors, gradients of both kinds, average and overwriting, with ids that another rank may have none of."""
    answers = []
    for sparse in (True, False):
        for turn in range(3):
            sharded = ShardedArena(arena(), team)
            sharded.sparse = sparse
            ids = IDS[(turn + team.rank) % 3]
            vectors = sharded(ids)
            (vectors * (1 + team.rank)).square().sum().backward()
            assert sharded.weight.grad is not None and sharded.weight.grad.is_sparse == sparse
            average = sharded.average(1, 10)
            sharded.overwrite([0, 9], torch.ones(3))
            with torch.no_grad():
                after = sharded.eval()(torch.tensor([[0, 2]]))  # arena rows 0 and 9
            found = {"vectors": vectors.detach(), "gradient": sharded.weight.grad.to_dense(), "average": average}
            answers.append({name: one.numpy() for name, one in {**found, "after": after}.items()})
    return answers


@pytest.mark.parametrize("size", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_lookups_and_gradients_are_those_of_the_whole_table(size: int) -> None:
    answers = [looked_up(ALONE)] if size == 1 else all_well(launch(looked_up, size))
    for place in range(6):
        whole = arena()
        vectors = [whole(IDS[(place + rank) % 3]) for rank in range(size)]
        torch.stack([(one * (1 + rank)).square().sum() for rank, one in enumerate(vectors)]).sum().backward()
        assert whole.weight.grad is not None
        for rank, (answer, mine) in enumerate(zip(answers, vectors, strict=True)):
            assert (answer[place]["vectors"] == mine.detach().numpy()).all()
            held = whole.weight.grad[rank::size].numpy()
            torch.testing.assert_close(torch.tensor(answer[place]["gradient"]), torch.tensor(held))
            torch.testing.assert_close(torch.tensor(answer[place]["average"]), whole.average(1, 10))
            assert (answer[place]["after"] == 1).all()


def test_frequent_rows_are_shared_out() -> None:
    assert [list(rows_of(7, Team(rank, 3))) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]


def test_a_table_beside_it_may_use_what_was_found() -> None:
    whole = arena()
    whole.sparse = True
    rows = torch.tensor([3, 8, 3])
    routed = Routed.of(find(rows, 11), ALONE)
    assert torch.equal(whole.read(rows, routed), whole.weight[rows])
    assert torch.equal(ShardedArena(whole, ALONE).read(rows, find(rows, 11)), whole.weight[rows])


def test_it_cannot_be_viewed() -> None:
    with pytest.raises(TypeError, match="looked up, not viewed"):
        ShardedArena(arena(), ALONE).view(0, 2)
