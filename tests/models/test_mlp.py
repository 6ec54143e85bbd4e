import pytest
import torch

from crossfield.models.mlp import NCFMLP, NCFMLPConfig
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["no dense"]


def test_a_tower_over_user_then_item() -> None:
    model, batch = build("mlp", SCHEMA), random_batch(SCHEMA, 6)
    assert isinstance(model, NCFMLP)
    p, q = model.embedding.table("user"), model.embedding.table("item")
    first, first_bias, second, second_bias = (one.detach() for one in model.tower.parameters())
    for (item, user, _), logit in zip(batch.categorical.tolist(), model(batch)[:, 0].tolist(), strict=True):
        z = torch.cat([p[user], q[item]])
        z = (first @ z + first_bias).clamp(min=0)
        z = (second @ z + second_bias).clamp(min=0)
        expected = model.prediction.weight[0] @ z + model.prediction.bias[0]
        assert logit == pytest.approx(expected.item(), abs=1e-6)


def test_mlp_0_is_linear_in_the_concatenation() -> None:
    model = NCFMLP(SCHEMA, NCFMLPConfig(hidden=(), embedding_dim=5))
    assert list(model.tower) == []
    assert model.prediction.in_features == 10
