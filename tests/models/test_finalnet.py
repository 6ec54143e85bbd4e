import pytest
import torch

from crossfield.errors import ConfigError
from crossfield.models.base import HasBranches
from crossfield.models.finalnet import FinalNet
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def test_two_blocks_are_averaged_and_the_gate_is_the_first_ones() -> None:
    model, batch = build("finalnet", SCHEMA, field_gate=True), random_batch(SCHEMA, 4)
    assert isinstance(model, FinalNet)
    assert model.gate is not None and model.block_2 is not None and model.prediction_2 is not None
    vectors = model.vectors(batch)
    y_1 = model.prediction_1(model.block_1(model.gate(vectors).flatten(1)))
    y_2 = model.prediction_2(model.block_2(vectors.flatten(1)))
    torch.testing.assert_close(model(batch), (y_1 + y_2) / 2)
    torch.testing.assert_close(model.branch_logits(batch), ((y_1 + y_2) / 2, y_1, y_2))


def test_one_block_has_no_branches() -> None:
    model, batch = build("finalnet", SCHEMA, structure="1B"), random_batch(SCHEMA, 4)
    assert isinstance(model, FinalNet) and isinstance(model, HasBranches) and model.branch_objective is None
    torch.testing.assert_close(model(batch), model.prediction_1(model.block_1(model.vectors(batch).flatten(1))))
    with pytest.raises(ConfigError, match='"1B" has one block and no branches; use "2B"'):
        model.branch_logits(batch)


def test_an_odd_width_is_refused_unless_halves_are_added_up() -> None:
    with pytest.raises(ConfigError, match=r"7 = 2 x 3 \+ 1"):
        build("finalnet", SCHEMA, deep_2=(7,))
    build("finalnet", SCHEMA, deep_2=(7,), residual="sum")
