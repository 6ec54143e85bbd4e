from typing import Any

import pytest
import torch

from crossfield.errors import ConfigError
from crossfield.layers.cross_deep import CrossDeep
from crossfield.models.dcn_v2 import DCNV2, DCNV2Config
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def built(**settings: Any) -> Any:
    model = build("dcn_v2", SCHEMA, **settings)
    assert isinstance(model, DCNV2) and isinstance(model.body, CrossDeep)
    return model


@pytest.mark.parametrize("low_rank", [None, 2])
def test_parallel_equals_the_formula(low_rank: int | None) -> None:
    model, batch = built(low_rank=low_rank), random_batch(SCHEMA, 4)
    x_0 = x = model.features(batch)
    for layer in model.body.cross.layers:
        x = x_0 * layer.W(x) + x
    h = torch.cat([x, model.body.deep(x_0)], 1)
    torch.testing.assert_close(model(batch), h @ model.prediction.weight.t() + model.prediction.bias)


def test_stacked_equals_the_formula() -> None:
    model, batch = built(structure="stacked"), random_batch(SCHEMA, 4)
    h = model.body.deep(model.body.cross(model.features(batch)))
    torch.testing.assert_close(model(batch), h @ model.prediction.weight.t() + model.prediction.bias)


@pytest.mark.parametrize("structure", ["stacked", "parallel"])
def test_no_deep_widths_leave_the_cross_network_alone(structure: str) -> None:
    model, batch = built(structure=structure, deep=[]), random_batch(SCHEMA, 4)
    torch.testing.assert_close(model(batch), model.prediction(model.body.cross(model.features(batch))))
    assert model.prediction.in_features == model.features.output_dim


def test_low_rank_needs_fewer_weights() -> None:
    def count(**settings: Any) -> int:
        return sum(one.numel() for one in built(**settings).body.cross.parameters())

    x_dim = built().features.output_dim
    assert count() == 2 * x_dim * (x_dim + 1)
    assert count(low_rank=3) == 2 * x_dim * (2 * 3 + 1)


@pytest.mark.parametrize("bad", [{"structure": "serial"}, {"low_rank": 0}, {"num_cross_layers": 0}])
def test_impossible_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        DCNV2Config.of(bad)
