import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from crossfield.batch import Batch, Jagged
from crossfield.errors import SchemaError
from crossfield.layers.embedding import DenseEmbedding, EmbeddingArena, FieldEmbedding, id_pair, pool
from crossfield.schema import Field, Kind, ModelSchema

SCHEMA = ModelSchema(
    categorical=(Field("user", 3), Field("film", 4), Field("cross", 5, Kind.CROSS, embed=False)),
    sequences=(Field("genres", 4, Kind.MULTI), Field("tags", 2, Kind.MULTI)),
    user="user",
    item="film",
)
BATCH = Batch(
    dense=torch.zeros(3, 0),
    categorical=torch.tensor([[2, 3, 4], [0, 1, 0], [2, 0, 1]]),
    sequences={
        "genres": Jagged(torch.tensor([3, 1, 3]), torch.tensor([0, 3, 3, 3])),
        "tags": Jagged(torch.tensor([1, 0]), torch.tensor([0, 0, 1, 2])),
    },
).check(SCHEMA)


def naive_lookup(weight: Tensor, ids: list[list[int]], starts: list[int]) -> Tensor:
    return torch.stack([torch.stack([weight[start + i] for i, start in zip(row, starts, strict=True)]) for row in ids])


def test_arena_fields_have_their_own_rows() -> None:
    arena = EmbeddingArena([3, 4], 2).double()
    ids = [[2, 3], [0, 0], [2, 1]]
    assert torch.equal(arena(torch.tensor(ids)), naive_lookup(arena.weight, ids, [0, 3]))
    assert arena(torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 2, 2)


def test_arena_starts_from_the_stated_spread() -> None:
    torch.manual_seed(0)
    assert EmbeddingArena([50_000], 2, std=0.3).weight.std().item() == pytest.approx(0.3, rel=0.02)
    assert not EmbeddingArena([50], 2, std=0.0).weight.any()


def test_sparse_gradient_names_each_row_of_the_batch_once() -> None:
    arena = EmbeddingArena([3, 4], 2).double()
    arena.sparse = True
    scale = torch.tensor([[[1.0], [10.0]], [[2.0], [20.0]], [[4.0], [40.0]]], dtype=torch.float64)
    (arena(torch.tensor([[2, 3], [0, 1], [2, 1]])) * scale).sum().backward()
    gradient = arena.weight.grad
    assert gradient is not None and gradient.is_sparse
    assert gradient._indices().tolist() == [[0, 2, 4, 6]]
    assert gradient._values().tolist() == [[2, 2], [5, 5], [60, 60], [10, 10]]


def test_sparse_gradient_equals_the_dense_one() -> None:
    arena, ids = EmbeddingArena([5, 6], 3).double(), torch.randint(5, (40, 2))
    (dense,) = torch.autograd.grad(arena(ids).square().sum(), arena.weight)
    arena.sparse = True
    (sparse,) = torch.autograd.grad(arena(ids).square().sum(), arena.weight)
    torch.testing.assert_close(sparse.to_dense(), dense, rtol=0, atol=1e-12)


def test_evaluation_makes_no_sparse_gradient() -> None:
    arena = EmbeddingArena([3], 2).eval()
    arena.sparse = True
    arena(torch.tensor([[1]])).sum().backward()
    assert arena.weight.grad is not None and not arena.weight.grad.is_sparse


@pytest.mark.parametrize(("mean", "expected"), [(False, [[4, 6], [0, 0], [5, 6]]), (True, [[2, 3], [0, 0], [5, 6]])])
def test_pooling_a_list_of_two_none_and_one(mean: bool, expected: list[list[float]]) -> None:
    lists = Jagged(torch.tensor([0, 0, 0]), torch.tensor([0, 2, 2, 3]))
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert pool(vectors, lists, mean=mean).tolist() == expected


@pytest.mark.parametrize("mean", [False, True])
def test_gradient_of_pooling(mean: bool) -> None:
    lists = Jagged(torch.tensor([0, 0, 0]), torch.tensor([0, 2, 2, 3]))
    vectors = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda value: pool(value, lists, mean=mean), (vectors,))


@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("sparse", [False, True])
def test_field_vectors_row_by_row(pooling: str, sparse: bool) -> None:
    layer = FieldEmbedding(SCHEMA.embedded, SCHEMA, 2, pooling=pooling).double()
    layer.arena.sparse = sparse
    user, film, genres, tags = (layer.table(name) for name in ("user", "film", "genres", "tags"))
    zero = torch.zeros(2, dtype=torch.float64)
    listed = 2 * genres[3] + genres[1]
    expected = [
        [user[2], film[3], listed / 3 if pooling == "mean" else listed, zero],
        [user[0], film[1], zero, tags[1]],
        [user[2], film[0], zero, tags[0]],
    ]
    torch.testing.assert_close(layer(BATCH), torch.stack([torch.stack(row) for row in expected]), rtol=0, atol=1e-12)


def test_multi_valued_fields_alone() -> None:
    layer = FieldEmbedding(SCHEMA.sequences, SCHEMA, 3)
    assert layer(BATCH).shape == (3, 2, 3)
    assert layer(BATCH.select(torch.tensor([], dtype=torch.int64))).shape == (0, 2, 3)


def test_a_table_is_a_view_that_can_be_overwritten() -> None:
    layer = FieldEmbedding(SCHEMA.embedded, SCHEMA, 1)
    layer.table("film").copy_(torch.tensor([[5.0], [6.0], [7.0], [8.0]]))
    assert layer.arena.weight[3:7, 0].tolist() == [5, 6, 7, 8]
    assert layer(BATCH)[:, 1, 0].tolist() == [8, 6, 5]


def test_dense_vectors_are_scaled_by_the_value() -> None:
    layer = DenseEmbedding(2, 3).double()
    dense = torch.tensor([[1.0, -2.0], [0.0, 0.5]], dtype=torch.float64)
    weight = layer.weight.tolist()
    expected = [[[x * v for v in weight[n]] for n, x in enumerate(row)] for row in dense.tolist()]
    torch.testing.assert_close(layer(dense), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=0)
    assert gradcheck(layer, (dense.requires_grad_(),))
    assert layer(dense[:0]).shape == (0, 2, 3)


def test_id_pair_wants_both_roles() -> None:
    assert [one.name for one in id_pair(SCHEMA)] == ["user", "film"]
    with pytest.raises(SchemaError, match="needs the item"):
        id_pair(ModelSchema(categorical=(Field("user", 3),), user="user"))


def test_two_tables_of_the_same_fields_are_read_with_what_one_has_found() -> None:
    schema = ModelSchema(categorical=(Field("a", 5), Field("b", 4)), sequences=(Field("c", 6, Kind.MULTI),))
    batch = Batch(
        torch.zeros(3, 0),
        torch.tensor([[1, 2], [4, 2], [1, 0]]),
        {"c": Jagged(torch.tensor([5, 1, 5]), torch.tensor([0, 2, 2, 3]))},
    )
    vectors, weights = (FieldEmbedding(schema.fields, schema, dim) for dim in (3, 1))
    fewer = FieldEmbedding(schema.categorical, schema, 3)
    for sparse in (False, True):
        for one in (vectors, weights, fewer):
            one.arena.sparse = sparse
        found = vectors.find(batch)
        for one in (vectors, weights, fewer):
            gradients = []
            for given in (None, found):
                one.zero_grad()
                looked_up = one(batch, given)
                looked_up.square().sum().backward()
                assert one.arena.weight.grad is not None
                gradients.append((looked_up, one.arena.weight.grad.to_dense()))
            torch.testing.assert_close(gradients[0], gradients[1])
