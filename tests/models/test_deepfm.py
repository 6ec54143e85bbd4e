import torch

from crossfield.models.deepfm import DeepFM
from tests.contract.cases import SCHEMAS, build, random_batch, twice

SCHEMA = SCHEMAS["mixed"]


def test_fm_and_deep_share_their_vectors() -> None:
    model, batch = build("deepfm", SCHEMA), random_batch(SCHEMA, 5)
    assert isinstance(model, DeepFM)
    vectors = model.vectors(batch)
    pairs = sum((vectors[:, i] * vectors[:, j]).sum(1) for i in range(8) for j in range(i))
    y_fm = model.linear(batch)[:, 0] + pairs
    y_dnn = model.prediction(model.deep(vectors.reshape(5, -1)))[:, 0]
    torch.testing.assert_close(model(batch)[:, 0], y_fm + y_dnn, rtol=0, atol=1e-5)


def test_a_list_named_twice_counts_as_once() -> None:
    model, batch = build("deepfm", SCHEMA), random_batch(SCHEMA, 5)
    torch.testing.assert_close(model(twice(batch)), model(batch), rtol=0, atol=1e-5)


def test_the_only_bias_of_the_logit_is_the_deep_part_s() -> None:
    model = DeepFM(SCHEMA, DeepFM.config_type())
    assert model.linear.bias is None and model.prediction.bias is not None
