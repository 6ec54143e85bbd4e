import torch

from crossfield.batch import Jagged
from crossfield.models.wide_deep import WideDeep
from tests.contract.cases import SCHEMAS, build, random_batch, twice

SCHEMA = SCHEMAS["mixed"]


def model_and_names() -> tuple[WideDeep, dict[int, str]]:
    model = build("wide_deep", SCHEMA)
    assert isinstance(model, WideDeep)
    return model, {id(value): name for name, value in model.named_parameters()}


def test_crosses_feed_the_wide_part_only() -> None:
    model, batch = model_and_names()[0], random_batch(SCHEMA, 4)
    other = batch.categorical.clone()
    other[:, 3] = (other[:, 3] + 1) % 12  # the cross of user and day
    changed = type(batch)(batch.dense, other, batch.sequences)
    assert torch.equal(model.features(changed), model.features(batch))
    assert not torch.equal(model.wide(changed), model.wide(batch))
    torch.testing.assert_close(model(changed) - model(batch), model.wide(changed) - model.wide(batch))


def test_every_id_of_a_list_adds_its_weight() -> None:
    model, batch = model_and_names()[0], random_batch(SCHEMA, 4)
    single = type(batch)(batch.dense, batch.categorical, {name: empty(4) for name in batch.sequences})
    listed = model.wide(batch) - model.wide(single)
    torch.testing.assert_close(model.wide(twice(batch)) - model.wide(single), 2 * listed, rtol=0, atol=1e-6)


def empty(num_rows: int) -> Jagged:
    return Jagged(torch.zeros(0, dtype=torch.int64), torch.zeros(num_rows + 1, dtype=torch.int64))


def test_roles_part_wide_from_deep() -> None:
    model, names = model_and_names()
    roles = {role: {names[id(one)] for one in parameters} for role, parameters in model.parameter_roles().items()}
    assert roles["wide"] == {"wide.ids.arena.weight", "wide.dense"}
    assert roles["wide"] | roles["deep"] == set(names.values()) and not roles["wide"] & roles["deep"]


def test_the_wide_part_starts_at_zero_and_has_no_bias_of_its_own() -> None:
    model = WideDeep(SCHEMA, WideDeep.config_type())
    assert model.wide.bias is None
    assert not any(one.any() for one in model.parameter_roles()["wide"])
