"""Tables of which every process holds some rows: looked up and updated where they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from crossfield.distributed.team import Team
from crossfield.layers.embedding import EmbeddingArena, Found, find


def rows_of(num_rows: int, team: Team) -> range:
    """Rows of a table that a process holds: every ``size``-th, so that frequent ids, which come first, are shared."""
    return range(team.rank, num_rows, team.size)


def owners_of(rows: Tensor, team: Team) -> Tensor:
    """The rank that holds each of the rows [n], by ``rows_of``."""
    return rows % team.size


def for_each_id(found: Found, values: Tensor) -> Tensor:
    """What belongs to each distinct row [m] int64, for each id [n] that names it."""
    lengths = found.starts.diff(append=found.starts.new_tensor([len(found.order)]))
    in_order = torch.repeat_interleave(values, lengths, output_size=len(found.order))
    return torch.empty_like(found.order).scatter_(0, found.order, in_order)


@dataclass(frozen=True)
class Routed(Found):
    """What a batch names, and the way of its distinct rows to their owners and back.

    ``by_owner`` [m] sorts the distinct rows by owner, ``sent`` of them to each; ``wanted`` [k] int64 are the rows of
    its own, counted from 0, that a process was asked for, ``received`` by each.
    """

    by_owner: Tensor
    sent: list[int]
    wanted: Tensor
    received: list[int]

    @classmethod
    def of(cls, found: Found, team: Team) -> "Routed":
        """Tell the owners what is wanted of them."""
        owners = owners_of(found.distinct, team)
        by_owner, counts = torch.argsort(owners, stable=True), torch.bincount(owners, minlength=team.size)
        sent, received = counts.tolist(), team.swap_counts(counts)
        rows = found.distinct.index_select(0, by_owner).div(team.size, rounding_mode="floor")
        wanted = team.exchange(rows, sent=sent, received=received)
        return cls(found.names, found.rows, found.distinct, found.starts, found.order, by_owner, sent, wanted, received)

    @cached_property
    def places(self) -> Tensor:
        """Where the vector of each id [n] is among those that come back."""
        place = torch.empty_like(self.by_owner).scatter_(
            0, self.by_owner, torch.arange(len(self.by_owner)).to(self.by_owner)
        )
        return for_each_id(self, place)

    @cached_property
    def owned(self) -> Found:
        """What the gradient needs to know of the wanted rows, several of which may be the same."""
        return find(self.wanted, int(self.wanted.max()) + 1 if len(self.wanted) else 1)


class _Lookup(torch.autograd.Function):
    """Rows of a table that is spread over processes; the gradient of each row goes to its owner."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, routed: Routed, team: Team, sparse: bool) -> Tensor:
        ctx.routed, ctx.team, ctx.sparse, ctx.shape = routed, team, sparse, weight.shape  # type: ignore[attr-defined]  # attributes of our own
        asked = weight.index_select(0, routed.wanted)
        got = team.exchange(asked, sent=routed.received, received=routed.sent)
        return got.index_select(0, routed.places)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        routed, team, sparse, shape = ctx.routed, ctx.team, ctx.sparse, ctx.shape  # type: ignore[attr-defined]  # of our own
        mine = routed.sums(gradient.contiguous()).index_select(0, routed.by_owner)
        theirs = team.exchange(mine, sent=routed.sent, received=routed.received)
        rows, values = routed.owned.distinct, routed.owned.sums(theirs)
        if not sparse:
            return values.new_zeros(shape).index_copy_(0, rows, values), None, None, None
        named = torch.sparse_coo_tensor(rows.unsqueeze(0), values, shape, is_coalesced=True, check_invariants=False)
        return named, None, None, None


class ShardedArena(EmbeddingArena):
    """An arena whose weight [R / size, D] holds the rows ``rows_of``; to its users it is the whole table.

    Every lookup is an exchange: all processes have to make the same ones, with whatever rows, even none.
    """

    def __init__(self, whole: EmbeddingArena, team: Team) -> None:
        nn.Module.__init__(self)
        self.num_rows, self.dim, self.std = whole.num_rows, whole.dim, whole.std
        self.sparse, self.lookups, self.on_disk, self.team = whole.sparse, 0, False, team
        self.register_buffer("offsets", whole.offsets, persistent=False)
        self.held = rows_of(sum(self.num_rows), team)
        self.weight = nn.Parameter(whole.weight.detach()[self.held.start :: self.held.step].clone())

    def read(self, rows: Tensor, found: Found | None) -> Tensor:
        """Vectors [n, D] of arena rows [n] int64."""
        routed = found if isinstance(found, Routed) else Routed.of(found or find(rows, sum(self.num_rows)), self.team)
        self.lookups += self.seeks
        looked_up: Tensor = _Lookup.apply(self.weight, routed, self.team, self.sparse)  # type: ignore[no-untyped-call]  # torch does not type it
        return looked_up

    def find(self, rows: Tensor, names: tuple[str, ...] = ()) -> Found:
        """What a batch names, and where its rows are."""
        return Routed.of(find(rows, sum(self.num_rows), names=names), self.team)

    def _here(self, start: int, stop: int) -> slice:
        """Places of the rows from ``start`` to ``stop`` that are held here."""
        first, last = (max(0, -((self.team.rank - row) // self.team.size)) for row in (start, stop))
        return slice(first, last)

    def view(self, start: int, stop: int) -> Tensor:
        """Not of a table that is elsewhere; raises TypeError."""
        raise TypeError("the rows of a table that is spread over processes can be looked up, not viewed")

    def average(self, start: int, stop: int) -> Tensor:
        """The mean of some rows, [D], wherever they are."""
        total = self.weight.detach()[self._here(start, stop)].sum(0, dtype=torch.float64)
        return (self.team.add_up(total) / (stop - start)).to(self.weight.dtype)

    def overwrite(self, rows: Sequence[int], vector: Tensor) -> None:
        """Set rows to one vector [D], where they are."""
        for row in rows:
            self.weight.detach()[self._here(row, row + 1)] = vector
