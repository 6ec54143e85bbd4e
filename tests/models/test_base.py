import pytest
import torch

from crossfield.errors import ConfigError
from crossfield.models.base import Interactions
from crossfield.models.deepfm import DeepFMConfig
from crossfield.models.logistic_regression import LogisticRegressionConfig


def test_deep_widths_default_to_the_field_s_usual() -> None:
    assert DeepFMConfig().deep == (400, 400, 400)
    assert DeepFMConfig.of({"deep": [64, 32]}).deep == (64, 32)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"deep": []}, "model.deep"),
        ({"deep": [400, 0]}, "model.deep.1 = 0"),
        ({"dropout": 1.0}, "model.dropout = 1.0"),
        ({"embedding_dim": 0}, "model.embedding_dim = 0"),
        ({"embeding_dim": 8}, "did you mean 'embedding_dim'"),
    ],
)
def test_impossible_settings_are_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DeepFMConfig.of(values, prefix="model")


def test_a_model_without_embeddings_has_no_embedding_width() -> None:
    with pytest.raises(ConfigError, match="unknown key 'embedding_dim'"):
        LogisticRegressionConfig.of({"embedding_dim": 8})


def test_choices_are_the_positive_pairs_of_known_users_once_in_order() -> None:
    # User 3 chose item 9 twice and item 2 once, user 2 item 0; user 1 is unknown, two rows are no choice.
    users = torch.tensor([3, 3, 2, 3, 1, 2, 3])
    items = torch.tensor([9, 2, 0, 9, 4, 5, 7])
    labels = torch.tensor([1.0, 1, 1, 1, 1, 0, 1])
    weights = torch.tensor([1.0, 2, 3, 4, 1, 1, 0])
    found = Interactions(users, items, labels, weights).choices()
    assert found.users.tolist() == [2, 3, 3] and found.items.tolist() == [0, 2, 9]
    assert found.labels.tolist() == [1, 1, 1] and found.weights.tolist() == [3, 2, 2.5]


def test_nothing_chosen_is_no_pair() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    found = Interactions(nothing, nothing, torch.zeros(0), torch.zeros(0)).choices()
    assert [len(one) for one in vars(found).values()] == [0] * 4
    assert found.users.dtype == torch.int64 and found.weights.dtype == torch.float32
