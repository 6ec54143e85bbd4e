"""Embedding arenas: all fields of one width in one table, one gather per lookup, gradients only for touched rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from crossfield.batch import Batch, Jagged
from crossfield.eager import eager
from crossfield.mapped import fetch, in_order, is_on_disk, new_table
from crossfield.schema import Field, ModelSchema


@dataclass(frozen=True)
class Found:
    """Which rows of a table a batch names: found once, it serves every table of the same fields.

    rows [n] int64, one per id. ``order`` [n] sorts them; in that order the ids of row ``distinct[i]`` begin at
    ``starts[i]``. distinct [m] int64 rises.
    """

    names: tuple[str, ...]
    """Fields, in the order of their ids."""
    rows: Tensor
    distinct: Tensor
    starts: Tensor
    order: Tensor

    def sums(self, vectors: Tensor) -> Tensor:
        """The sum of the vectors of each distinct row, always in the same order: [n, D], one per id -> [m, D]."""
        if not vectors.is_cuda:
            # PERF: 106,496 x 16, two cores: an embedding bag takes 0.5 ms, index_add 1.7, F.embedding's backward 13.
            return F.embedding_bag(self.order, vectors, self.starts, mode="sum")
        lengths = self.starts.diff(append=self.starts.new_tensor([self.order.shape[0]]))
        owners = torch.repeat_interleave(lengths, output_size=self.order.shape[0])
        summed = vectors.new_zeros(self.starts.shape[0], vectors.shape[1])
        return summed.index_add_(0, owners, vectors.index_select(0, self.order))


@dataclass(frozen=True)
class FoundPadded(Found):
    """The same in shapes that do not depend on the ids, m = n, so that nothing waits for a GPU to count them.

    The last distinct row and its sum are repeated to the end: an optimiser that reads rows, computes, and writes them
    back writes the same values again. ``owners`` [n] says to which distinct row each id in order belongs, ``starts``
    [n] which sum comes where.
    """

    owners: Tensor

    def sums(self, vectors: Tensor) -> Tensor:
        """As above; on a GPU the order of a sum is not fixed."""
        summed = torch.zeros_like(vectors).index_add_(0, self.owners, vectors.index_select(0, self.order))
        return summed.index_select(0, self.starts)


# The number of distinct rows changes with every batch: inside a compiled graph it would recompile each step.
@eager
def find(rows: Tensor, num_rows: int, *, names: tuple[str, ...] = (), padded: bool = False) -> Found:
    """Sort rows [n] int64 of an arena of so many, the fields' offsets already added."""
    # PERF: 106,496 ids, two cores: sorting int32 takes 0.7 ms, int64 1.1, torch.unique with its inverse 1.5.
    fits = num_rows <= torch.iinfo(torch.int32).max
    ranked, order = torch.sort(rows.int() if fits else rows, stable=True)
    begins = torch.ones_like(ranked, dtype=torch.bool)
    torch.ne(ranked[1:], ranked[:-1], out=begins[1:])
    if padded and len(rows):
        owners = begins.cumsum(0) - 1
        slots = torch.arange(len(rows), device=rows.device).minimum(owners[-1])
        distinct = torch.zeros_like(rows).scatter_(0, owners, ranked.long()).index_select(0, slots)
        return FoundPadded(names, rows, distinct, slots, order, owners)
    starts = begins.nonzero().squeeze(1)
    return Found(names, rows, ranked.index_select(0, starts).long(), starts, order)


