import math

import pytest
import torch

from crossfield.batch import Batch
from crossfield.errors import ConfigError
from crossfield.models.base import Interactions
from crossfield.models.popularity import Popularity, PopularityConfig
from crossfield.schema import Field, ModelSchema

SCHEMA = ModelSchema(categorical=(Field("user", 4), Field("item", 5)), item="item")


def solved(items: list[int], labels: list[int], weights: list[float] | None = None, **settings: float) -> list[float]:
    model = Popularity(SCHEMA, PopularityConfig(**settings))
    users = torch.zeros(len(items), dtype=torch.int64)
    given = torch.tensor(weights or [1.0] * len(items))
    model.solve(Interactions(users, torch.tensor(items, dtype=torch.int64), torch.tensor(labels).float(), given))
    every_item = torch.stack([torch.zeros(5, dtype=torch.int64), torch.arange(5)], 1)
    logits = model(Batch(torch.zeros(5, 0), every_item))
    assert logits.shape == (5, 1)
    return [float(one) for one in logits[:, 0]]


def test_positives_alone_are_counted() -> None:
    scores = solved([2, 2, 2, 4], [1, 1, 1, 1])
    assert scores == pytest.approx([0, 0, math.log(4), 0, math.log(2)])


def test_with_negatives_it_is_the_logit_of_the_smoothed_click_rate() -> None:
    # Overall 2 of 5 rows are clicks; item 2 has 2 of 3, item 4 has 0 of 2; two rows at .4 are added to each.
    scores = solved([2, 2, 2, 4, 4], [1, 1, 0, 0, 0], smoothing=2)
    rates = [0.4, 0.4, (2 + 0.8) / 5, 0.4, 0.8 / 4]
    assert scores == pytest.approx([math.log(rate / (1 - rate)) for rate in rates], abs=1e-6)


def test_weights_count() -> None:
    assert solved([2, 4], [1, 1], [3.0, 1.0]) == pytest.approx([0, 0, math.log(4), 0, math.log(2)])


def test_no_interaction_scores_everything_alike() -> None:
    assert solved([], []) == [0] * 5


def test_smoothing_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="smoothing"):
        PopularityConfig.of({"smoothing": 0})
