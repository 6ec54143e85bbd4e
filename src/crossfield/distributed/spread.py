"""A model spread over a team: large tables by rows, the rest replicated or sharded, and everything whole again."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from crossfield.distributed.pooled_norm import pool_norm
from crossfield.distributed.sharded import ShardedArena
from crossfield.distributed.team import Team
from crossfield.distributed.torchrec_tables import FusedTables, TorchRecArena
from crossfield.errors import ConfigError, CorruptError
from crossfield.layers.embedding import EmbeddingArena, find
from crossfield.layers.norm import BatchNorm
from crossfield.mapped import copy_beside
from crossfield.models.base import Model
from crossfield.optim import Optimizers, here, norm_of, parameter_groups

SMALL_TABLE = 1 << 20
"""Bytes up to which the tables of one width are on every process: three exchanges a step take longer than their sum."""
SMALL_NET = 1 << 30
"""Bytes of the dense part, gradients and two moments included, up to which ``mesh = "auto"`` has it on every one."""


Rows = tuple[range, ...]
"""Numbers of rows, run by run."""


@dataclass(frozen=True)
class Piece:
    """Some rows of a tensor [R, *], as one process holds them."""

    tensor: Tensor
    rows: Rows
    num_rows: int
    """R."""


class Pieces(Protocol):
    """All pieces of a tensor, wherever they lie."""

    def pick(self, rows: Rows | None) -> Tensor:
        """Some rows, or all."""
        ...


def pick(pieces: Iterable[tuple[Tensor, Rows]], rows: Rows) -> Tensor:
    """Rows of a tensor [R, *], run by run, from pieces that hold them all; raises CorruptError where they do not."""
    found: Tensor | None = None
    is_there = torch.zeros(sum(map(len, rows)), dtype=torch.bool)
    for tensor, held in pieces:
        if found is None:
            found = tensor.new_empty(len(is_there), *tensor.shape[1:])
        for run, values in _runs(tensor, held):
            for (wanted, place), (_, flags) in zip(_runs(found, rows), _runs(is_there, rows), strict=True):
                flags[_copy_common(values, run, place, wanted)] = True
    assert found is not None  # a tensor has at least one piece
    if missing := int((~is_there).sum()):
        raise CorruptError(f"{missing:,} of {len(is_there):,} rows are in none of the pieces")
    return found


def _runs(tensor: Tensor, rows: Rows) -> Iterable[tuple[range, Tensor]]:
    return zip(rows, torch.split(tensor, [len(one) for one in rows]), strict=True)


def _copy_common(values: Tensor, held: range, place: Tensor, wanted: range) -> Tensor:
    """Copy what one run of rows holds of another; returns where in this they are, [n] int64."""
    edges = (-((held.start - edge) // held.step) for edge in (wanted.start, wanted.stop))
    inside = slice(*(min(max(0, edge), len(held)) for edge in edges))
    if not (rows := held[inside]):
        return torch.empty(0, dtype=torch.int64)
    offsets = torch.arange(rows.start, rows.stop, rows.step) - wanted.start
    mine = offsets % wanted.step == 0
    places = offsets[mine] // wanted.step
    place[places] = values[inside][mine.to(values.device)]
    return places


class Spread:
    """A model as its team trains it: ``model`` in place of the ``whole`` one, which ``gather`` fills at the end.

    Meanwhile the tables of the whole one that are spread hold no rows. Of a team of one both are the same model, unless
    TorchRec holds tables.
    """

    def __init__(self, whole: Model, team: Team, mesh: tuple[int, int], fused: FusedTables | None = None) -> None:
        self.whole, self.team, self._mesh = whole, team, mesh
        self.model = whole if team.is_alone and fused is None else _twin(whole, team, fused)
        if mesh[1] > 1:
            # PERF: 0.8 seconds at every start, for what most runs do without.
            from crossfield.distributed.sharded_net import shard_net

            shard_net(self.model, next(self.model.parameters()).device, mesh, net=shardable(self.model))
        modules = dict(self.model.named_modules())
        self.fused = {name: one for name, one in modules.items() if isinstance(one, TorchRecArena)}
        """The tables that TorchRec holds, by name: their rows change while gradients are computed."""
        by_rows = [one for one in modules.values() if isinstance(one, ShardedArena)]
        self._held: dict[int, tuple[Rows, int]] = {
            **{id(arena.weight): ((arena.held,), sum(arena.num_rows)) for arena in by_rows},
            **{id(arena.weight): (arena.held, sum(arena.num_rows)) for arena in self.fused.values()},
        }

    @property
    def notes(self) -> list[str]:
        """How the model lies on the processes, phrase by phrase; of a whole model on one there is nothing to say."""
        layout = Counter(kind for arena in self.fused.values() for kind in arena.layout)
        laid_out = ", ".join(f"{count} {kind}" for kind, count in sorted(layout.items()))
        notes = [f"TorchRec holds {layout.total()} tables: {laid_out}"] if self.fused else []
        if not self.team.is_alone:
            notes.append(self._shares)
        return [*notes, "not compiled"] if notes else []

    @property
    def _shares(self) -> str:
        replicas, shards = self._mesh
        net = f"{replicas} replicas" if shards == 1 else f"{replicas} x {shards} shards"
        rows = sum(num_rows for _, num_rows in self._held.values())
        return f"{self.team.size} processes: {rows:,} table rows shared out, the dense part in {net}"

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """All weights that are here: parameters, and the rows of tables that TorchRec holds, which are none."""
        yield from self.model.named_parameters()
        for name, arena in self.fused.items():
            yield from ((f"{name}.weight", rows) for rows in arena.shards())

    # Gradients

    @torch.no_grad()
    def reduce(self) -> None:
        """Add up everybody's gradients of what all hold; those of spread rows and sharded layers are sums already."""
        if self.team.is_alone:
            return
        weights = [one for one in self.model.parameters() if one.grad is not None and self._is_common(one)]
        dense = [one.grad for one in weights if one.grad is not None and not one.grad.is_sparse]
        for dtype in sorted({one.dtype for one in dense}, key=str):
            some = [one for one in dense if one.dtype == dtype]
            summed = self.team.add_up(torch.cat([one.reshape(-1) for one in some]))
            for gradient, values in zip(some, torch.split(summed, [one.numel() for one in some]), strict=True):
                gradient.copy_(values.view_as(gradient))
        for weight in weights:
            if weight.grad is not None and weight.grad.is_sparse:
                weight.grad = self._sum_of_rows(weight.grad)

    def _is_common(self, weight: Tensor) -> bool:
        return id(weight) not in self._held and not _is_sharded(weight)

    def _sum_of_rows(self, gradient: Tensor) -> Tensor:
        rows, values = (self.team.gather(one) for one in (gradient._indices()[0], gradient._values()))
        found = find(rows, len(gradient))
        return torch.sparse_coo_tensor(
            found.distinct.unsqueeze(0), found.sums(values), gradient.shape, is_coalesced=True, check_invariants=False
        )

    def norm(self, gradients: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """The norm of all gradients of the model, wherever they are (``optim.Norm``)."""
        if self.team.is_alone:
            return norm_of(gradients)
        common = [gradient for weight, gradient in gradients if self._is_common(weight)]
        spread = [gradient for weight, gradient in gradients if id(weight) in self._held]
        sharded = [here(gradient) for _, gradient in gradients if _is_sharded(gradient)]
        device = gradients[0][1].device
        parts = self.team.add_up(_square(spread, device) + _square(sharded, device) / self._mesh[0])
        return (_square(common, device) + parts).sqrt().to(torch.promote_types(gradients[0][1].dtype, torch.float32))

    # States

    def split_model(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """A state of the spread model with a ``Piece`` for what this process holds only in part."""
        return {name: self._piece(value, weight) for name, value, weight in self._beside(state)}

    def join_model(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The reverse: from whole tensors or ``Pieces``, however many there were, to what is held here; no copies."""
        return {name: self._mine(value, weight) for name, value, weight in self._beside(state)}

    def _beside(self, state: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
        weights = dict(self.model.named_parameters())
        return ((name, value, weights.get(name)) for name, value in state.items())

    def split_optimizers(self, optimizers: Optimizers) -> dict[str, Any]:
        """The optimisers' state with a ``Piece`` for what belongs to such weights."""
        state = optimizers.state_dict()
        for part, index, arena in self._fused_in(optimizers):
            if memory := arena.memory():
                state[part]["state"][index] = memory
        return {name: self._through(one, optimizers, name, self._piece) for name, one in state.items()}

    def join_optimizers(self, state: Mapping[str, Any], optimizers: Optimizers) -> dict[str, Any]:
        """The reverse, in memory or on disk as the weights are; what TorchRec's tables remember goes into these."""
        joined = {name: self._through(one, optimizers, name, self._own) for name, one in state.items()}
        for part, index, arena in self._fused_in(optimizers):
            arena.remember(joined[part]["state"].pop(index, {}))
        return joined

    def attach(self, optimizers: Optimizers) -> None:
        """Let the tables that TorchRec holds follow the learning rates of these optimisers."""
        for part, _, arena in self._fused_in(optimizers):
            arena.attach(optimizers.parts[part].optimizer)

    def _fused_in(self, optimizers: Optimizers) -> Iterator[tuple[str, int, TorchRecArena]]:
        """Part and place of the tables that TorchRec holds."""
        arenas = {id(arena.weight): arena for arena in self.fused.values()}
        for name, part in optimizers.parts.items():
            for index, weight in enumerate(part.parameters):
                if id(weight) in arenas:
                    yield name, index, arenas[id(weight)]

    def _through(self, state: Mapping[str, Any], optimizers: Optimizers, name: str, change: Any) -> dict[str, Any]:
        weights = list(optimizers.parts[name].parameters)
        changed = {
            index: {key: change(value, weights[index]) for key, value in one.items()}
            for index, one in state["state"].items()
        }
        return {**state, "state": changed}

    def _piece(self, value: Any, weight: Any) -> Any:
        if _is_sharded(value):
            is_copy = value.device_mesh.get_coordinate()[0] > 0  # another replica writes it
            rows = range(0) if is_copy else _rows_of(value)
            return Piece(value.to_local()[: len(rows)], (rows,), len(value))
        if id(weight) in self._held and value.dim():
            return Piece(value, *self._held[id(weight)])
        return value

    def _mine(self, value: Any, weight: Any) -> Any:
        is_scalar = isinstance(value, Tensor) and not value.dim()
        if _is_sharded(weight) and not is_scalar:
            local = _picked(value, (_rows_of(weight),)).to(weight.device)
            mesh, placements = weight.device_mesh, weight.placements
            return type(weight).from_local(
                local, mesh, placements, run_check=False, shape=weight.shape, stride=weight.stride()
            )
        if id(weight) in self._held and not is_scalar:
            return _picked(value, self._held[id(weight)][0])
        return _picked(value, None)

    def _own(self, value: Any, weight: Any) -> Any:
        mine = self._mine(value, weight)
        return copy_beside(weight, value) if mine is value and isinstance(value, Tensor) else mine

    def whole_optimizers(self, optimizers: Optimizers) -> dict[str, Any]:
        """The optimisers' state with whole tensors on the first process, and no rows of spread ones on the others."""
        state = self.split_optimizers(optimizers)
        return {name: self._through(one, optimizers, name, self._gathered) for name, one in state.items()}

    @torch.no_grad()
    def gather(self) -> None:
        """Fill the whole model with the trained weights: on the first process all of it, on the others all but rows."""
        if self.model is self.whole:
            return
        if self.fused:
            self.whole.cpu()  # a GPU may not have room for whole tables
        state = {name: self._gathered(one) for name, one in self.split_model(self.model.state_dict()).items()}
        for name, weight in self.whole.named_parameters():
            weight.data = weight.data.new_empty(state[name].shape)
        self.whole.load_state_dict(state)

    def _gathered(self, value: Any, _: Tensor | None = None) -> Any:
        if not isinstance(value, Piece):
            return value
        runs = [[self.team.rank, run.start, run.stop, run.step] for run in value.rows]
        spans = self.team.gather(torch.tensor(runs, dtype=torch.int64).view(-1, 4)).tolist()
        held = [tuple(range(*run) for rank, *run in spans if rank == one) for one in range(self.team.size)]
        counts = [sum(map(len, rows)) if self.team.is_first else 0 for rows in held]
        sent = [len(value.tensor), *[0] * (self.team.size - 1)]
        got = self.team.exchange(value.tensor, sent=sent, received=counts).cpu()
        if not self.team.is_first:
            return got
        return pick(zip(torch.split(got, counts), held, strict=True), (range(value.num_rows),))


def _twin(whole: Model, team: Team, fused: FusedTables | None) -> Model:
    """A model with the same weights, of large tables this process's rows; the whole one loses all rows of these."""
    held_by_torchrec = [] if fused is None else fused.arenas(whole)
    large = [one for one in large_arenas(whole, team) if one not in held_by_torchrec]
    spread: dict[int, Any] = {id(arena): ShardedArena(arena, team) for arena in large}
    if fused is not None:
        spread |= {id(arena): TorchRecArena(arena, team, fused) for arena in held_by_torchrec}
    twin = deepcopy(whole, spread)
    for arena in [*large, *held_by_torchrec]:
        arena.weight.data = arena.weight.data.new_empty(0, arena.dim)
    for module in twin.modules():
        if isinstance(module, BatchNorm) and not team.is_alone:
            pool_norm(module, team)
    return twin


def place_on(model: Model, device: str, fused: FusedTables | None) -> Model:
    """A model on a device, but tables that TorchRec will hold in memory: a GPU may not have room for whole ones."""
    kept = {} if fused is None else {arena: arena.weight for arena in fused.arenas(model)}
    for arena in kept:
        arena.weight = nn.Parameter(torch.empty(0, arena.dim))
    model.to(device)
    for arena, weight in kept.items():
        arena.weight = weight
    return model


def large_arenas(model: Model, team: Team) -> list[EmbeddingArena]:
    """The tables of which each process of a team holds some rows; it has all of the others."""
    arenas = [one for one in model.modules() if isinstance(one, EmbeddingArena)]
    return [one for one in arenas if not team.is_alone and _bytes(one.weight) > SMALL_TABLE]


def shardable(model: Model) -> list[nn.Parameter]:
    """The weights that a mesh with shards parts by their first dimension; it leaves the others whole."""
    return [one for one in parameter_groups(model).get("net", []) if one.dim()]


def shard_of(num_rows: int, place: int, shards: int) -> range:
    """Rows of a sharded weight that are in one place, as ``torch.chunk`` has them."""
    length = -(-num_rows // shards)
    return range(min(place * length, num_rows), min((place + 1) * length, num_rows))


def choose_mesh(asked: str, team: Team, model: nn.Module) -> tuple[int, int]:
    """(replicas, shards) of the dense part: as asked, or with ``auto`` by its size and the processes of a machine.

    Raises ConfigError where the mesh asked for has not as many places as there are processes.
    """
    if asked != "auto":
        replicas, shards = map(int, asked.split("x"))
        if replicas * shards != team.size:
            raise ConfigError(
                f'train.mesh = "{asked}" is for {replicas * shards} processes and there are {team.size}; '
                f'start so many with torchrun, or set train.mesh to "auto"'
            )
        return replicas, shards
    is_large = 4 * sum(_bytes(one) for one in parameter_groups(model).get("net", [])) > SMALL_NET
    shards = team.local_size if is_large and team.size % team.local_size == 0 else 1
    return team.size // shards, shards


def wrap(model: Model, team: Team, *, mesh: str = "auto", fused: FusedTables | None = None) -> Spread:
    """Spread a model over a team, with ``fused`` its tables by TorchRec; raises ConfigError as ``choose_mesh``."""
    return Spread(model, team, choose_mesh(mesh, team, model), fused)


def _picked(value: Any, rows: Rows | None) -> Any:
    """Rows of what a checkpoint holds, whole or in pieces."""
    if isinstance(value, Tensor):
        return (
            value if rows is None else torch.cat([value[:0], *(value[one.start : one.stop : one.step] for one in rows)])
        )
    return value.pick(rows) if hasattr(value, "pick") else value


def _is_sharded(value: Any) -> bool:
    """Whether this is a DTensor, which FSDP makes of the dense part's weights; asked without importing these."""
    return isinstance(value, Tensor) and hasattr(value, "to_local")


def _rows_of(sharded: Any) -> range:
    """Rows of a sharded tensor that are here."""
    return shard_of(len(sharded), sharded.device_mesh.get_coordinate()[1], sharded.device_mesh.size(1))


def _square(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    norms = torch._foreach_norm(list(tensors)) if tensors else [torch.zeros((), device=device)]
    return torch.stack(norms).double().square().sum()


def _bytes(weight: Tensor) -> int:
    return weight.numel() * weight.element_size()
