"""Several ranks before any is launched: what each would hold, what it would send in a step, and how even that is."""

from collections.abc import Collection, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossfield.batch import Batch
from crossfield.data.store import Reader
from crossfield.distributed.sharded import ShardedArena, owners_of, rows_of
from crossfield.distributed.spread import choose_mesh, large_arenas, shard_of, shardable
from crossfield.distributed.team import Team
from crossfield.errors import ConfigError
from crossfield.fitting import check_team, sampler_of
from crossfield.footprint import optimizer_state, outline, with_small_tables
from crossfield.layers.embedding import FieldEmbedding, find
from crossfield.models.base import Model
from crossfield.objectives import choose_objective
from crossfield.pages.trace import NUM_ROWS, plain_batch
from crossfield.preparation import Prepared
from crossfield.recipe import Recipe
from crossfield.schema import ModelSchema

STEPS = 4
"""Batches whose ids are counted, the first ones of training."""
_ID = 8
"""Bytes of an id on its way."""


@dataclass(frozen=True)
class TableShare:
    """The table that one part of the model looks its fields up in; what is sent are bytes of one rank in a step."""

    name: str
    fields: tuple[str, ...]
    rows: int
    dim: int
    by_rows: bool
    """Whether each rank holds some of the rows; else all of them."""
    bytes: int
    """Weights, and what the optimiser keeps of them."""
    rank_bytes: int
    """Of these, on the rank with most."""
    slice_rows: float
    """Distinct rows that one rank names in a step."""
    batch_rows: float
    """Distinct rows that all ranks name in a step."""
    balance: float | None
    """Rows that the busiest rank is asked for, over the mean of all ranks; None where nobody is asked."""
    sent_ids: float
    sent_vectors: float
    sent_gradients: float


@dataclass(frozen=True)
class DenseShare:
    """All weights that are in no table."""

    parameters: int
    replicas: int
    shards: int
    """Of each replica: the mesh."""
    bytes: int
    """Weights, and what the optimiser keeps of them."""
    rank_bytes: int
    """Of these, on the rank with most."""
    gathered: int
    """Bytes of sharded weights that every rank has whole while a step lasts."""
    sent: float
    """Bytes that one rank sends in a step."""


