"""AutoInt's interacting layer: heads of self-attention over the fields, without scaling and without a feed-forward."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from crossfield.layers.dropout import Dropout
from crossfield.layers.linear import Linear
from crossfield.layers.norm import LayerNorm

Residual = Literal["linear", "identity", "none"]


class InteractingLayer(nn.Module):
    """e_m^Res = ReLU(ẽ_m + W_Res e_m) for every field m, [B, M, D] -> [B, M, output_dim].

    Song et al. 2019, equations 5 to 8: ẽ_m is Σ_k α_{m,k} W_Value e_k of all heads side by side, ``head_dim`` numbers
    each, α_{m,k} the softmax over k of <W_Query e_m, W_Key e_k>. ``residual``: "linear" has a W_Res, "identity" adds
    e_m itself where the widths agree and has a W_Res where not, "none" adds nothing. ``scale`` divides the products by
    sqrt(head_dim), ``layer_norm`` normalises before the ReLU, ``dropout`` drops attention weights. Each matrix starts
    Xavier-normal by itself.
    """

    def __init__(
        self,
        input_dim: int,
        head_dim: int,
        num_heads: int,
        *,
        residual: Residual = "linear",
        scale: bool = False,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.output_dim = num_heads * head_dim
        self.head_shape = (num_heads, head_dim)
        self.W_Query, self.W_Key, self.W_Value = (Linear(input_dim, self.output_dim, bias=False) for _ in range(3))
        self.scale = 1 / math.sqrt(head_dim) if scale else 1.0
        self.adds_input = residual != "none"
        self.W_Res: nn.Module = nn.Identity()
        if residual == "linear" or (residual == "identity" and input_dim != self.output_dim):
            self.W_Res = Linear(input_dim, self.output_dim, bias=False)
        self.norm = LayerNorm(self.output_dim) if layer_norm else nn.Identity()
        self.dropout = Dropout(dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, M, output_dim]."""
        q, k, v = (self._heads(one(vectors)) for one in (self.W_Query, self.W_Key, self.W_Value))
        alpha = self.dropout((q @ k.transpose(2, 3) * self.scale).softmax(3))
        e_tilde = (alpha @ v).transpose(1, 2).flatten(2)
        if self.adds_input:
            e_tilde = e_tilde + self.W_Res(vectors)
        e_res: Tensor = self.norm(e_tilde).relu()
        return e_res

    def _heads(self, vectors: Tensor) -> Tensor:
        """[B, M, output_dim] -> [B, heads, M, head_dim]."""
        return torch.unflatten(vectors, 2, self.head_shape).transpose(1, 2)
