from typing import Any

import pytest
import torch

from crossfield.errors import ConfigError
from crossfield.models.xdeepfm import XDeepFM
from tests.contract.cases import SCHEMAS, build, random_batch, twice

SCHEMA = SCHEMAS["mixed"]


def built(**settings: Any) -> Any:
    model = build("xdeepfm", SCHEMA, **settings)
    assert isinstance(model, XDeepFM)
    return model


def test_linear_part_cin_and_deep_part_add_up() -> None:
    model, batch = built(), random_batch(SCHEMA, 5)
    vectors = model.vectors(batch)
    assert model.deep is not None and model.from_deep is not None
    p_plus, x_dnn = model.cin(vectors), model.deep(vectors.reshape(5, -1))
    expected = model.linear(batch)[:, 0] + p_plus @ model.from_cin.weight[0] + x_dnn @ model.from_deep.weight[0]
    expected = expected + model.from_cin.bias + model.from_deep.bias
    torch.testing.assert_close(model(batch)[:, 0], expected)


def test_no_deep_widths_leave_the_linear_part_and_the_cin() -> None:
    model, batch = built(deep=[]), random_batch(SCHEMA, 5)
    assert model.deep is None and model.from_deep is None
    torch.testing.assert_close(model(batch), model.linear(batch) + model.from_cin(model.cin(model.vectors(batch))))


def test_one_layer_is_a_weighted_sum_over_pairs_of_fields() -> None:
    model, batch = built(cin=(1,), deep=()), random_batch(SCHEMA, 5)
    vectors = model.vectors(batch)
    dots = vectors @ vectors.transpose(1, 2)
    weights = model.cin.layers[0].weight[..., 0] * model.from_cin.weight[0, 0]
    expected = model.linear(batch) + (dots * weights).sum((1, 2)).unsqueeze(1) + model.from_cin.bias
    torch.testing.assert_close(model(batch), expected)


def test_a_list_named_twice_counts_as_once() -> None:
    model, batch = built(), random_batch(SCHEMA, 5)
    torch.testing.assert_close(model(twice(batch)), model(batch), rtol=0, atol=1e-5)


def test_the_authors_choices_are_off() -> None:
    model = XDeepFM(SCHEMA, XDeepFM.config_type())
    assert all(layer.bias is None for layer in model.cin.layers)
    assert model.cin.output_dim == sum(model.config.cin)
    assert isinstance(model.cin.activation, torch.nn.Identity)


def test_an_odd_width_is_not_split() -> None:
    with pytest.raises(ConfigError, match="make it even"):
        built(cin=(5, 4), cin_split_half=True)
