"""Embedding arenas: all fields of one width in one table, one gather per lookup, gradients only for touched rows."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from crossfield.batch import Batch, Jagged
from crossfield.schema import Field, ModelSchema


class _RowLookup(torch.autograd.Function):
    """Rows of a table, with a sparse gradient: the distinct rows touched, rising, and their summed gradients.

    PERF: ``F.embedding``'s backward takes 13-14 ms of a 4096 x 26 lookup, ``index_add`` over the distinct rows 4.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, ids: Tensor) -> Tensor:
        rows, inverse = torch.unique(ids, return_inverse=True)
        ctx.save_for_backward(rows, inverse)
        ctx.shape = weight.shape  # type: ignore[attr-defined]
        return weight.index_select(0, rows).index_select(0, inverse)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        rows, inverse = ctx.saved_tensors  # type: ignore[attr-defined]
        shape = ctx.shape  # type: ignore[attr-defined]
        summed = gradient.new_zeros(len(rows), shape[1]).index_add_(0, inverse, gradient)
        sparse = torch.sparse_coo_tensor(rows.unsqueeze(0), summed, shape, is_coalesced=True, check_invariants=False)
        return sparse, None


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch does not type it
def _row_lookup(weight: Tensor, ids: Tensor) -> Tensor:
    # The number of distinct rows changes with every batch: inside a compiled graph it would recompile each step.
    looked_up: Tensor = _RowLookup.apply(weight, ids)  # type: ignore[no-untyped-call]
    return looked_up


class EmbeddingArena(nn.Module):
    """One table [R, D] for several fields, each with its own block of rows.

    With ``sparse`` set (the row-sparse optimisers set it) the weight's gradient is a sparse tensor that
    names each row of the batch once, in rising order; otherwise it is dense.
    """

    offsets: Tensor

    def __init__(self, num_rows: Sequence[int], dim: int, *, std: float = 0.01) -> None:
        super().__init__()
        self.num_rows, self.dim, self.std = tuple(num_rows), dim, std
        self.sparse = False
        starts = torch.tensor([0, *self.num_rows], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", starts[:-1], persistent=False)
        self.weight = nn.Parameter(torch.empty(int(starts[-1]), dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every row from N(0, std^2)."""
        nn.init.normal_(self.weight, std=self.std)

    def rows(self, ids: Tensor) -> Tensor:
        """Row vectors [..., D] of arena rows [...] int64, the field's offset already added."""
        if self.sparse and self.training and torch.is_grad_enabled():
            looked_up: Tensor = _row_lookup(self.weight, ids.reshape(-1))
            return looked_up.view(*ids.shape, self.dim)
        return self.weight.index_select(0, ids.reshape(-1)).view(*ids.shape, self.dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors [B, F, D] of ids [B, F] int64, one column per field of the arena."""
        return self.rows(ids + self.offsets)


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
        index = self.names.index(name)
        start = int(self.arena.offsets[index])
        return self.arena.weight.detach()[start : start + self.arena.num_rows[index]]

    def forward(self, batch: Batch) -> Tensor:
        """Field vectors [B, M, D] float32."""
        ids = batch.categorical.index_select(1, self.columns) + self.arena.offsets[: len(self.columns)]
        return self._with_lists(ids, batch) if self.sequences else self.arena.rows(ids)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch does not type it
    def _with_lists(self, ids: Tensor, batch: Batch) -> Tensor:
        # The number of listed ids changes with every batch: inside a compiled graph it would recompile each step.
        single = len(self.columns)
        lists = [batch.sequences[name] for name in self.sequences]
        flat = [ids.reshape(-1)] + [one.values + self.arena.offsets[single + i] for i, one in enumerate(lists)]
        vectors = self.arena.rows(torch.cat(flat))
        first, *rest = torch.split(vectors, [one.shape[0] for one in flat])
        pooled = [pool(values, one, mean=self.mean) for values, one in zip(rest, lists, strict=True)]
        return torch.cat([first.view(batch.size, single, self.dim), torch.stack(pooled, 1)], 1)


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
