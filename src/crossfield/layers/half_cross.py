"""Cross layers of FCN (DCNv3): half the weights of DCN-V2's, and a degree that may double with every layer."""

from typing import Literal

import torch
from torch import Tensor, nn

from crossfield.layers.cross import CrossStack
from crossfield.layers.dropout import Dropout
from crossfield.layers.linear import Linear
from crossfield.layers.norm import BatchNorm, LayerNorm

Aggregation = Literal["self_mask", "affine"]


class HalfCrossLayer(nn.Module):
    """x_{l+1} = a ⊙ ([c ; c ⊙ ReLU(LN(c))] + b) + x_l, c = W x_l half as wide as x_l, [B, K, H] -> [B, K, H].

    a is what is multiplied: x_1 or x_l itself. The K heads share all weights. With ``aggregation="affine"`` the second
    half is γ ⊙ c + β instead. W starts Xavier-normal, b from U(0, 1), γ at one, β at zero.
    """

    def __init__(
        self, dim: int, *, num_heads: int, aggregation: Aggregation, batch_norm: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.W = Linear(dim, dim // 2, bias=False)
        self.batch_norm = BatchNorm(num_heads) if batch_norm else nn.Identity()
        self.scale = LayerNormMask(dim // 2) if aggregation == "self_mask" else Affine(dim // 2)
        # PAPER: the authors' code draws b from U(0, 1); the paper is silent.
        self.bias = nn.Parameter(torch.rand(dim))
        self.dropout = Dropout(dropout)

    def forward(self, anchor: Tensor, x: Tensor) -> Tensor:
        """Anchor a [B, K, H], x_l [B, K, H] -> x_{l+1} [B, K, H]."""
        c = self.batch_norm(self.W(x))
        C = torch.cat([c, self.scale(c)], 2)
        crossed: Tensor = self.dropout(anchor * (C + self.bias) + x)
        return crossed


class LayerNormMask(LayerNorm):
    """c ⊙ ReLU(LN(c)): what lies below the mean of its vector is masked."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., H] -> [..., H]."""
        return input * torch.relu(super().forward(input))


class Affine(nn.Module):
    """γ ⊙ c + β."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, input: Tensor) -> Tensor:
        """[..., H] -> [..., H]."""
        return input * self.weight + self.bias


class LinearCrossNet(CrossStack):
    """L cross layers that multiply by x_1: degree L + 1, [B, K, H] -> [B, K, H]."""


class ExponentialCrossNet(CrossStack):
    """L cross layers that multiply by x_l itself: degree 2^L, [B, K, H] -> [B, K, H]."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, H] -> [B, K, H]."""
        for layer in self.layers:
            x = layer(x, x)
        return x
