from typing import Any

import pytest
import torch

from crossfield.errors import SchemaError
from crossfield.models.dlrm import DLRM
from crossfield.schema import Field, ModelSchema
from tests.contract.cases import SCHEMAS, build, random_batch


def dlrm(case: str, **settings: Any) -> DLRM:
    model = build("dlrm", SCHEMAS[case], **settings)
    assert isinstance(model, DLRM)
    return model


@pytest.mark.parametrize("itself", [False, True])
def test_dots_of_the_bottom_output_and_the_fields(itself: bool) -> None:
    model, batch = dlrm("mixed", interaction_itself=itself), random_batch(SCHEMAS["mixed"], 5)
    assert model.bottom is not None and model.embedding is not None
    z = [model.bottom(batch.dense), *model.embedding(batch).unbind(1)]
    dots = [(z[i] * z[j]).sum(1) for i in range(7) for j in range(i + itself)]
    expected = model.prediction(model.top(torch.cat([z[0], torch.stack(dots, 1)], 1)))
    torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-5)


def test_the_bottom_ends_in_the_embedding_width_and_a_relu() -> None:
    model = dlrm("mixed", embedding_dim=6)
    assert model.bottom is not None
    output = model.bottom(torch.randn(50, 2))
    assert [one.shape[0] for one in model.bottom.parameters() if one.dim() == 2] == [8, 6]
    assert output.shape == (50, 6) and (output >= 0).all() and (output == 0).any()


def test_multi_valued_fields_are_summed() -> None:
    model, batch = dlrm("two multi-valued"), random_batch(SCHEMAS["two multi-valued"], 3, shortest=2)
    assert model.embedding is not None
    genres = batch.sequences["genres"]
    rows = model.embedding.table("genres")[genres.values[genres.offsets[1] : genres.offsets[2]]]
    torch.testing.assert_close(model.embedding(batch)[1, 0], rows.sum(0))


def test_without_dense_features_there_is_no_bottom() -> None:
    model = dlrm("no dense")
    assert model.bottom is None and model.dots.output_dim == 6
    assert next(iter(model.top.parameters())).shape == (10, 6)


def test_one_field_has_a_dot_product_with_itself_only() -> None:
    schema = ModelSchema(categorical=(Field("day", 5),))
    with pytest.raises(SchemaError, match="two embedded fields"):
        build("dlrm", schema)
    assert build("dlrm", schema, interaction_itself=True)(random_batch(schema, 2)).shape == (2, 1)
