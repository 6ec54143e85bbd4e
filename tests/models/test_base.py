import pytest

from crossfield.errors import ConfigError
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
