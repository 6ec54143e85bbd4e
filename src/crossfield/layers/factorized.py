"""A linear map that also multiplies one half of its outputs by the other: second order in one layer."""

from typing import Literal

import torch
from torch import Tensor, nn

from crossfield.errors import ConfigError
from crossfield.layers.linear import Linear

Residual = Literal["concat", "sum"]


class FactorizedInteraction(nn.Module):
    """[h_2 ; h_1] = W x + b, out comes [h_2 ; h_1 ⊙ h_2], [B, in] -> [B, out] (FINAL, Zhu et al. 2023).

    With ``residual="sum"`` h_1 and h_2 are as wide as the output each, and h_2 + h_1 ⊙ h_2 comes out. L layers, one on
    the other, reach degree 2^L. Raises ConfigError where a width to be halved is odd.
    """

    def __init__(self, input_dim: int, output_dim: int, *, residual: Residual = "concat") -> None:
        super().__init__()
        if residual == "concat" and output_dim % 2:
            raise ConfigError(
                f"a factorised layer {output_dim} wide has no two halves: {output_dim} = 2 x {output_dim // 2} + 1; "
                'make the width even, or residual = "sum"'
            )
        self.residual = residual
        self.linear = Linear(input_dim, output_dim if residual == "concat" else 2 * output_dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in] -> [B, out]."""
        h_2, h_1 = self.linear(x).chunk(2, 1)
        product = h_1 * h_2
        return torch.cat([h_2, product], 1) if self.residual == "concat" else h_2 + product
