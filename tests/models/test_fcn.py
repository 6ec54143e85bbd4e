from typing import Any

import pytest
import torch

from crossfield.errors import ConfigError
from crossfield.models.fcn import FCN
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def test_two_cross_networks_averaged_over_heads_and_over_each_other() -> None:
    model, batch = build("fcn", SCHEMA, num_heads=2), random_batch(SCHEMA, 4)
    assert isinstance(model, FCN)
    vectors = model.vectors(batch)
    # Of a vector (a, b, c, d) the first head crosses a (first half) and b (second half), the second head c and d.
    x_1 = torch.stack([torch.cat([vectors[:, :, first], vectors[:, :, first + 1]], 1) for first in (0, 2)], 1)
    y_d = model.prediction_d(model.exponential(x_1))[:, :, 0].mean(1, keepdim=True)
    y_s = model.prediction_s(model.linear(x_1))[:, :, 0].mean(1, keepdim=True)
    torch.testing.assert_close(model.branch_logits(batch), ((y_d + y_s) / 2, y_d, y_s))
    torch.testing.assert_close(model(batch), (y_d + y_s) / 2)


def test_the_networks_have_as_many_layers_as_told() -> None:
    model = build("fcn", SCHEMA, num_exponential_layers=1, num_linear_layers=4)
    assert isinstance(model, FCN)
    assert (len(model.exponential.layers), len(model.linear.layers)) == (1, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embedding_dim": 5}, r"two halves for each of 1 heads: 5 = 2 x 2 \+ 1"),
        (
            {"embedding_dim": 10, "num_heads": 2},
            r"embedding_dim = 10 has no two halves for each of 2 heads: 10 = 4 x 2",
        ),
    ],
)
def test_a_width_that_does_not_part_is_refused_with_the_sum(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("fcn", SCHEMA, **settings)
