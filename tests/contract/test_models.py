from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.export import Dim, export
from torch.nn.functional import binary_cross_entropy_with_logits

import crossfield.models
from crossfield.batch import Batch
from crossfield.errors import ConfigError, SchemaError
from crossfield.layers.embedding import EmbeddingArena
from crossfield.layers.linear import set_padding
from crossfield.layers.norm import BatchNorm
from crossfield.models import CATALOGUE
from crossfield.models.base import (
    HasFieldSums,
    HasParameterRoles,
    HasScoreRows,
    HasSides,
    HiddenConfig,
    Model,
    Solved,
)
from tests.contract.cases import ACCEPTED_CASES, REFUSED_CASES, SCHEMAS, TRAINED, build, interactions, random_batch

MIXED = SCHEMAS["mixed"]
every_model = pytest.mark.parametrize("name", CATALOGUE)
every_trained_model = pytest.mark.parametrize("name", TRAINED)


def loss_of(model: Model, batch: Batch) -> Tensor:
    assert batch.labels is not None
    return binary_cross_entropy_with_logits(model(batch), batch.labels)


def gradients(model: Model, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad()
    loss_of(model, batch).backward()  # type: ignore[no-untyped-call]
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    missing = [name for name, gradient in found.items() if gradient is None]
    assert not missing, f"no gradient reaches {missing}"
    return {name: gradient.to_dense() for name, gradient in found.items() if gradient is not None}


def test_the_catalogue_holds_every_model_file() -> None:
    folder = Path(crossfield.models.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    assert set(CATALOGUE) == files
    assert all(model.__module__ == f"crossfield.models.{name}" for name, model in CATALOGUE.items())


@every_model
def test_paper_and_config_fields_are_documented(name: str) -> None:
    assert "https://" in (__import__(f"crossfield.models.{name}", fromlist=["_"]).__doc__ or "")
    fields = CATALOGUE[name].config_type.model_fields
    assert [key for key, field in fields.items() if not field.description] == []


OTHER_SETTINGS: dict[Any, Any] = {
    "embedding_dim": 5,
    "embedding_std": 0.7,
    "mlp_embedding_dim": 5,
    "hidden": (7,),
    "deep": (7,),
    "bottom": (7,),
    "top": (7,),
    "batch_norm": True,
    "dropout": 0.5,
    "dense_as": "embedding",
    "num_cross_layers": 2,
    "interaction_itself": True,
    "smoothing": 3.0,
    "low_rank": 3,
    ("dcn_v2", "num_cross_layers"): 3,
    "num_experts": 2,
    "rank": 5,
    "gate": "constant",
    "nonlinearity": "tanh",
    "cin": (5,),
    "cin_bias": True,
    "cin_split_half": True,
    "cin_activation": "tanh",
    "layers": (("dot",),),
    "num_embeddings": 3,
    "ensemble": "concatenation",
    "layer_norm": False,
    "norm_over": "embedding",
    "dot": (7,),
    "cross": "gram",
    "num_heads": 2,
    "feed_forward_dim": 7,
    "num_channels": 2,
    "kernel_size": 1,
    "convolution_activation": "relu",
    "num_dense_embeddings": 2,
    "deep_1": (8,),
    "deep_2": (8,),
    "dropout_2": 0.5,
    "gates": False,
    "context_1": ("user",),
    "context_2": ("genres", "item"),
    "gate_hidden": (7,),
    "blocks": (7,),
    "reduction_ratio": 0.5,
    "embedding_norm": False,
    "field_gate": True,
    "residual": "sum",
    "num_exponential_layers": 2,
    "num_linear_layers": 2,
    "aggregation": "affine",
    ("autoint", "deep"): (),
    ("autoint", "num_heads"): 3,
    ("autoint", "layer_norm"): True,
    ("autoint", "residual"): "identity",
    "num_layers": 1,
    "head_dim": 5,
    "scale": True,
    "bilinear_type": "all",
    "bilinear_on": "shared",
    "structure": "stacked",
    "orders": (3,),
    "explicit_dropout": 0.5,
    "implicit_dropout": 0.5,
    "num_fm_vectors": 4,
    "num_linear_vectors": 4,
    "fm_rank": 4,
    "fm_hidden": (7,),
    "num_tokens": 2,
    "token_dim": 12,
    "expansion": 2,
    ("fcn", "embedding_dim"): 8,
    ("masknet", "structure"): "serial",
    ("finalnet", "structure"): "1B",
    "alpha0": 0.7,
    "l2": 0.5,
    "nu": 0.5,
    "epochs": 2,
    "init_std": 0.2,
}
# alpha acts on pre-trained parts only; checkpointing changes what is kept, not what comes out; max_items refuses; MF's
# l2 is part of its loss.
SILENT = {("neumf", "alpha"), ("mf", "l2"), ("dhen", "activation_checkpointing"), ("ease", "max_items")}
SETTINGS = [
    (name, key)
    for name, model in CATALOGUE.items()
    for key in model.config_type.model_fields
    if (name, key) not in SILENT
]


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_every_setting_changes_the_scores(name: str, key: str) -> None:
    def scores(**settings: Any) -> Tensor:
        scored: Tensor = build(name, MIXED, **settings)(random_batch(MIXED, 16))
        return scored

    other = OTHER_SETTINGS[(name, key) if (name, key) in OTHER_SETTINGS else key]
    assert not torch.equal(scores(**{key: other}), scores())


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_model_starts_from_its_own_kind_and_shape_only(name: str) -> None:
    batch = random_batch(MIXED, 16)
    model, trained = build(name, MIXED, seed=1), build(name, MIXED, seed=2)
    other = build("fm" if name != "fm" else "gmf", MIXED)
    with torch.no_grad():
        for weight in trained.state_dict().values():
            weight.add_(0.5 if weight.is_floating_point() else 0)
    model.start_from([trained])
    assert torch.equal(model.eval()(batch), trained.eval()(batch))
    with pytest.raises(ConfigError):
        model.start_from([other])


@pytest.mark.parametrize(("name", "case"), ACCEPTED_CASES)
def test_logits_of_no_row_one_row_and_many(name: str, case: str) -> None:
    model = build(name, SCHEMAS[case]).eval()
    for size in (0, 1, 5):
        logits = model(random_batch(SCHEMAS[case], size))
        assert logits.shape == (size, 1) and logits.dtype == torch.float32
        assert logits.isfinite().all()


@pytest.mark.parametrize(("name", "case"), REFUSED_CASES)
def test_a_schema_that_lacks_something_is_refused_when_building(name: str, case: str) -> None:
    with pytest.raises(SchemaError):
        build(name, SCHEMAS[case])


@pytest.mark.parametrize(("name", "case"), [one for one in ACCEPTED_CASES if one[0] in TRAINED])
def test_a_gradient_reaches_every_parameter(name: str, case: str) -> None:
    found = gradients(build(name, SCHEMAS[case]), random_batch(SCHEMAS[case], 64))
    assert found and [key for key, gradient in found.items() if not gradient.any()] == []


@every_trained_model
def test_sparse_and_dense_row_gradients_are_equal(name: str) -> None:
    model, batch = build(name, MIXED), random_batch(MIXED, 16)
    dense = gradients(model, batch)
    arenas = [module for module in model.modules() if isinstance(module, EmbeddingArena)]
    for arena in arenas:
        arena.sparse = True
    sparse = gradients(model, batch)
    assert all(arena.weight.grad is not None and arena.weight.grad.is_sparse for arena in arenas)
    torch.testing.assert_close(sparse, dense, rtol=0, atol=1e-7)


@every_model
def test_a_score_does_not_depend_on_its_batch_mates(name: str) -> None:
    model, batch = build(name, MIXED, batch_norm=True, dropout=0.3).eval(), random_batch(MIXED, 9)
    together = model(batch)
    order = torch.tensor([4, 0, 8, 2])
    torch.testing.assert_close(model(batch.select(order)), together[order], rtol=0, atol=1e-6)
    alone = [model(batch.select(torch.tensor([row]))) for row in range(9)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=0, atol=1e-6)


@every_model
def test_weights_go_through_safetensors_and_give_equal_scores(name: str) -> None:
    model, batch = build(name, MIXED, batch_norm=True), random_batch(MIXED, 6)
    model(batch)  # moves the running statistics of a batch norm
    other = build(name, MIXED, batch_norm=True, seed=9)
    other.load_state_dict(load(save(model.state_dict())))
    assert torch.equal(other.eval()(batch), model.eval()(batch))


@pytest.mark.parametrize("case", ["mixed", "pair"])
@every_model
def test_export_with_a_dynamic_batch(name: str, case: str) -> None:
    schema = SCHEMAS[case]
    model = build(name, schema, batch_norm=True).eval()
    rows = Dim("rows")
    lists = {one.name: [{0: Dim(f"ids_{i}")}, {0: rows + 1}] for i, one in enumerate(schema.sequences)}
    # The program takes any number of ids from two on, so at two rows no list may be empty.
    batches = [replace(random_batch(schema, size, shortest=1), labels=None) for size in (5, 2, 3, 37)]
    program = export(model, (batches[0],), dynamic_shapes={"batch": [{0: rows}, {0: rows}, lists]}).module()
    for batch in batches:
        torch.testing.assert_close(program(batch), model(batch), rtol=0, atol=1e-6)


@every_trained_model
def test_same_seed_same_loss(name: str) -> None:
    def losses() -> list[float]:
        model, batch = build(name, MIXED, dropout=0.2, seed=5), random_batch(MIXED, 32)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        history = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            history.append(float(loss.detach()))
        return history

    first = losses()
    assert first == losses() and first[2] != first[0]


@every_trained_model
def test_bf16_stays_close_and_logits_stay_float32(name: str) -> None:
    model, batch = build(name, MIXED), random_batch(MIXED, 32)
    exact = model(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(batch)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.02)


@every_trained_model
def test_bf16_gradients_of_a_whole_batch_stay_close(name: str) -> None:
    # At this size a sum that is added up in bf16 has lost most of itself.
    model, batch = build(name, MIXED), random_batch(MIXED, 4096)
    exact = gradients(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = gradients(model, batch)
    off = {one: float((rounded[one] - value).norm() / value.norm().clamp(min=1e-9)) for one, value in exact.items()}
    assert max(off.values()) < 0.3, off


@every_trained_model
def test_padded_widths_change_nothing(name: str) -> None:
    settings: dict[str, Any] = {"deep": (33, 18), "hidden": (33, 18), "bottom": (33,), "top": (33, 18)}
    model, batch = build(name, MIXED, **settings), random_batch(MIXED, 8)
    shapes = [parameter.shape for parameter in model.parameters()]
    logits, plain = model(batch), gradients(model, batch)
    set_padding(model, 16)
    torch.testing.assert_close(model(batch), logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(gradients(model, batch), plain, rtol=0, atol=1e-6)
    assert [parameter.shape for parameter in model.parameters()] == shapes


@pytest.mark.parametrize("name", [name for name in TRAINED if issubclass(CATALOGUE[name].config_type, HiddenConfig)])
def test_a_training_batch_of_one_row_or_none_is_survived(name: str) -> None:
    model = build(name, MIXED, batch_norm=True)
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    for size in (1, 0):
        model(random_batch(MIXED, size)).sum().backward()
    assert norms and all(norm.running_mean is not None and norm.running_mean.isfinite().all() for norm in norms)


@pytest.mark.parametrize("name", [name for name in TRAINED if issubclass(CATALOGUE[name], HasParameterRoles)])
def test_parameter_roles_cover_every_parameter_once(name: str) -> None:
    model = build(name, MIXED)
    assert isinstance(model, HasParameterRoles)
    parted = [id(one) for parameters in model.parameter_roles().values() for one in parameters]
    assert sorted(parted) == sorted(id(one) for one in model.parameters())


@pytest.mark.parametrize("case", ["pair", "no dense"])
@pytest.mark.parametrize("hidden", [(8, 4), (5,), ()])
@pytest.mark.parametrize("name", [name for name in CATALOGUE if issubclass(CATALOGUE[name], HasSides)])
def test_two_sides_make_the_logits_of_all_pairs(name: str, hidden: tuple[int, ...], case: str) -> None:
    schema = SCHEMAS[case]
    model = build(name, schema, hidden=hidden, batch_norm=True, dropout=0.3)
    model(random_batch(schema, 16))  # moves the running statistics of a batch norm
    model.eval()
    assert isinstance(model, HasSides)
    users, items = torch.tensor([6, 0, 3]), torch.tensor([8, 1, 1, 4, 0])
    batch = random_batch(schema, 15)
    for role, ids in (("user", users.repeat_interleave(5)), ("item", items.repeat(3))):
        batch.categorical[:, schema.position(role)] = ids
    expected = model(batch).view(3, 5)
    user_side, item_side = model.encode_users(users), model.encode_items(items)
    torch.testing.assert_close(model.join_sides(user_side, item_side), expected, rtol=0, atol=1e-6)
    own = torch.tensor([[0, 2], [4, 4], [1, 3]])
    torch.testing.assert_close(model.join_sides(user_side, item_side[own]), expected.gather(1, own), rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", ["pair", "no dense"])
@pytest.mark.parametrize("name", [name for name in CATALOGUE if issubclass(CATALOGUE[name], HasScoreRows)])
def test_score_rows_are_the_logits_of_all_pairs(name: str, case: str) -> None:
    schema = SCHEMAS[case]
    model = build(name, schema)
    assert isinstance(model, HasScoreRows)
    batch = random_batch(schema, 63)
    user, item = (schema.position(role) for role in ("user", "item"))
    batch.categorical[:, [user, item]] = torch.cartesian_prod(torch.arange(7), torch.arange(9))
    some = torch.tensor([6, 0, 3, 3])
    torch.testing.assert_close(model.score_rows(some), model(batch).view(7, 9)[some], rtol=0, atol=1e-6)
    assert model.score_rows(some[:0]).shape == (0, 9)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if issubclass(CATALOGUE[name], HasFieldSums)])
def test_field_sums_make_a_field_s_change_count_once(name: str) -> None:
    # With categorical fields f and g changed: y(f, g) - y(f) - y(g) + y = <v_f' - v_f, v_g' - v_g>.
    model, batch = build(name, MIXED), random_batch(MIXED, 12)
    assert isinstance(model, HasFieldSums)
    changes: dict[tuple[int, ...], Batch] = {(): batch}
    for columns in ((0,), (1,), (0, 1)):
        ids = batch.categorical.clone()
        ids[:, columns] = (ids[:, columns] + 1) % 7
        changes[columns] = replace(batch, categorical=ids)
    y = {columns: model(one)[:, 0] for columns, one in changes.items()}
    s = {columns: model.field_sums(one) for columns, one in changes.items()}
    expected = ((s[0,] - s[()]) * (s[1,] - s[()])).sum(1)
    torch.testing.assert_close(y[0, 1] - y[0,] - y[1,] + y[()], expected, rtol=0, atol=1e-5)


@every_model
def test_a_planted_first_order_pattern_is_learned(name: str) -> None:
    # Items of even id are always positive, whoever the user is.
    schema = SCHEMAS["pair"]
    ids = torch.cartesian_prod(torch.arange(7), torch.arange(9))
    labels = (ids[:, 1:] % 2 == 0).float()
    batch = Batch(torch.zeros(63, 0), ids, labels=labels)
    model = build(name, schema)
    if isinstance(model, Solved):
        model.solve(interactions(schema, batch))
    else:
        train(model, batch)
    logits = model.eval()(batch)
    assert logits[labels == 1].min() > logits[labels == 0].max()


def train(model: Model, batch: Batch) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss_of(model, batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
