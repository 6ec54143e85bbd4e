"""The [train] section: every key is documented, and impossible values are refused by name."""

from typing import Any

import pytest

from crossfield.errors import ConfigError
from crossfield.train_options import TrainConfig


def test_every_field_has_its_line() -> None:
    assert not [name for name, field in TrainConfig.model_fields.items() if not field.description]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": 99999999999999999999999}, r"train\.seed = 99999999999999999999999: "),
        ({"epochs": 0}, r"train\.epochs = 0: "),
        ({"lr": -1.0}, r"train\.lr = -1\.0: "),
        ({"precision": "fp16"}, r"train\.precision = \"fp16\": "),
        ({"learning_rate": 0.1}, r"unknown key 'train\.learning_rate'"),
        ({"clip_nrom": 1.0}, r"did you mean 'clip_norm'"),
    ],
)
def test_impossible_values_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.of(values, prefix="train")


def test_the_published_tables_recipe_can_be_said() -> None:
    config = TrainConfig.of({"optimizer": "adam", "embedding_l2": 0.05, "clip_norm": 10, "wide_optimizer": "same"})
    assert config.lr == 1e-3 and config.plateau_factor == 0.1 and config.patience == 2 and config.min_delta == 1e-6