class _RowLookup(torch.autograd.Function):
    """Rows of a table, with a sparse gradient: the distinct rows touched, rising, and their summed gradients."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, found: Found) -> Tensor:
        ctx.found, ctx.shape = found, weight.shape  # type: ignore[attr-defined]  # attributes of our own
        fetch(weight, found.distinct)
        return weight.index_select(0, found.rows)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        found, shape = ctx.found, ctx.shape  # type: ignore[attr-defined]  # attributes of our own
        sparse = torch.sparse_coo_tensor(
            found.distinct.unsqueeze(0),
            found.sums(gradient.contiguous()),
            shape,
            is_coalesced=True,
            check_invariants=False,
        )
        return sparse, None


def is_padded(weight: Tensor) -> bool:
    """Whether the sparse gradient of this table is padded, as ``EmbeddingArena.pad`` wants it."""
    return getattr(weight, "_is_padded", False)


class LateRows(Protocol):
    """An optimiser that moves rows without a gradient when they are read."""

    def may_wait(self, num_ids: int) -> bool:
        """Whether the others shall wait in a step that looks so many ids up; else its gradient has to be dense."""

    def catch_up(self, rows: Tensor) -> None:
        """Move distinct rows [n] int64 to where they have to be."""

    def settle(self) -> None:
        """Move all rows."""


class EmbeddingArena(nn.Module):
    """One table [R, D] for several fields, each with its own block of rows.

    With ``sparse`` set (the row-sparse optimisers set it) the weight's gradient is a sparse tensor that
    names each row of the batch once, in rising order; otherwise it is dense. After ``pad`` its last row
    is repeated up to the number of ids (``FoundPadded``). ``lookups`` counts those with a sparse gradient.
    ``late`` is told of rows before they are read.
    """

    offsets: Tensor

    def __init__(self, num_rows: Sequence[int], dim: int, *, std: float = 0.01) -> None:
        super().__init__()
        self.num_rows, self.dim, self.std = tuple(num_rows), dim, std
        self.sparse, self.lookups = False, 0
        self.late: LateRows | None = None
        starts = torch.tensor([0, *self.num_rows], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", starts[:-1], persistent=False)
        self.weight = nn.Parameter(new_table(int(starts[-1]), dim))
        self.on_disk = is_on_disk(self.weight)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every row from N(0, std^2)."""
        nn.init.normal_(self.weight, std=self.std)

    def pad(self, wanted: bool) -> None:
        """Whether gradients have shapes that do not depend on the ids; for one lookup a step only."""
        self.weight._is_padded = wanted  # type: ignore[attr-defined]  # an attribute of our own

    @property
    def seeks(self) -> bool:
        """Whether the next lookup will have a sparse gradient."""
        return self.sparse and self.training and torch.is_grad_enabled()

    def read(self, rows: Tensor, found: Found | None) -> Tensor:
        """Vectors [n, D] of arena rows [n] int64; with what was found of them where the arena seeks."""
        if self.seeks and found is not None:
            return self._seek(found)
        if self.late is not None:
            self._settle(self.late)
        if self.on_disk:
            fetch(self.weight, rows)
        return self.weight.index_select(0, rows)

    # A compiled graph would be compiled anew whenever the count changes.
    @eager
    def _seek(self, found: Found) -> Tensor:
        self.lookups += 1
        if self.late is not None:
            self.late.catch_up(found.distinct)
        looked_up: Tensor = _RowLookup.apply(self.weight, found)  # type: ignore[no-untyped-call]  # torch does not type it
        return looked_up

    @eager
    def _settle(self, late: LateRows) -> None:
        late.settle()

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors [B, F, D] of ids [B, F] int64, one column per field of the arena."""
        rows = (ids + self.offsets).reshape(-1)
        return self.read(rows, self.find(rows)).view(*ids.shape, self.dim)

    def find(self, rows: Tensor, names: tuple[str, ...] = ()) -> Found | None:
        """What the gradient needs to know of arena rows [n] int64; None where it is dense."""
        return self._find(rows, names) if self.seeks else None

    @eager
    def _find(self, rows: Tensor, names: tuple[str, ...]) -> Found | None:
        if self.late is not None and not self.late.may_wait(len(rows)):
            return None
        return find(rows, len(self.weight), names=names, padded=is_padded(self.weight))

    def view(self, start: int, stop: int) -> Tensor:
        """Some rows, without gradient: to read or to overwrite."""
        return self.weight.detach()[start:stop]

    def average(self, start: int, stop: int) -> Tensor:
        """The mean of some rows, [D]."""
        with in_order([self.weight]):
            return self.view(start, stop).mean(0)

    def overwrite(self, rows: Sequence[int], vector: Tensor) -> None:
        """Set rows to one vector [D]."""
        self.weight.detach()[list(rows)] = vector


def pool(vectors: Tensor, sequence: Jagged, *, mean: bool) -> Tensor:
    """Sum or mean of each row's vectors, zeros for an empty row: [sum of L, D] -> [B, D]."""
    lengths = sequence.lengths
    # Sizes are read from shapes, never by len(): len() is a plain integer, and an export would bake it in.
    rows = torch.arange(lengths.shape[0], device=vectors.device)
    owner = torch.repeat_interleave(rows, lengths, output_size=vectors.shape[0])
    pooled = vectors.new_zeros(lengths.shape[0], vectors.shape[1]).index_add(0, owner, vectors)
    return pooled / lengths.clamp(min=1).unsqueeze(1) if mean else pooled


