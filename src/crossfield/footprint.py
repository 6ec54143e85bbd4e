"""What training a model takes: parameters, bytes and FLOPs, counted before any table of it is allocated."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from crossfield.batch import Batch
from crossfield.layers.embedding import EmbeddingArena, FieldEmbedding
from crossfield.models import CATALOGUE
from crossfield.models.base import Model, Solved
from crossfield.objectives import choose_objective
from crossfield.optim import build_optimizers
from crossfield.pages.trace import NUM_ROWS, plain_batch, trace_model
from crossfield.recipe import Recipe
from crossfield.schema import Field, ModelSchema

_FLOAT = 4
"""Bytes of a number: weights are float32."""


@dataclass(frozen=True)
class Footprint:
    """What a run takes; bytes, but for parameters, rows and FLOPs.

    Not in it, because only running tells: the program, the data, and what single operations and the optimisers need in
    passing. With these a step took 1.2 to 3.0 times ``step``, the more the less a model keeps: fifteen measured once,
    no line, ten models with 39 features on one core, steps of 2,048 to 16,384 rows.
    """

    table_parameters: dict[str, int]
    """Numbers in embedding tables, by field, the largest first."""
    net_parameters: int
    """All other trained numbers."""
    weights: int
    """Of parameters and of buffers that are saved."""
    optimizer: int
    """What the optimisers keep from step to step."""
    gradients: int
    """Of one step, at most: as if no two of its ids were the same."""
    activations: int
    """What a forward pass keeps for the backward pass; lists of ids are taken to be two ids long."""
    touched_rows: int
    """Rows of all fields that the ids of a step can name, at most."""
    whole_tables: int
    """Weights of the tables that every step changes as a whole, whatever its ids."""
    flops: int
    """Of one example, forward."""
    matrix_flops: int
    """Those of them in products of matrices."""
    mapped_weights: int = 0
    """Of the weights, what lies in files (``train.tables``)."""
    mapped_optimizer: int = 0
    """Of what the optimisers keep, the same."""

    @property
    def parameters(self) -> int:
        """All trained numbers."""
        return sum(self.table_parameters.values()) + self.net_parameters

    @property
    def training_flops(self) -> int:
        """Of one example, forward and backward: behind each product of matrices come two more."""
        return self.flops + 2 * self.matrix_flops

    @property
    def step(self) -> int:
        """What a step adds while it is made, but for what it needs in passing."""
        return self.gradients + self.activations

    def checkpoint(self, *, has_valid: bool) -> int:
        """What stays between steps, and goes to a checkpoint; with validation rows the best weights too."""
        return self.weights * (2 if has_valid else 1) + self.optimizer

    def mapped(self, *, has_valid: bool) -> int:
        """What of that lies in files while the run goes on."""
        return self.mapped_weights * (2 if has_valid else 1) + self.mapped_optimizer

    def needed(self, *, has_valid: bool) -> int:
        """Memory of the whole run, as far as it is counted."""
        return self.checkpoint(has_valid=has_valid) - self.mapped(has_valid=has_valid) + self.step


def measure(recipe: Recipe, schema: ModelSchema, *, examples: int, bf16: bool) -> Footprint:
    """Count a recipe's model on a schema, which may be far larger than this machine.

    ``examples`` are those of one step, drawn negatives included. Raises SchemaError where the model cannot be built.
    """
    model, ids = outline(recipe, schema), ids_of_step(recipe, schema, examples)
    state, is_mapped = optimizer_state(recipe, model), recipe.train.tables == "disk"
    tables = list(_tables(model))
    mapped = [one.weight for one in model.modules() if isinstance(one, EmbeddingArena)] if is_mapped else []
    weights = sum(one.nbytes for one in model.parameters())
    sparse = [one for one in tables if one.sparse]
    rows_touched = sum(_FLOAT * one.dim * min(one.rows, ids[one.name]) for one in sparse)
    small = with_small_tables(recipe, schema)
    trace = trace_model(small)
    return Footprint(
        table_parameters=_by_field(tables),
        net_parameters=(weights - sum(one.bytes for one in tables)) // _FLOAT,
        weights=sum(one.nbytes for one in model.state_dict().values()),
        optimizer=_num_bytes(state.values()),
        gradients=weights - sum(one.bytes for one in sparse) + rows_touched,
        activations=0 if isinstance(model, Solved) else round(examples * kept_bytes(small, bf16=bf16)),
        touched_rows=sum(min(one.num_rows, ids[one.name]) for one in schema.fields),
        whole_tables=sum(one.bytes for one in tables if not one.sparse),
        flops=sum(trace.flops.values()),
        matrix_flops=sum(trace.matrix_flops.values()),
        mapped_weights=sum(one.nbytes for one in mapped),
        mapped_optimizer=_num_bytes(state.get(id(one), []) for one in mapped),
    )


def ids_of_step(recipe: Recipe, schema: ModelSchema, examples: int) -> dict[str, int]:
    """How many ids of each field a step holds at most."""
    single = {one.name: examples for one in schema.categorical}
    return single | {one.name: examples * recipe.encoder.max_length for one in schema.sequences}


@dataclass(frozen=True)
class _Table:
    """The rows of one field in one arena."""

    name: str
    rows: int
    dim: int
    sparse: bool

    @property
    def bytes(self) -> int:
        return _FLOAT * self.rows * self.dim


def _tables(model: Model) -> Iterator[_Table]:
    for module in model.modules():
        if isinstance(module, FieldEmbedding):
            arena = module.arena
            for name, rows in zip(module.names, arena.num_rows, strict=True):
                yield _Table(name, rows, arena.dim, arena.sparse)


def _by_field(tables: Sequence[_Table]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in tables:
        found[one.name] = found.get(one.name, 0) + one.rows * one.dim
    return dict(sorted(found.items(), key=lambda item: -item[1]))


class _Unallocated(TorchFunctionMode):
    """Weights have a shape and no memory."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # Not everything on the meta device: constructors compute with their offsets and other small tensors.
        more = {"device": "meta"} if func is torch.empty else {}
        return func(*args, **{**(kwargs or {}), **more})


