from typing import Any

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from crossfield.errors import ConfigError
from crossfield.layers.embedding import EmbeddingArena
from crossfield.models.finalmlp import FinalMLP, FinalMLPConfig
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]
CONTEXTS: dict[str, Any] = {"context_1": ("user", "genres"), "context_2": ("item",)}


def test_two_streams_each_behind_its_own_gate() -> None:
    model, batch = build("finalmlp", SCHEMA, num_heads=2, **CONTEXTS), random_batch(SCHEMA, 4)
    assert isinstance(model, FinalMLP) and model.gates is not None
    e = model.vectors(batch).flatten(1)
    o_1, o_2 = model.mlp_1(model.gates[0](batch) * e), model.mlp_2(model.gates[1](batch) * e)
    torch.testing.assert_close(model(batch), model.fusion(o_1, o_2))
    assert not torch.equal(model.gates[0](batch), model.gates[1](batch))


def test_without_gates_both_streams_see_the_features_themselves() -> None:
    model, batch = build("finalmlp", SCHEMA, gates=False), random_batch(SCHEMA, 4)
    assert isinstance(model, FinalMLP) and model.gates is None
    e = model.vectors(batch).flatten(1)
    torch.testing.assert_close(model(batch), model.fusion(model.mlp_1(e), model.mlp_2(e)))


def test_contexts_have_tables_of_their_own_and_all_of_them_learn() -> None:
    model, batch = build("finalmlp", SCHEMA, **CONTEXTS), random_batch(SCHEMA, 64)
    arenas = [one for one in model.modules() if isinstance(one, EmbeddingArena)]
    # all fields, then user and genres, then item
    assert [one.num_rows for one in arenas] == [tuple(field.num_rows for field in SCHEMA.embedded), (7, 6), (9,)]
    assert batch.labels is not None
    binary_cross_entropy_with_logits(model(batch), batch.labels).backward()  # type: ignore[no-untyped-call]
    assert all(one.grad is not None and bool(one.grad.any()) for one in model.parameters())


def test_a_gate_follows_its_context_only() -> None:
    model, batch = build("finalmlp", SCHEMA, context_1=("user",)).eval(), random_batch(SCHEMA, 6)
    assert isinstance(model, FinalMLP) and model.gates is not None
    same_user = batch.categorical.clone()
    same_user[:, 1:] = (same_user[:, 1:] + 1) % 5
    changed = type(batch)(batch.dense + 1, same_user, batch.sequences)
    assert torch.equal(model.gates[0](changed), model.gates[0](batch))
    assert not torch.equal(model(changed), model(batch))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context_1": ["usr"]}, "model.context_1 names 'usr', which is no id field here; did you mean 'user'?"),
        ({"context_2": ["item", "age"]}, "model.context_2 names 'age', which is no id field here"),
        ({"num_heads": 4}, r"num_heads = 4 does not part a stream that ends 6 wide: 6 = 4 x 1 \+ 2"),
    ],
)
def test_what_does_not_fit_is_refused_when_building(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("finalmlp", SCHEMA, **settings)


def test_the_second_stream_drops_what_the_first_does_unless_told() -> None:
    assert FinalMLPConfig(dropout=0.4).dropouts == (0.4, 0.4)
    assert FinalMLPConfig(dropout=0.4, dropout_2=0.0).dropouts == (0.4, 0.0)
