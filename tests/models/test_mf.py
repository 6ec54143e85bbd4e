import pytest

from crossfield.models.mf import MF, MFConfig
from tests.contract.cases import SCHEMAS, build, random_batch


def test_biases_and_a_dot_product() -> None:
    schema = SCHEMAS["no dense"]  # here the item comes before the user
    model, batch = build("mf", schema), random_batch(schema, 6)
    assert isinstance(model, MF)
    p, q = model.embedding.table("user").double(), model.embedding.table("item").double()
    b_user, b_item = model.biases.table("user"), model.biases.table("item")
    for (item, user, _), logit in zip(batch.categorical.tolist(), model(batch)[:, 0].tolist(), strict=True):
        dot = sum(float(p[user, f] * q[item, f]) for f in range(4))
        assert logit == pytest.approx(model.bias.item() + b_user[user].item() + b_item[item].item() + dot, abs=1e-6)


def test_biases_start_at_zero_and_embeddings_do_not() -> None:
    model = MF(SCHEMAS["pair"], MFConfig())
    assert not model.bias.any() and not model.biases.arena.weight.any()
    assert model.embedding.arena.weight.all()
