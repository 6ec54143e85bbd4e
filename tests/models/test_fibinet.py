from itertools import combinations
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from crossfield.errors import SchemaError
from crossfield.layers.bilinear import BilinearInteraction
from crossfield.models.fibinet import FiBiNET
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def fibinet(**settings: Any) -> FiBiNET:
    model = build("fibinet", SCHEMA, **settings)
    assert isinstance(model, FiBiNET)
    return model


def products(vectors: Tensor, W: Tensor | None) -> Tensor:
    left = vectors if W is None else vectors @ W
    return torch.stack([left[:, i] * vectors[:, j] for i, j in combinations(range(vectors.shape[1]), 2)], 1)


@pytest.mark.parametrize(
    ("bilinear_on", "is_raw", "is_senet"),
    [("senet", False, True), ("raw", True, False), ("both", True, True), ("shared", True, True)],
)
def test_which_vectors_get_the_bilinear_product(bilinear_on: str, is_raw: bool, is_senet: bool) -> None:
    model, batch = fibinet(bilinear_on=bilinear_on, bilinear_type="all"), random_batch(SCHEMA, 5)
    matrices = [one.W[0] for one in model.modules() if isinstance(one, BilinearInteraction)]
    assert len(matrices) == {"both": 2}.get(bilinear_on, 1)
    e = model.vectors(batch)
    p = products(e, matrices[0] if is_raw else None)
    q = products(model.senet(e), matrices[-1] if is_senet else None)
    y_d = model.prediction(model.deep(torch.cat([p.flatten(1), q.flatten(1)], 1)))
    torch.testing.assert_close(model(batch), model.linear(batch) + y_d)


def test_no_deep_widths_weigh_the_products_themselves() -> None:
    model, batch = fibinet(deep=()), random_batch(SCHEMA, 3)
    assert model.prediction.weight.shape == (1, 2 * 28 * 4)
    assert model(batch).shape == (3, 1)


def test_shared_matrices_are_saved_once() -> None:
    model, other = fibinet(bilinear_on="shared"), fibinet(bilinear_on="shared")
    weights = save(model.state_dict())
    other.load_state_dict(load(weights))
    assert sum(name.endswith("W") for name in load(weights)) == 1


def test_one_field_has_no_pair() -> None:
    with pytest.raises(SchemaError, match="two fields"):
        build("fibinet", SCHEMAS["one dense"])
