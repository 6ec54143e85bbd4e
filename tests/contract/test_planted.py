"""A pure second-order effect: whether two fields agree in parity. Neither field alone says anything."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from crossfield.batch import Batch
from crossfield.models import CATALOGUE
from crossfield.models.base import Model
from crossfield.models.wide_deep import WideDeep
from crossfield.schema import Field, Kind, ModelSchema

FIELDS = (Field("user", 8), Field("item", 8), Field("noise", 4))
PLAIN = ModelSchema(categorical=FIELDS, user="user", item="item")
CROSSED = ModelSchema(
    categorical=(*FIELDS, Field("user x item", 64, Kind.CROSS, embed=False)), user="user", item="item"
)


def draw(schema: ModelSchema, num_rows: int, seed: int) -> Batch:
    """Rows whose label is whether user and item are both odd or both even."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randint(one.num_rows, (num_rows,), generator=generator) for one in FIELDS], 1)
    user, item = ids[:, :1], ids[:, 1:2]
    columns = [ids, 8 * user + item] if schema is CROSSED else [ids]
    labels = ((user + item) % 2 == 0).float()
    return Batch(torch.zeros(num_rows, 0), torch.cat(columns, 1), labels=labels).check(schema)


def auc(scores: Tensor, labels: Tensor) -> float:
    positives, negatives = scores[labels == 1], scores[labels == 0]
    difference = positives.unsqueeze(1) - negatives.unsqueeze(0)
    return float((difference > 0).double().mean() + 0.5 * (difference == 0).double().mean())


def learn(scorer: Callable[[Batch], Tensor], parameters: list[nn.Parameter], schema: ModelSchema) -> float:
    """Fit 400 rows, return the AUC on 400 others."""
    train, test = draw(schema, 400, seed=1), draw(schema, 400, seed=2)
    assert train.labels is not None and test.labels is not None
    optimizer = torch.optim.Adam(parameters, lr=0.03)
    for _ in range(120):
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(scorer(train), train.labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return auc(scorer(test), test.labels)


def build(name: str, schema: ModelSchema, **settings: object) -> Model:
    config_type = CATALOGUE[name].config_type
    wanted = {"embedding_dim": 8, "embedding_std": 0.1, "deep": (32,), "top": (32,), **settings}
    torch.manual_seed(3)
    config = config_type.of({key: value for key, value in wanted.items() if key in config_type.model_fields})
    return CATALOGUE[name](schema, config)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mf", {}),
        ("gmf", {}),
        ("mlp", {}),
        ("neumf", {}),
        ("fm", {}),
        ("dnn", {}),
        ("deepfm", {}),
        ("wide_deep", {}),
        ("dcn", {}),
        ("dlrm", {}),
        ("dcn", {"deep": (), "num_cross_layers": 1}),
        ("dlrm", {"top": ()}),
        ("dcn_v2", {}),
        ("dcn_mix", {}),
        ("xdeepfm", {}),
        ("dcn_v2", {"deep": (), "num_cross_layers": 1}),
        ("dcn_mix", {"deep": (), "num_cross_layers": 1, "rank": 8}),
        ("xdeepfm", {"deep": (), "cin": (8,)}),
        ("dhen", {}),
        ("dhen", {"layers": (("dot", "cross"),), "layer_norm": False, "dot": (), "top": ()}),
        ("autoint", {"head_dim": 8, "num_layers": 2}),
        ("fibinet", {}),
        ("gdcn", {}),
        ("gdcn", {"deep": (), "num_cross_layers": 1}),
        ("eulernet", {"orders": (8,)}),
        ("wukong", {"num_layers": 1, "num_fm_vectors": 4, "num_linear_vectors": 4, "fm_rank": 4, "fm_hidden": (32,)}),
        ("rankmixer", {"num_tokens": 4, "token_dim": 16, "expansion": 2}),
        ("dualmlp", {"deep_1": (32,), "deep_2": (32,)}),
        ("finalmlp", {"deep_1": (32,), "deep_2": (32,), "context_1": ("user",), "num_heads": 2}),
        ("masknet", {"blocks": (16, 16)}),
        ("masknet", {"structure": "serial", "blocks": (32, 32)}),
        ("finalnet", {"deep_1": (32,), "deep_2": (32,), "field_gate": True}),
        ("fcn", {}),
    ],
)
def test_found_without_being_named(name: str, settings: dict[str, object]) -> None:
    model = build(name, PLAIN, **settings)
    assert learn(model, list(model.parameters()), PLAIN) > 0.95


def test_logistic_regression_is_blind_unless_the_cross_is_named() -> None:
    blind, told = build("logistic_regression", PLAIN), build("logistic_regression", CROSSED)
    assert abs(learn(blind, list(blind.parameters()), PLAIN) - 0.5) < 0.06
    assert learn(told, list(told.parameters()), CROSSED) > 0.99


def test_the_wide_part_alone_is_blind_unless_the_cross_is_named() -> None:
    blind, told = build("wide_deep", PLAIN), build("wide_deep", CROSSED)
    assert isinstance(blind, WideDeep) and isinstance(told, WideDeep)
    assert abs(learn(blind.wide, blind.parameter_roles()["wide"], PLAIN) - 0.5) < 0.06
    assert learn(told.wide, told.parameter_roles()["wide"], CROSSED) > 0.99
