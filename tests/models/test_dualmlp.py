import torch

from crossfield.models.dualmlp import DualMLP
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def test_the_sum_of_two_mlps_on_the_same_vectors() -> None:
    model, batch = build("dualmlp", SCHEMA), random_batch(SCHEMA, 4)
    assert isinstance(model, DualMLP)
    e = model.vectors(batch).flatten(1)
    first, second = model.prediction_1(model.mlp_1(e)), model.prediction_2(model.mlp_2(e))
    torch.testing.assert_close(model(batch), first + second)
    assert (model.mlp_1.output_dim, model.mlp_2.output_dim) == (6, 8)
