import pytest
import torch
from torch import nn

from crossfield.models.gmf import GMF, GMFConfig
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["no dense"]


def test_a_weighted_dot_product() -> None:
    model, batch = build("gmf", SCHEMA), random_batch(SCHEMA, 6)
    assert isinstance(model, GMF)
    p, q = model.embedding.table("user").tolist(), model.embedding.table("item").tolist()
    (h,), bias = model.prediction.weight.tolist(), model.prediction.bias.item()
    for (item, user, _), logit in zip(batch.categorical.tolist(), model(batch)[:, 0].tolist(), strict=True):
        assert logit == pytest.approx(sum(h[f] * p[user][f] * q[item][f] for f in range(4)) + bias, abs=1e-6)


def test_h_of_ones_is_matrix_factorisation_without_biases() -> None:
    model, batch = GMF(SCHEMA, GMFConfig()), random_batch(SCHEMA, 6)
    nn.init.ones_(model.prediction.weight)
    p_u, q_i = model.embedding(batch).unbind(1)
    torch.testing.assert_close(model(batch), (p_u * q_i).sum(1, keepdim=True))
