"""Fusion of two vectors into one logit by products of their parts, head by head."""

import math

import torch
from torch import Tensor, nn

from crossfield.errors import ConfigError
from crossfield.layers.linear import Prediction


class BilinearFusion(nn.Module):
    """b_1 + w_1ᵀ o_1 + b_2 + w_2ᵀ o_2 + Σ_j o_1jᵀ W_j o_2j over k heads, [B, H1], [B, H2] -> logits [B, 1] float32.

    o_ij is the j-th of k equal parts of o_i (Mao et al. 2023, multi-head bilinear fusion). Raises ConfigError where k
    does not divide both widths.
    """

    def __init__(self, dim_1: int, dim_2: int, *, num_heads: int) -> None:
        super().__init__()
        for dim in (dim_1, dim_2):
            if dim % num_heads:
                whole, rest = divmod(dim, num_heads)
                raise ConfigError(
                    f"num_heads = {num_heads} does not part a stream that ends {dim} wide: "
                    f"{dim} = {num_heads} x {whole} + {rest}; change one of them"
                )
        # PAPER: one bias per stream, as in the authors' code; the paper has one per head. Only their sum counts.
        self.linear_1, self.linear_2 = Prediction(dim_1, 1), Prediction(dim_2, 1)
        self.weight = nn.Parameter(torch.empty(num_heads, dim_1 // num_heads, dim_2 // num_heads))
        # PAPER: as in the authors' code, all W_j start together, Xavier-normal as one linear map from the H1 H2 / k
        # products to the logit, so that wide streams do not start with wide logits. Each by itself, as a matrix, would
        # start 9 times wider for streams of 400 and 100 in 5 heads.
        nn.init.normal_(self.weight, std=math.sqrt(2 / (self.weight.numel() + 1)))

    def forward(self, o_1: Tensor, o_2: Tensor) -> Tensor:
        """o_1 [B, H1], o_2 [B, H2] -> [B, 1] float32."""
        num_heads, dim_1, dim_2 = self.weight.shape
        heads_1 = o_1.reshape(-1, num_heads, dim_1).transpose(0, 1)
        heads_2 = o_2.reshape(-1, num_heads, dim_2).transpose(0, 1)
        products = (heads_1 @ self.weight).float() * heads_2.float()
        logits: Tensor = self.linear_1(o_1) + self.linear_2(o_2) + products.sum((0, 2)).unsqueeze(1)
        return logits
