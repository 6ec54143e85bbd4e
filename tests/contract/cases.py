"""Schemas, batches and small configs that the contract suite runs every catalogue entry on."""

from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import torch

from crossfield.batch import Batch, Jagged
from crossfield.models import CATALOGUE
from crossfield.models.base import Interactions, Model, Solved
from crossfield.schema import Field, Kind, ModelSchema

USER, ITEM, DAY = Field("user", 7), Field("item", 9), Field("day", 5)
GENRES, TAGS = Field("genres", 6, Kind.MULTI), Field("tags", 4, Kind.SEQUENCE)
CROSS = Field("user x day", 12, Kind.CROSS, embed=False)
MULTI_CROSS = Field("genres x day", 8, Kind.CROSS, embed=False)
EMBEDDED_CROSS = Field("item x day", 10, Kind.CROSS)

SCHEMAS = {
    "mixed": ModelSchema(
        ("age", "price"),
        (USER, ITEM, DAY, CROSS, EMBEDDED_CROSS),
        (GENRES, TAGS, MULTI_CROSS),
        user="user",
        item="item",
    ),
    "pair": ModelSchema((), (USER, ITEM), user="user", item="item"),
    "item": ModelSchema((), (ITEM, DAY), item="item"),
    "no dense": ModelSchema((), (ITEM, USER, DAY), (GENRES,), user="user", item="item"),
    "dense only": ModelSchema(("age", "price")),
    "one dense": ModelSchema(("age",)),
    "one field": ModelSchema((), (DAY,)),
    "one multi-valued": ModelSchema((), (), (GENRES,)),
    "two multi-valued": ModelSchema((), (), (GENRES, TAGS)),
    "wide only": ModelSchema((), (CROSS,), (MULTI_CROSS,)),
    "empty": ModelSchema(),
}

_PAIRS = {"mf", "gmf", "mlp", "neumf", "ials", "ease"}
_ID_MODELS = {"popularity", *_PAIRS}
REFUSED: dict[str, set[str]] = {
    "mixed": set(),
    "pair": set(),
    "item": _PAIRS,
    "no dense": set(),
    "dense only": {*_ID_MODELS, "dhen"},
    "one dense": {*_ID_MODELS, "fm", "dhen", "autoint", "fibinet"},
    "one field": {*_ID_MODELS, "fm", "dlrm", "dhen", "autoint", "fibinet"},
    "one multi-valued": {*_ID_MODELS, "fm", "dlrm", "dhen", "autoint", "fibinet"},
    "two multi-valued": _ID_MODELS,
    "wide only": {*CATALOGUE} - {"logistic_regression"},
    "empty": {*CATALOGUE},
}

ACCEPTED_CASES = [(name, case) for name, case in product(CATALOGUE, SCHEMAS) if name not in REFUSED[case]]
REFUSED_CASES = [(name, case) for name, case in product(CATALOGUE, SCHEMAS) if name in REFUSED[case]]
TRAINED = [name for name, model in CATALOGUE.items() if not issubclass(model, Solved)]

_SMALL = {"embedding_dim": 4, "mlp_embedding_dim": 6, "hidden": (8, 4)}
_SMALL |= {"deep": (10, 6), "bottom": (8,), "top": (10, 6), "deep_1": (10, 6), "deep_2": (12, 8)}
_SMALL |= {"blocks": (10, 6), "gate_hidden": (12,)}
_OWN: dict[str, dict[str, Any]] = {
    "dcn_mix": {"rank": 3},
    "xdeepfm": {"cin": (6, 4)},
    "dhen": {"layers": (("dot", "attention", "convolution", "linear", "cross"),) * 2, "num_heads": 1},
    "autoint": {"head_dim": 3},
    "eulernet": {"orders": (5, 5)},
    "wukong": {"num_layers": 2, "num_fm_vectors": 3, "num_linear_vectors": 3, "fm_rank": 3, "fm_hidden": (6,)},
    "rankmixer": {"num_tokens": 4, "token_dim": 8},
}


def build(name: str, schema: ModelSchema, *, seed: int = 0, **settings: Any) -> Model:
    """A small model whose weights are all away from zero, so that nothing hides behind an initial zero.

    One that is solved is solved for the same random choices, whatever the seed.
    """
    config_type = CATALOGUE[name].config_type
    wanted = {**_SMALL, "embedding_std": 0.3, **_OWN.get(name, {}), **settings}
    config = config_type.of({key: value for key, value in wanted.items() if key in config_type.model_fields})
    torch.manual_seed(seed)
    model = CATALOGUE[name](schema, config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    if isinstance(model, Solved):
        model.solve(interactions(schema, random_batch(schema, 40, seed=2)))
    return model


def interactions(schema: ModelSchema, batch: Batch) -> Interactions:
    """Who met what in a labelled batch; nobody where the schema has no user."""
    assert batch.labels is not None
    items = batch.categorical[:, schema.position("item")]
    users = torch.zeros_like(items) if schema.user is None else batch.categorical[:, schema.position("user")]
    return Interactions(users, items, batch.labels[:, 0], torch.ones(batch.size))


def random_batch(schema: ModelSchema, size: int, *, seed: int = 1, shortest: int = 0) -> Batch:
    """Random ids, values and labels; multi-valued fields hold ``shortest`` to 3 ids."""
    generator = torch.Generator().manual_seed(seed)

    def ids(num_rows: int, count: int) -> torch.Tensor:
        return torch.randint(num_rows, (count,), generator=generator)

    def jagged(num_rows: int) -> Jagged:
        lengths = ids(4 - shortest, size) + shortest
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        return Jagged(ids(num_rows, int(offsets[-1])), offsets)

    columns = [ids(one.num_rows, size) for one in schema.categorical]
    return Batch(
        dense=torch.randn(size, len(schema.dense), generator=generator),
        categorical=torch.stack(columns, 1) if columns else torch.zeros(size, 0, dtype=torch.int64),
        sequences={one.name: jagged(one.num_rows) for one in schema.sequences},
        labels=ids(2, size).float().unsqueeze(1),
    ).check(schema)


def twice(batch: Batch) -> Batch:
    """The same rows with every list written twice over."""

    def repeated(lists: Jagged) -> Jagged:
        rows = [lists.values[start:stop].repeat(2) for start, stop in pairwise(lists.offsets.tolist())]
        return Jagged(torch.cat(rows), 2 * lists.offsets)

    return replace(batch, sequences={name: repeated(one) for name, one in batch.sequences.items()})
