"""DLRM's interaction: the dot products of all pairs of vectors."""

import torch
from torch import Tensor, nn


class DotInteraction(nn.Module):
    """<z_i, z_j> for every pair i > j (i >= j with ``itself``) of M vectors, [B, M, D] -> [B, num_pairs].

    The strictly lower triangle of Z Zᵀ, row by row (Naumov et al. 2019, section 2.2).
    """

    pairs: Tensor

    def __init__(self, num_vectors: int, *, itself: bool = False) -> None:
        super().__init__()
        left, right = torch.tril_indices(num_vectors, num_vectors, 0 if itself else -1)
        self.register_buffer("pairs", left * num_vectors + right, persistent=False)
        self.output_dim = left.shape[0]

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, num_pairs]."""
        products = vectors @ vectors.transpose(1, 2)
        return products.flatten(1).index_select(1, self.pairs)
