import pytest
import torch
from torch import Tensor

from crossfield.errors import SchemaError
from crossfield.layers.features import DenseAs, FeatureVectors, FlatFeatures
from crossfield.schema import Field, Kind, ModelSchema
from tests.contract.cases import SCHEMAS, random_batch

MIXED = SCHEMAS["mixed"]  # two dense, user, item, day, an embedded cross, genres, tags, and two crosses left out


def test_vectors_hold_every_embedded_field_then_the_dense_ones() -> None:
    layer, batch = FeatureVectors(MIXED, 3, std=1.0), random_batch(MIXED, 4)
    vectors = layer(batch)
    assert vectors.shape == (4, layer.num_vectors, 3) == (4, 8, 3)
    assert layer.ids is not None and layer.dense is not None
    names = ["user", "item", "day", "item x day", "genres", "tags"]
    assert list(layer.ids.names) == names
    item = batch.categorical[2, 1]
    assert torch.equal(vectors[2, 1], layer.ids.table("item")[item])
    assert torch.equal(vectors[2, 7], batch.dense[2, 1] * layer.dense.weight[1])


@pytest.mark.parametrize(("dense_as", "width"), [("value", 6 * 3 + 2), ("embedding", 6 * 3 + 2 * 3)])
def test_flat_features_end_with_the_dense_ones(dense_as: DenseAs, width: int) -> None:
    layer, batch = FlatFeatures(MIXED, 3, dense_as=dense_as, std=1.0), random_batch(MIXED, 4)
    flat = layer(batch)
    assert flat.shape == (4, layer.output_dim) == (4, width)
    assert layer.ids is not None
    assert torch.equal(flat[:, :18], layer.ids(batch).flatten(1))
    assert torch.equal(flat[:, 18:], layer.dense(batch.dense).flatten(1))
    if dense_as == "value":
        assert torch.equal(flat[:, 18:], batch.dense)


@pytest.mark.parametrize("case", ["dense only", "one field", "two multi-valued"])
@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_schema_with_one_sort_of_feature(case: str, size: int) -> None:
    schema = SCHEMAS[case]
    batch = random_batch(schema, size)
    flat: Tensor = FlatFeatures(schema, 3, dense_as="embedding")(batch)
    vectors: Tensor = FeatureVectors(schema, 3)(batch)
    assert flat.shape == (size, 3 * vectors.shape[1])
    if case == "dense only":
        assert torch.equal(FlatFeatures(schema, 3, dense_as="value")(batch), batch.dense)


def test_nothing_to_embed_is_refused() -> None:
    crosses = ModelSchema(categorical=(Field("a x b", 4, Kind.CROSS, embed=False),))
    with pytest.raises(SchemaError, match="no feature to embed"):
        FeatureVectors(crosses, 3)
    with pytest.raises(SchemaError, match="no feature to embed"):
        FlatFeatures(crosses, 3, dense_as="value")
