"""Products of all pairs of vectors, number by number, plain or with a matrix between the two."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

BilinearType = Literal["all", "each", "interaction"]


class HadamardInteraction(nn.Module):
    """v_i ⊙ v_j for every pair i < j of M vectors, [B, M, D] -> [B, M (M - 1) / 2, D], pair by pair: 0-1, 0-2, ..."""

    left: Tensor
    right: Tensor

    def __init__(self, num_vectors: int) -> None:
        super().__init__()
        left, right = torch.triu_indices(num_vectors, num_vectors, 1)
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)
        self.num_pairs = left.shape[0]

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, num_pairs, D]."""
        return vectors.index_select(1, self.left) * vectors.index_select(1, self.right)


class BilinearInteraction(HadamardInteraction):
    """p_{i,j} = (v_i W) ⊙ v_j for every pair i < j, [B, M, D] -> [B, M (M - 1) / 2, D].

    The bilinear interaction of Huang et al. 2019, section 3.3. ``kind`` says whose W [D, D] is: one for "all" pairs,
    one for "each" left field, one per "interaction". Every matrix starts Xavier-normal by itself, N(0, 1 / D).
    """

    def __init__(self, num_vectors: int, dim: int, kind: BilinearType) -> None:
        super().__init__(num_vectors)
        # PAPER: the last field is on the left of no pair, so with "each" it has no matrix; the paper counts one.
        num_matrices = {"all": 1, "each": num_vectors - 1, "interaction": self.num_pairs}[kind]
        self.kind = kind
        self.W = nn.Parameter(torch.empty(num_matrices, dim, dim))
        nn.init.normal_(self.W, std=math.sqrt(1 / dim))

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, num_pairs, D]."""
        if self.kind == "interaction":
            mapped = torch.einsum("bpd,pde->bpe", vectors.index_select(1, self.left), self.W)
        elif self.kind == "each":
            mapped = torch.einsum("bmd,mde->bme", vectors[:, :-1], self.W).index_select(1, self.left)
        else:
            mapped = (vectors @ self.W[0]).index_select(1, self.left)
        return mapped * vectors.index_select(1, self.right)
