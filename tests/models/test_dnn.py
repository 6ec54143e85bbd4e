import torch

from crossfield.models.dnn import DNN
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def test_dense_values_enter_raw_or_as_vectors() -> None:
    batch = random_batch(SCHEMA, 4)
    value, embedding = build("dnn", SCHEMA), build("dnn", SCHEMA, dense_as="embedding")
    assert isinstance(value, DNN) and isinstance(embedding, DNN)
    assert value.features.output_dim == 6 * 4 + 2 and embedding.features.output_dim == 6 * 4 + 2 * 4
    assert torch.equal(value.features(batch)[:, -2:], batch.dense)
    assert embedding(batch).shape == (4, 1)


def test_the_formula() -> None:
    model, batch = build("dnn", SCHEMA), random_batch(SCHEMA, 4)
    assert isinstance(model, DNN)
    first, first_bias, second, second_bias, w, b = (one for name, one in model.named_parameters() if "feat" not in name)
    h = (model.features(batch) @ first.T + first_bias).relu()
    h = (h @ second.T + second_bias).relu()
    torch.testing.assert_close(model(batch), h @ w.T + b)
