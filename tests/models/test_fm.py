import pytest

from crossfield.batch import Batch
from crossfield.models.fm import FM
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def indicators(batch: Batch, row: int, names: list[str]) -> list[tuple[str, int, float]]:
    """(field, id, x) of one row: 1 for a single id, 1 / L for each of L listed ones."""
    columns = {field.name: column for column, field in enumerate(SCHEMA.categorical)}
    found = []
    for name in names:
        if name in columns:
            found.append((name, int(batch.categorical[row, columns[name]]), 1.0))
        else:
            lists = batch.sequences[name]
            chosen = lists.values[lists.offsets[row] : lists.offsets[row + 1]].tolist()
            found += [(name, one, 1 / len(chosen)) for one in chosen]
    return found


def test_a_weight_per_feature_and_a_dot_product_per_pair_of_fields() -> None:
    model, batch = build("fm", SCHEMA), random_batch(SCHEMA, 6)
    assert isinstance(model, FM)
    linear, vectors = model.linear, model.vectors
    assert linear.ids is not None and linear.dense is not None and linear.bias is not None
    assert vectors.ids is not None and vectors.dense is not None
    for row, logit in enumerate(model(batch)[:, 0].tolist()):
        dense = batch.dense[row].tolist()
        expected = linear.bias.item() + sum(w * x for w, x in zip(linear.dense.tolist(), dense, strict=True))
        for name, one, x in indicators(batch, row, [field.name for field in SCHEMA.fields]):
            expected += x * linear.ids.table(name)[one].item()
        terms = [
            (name, x * vectors.ids.table(name)[one]) for name, one, x in indicators(batch, row, [*vectors.ids.names])
        ]
        terms += [(name, x * v.detach()) for name, x, v in zip(SCHEMA.dense, dense, vectors.dense.weight, strict=True)]
        for i, (field, v) in enumerate(terms):
            expected += sum(float(v @ other) for name, other in terms[:i] if name != field)
        assert logit == pytest.approx(expected, abs=1e-5)
