"""iALS: Rendle, Krichene, Zhang, Koren, "Revisiting the Performance of iALS on Item Recommendation ...", RecSys 2022.

https://arxiv.org/abs/2110.14037
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.errors import ConfigError
from crossfield.layers.pairs import dot_pairs
from crossfield.models.base import Interactions, ModelConfig, Solved, Width
from crossfield.schema import ModelSchema

NUMBERS_AT_ONCE = 1 << 20
"""Of a block's vectors, or of its systems, whichever are more: 4 MB."""


class IALSConfig(ModelConfig):
    """What iALS can be told; α₀ and λ start from the paper's for MovieLens-1M, where d is 192 and 12 epochs do."""

    embedding_dim: Width = 64
    """Width d of the vectors."""
    alpha0: float = Field(0.3, gt=0)
    """α₀: what it weighs that a pair was not chosen, beside 1 for one that was."""
    l2: float = Field(0.007, gt=0)
    """λ: what the squared length of a vector weighs."""
    nu: float = Field(1.0, ge=0, le=1)
    """ν: 1 weighs the vectors of frequent users and items by how frequent they are, 0 weighs all alike."""
    epochs: int = Field(16, ge=1)
    """How often all users are solved, and after them all items."""
    init_std: float = Field(0.1, gt=0)
    """σ*: the items' vectors start from N(0, σ*² / d)."""


class IALS(Solved):
    """Matrix factorisation by least squares over all pairs, the unchosen ones included: ŷ(u, i) = <w_u, h_i>.

    L(W, H) = Σ_{(u,i) ∈ S} (ŷ(u, i) - 1)² + α₀ Σ_{u ∈ U, i ∈ I} ŷ(u, i)² + λ (Σ_u #_u^ν |w_u|² + Σ_i #_i^ν |h_i|²)
    with #_u = |S_u| + α₀ |I| and #_i = |S_i| + α₀ |U|; S are the chosen pairs, U and I who and what is in them.

    With H held, w_u = (Σ_{i ∈ S_u} h_i h_iᵀ + α₀ Σ_{i ∈ I} h_i h_iᵀ + λ #_u^ν 1)⁻¹ Σ_{i ∈ S_u} h_i is the minimum, and
    the same with W held: all users and all items are solved in turn. Looks at who chose what only: of rows with
    labels at the positive ones, of a pair that is there twice at one. An item that nobody chose scores 0. Scores rank;
    they are no log odds.
    """

    config_type = IALSConfig
    W: Tensor
    H: Tensor

    def __init__(self, schema: ModelSchema, config: IALSConfig) -> None:
        super().__init__(schema, config)
        self.user, self.item = schema.position("user"), schema.position("item")
        num_users, num_items = (schema.categorical[one].num_rows for one in (self.user, self.item))
        std = config.init_std / math.sqrt(config.embedding_dim)
        self.register_buffer("W", nn.init.zeros_(torch.empty(num_users, config.embedding_dim)))
        self.register_buffer("H", nn.init.normal_(torch.empty(num_items, config.embedding_dim), std=std))

    @torch.no_grad()
    def solve(self, interactions: Interactions) -> None:
        """Solve users and items in turn, starting from the items' vectors as they are."""
        # PAPER: a chosen pair weighs c, the mean weight of its rows, in the first sum and in #; 1 without weights.
        S = interactions.to(self.W.device).choices()
        users = blocks(S.users, S.items, S.weights, dim=self.W.shape[1])
        items = blocks(S.items, S.users, S.weights, dim=self.W.shape[1])
        num_users, num_items = (sum(len(one.ids) for one in some) for some in (users, items))
        self.H[_absent(S.items, len(self.H))] = 0
        for _ in range(self.config.epochs):
            self.half_step(self.W, self.H, users, num_held=num_items)
            self.half_step(self.H, self.W, items, num_held=num_users)
        # PAPER: whoever chose nothing, or is unknown, gets the mean of all users' vectors, and so the mean of their
        # scores; the minimum is 0, by which nothing can be ranked.
        nobody = _absent(S.users, len(self.W))
        self.W[nobody] = self.W[~nobody].sum(0) / max(num_users, 1)

    def half_step(self, sought: Tensor, held: Tensor, blocks: Sequence["Block"], *, num_held: int) -> None:
        """Set the vectors of one side to the minimum of L while the ``num_held`` ones of the other side are held.

        Raises ConfigError where float32 is too coarse for that.
        """
        alpha0, l2, nu = self.config.alpha0, self.config.l2, self.config.nu
        everything = alpha0 * held.t() @ held
        for one in blocks:
            h = held[one.met]
            c_h = one.c.unsqueeze(2) * h
            systems = torch.baddbmm(everything, c_h.mT, h)
            frequency = one.c.sum(1) + alpha0 * num_held
            systems.diagonal(dim1=1, dim2=2).add_(l2 * frequency.pow(nu).unsqueeze(1))
            factors, failed = torch.linalg.cholesky_ex(systems)
            if failed.any():
                raise ConfigError("a system of equations has no solution in float32: raise model.l2")
            sought[one.ids] = torch.cholesky_solve(c_h.sum(1).unsqueeze(2), factors).squeeze(2)

    def forward(self, batch: Batch) -> Tensor:
        """Scores [B, 1] float32."""
        w_u, h_i = self.W[batch.categorical[:, self.user]], self.H[batch.categorical[:, self.item]]
        return (w_u * h_i).sum(1, keepdim=True)

    def encode_users(self, users: Tensor) -> Tensor:
        """w_u, [U] -> [U, D]."""
        return self.W[users]

    def encode_items(self, items: Tensor) -> Tensor:
        """h_i, [I] -> [I, D]."""
        return self.H[items]

    def join_sides(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores [U, I] float32."""
        return dot_pairs(users, items)


@dataclass(frozen=True)
class Block:
    """Ids of one side that are solved together.

    ids [b] int64, met [b, L] int64: whom each has met, filled up to the most that one has; c [b, L] float32: what that
    weighs, 0 where filled up.
    """

    ids: Tensor
    met: Tensor
    c: Tensor


def blocks(ids: Tensor, met: Tensor, weights: Tensor, *, dim: int) -> list[Block]:
    """All pairs [n], by the ids of one side; those that have met most come first, so that little is filled up."""
    order = ids.argsort(stable=True)
    met, weights = met[order], weights[order]
    distinct, lengths = torch.unique(ids, return_counts=True)
    starts = lengths.cumsum(0) - lengths
    rest, found = lengths.argsort(descending=True, stable=True), list[Block]()
    while len(rest):
        longest = int(lengths[rest[0]])
        height = max(1, NUMBERS_AT_ONCE // (dim * max(dim, longest)))
        some, rest = rest[:height], rest[height:]
        slots = torch.arange(longest, device=ids.device)
        is_there = slots < lengths[some, None]
        places = (starts[some, None] + slots) * is_there
        found.append(Block(distinct[some], met[places], weights[places] * is_there))
    return found


def _absent(ids: Tensor, num_rows: int) -> Tensor:
    """Which rows [num_rows] bool of a table no id names."""
    return torch.ones(num_rows, dtype=torch.bool, device=ids.device).index_fill_(0, ids, False)
