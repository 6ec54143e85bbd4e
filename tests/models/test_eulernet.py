import cmath
from typing import Any

import pytest
import torch

from crossfield.errors import ConfigError
from crossfield.layers.euler import EulerLayer
from crossfield.models.eulernet import EulerNet, EulerNetConfig
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def eulernet(**settings: Any) -> EulerNet:
    model = build("eulernet", SCHEMA, **settings)
    assert isinstance(model, EulerNet)
    return model


def test_both_parts_of_the_last_layer_meet_the_same_weights() -> None:
    model, batch = eulernet(orders=(5, 2)), random_batch(SCHEMA, 3)
    e, w = model.vectors(batch), model.prediction.weight[0]
    mu = model.mu.flatten().tolist()
    z = [[[mu[j] * cmath.exp(1j * x) for x in vector] for j, vector in enumerate(row)] for row in e.tolist()]
    r, p = torch.tensor(z).real, torch.tensor(z).imag
    for layer in model.layers:
        r, p = layer(r, p)
    expected = r.flatten(1) @ w + p.flatten(1) @ w + model.prediction.bias
    torch.testing.assert_close(model(batch)[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_layers_go_from_fields_to_order_vectors() -> None:
    layers = [one for one in eulernet(orders=(7, 5, 5)).modules() if isinstance(one, EulerLayer)]
    shapes = [tuple(one.alpha.shape) for one in layers]
    assert shapes == [(8, 7), (7, 5), (5, 5)]
    assert eulernet().mu.shape == (8, 1)


def test_the_first_layer_alone_can_be_one_product_of_fields() -> None:
    """α = 1 on two fields, 0 on the others, nothing implicit: the angles add up."""
    model, batch = eulernet(orders=(1,), layer_norm=False), random_batch(SCHEMA, 4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith(("vectors", "mu")):
                parameter.zero_()
            if name.endswith("alpha"):
                parameter[:2] = 1.0
        model.mu.fill_(1.0)
        model.prediction.weight.fill_(1.0)
        e = model.vectors(batch)
        angle = e[:, 0] + e[:, 1]
        torch.testing.assert_close(model(batch)[:, 0], (angle.cos() + angle.sin()).sum(1), rtol=1e-5, atol=1e-5)


def test_embeddings_of_one_number_are_refused() -> None:
    with pytest.raises(ConfigError, match="embedding_dim"):
        EulerNetConfig.of({"embedding_dim": 1})