class FieldEmbedding(nn.Module):
    """Vectors of all id fields of a batch, [B, M, D]: categorical in order, then multi-valued, pooled.

    Multi-valued fields are averaged over their ids (``pooling="sum"`` adds them up); an empty list is zeros.
    Categorical and multi-valued fields share one arena, so a batch costs one lookup.
    """

    columns: Tensor

    def __init__(
        self,
        fields: Sequence[Field],
        schema: ModelSchema,
        dim: int,
        *,
        std: float = 0.01,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        positions = {one.name: index for index, one in enumerate(schema.categorical)}
        single = [one for one in fields if one.name in positions]
        self.sequences = tuple(one.name for one in fields if one.name not in positions)
        several = [one for one in fields if one.name not in positions]
        self.names = tuple(one.name for one in [*single, *several])
        self.register_buffer(
            "columns",
            torch.tensor([positions[one.name] for one in single], dtype=torch.int64),
            persistent=False,
        )
        self.mean, self.dim, self.num_fields = pooling == "mean", dim, len(fields)
        self.arena = EmbeddingArena([one.num_rows for one in [*single, *several]], dim, std=std)

    def table(self, name: str) -> Tensor:
        """The rows of one field, [num_rows, D]: a view of the arena without gradient, to read or to overwrite."""
        return self.arena.view(*self.span(name))

    def span(self, name: str) -> tuple[int, int]:
        """Where the rows of one field begin and end in the arena."""
        index = self.names.index(name)
        start = int(self.arena.offsets[index])
        return start, start + self.arena.num_rows[index]

    def vectors(self, name: str, ids: Tensor) -> Tensor:
        """Vectors [n, D] of ids [n] of one field, without gradient; raises IndexError where an id is out of range."""
        start, stop = self.span(name)
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < stop - start:
            raise IndexError(
                f"field {name!r} has ids 0 to {stop - start - 1}, not {int(ids.min())} to {int(ids.max())}"
            )
        with torch.no_grad():
            return self.arena.read(ids + start, None)

    def forward(self, batch: Batch, found: Found | None = None) -> Tensor:
        """Field vectors [B, M, D] float32; ``found`` is what a table of the same fields has found for the batch."""
        if found is None or found.names != self.names:
            found = self.find(batch)
        rows = self.rows(batch) if found is None else found.rows
        if self.sequences:
            pooled: Tensor = self._with_lists(batch, rows, found)
            return pooled
        return self.arena.read(rows, found).view(batch.size, len(self.columns), self.dim)

    def find(self, batch: Batch) -> Found | None:
        """What the gradient needs to know of the batch's ids, for tables of these fields; None where it is dense."""
        return self.arena.find(self.rows(batch), self.names) if self.arena.seeks else None

    def rows(self, batch: Batch) -> Tensor:
        """The arena's row of each id of a batch, [n] int64, row by row of single ids, then list by list."""
        single = batch.categorical.index_select(1, self.columns) + self.arena.offsets[: len(self.columns)]
        several = [
            batch.sequences[name].values + offset
            for name, offset in zip(self.sequences, self.arena.offsets[len(self.columns) :], strict=True)
        ]
        return torch.cat([single.reshape(-1), *several]) if several else single.reshape(-1)

    @eager
    def _with_lists(self, batch: Batch, rows: Tensor, found: Found | None) -> Tensor:
        # The number of listed ids changes with every batch: inside a compiled graph it would recompile each step.
        lists = [batch.sequences[name] for name in self.sequences]
        num_single = batch.size * len(self.columns)
        vectors = self.arena.read(rows, found)
        first, *rest = torch.split(vectors, [num_single, *(one.values.shape[0] for one in lists)])
        pooled = [pool(values, one, mean=self.mean) for values, one in zip(rest, lists, strict=True)]
        return torch.cat([first.view(batch.size, len(self.columns), self.dim), torch.stack(pooled, 1)], 1)


class DenseEmbedding(nn.Module):
    """One vector per dense feature, scaled by its value as in a factorisation machine: x_n v_n, [B, N] -> [B, N, D]."""

    def __init__(self, num_dense: int, dim: int, *, std: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_dense, dim))
        nn.init.normal_(self.weight, std=std)

    def forward(self, dense: Tensor) -> Tensor:
        """[B, N] -> [B, N, D]."""
        return dense.unsqueeze(2) * self.weight


def id_pair(schema: ModelSchema) -> tuple[Field, Field]:
    """The user's and the item's field, for models that look at nothing else.

    Raises SchemaError where a role is not set.
    """
    user, item = schema.position("user"), schema.position("item")
    return schema.categorical[user], schema.categorical[item]
