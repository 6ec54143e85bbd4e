"""Wukong's interaction layer: a factorisation machine whose output is vectors again, so that it can be stacked."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crossfield.layers.field_map import FieldMap
from crossfield.layers.linear import Linear
from crossfield.layers.mlp import MLP
from crossfield.layers.norm import LayerNorm


class OptimizedFM(nn.Module):
    """FM(X) = X (Xᵀ Y), [B, M, D] -> [B, M, K]: all pairs' dot products X Xᵀ, projected but never formed.

    Zhang et al. 2024, section 3.6. Y [M, K] starts Xavier-normal.
    """

    def __init__(self, num_vectors: int, rank: int) -> None:
        super().__init__()
        # PAPER: Y is the same for every example; the paper adds that it "can be made attentive", but gives no sizes.
        self.Y = nn.Parameter(torch.empty(num_vectors, rank))
        nn.init.xavier_normal_(self.Y)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, M, K]."""
        return vectors @ (vectors.transpose(1, 2) @ self.Y)


class FactorizationMachineBlock(nn.Module):
    """FMB(X) = reshape(MLP(LN(flatten(FM(X))))), [B, M, D] -> [B, num_outputs, D] (section 3.4).

    The MLP's hidden layers end in ReLU, its last one, to num_outputs D numbers, in nothing.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        dim: int,
        *,
        rank: int,
        hidden: Sequence[int],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.fm = OptimizedFM(num_inputs, rank)
        self.norm = LayerNorm(num_inputs * rank)
        mlp = MLP(num_inputs * rank, hidden, dropout=dropout)
        self.mlp = nn.Sequential(mlp, Linear(mlp.output_dim, num_outputs * dim))
        self.output_shape = (num_outputs, dim)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, num_outputs, D]."""
        made: Tensor = self.mlp(self.norm(self.fm(vectors).flatten(1)))
        return torch.unflatten(made, 1, self.output_shape)


class WukongLayer(nn.Module):
    """X_{i+1} = LN([FMB(X_i) ; LCB(X_i)] + X_i), [B, M, D] -> [B, n_F + n_L, D] (Zhang et al. 2024, section 3.3).

    LCB(X) = W_L X compresses linearly (section 3.5). Where the number of vectors changes, the residual X_i is mapped
    over the axis of vectors as well. LN normalises each vector.
    """

    def __init__(
        self,
        num_inputs: int,
        dim: int,
        *,
        num_fm: int,
        num_linear: int,
        rank: int,
        hidden: Sequence[int],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_outputs = num_fm + num_linear
        self.fmb = FactorizationMachineBlock(num_inputs, num_fm, dim, rank=rank, hidden=hidden, dropout=dropout)
        self.lcb = FieldMap(num_inputs, num_linear)
        same = num_inputs == self.num_outputs
        self.residual = nn.Identity() if same else FieldMap(num_inputs, self.num_outputs)
        self.norm = LayerNorm(dim)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, n_F + n_L, D]."""
        made = torch.cat([self.fmb(vectors), self.lcb(vectors)], 1)
        normed: Tensor = self.norm(made + self.residual(vectors))
        return normed
