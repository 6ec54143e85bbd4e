from typing import Any

import pytest
import torch

from crossfield.models.dcn_mix import DCNMix
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def built(**settings: Any) -> Any:
    model = build("dcn_mix", SCHEMA, **settings)
    assert isinstance(model, DCNMix)
    return model


def test_parallel_and_stacked_equal_the_formula() -> None:
    batch = random_batch(SCHEMA, 4)
    for structure in ("parallel", "stacked"):
        model = built(structure=structure)
        x_0 = model.features(batch)
        x_L, deep = model.body.cross(x_0), model.body.deep
        h = torch.cat([x_L, deep(x_0)], 1) if structure == "parallel" else deep(x_L)
        torch.testing.assert_close(model(batch), h @ model.prediction.weight.t() + model.prediction.bias)


def test_no_deep_widths_leave_the_cross_network_alone() -> None:
    model, batch = built(deep=[]), random_batch(SCHEMA, 4)
    torch.testing.assert_close(model(batch), model.prediction(model.body.cross(model.features(batch))))


@pytest.mark.parametrize("gate", ["softmax", "sigmoid", "constant"])
@pytest.mark.parametrize("nonlinearity", ["identity", "tanh", "hard_tanh", "relu"])
def test_a_gradient_reaches_every_expert_and_gate(gate: str, nonlinearity: str) -> None:
    model = built(gate=gate, nonlinearity=nonlinearity, rank=6)
    model(random_batch(SCHEMA, 64)).sum().backward()
    for name, parameter in model.body.cross.named_parameters():
        assert parameter.grad is not None and parameter.grad.flatten(1 if parameter.ndim > 1 else 0).any(), name


def test_every_layer_has_gates_of_its_own() -> None:
    gates = [layer.gate for layer in built().body.cross.layers]
    assert len(gates) == 3 and len({id(one.weight) for one in gates}) == 3
    assert [layer.gate for layer in built(gate="constant").body.cross.layers] == [None] * 3
