from dataclasses import replace

import pytest
import torch

from crossfield.batch import Batch, Jagged
from crossfield.errors import SchemaError
from crossfield.schema import Field, Kind, ModelSchema

SCHEMA = ModelSchema(
    dense=("age",),
    categorical=(Field("user", 5), Field("film", 9)),
    sequences=(Field("genres", 4, Kind.MULTI),),
)


def batch() -> Batch:
    return Batch(
        dense=torch.tensor([[0.5], [1.5], [2.5]]),
        categorical=torch.tensor([[2, 3], [4, 8], [0, 1]]),
        sequences={"genres": Jagged(torch.tensor([2, 3, 1]), torch.tensor([0, 2, 2, 3]))},
        labels=torch.tensor([[1.0], [0.0], [1.0]]),
    )


def test_select_keeps_rows_and_lists_together() -> None:
    chosen = batch().select(torch.tensor([2, 0, 2, 1]))
    assert chosen.dense.flatten().tolist() == [2.5, 0.5, 2.5, 1.5]
    assert chosen.sequences["genres"].values.tolist() == [1, 2, 3, 1]
    assert chosen.sequences["genres"].offsets.tolist() == [0, 1, 3, 4, 4]
    assert chosen.labels is not None and chosen.labels.flatten().tolist() == [1, 1, 1, 0]
    assert chosen.weights is None


def test_select_nothing_gives_an_empty_batch() -> None:
    empty = batch().select(torch.tensor([], dtype=torch.int64)).check(SCHEMA)
    assert empty.size == 0
    assert empty.sequences["genres"].offsets.tolist() == [0]


def test_a_good_batch_passes_its_check() -> None:
    assert batch().check(SCHEMA).size == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dense": torch.zeros(3, 2)}, "dense has shape"),
        ({"categorical": torch.zeros(3, 1, dtype=torch.int64)}, "1 columns, the schema says 2"),
        ({"categorical": torch.full((3, 2), 5)}, "field 'user' has id 5, its table has 5 rows"),
        ({"categorical": torch.full((3, 2), -1)}, "field 'user' has id -1"),
        ({"sequences": {}}, "sequences are"),
        (
            {"sequences": {"genres": Jagged(torch.tensor([4]), torch.tensor([0, 1, 1, 1]))}},
            "field 'genres' has id 4",
        ),
    ],
)
def test_a_bad_batch_is_refused_at_birth(change: dict[str, object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        replace(batch(), **change).check(SCHEMA)  # type: ignore[arg-type]


def test_moving_a_batch_moves_everything() -> None:
    moved = batch().to("meta")
    assert moved.dense.is_meta and moved.sequences["genres"].offsets.is_meta and moved.labels is not None
    assert moved.labels.is_meta
