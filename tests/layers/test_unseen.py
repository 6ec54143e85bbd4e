"""Id dropout, and the mean row of a field for ids training never showed."""

import pytest
import torch

from crossfield.batch import Batch, Jagged
from crossfield.layers.embedding import FieldEmbedding
from crossfield.layers.unseen import UntrainedRows, drop_ids
from crossfield.schema import Field, Kind, ModelSchema

SCHEMA = ModelSchema(
    categorical=(Field("user", 5), Field("item", 4)), sequences=(Field("genres", 6, Kind.MULTI),), user="user"
)
CPU = torch.device("cpu")


def batch(ids: list[list[int]], values: list[int]) -> Batch:
    jagged = Jagged(torch.tensor(values, dtype=torch.int64), torch.tensor([0, len(values), len(values)]))
    return Batch(torch.zeros(2, 0), torch.tensor(ids), {"genres": jagged})


def test_about_the_given_share_of_known_ids_becomes_unseen() -> None:
    torch.manual_seed(0)
    ids = torch.arange(2, 10).repeat(500, 1)
    jagged = Jagged(torch.full((4000,), 3), torch.arange(0, 4001, 8))
    dropped = drop_ids(Batch(torch.zeros(500, 0), ids, {"s": jagged}), 0.25)
    for before, after in ((ids, dropped.categorical), (jagged.values, dropped.sequences["s"].values)):
        changed = after != before
        assert (after[changed] == 1).all()
        assert changed.double().mean().item() == pytest.approx(0.25, abs=0.03)


def test_missing_and_unseen_ids_stay_what_they_are() -> None:
    given = batch([[0, 1], [1, 0]], [0, 1])
    dropped = drop_ids(given, 0.99)
    assert torch.equal(dropped.categorical, given.categorical)
    assert torch.equal(dropped.sequences["genres"].values, given.sequences["genres"].values)


def test_dropping_repeats_with_the_generator_and_keeps_the_batch() -> None:
    given = batch([[2, 3], [4, 2]], [5, 4])
    torch.manual_seed(3)
    first = drop_ids(given, 0.5)
    torch.manual_seed(3)
    assert torch.equal(drop_ids(given, 0.5).categorical, first.categorical)
    assert torch.equal(given.categorical, torch.tensor([[2, 3], [4, 2]]))
    assert first.dense is given.dense


def test_untrained_rows_get_the_mean_of_known_rows_and_trained_ones_stay() -> None:
    embedding = FieldEmbedding(SCHEMA.fields, SCHEMA, 2)
    for name in ("user", "item", "genres"):
        embedding.table(name).copy_(torch.arange(len(embedding.table(name))).float().unsqueeze(1).expand(-1, 2))
    untrained = UntrainedRows(SCHEMA, CPU)
    untrained.observe(batch([[2, 0], [3, 2]], [1, 4]))  # item 0 and genre 1 occur; user 0 and 1 do not
    untrained.fill(embedding)
    assert embedding.table("user")[:, 0].tolist() == [3.0, 3.0, 2.0, 3.0, 4.0]
    assert embedding.table("item")[:, 0].tolist() == [0.0, 2.5, 2.0, 3.0]
    assert embedding.table("genres")[:, 0].tolist() == [3.5, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_every_embedding_of_a_model_is_filled() -> None:
    model = torch.nn.ModuleList([FieldEmbedding(SCHEMA.categorical[:1], SCHEMA, dim) for dim in (1, 3)])
    UntrainedRows(SCHEMA, CPU).fill(model)
    for module in model:
        assert isinstance(module, FieldEmbedding)
        table = module.table("user")
        torch.testing.assert_close(table[1], table[2:].mean(0))


def test_a_field_without_known_ids_is_left_alone() -> None:
    schema = ModelSchema(categorical=(Field("empty", 2),))
    embedding = FieldEmbedding(schema.fields, schema, 2)
    before = embedding.table("empty").clone()
    UntrainedRows(schema, CPU).fill(embedding)
    assert torch.equal(embedding.table("empty"), before)


def test_what_was_met_can_be_saved_and_restored() -> None:
    first, second = UntrainedRows(SCHEMA, CPU), UntrainedRows(SCHEMA, CPU)
    first.observe(batch([[1, 0], [3, 2]], [4]))
    second.load_state_dict(first.state_dict())
    assert second.state_dict()["met"].tolist() == [[False, True, False], [True, False, False]]