def outline(recipe: Recipe, schema: ModelSchema) -> Model:
    """The recipe's model without memory for its weights: to be looked at, not to be run."""
    with _Unallocated():
        return CATALOGUE[recipe.name](schema, recipe.model)


def optimizer_bytes(recipe: Recipe, model: Model) -> int:
    """What a recipe's optimisers keep from step to step for a model of ``outline``, in bytes.

    Sets ``sparse`` on every arena as training would.
    """
    return _num_bytes(optimizer_state(recipe, model).values())


def _num_bytes(lists: Iterable[list[Tensor]]) -> int:
    return sum(one.nbytes for some in lists for one in some)


def optimizer_state(recipe: Recipe, model: Model) -> dict[int, list[Tensor]]:
    """The same as tensors without memory, by the ``id`` of their weight."""
    # The optimisers themselves tell: they make one step on weights and gradients without memory.
    optimizers = build_optimizers(model, recipe.train)
    for weight in model.parameters():
        weight.grad = torch.empty_like(weight)
    for part in optimizers.parts.values():
        for group in part.optimizer.param_groups:
            group["fused"] = False  # fused code knows real devices only
    optimizers.step()
    states = [
        (id(weight), state) for part in optimizers.parts.values() for weight, state in part.optimizer.state.items()
    ]
    return {key: [one for one in state.values() if isinstance(one, Tensor)] for key, state in states}


def resized(schema: ModelSchema, num_rows: Callable[[Field], int]) -> ModelSchema:
    """The schema with tables of other sizes."""

    def all_of(fields: tuple[Field, ...]) -> tuple[Field, ...]:
        return tuple(replace(one, num_rows=num_rows(one)) for one in fields)

    return replace(schema, categorical=all_of(schema.categorical), sequences=all_of(schema.sequences))


def with_small_tables(recipe: Recipe, schema: ModelSchema) -> Model:
    """The recipe's model with two rows a table: neither its arithmetic nor what a step keeps depends on them."""
    with torch.random.fork_rng(devices=[]):
        model = CATALOGUE[recipe.name](resized(schema, lambda field: 2), recipe.model)
    build_optimizers(model, recipe.train)
    return model


def kept_bytes(model: Model, *, bf16: bool) -> float:
    """Bytes that one more example makes the forward pass keep for the backward pass."""
    with torch.random.fork_rng(devices=[]):
        once, twice = (_kept(model, plain_batch(model.schema, rows), bf16=bf16) for rows in (NUM_ROWS, 2 * NUM_ROWS))
    return (twice - once) / NUM_ROWS


def _kept(model: Model, batch: Batch, *, bf16: bool) -> int:
    own = {one.untyped_storage().data_ptr() for one in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    called, objective = choose_objective(model, "bce", None)
    labelled = replace(batch, labels=torch.ones(batch.size, 1))
    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", enabled=bf16):
        # The loss holds on to all that is kept until it is gone, so that no address is used twice.
        loss = objective(called, labelled)
    del loss
    return sum(size for address, size in kept.items() if address not in own)
