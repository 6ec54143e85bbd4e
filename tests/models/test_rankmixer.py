from typing import Any

import pytest
import torch

from crossfield.errors import ConfigError
from crossfield.models.rankmixer import RankMixer, RankMixerConfig
from crossfield.schema import Field, ModelSchema
from tests.contract.cases import SCHEMAS, build, random_batch


def rankmixer(case: str = "mixed", **settings: Any) -> RankMixer:
    model = build("rankmixer", SCHEMAS[case], **settings)
    assert isinstance(model, RankMixer)
    return model


def test_equal_pieces_of_all_features_become_tokens_and_their_mean_is_scored() -> None:
    model, batch = rankmixer(), random_batch(SCHEMAS["mixed"], 5)
    e = model.vectors(batch).flatten(1)
    assert e.shape == (5, 32) and model.piece_dim == 8
    pieces = [e[:, start : start + 8] for start in (0, 8, 16, 24)]
    W, b = model.tokens.weight, model.tokens.bias
    X = torch.stack([piece @ W[t] + b[t] for t, piece in enumerate(pieces)], 1)
    for block in model.blocks:
        X = block(X)
    torch.testing.assert_close(model(batch), model.prediction(X.sum(1) / 4))


def test_the_last_token_is_filled_up_with_zeros() -> None:
    model, batch = rankmixer("pair", num_tokens=3, token_dim=6), random_batch(SCHEMAS["pair"], 2)
    assert model.piece_dim == 3  # 2 vectors of 4: 3 + 3 + 2
    model(batch).sum().backward()
    gradient = model.tokens.weight.grad
    assert gradient is not None
    assert gradient[2].any(1).tolist() == [True, True, False]


def test_tokens_that_do_not_divide_their_width_are_refused_with_the_sum() -> None:
    with pytest.raises(ConfigError, match=r"100 = 8 x 12 \+ 4; take token_dim = 104"):
        RankMixerConfig.of({"num_tokens": 8, "token_dim": 100}, prefix="model")


def test_tokens_without_a_number_are_refused_with_the_sum() -> None:
    schema = ModelSchema(categorical=tuple(Field(f"field_{i}", 5) for i in range(10)))
    with pytest.raises(ConfigError, match="10 vectors x 10 = 100 numbers, cut into pieces of 7, fill 15 tokens"):
        build("rankmixer", schema, embedding_dim=10, num_tokens=16, token_dim=64)
    assert build("rankmixer", schema, embedding_dim=10, num_tokens=20, token_dim=40)(random_batch(schema, 2)).shape == (
        2,
        1,
    )


def test_the_default_sizes_fit_any_number_of_features() -> None:
    for num_fields in range(1, 45):
        schema = ModelSchema(categorical=tuple(Field(f"field_{i}", 3) for i in range(num_fields)))
        assert RankMixer(schema, RankMixerConfig(expansion=1)).piece_dim == 2 * num_fields