@dataclass(frozen=True)
class RankPlan:
    """A model on several ranks, counted on real batches; flags, counts and pooled norms, small sums, are left out."""

    ranks: int
    steps: int
    """Batches that were counted."""
    slice_examples: float
    """Examples of one rank in a step, drawn negatives included."""
    whole: int
    """Weights in bytes: every rank builds the whole model before the tables are shared out."""
    tables: tuple[TableShare, ...]
    """The largest first."""
    dense: DenseShare
    balance: float | None
    """As a table's, over all that lie by rows."""
    balance_of_ids: float | None
    """What it would be if a rank asked once for every id instead of once for every distinct row."""

    @property
    def rank_bytes(self) -> int:
        """What the fullest rank holds from step to step."""
        return self.dense.rank_bytes + sum(one.rank_bytes for one in self.tables)

    @property
    def sent(self) -> dict[str, float]:
        """Bytes that one rank sends in a step, on average, by what they are."""
        return {
            "ids": sum(one.sent_ids for one in self.tables),
            "vectors": sum(one.sent_vectors for one in self.tables),
            "row_gradients": sum(one.sent_gradients for one in self.tables),
            "dense_part": self.dense.sent,
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values, and what follows from them."""
        return {**asdict(self), "rank_bytes": self.rank_bytes, "sent": self.sent}


def check_ranks(recipe: Recipe, ranks: int) -> None:
    """Raise ConfigError where there is no such team, or none that could train this recipe."""
    if ranks < 1:
        raise ConfigError(f"a run has 1 rank or more, not {ranks}")
    check_team(recipe, Team(size=ranks))


def plan_ranks(recipe: Recipe, prepared: Prepared, ranks: int, *, device: torch.device) -> RankPlan:
    """Lay a recipe's model on ranks of one machine, as training would, and count what the first batches make them send.

    Nothing is launched and no table allocated. Raises ConfigError as ``check_ranks``, or where ``train.mesh`` is for
    another number of ranks.
    """
    check_ranks(recipe, ranks)
    team, schema = Team(size=ranks, local_size=ranks), prepared.encoder.model_schema
    model = outline(recipe, schema)
    mesh = choose_mesh(recipe.train.mesh, team, model)
    state = optimizer_state(recipe, model)
    large = {id(arena) for arena in large_arenas(model, team)}
    tables = dict(_embeddings(model))
    by_rows = [name for name, table in tables.items() if id(table.arena) in large]
    named, examples = _count(recipe, prepared, tables, team)
    exchanges = _exchanges(recipe, schema, by_rows)
    shares = [
        _table_share(name, table, named[name], exchanges.get(name), state, team) for name, table in tables.items()
    ]
    return RankPlan(
        ranks=ranks,
        steps=len(examples),
        slice_examples=float(examples.mean()),
        whole=sum(one.nbytes for one in model.parameters()),
        tables=tuple(sorted(shares, key=lambda one: -one.bytes)),
        dense=_dense_share(model, state, mesh, is_gloo=device.type == "cpu"),
        balance=_balance(sum(named[name].asked.sum(1) for name in by_rows)) if by_rows else None,
        balance_of_ids=_balance(sum(named[name].ids for name in by_rows)) if by_rows else None,
    )


def _embeddings(model: Model) -> Iterator[tuple[str, FieldEmbedding]]:
    return ((name, one) for name, one in model.named_modules() if isinstance(one, FieldEmbedding))


# Rows


@dataclass(frozen=True)
class _Named:
    """What the ids of some steps name of one table."""

    asked: np.ndarray
    """[step, rank, owner]: distinct rows of the owner that the rank names."""
    ids: np.ndarray
    """[step, owner]: ids of all ranks that name its rows."""
    whole: np.ndarray
    """[step]: distinct rows that all ranks name."""


def _count(
    recipe: Recipe, prepared: Prepared, tables: dict[str, FieldEmbedding], team: Team
) -> tuple[dict[str, _Named], np.ndarray]:
    """What the first batches name of each table, and the examples [step, rank] of each rank."""
    steps = min(STEPS, -(-prepared.train.num_rows // recipe.train.batch_size))
    examples = np.zeros((steps, team.size))
    asked = {name: np.zeros((steps, team.size, team.size)) for name in tables}
    ids = {name: np.zeros((steps, team.size)) for name in tables}
    distinct: dict[str, list[list[Tensor]]] = {name: [[] for _ in range(steps)] for name in tables}
    for rank in range(team.size):
        for step, batch in enumerate(_batches(recipe, prepared, rank, team, steps)):
            examples[step, rank] = batch.size
            for name, table in tables.items():
                rows = table.rows(batch)
                found = find(rows, sum(table.arena.num_rows))
                asked[name][step, rank] = _by_owner(found.distinct, team)
                ids[name][step] += _by_owner(rows, team)
                distinct[name][step].append(found.distinct)
    whole = {
        name: np.array([len(np.unique(torch.cat(one).numpy())) for one in some]) for name, some in distinct.items()
    }
    return {name: _Named(asked[name], ids[name], whole[name]) for name in tables}, examples


def _batches(recipe: Recipe, prepared: Prepared, rank: int, team: Team, steps: int) -> Iterator[Batch]:
    """The slices that one rank trains on in its first steps."""
    config = recipe.train
    reader = Reader(prepared.train, batch_size=config.batch_size, seed=config.seed, rank=rank, world=team.size)
    batches, negatives = islice(reader.epoch(), steps), sampler_of(recipe, prepared)
    return batches if negatives is None else negatives.stream(batches, epoch=0)


def _by_owner(rows: Tensor, team: Team) -> np.ndarray:
    counted: np.ndarray = torch.bincount(owners_of(rows, team), minlength=team.size).numpy()
    return counted


def _balance(asked: Any) -> float:
    """The largest over the mean, of counts [step, owner]; the mean of all steps."""
    return float((asked.max(1) / np.maximum(asked.mean(1), 1e-9)).mean())


# Exchanges


@dataclass
class _Ear(Team):
    """A team of one that counts the exchanges of a table."""

    routings: int = 0
    """Times ids were sent, half of them being counts."""
    lookups: int = 0
    """Times vectors were sent."""

    def exchange(self, rows: Tensor, **counts: Any) -> Tensor:
        """The rows themselves."""
        self.routings, self.lookups = self.routings + (rows.dim() == 1), self.lookups + (rows.dim() > 1)
        return super().exchange(rows, **counts)


def _exchanges(recipe: Recipe, schema: ModelSchema, names: Collection[str]) -> dict[str, _Ear]:
    """How often a step of the recipe's model makes the tables of these names exchange something."""
    # Tables of the same fields may share what was found of a batch, by the model's own code: so it is run, made small.
    small, ears = with_small_tables(recipe, schema), {name: _Ear() for name in names}
    arenas = {name: one.arena for name, one in _embeddings(small)}
    twin = deepcopy(small, {id(arenas[name]): ShardedArena(arenas[name], ear) for name, ear in ears.items()})
    called, objective = choose_objective(twin.train(), "bce", None)
    with torch.random.fork_rng(devices=[]):
        objective(called, replace(plain_batch(small.schema, NUM_ROWS), labels=torch.ones(NUM_ROWS, 1)))
    return ears


def _table_share(
    name: str, table: FieldEmbedding, named: _Named, ear: _Ear | None, state: dict[int, list[Tensor]], team: Team
) -> TableShare:
    arena, weight = table.arena, table.arena.weight
    tensors, vector = [weight, *state.get(id(weight), [])], weight[:1].nbytes
    slice_rows = float(named.asked.sum(2).mean())
    ids = vectors = gradients = 0.0
    if ear is not None:
        # Rows of its own a rank need not send: what it asks the others for, it answers them on average.
        away = slice_rows - float(named.asked.diagonal(axis1=1, axis2=2).mean())
        ids, vectors = ear.routings // 2 * _ID * away, ear.lookups * vector * away
        gradients = vectors
    elif arena.sparse:
        gradients = (team.size - 1) * (_ID + vector) * slice_rows
    else:
        gradients = _ring(team.size, 2) * weight.nbytes
    held = len(weight) if ear is None else len(rows_of(len(weight), team))
    return TableShare(
        name=name,
        fields=table.names,
        rows=len(weight),
        dim=arena.dim,
        by_rows=ear is not None,
        bytes=sum(one.nbytes for one in tensors),
        rank_bytes=sum(_part(one, held) for one in tensors),
        slice_rows=slice_rows,
        batch_rows=float(named.whole.mean()),
        balance=None if ear is None else _balance(named.asked.sum(1)),
        sent_ids=ids,
        sent_vectors=vectors,
        sent_gradients=gradients,
    )


def _dense_share(model: Model, state: dict[int, list[Tensor]], mesh: tuple[int, int], *, is_gloo: bool) -> DenseShare:
    replicas, shards = mesh
    tables = {id(one.arena.weight) for _, one in _embeddings(model)}
    weights = [one for one in model.parameters() if id(one) not in tables]
    parted = {id(one) for one in shardable(model)} if shards > 1 else set()
    tensors = [(one, [one, *state.get(id(one), [])]) for one in weights]
    gathered = sum(one.nbytes for one in weights if id(one) in parted)
    common = sum(one.nbytes for one in weights) - gathered
    # The model is one unit of FSDP, so its weights are gathered once a step; gradients are scattered once. Gloo has no
    # scatter of sums but its sum, twice the bytes.
    within = _ring(shards, 3 if is_gloo else 2) + _ring(replicas, 2) / shards
    return DenseShare(
        parameters=sum(one.numel() for one in weights),
        replicas=replicas,
        shards=shards,
        bytes=sum(one.nbytes for _, some in tensors for one in some),
        rank_bytes=sum(
            _part(one, len(shard_of(len(weight), 0, shards))) if id(weight) in parted else one.nbytes
            for weight, some in tensors
            for one in some
        ),
        gathered=gathered,
        sent=_ring(replicas * shards, 2) * common + within * gathered,
    )


def _ring(size: int, rounds: int) -> float:
    """What one of ``size`` sends in rounds of a ring, in sizes of what goes round: all but its own part each time."""
    return rounds * (size - 1) / size


def _part(tensor: Tensor, rows: int) -> int:
    """Bytes of so many rows of a tensor; one without rows is whole everywhere."""
    return tensor[:rows].nbytes if tensor.dim() else tensor.nbytes
