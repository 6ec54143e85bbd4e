from typing import Any

import pytest
import torch
from torch import Tensor

from crossfield.errors import SchemaError
from crossfield.models.autoint import AutoInt
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def autoint(**settings: Any) -> AutoInt:
    model = build("autoint", SCHEMA, **settings)
    assert isinstance(model, AutoInt)
    return model


def attention_logit(model: AutoInt, e: Tensor) -> Tensor:
    w, b = model.prediction.weight[0], model.prediction.bias
    for layer in model.attention:
        e = layer(e)
    return torch.cat(e.unbind(1), 1) @ w + b


def test_without_deep_widths_it_is_autoint() -> None:
    model, batch = autoint(deep=()), random_batch(SCHEMA, 4)
    assert model.deep is None and len(model.attention) == 3
    torch.testing.assert_close(model(batch)[:, 0], attention_logit(model, model.vectors(batch)))


def test_with_deep_widths_an_mlp_adds_its_logit() -> None:
    model, batch = autoint(), random_batch(SCHEMA, 4)
    assert model.deep is not None
    e = model.vectors(batch)
    mlp, prediction = model.deep
    expected = attention_logit(model, e) + prediction(mlp(torch.cat(e.unbind(1), 1)))[:, 0]
    torch.testing.assert_close(model(batch)[:, 0], expected)


def test_one_residual_matrix_per_layer_or_one_in_the_first() -> None:
    def matrices(**settings: Any) -> int:
        return sum("W_Res" in name for name, _ in autoint(num_heads=2, head_dim=3, **settings).named_parameters())

    assert matrices() == 3  # embeddings of 4, then 6 and 6
    assert matrices(residual="identity") == 1
    assert matrices(residual="identity", embedding_dim=6) == 0
    assert matrices(residual="none") == 0


def test_one_field_has_nothing_to_attend_to() -> None:
    with pytest.raises(SchemaError, match="two fields"):
        build("autoint", SCHEMAS["one field"])
