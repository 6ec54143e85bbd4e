import torch

from crossfield.models.dcn import DCN
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def test_cross_and_deep_side_by_side() -> None:
    model, batch = build("dcn", SCHEMA), random_batch(SCHEMA, 4)
    assert isinstance(model, DCN) and model.deep is not None
    x_0 = model.features(batch)
    w, b = model.prediction.weight[0], model.prediction.bias
    x_dim = x_0.shape[1]
    expected = model.cross(x_0) @ w[:x_dim] + model.deep(x_0) @ w[x_dim:] + b
    torch.testing.assert_close(model(batch)[:, 0], expected)
    assert len(model.cross.weight) == 3


def test_no_deep_widths_leave_the_cross_network_alone() -> None:
    model, batch = build("dcn", SCHEMA, deep=[]), random_batch(SCHEMA, 4)
    assert isinstance(model, DCN) and model.deep is None
    torch.testing.assert_close(model(batch), model.prediction(model.cross(model.features(batch))))
