from typing import Any

import torch

from crossfield.layers.gated_cross import GatedCrossLayer
from crossfield.models.gdcn import GDCN
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def gdcn(**settings: Any) -> GDCN:
    model = build("gdcn", SCHEMA, **settings)
    assert isinstance(model, GDCN)
    return model


def test_parallel_puts_cross_and_deep_side_by_side() -> None:
    model, batch = gdcn(), random_batch(SCHEMA, 4)
    c_0 = model.features(batch)
    c_final = torch.cat([model.body.cross(c_0), model.body.deep(c_0)], 1)
    torch.testing.assert_close(model(batch), model.prediction(c_final))
    assert sum(isinstance(one, GatedCrossLayer) for one in model.modules()) == 3


def test_stacked_puts_deep_on_top_of_cross() -> None:
    model, batch = gdcn(structure="stacked"), random_batch(SCHEMA, 4)
    c_final = model.body.deep(model.body.cross(model.features(batch)))
    torch.testing.assert_close(model(batch), model.prediction(c_final))


def test_no_deep_widths_leave_the_gated_cross_network_alone() -> None:
    for structure in ("parallel", "stacked"):
        model, batch = gdcn(structure=structure, deep=()), random_batch(SCHEMA, 4)
        torch.testing.assert_close(model(batch), model.prediction(model.body.cross(model.features(batch))))
