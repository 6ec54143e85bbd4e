from typing import Any

import torch

from crossfield.layers.field_map import FieldMap
from crossfield.models.wukong import Wukong
from tests.contract.cases import SCHEMAS, build, random_batch


def wukong(case: str, **settings: Any) -> Wukong:
    model = build("wukong", SCHEMAS[case], **settings)
    assert isinstance(model, Wukong)
    return model


def test_fields_and_one_vector_of_the_dense_features_go_through_the_stack() -> None:
    model, batch = wukong("mixed"), random_batch(SCHEMAS["mixed"], 5)
    assert model.bottom is not None and model.embedding is not None
    X = torch.stack([*model.embedding(batch).unbind(1), model.bottom(batch.dense)], 1)
    assert X.shape == (5, 7, 4)
    for layer in model.stack:
        X = layer(X)
    torch.testing.assert_close(model(batch), model.prediction(model.deep(X.reshape(5, -1))))


def test_the_residual_is_mapped_where_the_number_of_vectors_changes_only() -> None:
    maps = [isinstance(one.residual, FieldMap) for one in wukong("mixed", num_layers=3).stack]
    assert maps == [True, False, False]
    assert not isinstance(wukong("mixed", num_fm_vectors=4, num_linear_vectors=3).stack[0].residual, FieldMap)


def test_without_dense_features_there_is_no_bottom_and_without_fields_no_embedding() -> None:
    assert wukong("no dense").bottom is None
    assert wukong("dense only").embedding is None


def test_the_dense_vector_may_be_negative() -> None:
    model = wukong("dense only")
    assert model.bottom is not None
    assert (model.bottom(torch.randn(50, 2)) < 0).any()


def test_multi_valued_fields_are_summed() -> None:
    model, batch = wukong("two multi-valued"), random_batch(SCHEMAS["two multi-valued"], 3, shortest=2)
    assert model.embedding is not None
    genres = batch.sequences["genres"]
    rows = model.embedding.table("genres")[genres.values[genres.offsets[1] : genres.offsets[2]]]
    torch.testing.assert_close(model.embedding(batch)[1, 0], rows.sum(0))
