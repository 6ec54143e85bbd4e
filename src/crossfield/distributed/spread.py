"""A model spread over a team: large tables by rows, the rest replicated or sharded, and everything whole again."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from crossfield.distributed.pooled_norm import pool_norm
from crossfield.distributed.sharded import ShardedArena
from crossfield.distributed.team import Team
from crossfield.errors import ConfigError
from crossfield.layers.embedding import EmbeddingArena, find
from crossfield.layers.norm import BatchNorm
from crossfield.mapped import copy_beside
from crossfield.models.base import Model
from crossfield.optim import Optimizers, here, norm_of, parameter_groups

SMALL_TABLE = 1 << 20
"""Bytes up to which the tables of one width are on every process: three exchanges a step take longer than their sum."""
SMALL_NET = 1 << 30
"""Bytes of the dense part, gradients and two moments included, up to which ``mesh = "auto"`` has it on every one."""


@dataclass(frozen=True)
class Piece:
    """Some rows of a tensor [R, *], as one process holds them."""

    tensor: Tensor
    rows: range
    num_rows: int
    """R."""


class Pieces(Protocol):
    """All pieces of a tensor, wherever they lie."""

    def pick(self, rows: range | None) -> Tensor:
        """Some rows, or all."""
        ...


def pick(pieces: Iterable[tuple[Tensor, range]], rows: range) -> Tensor:
    """Rows of a tensor [R, *] from pieces that hold them all."""
    found: Tensor | None = None
    for tensor, held in pieces:
        if found is None:
            found = tensor.new_empty(len(rows), *tensor.shape[1:])
        offsets = torch.arange(held.start, held.stop, held.step) - rows.start
        mine = (offsets % rows.step == 0) & (offsets >= 0) & (offsets < len(rows) * rows.step)
        found[offsets[mine] // rows.step] = tensor[mine.to(tensor.device)]
    assert found is not None  # a tensor has at least one piece
    return found


class Spread:
    """A model as its team trains it: ``model`` in place of the ``whole`` one, which ``gather`` fills at the end.

    Meanwhile the tables of the whole one that are spread hold no rows. Of a team of one both are the same model.
    """

    def __init__(self, whole: Model, team: Team, mesh: tuple[int, int]) -> None:
        self.whole, self.team, self._mesh = whole, team, mesh
        self.model = whole if team.is_alone else _twin(whole, team)
        if mesh[1] > 1:
            # PERF: 0.8 seconds at every start, for what most runs do without.
            from crossfield.distributed.sharded_net import shard_net

            shard_net(self.model, next(whole.parameters()).device, mesh, net=shardable(self.model))
        arenas = (module for module in self.model.modules() if isinstance(module, ShardedArena))
        self._held = {id(arena.weight): (arena.held, sum(arena.num_rows)) for arena in arenas}

    @property
    def note(self) -> str:
        """How the model lies on the processes, in one phrase."""
        replicas, shards = self._mesh
        net = f"{replicas} replicas" if shards == 1 else f"{replicas} x {shards} shards"
        rows = sum(num_rows for _, num_rows in self._held.values())
        return f"{self.team.size} processes: {rows:,} table rows shared out, the dense part in {net}; not compiled"

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
        return {name: self._through(one, optimizers, name, self._piece) for name, one in state.items()}

    def join_optimizers(self, state: Mapping[str, Any], optimizers: Optimizers) -> dict[str, Any]:
        """The reverse, in memory or on disk as the weights are."""
        return {name: self._through(one, optimizers, name, self._own) for name, one in state.items()}

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
            return Piece(value.to_local()[: len(rows)], rows, len(value))
        if id(weight) in self._held and value.dim():
            return Piece(value, *self._held[id(weight)])
        return value

    def _mine(self, value: Any, weight: Any) -> Any:
        is_scalar = isinstance(value, Tensor) and not value.dim()
        if _is_sharded(weight) and not is_scalar:
            local = _picked(value, _rows_of(weight)).to(weight.device)
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
        state = {name: self._gathered(one) for name, one in self.split_model(self.model.state_dict()).items()}
        for name, weight in self.whole.named_parameters():
            weight.data = weight.data.new_empty(state[name].shape)
        self.whole.load_state_dict(state)

    def _gathered(self, value: Any, _: Tensor | None = None) -> Any:
        if not isinstance(value, Piece):
            return value
        spans = self.team.gather(torch.tensor([[value.rows.start, value.rows.stop, value.rows.step, len(value.rows)]]))
        counts = spans[:, 3].tolist() if self.team.is_first else [0] * self.team.size
        sent = [len(value.rows), *[0] * (self.team.size - 1)]
        got = self.team.exchange(value.tensor, sent=sent, received=counts).cpu()
        if not self.team.is_first:
            return got
        held = [range(*span[:3]) for span in spans.tolist()]
        return pick(zip(torch.split(got, counts), held, strict=True), range(value.num_rows))


def _twin(whole: Model, team: Team) -> Model:
    """A model with the same weights, of large tables this process's rows; the whole one loses all rows of these."""
    large = large_arenas(whole, team)
    twin = deepcopy(whole, {id(arena): ShardedArena(arena, team) for arena in large})
    for arena in large:
        arena.weight.data = arena.weight.data.new_empty(0, arena.dim)
    for module in twin.modules():
        if isinstance(module, BatchNorm):
            pool_norm(module, team)
    return twin


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


def wrap(model: Model, team: Team, *, mesh: str = "auto") -> Spread:
    """Spread a model over a team; raises ConfigError as ``choose_mesh``."""
    return Spread(model, team, choose_mesh(mesh, team, model))


def _picked(value: Any, rows: range | None) -> Any:
    """Rows of what a checkpoint holds, whole or in pieces."""
    if isinstance(value, Tensor):
        return value if rows is None else value[rows.start : rows.stop : rows.step].clone()
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
