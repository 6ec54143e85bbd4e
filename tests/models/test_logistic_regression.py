import pytest

from crossfield.models.logistic_regression import LogisticRegression
from tests.contract.cases import SCHEMAS, build, random_batch


def test_the_sum_of_the_weights_of_what_is_there() -> None:
    schema = SCHEMAS["mixed"]
    model, batch = build("logistic_regression", schema), random_batch(schema, 6)
    assert isinstance(model, LogisticRegression)
    linear = model.linear
    assert linear.ids is not None and linear.dense is not None and linear.bias is not None
    for row, logit in enumerate(model(batch)[:, 0].tolist()):
        expected = float(linear.bias.detach())
        for column, field in enumerate(schema.categorical):
            expected += float(linear.ids.table(field.name)[batch.categorical[row, column]])
        for field in schema.sequences:
            lists = batch.sequences[field.name]
            chosen = lists.values[lists.offsets[row] : lists.offsets[row + 1]]
            expected += sum(float(linear.ids.table(field.name)[one]) for one in chosen)
        expected += sum(w * x for w, x in zip(linear.dense.tolist(), batch.dense[row].tolist(), strict=True))
        assert logit == pytest.approx(expected, abs=1e-5)
