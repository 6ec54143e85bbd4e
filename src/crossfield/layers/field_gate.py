"""Gates that look across the fields: each field's vector beside itself times a mix of all of them."""

import torch
from torch import Tensor, nn

from crossfield.layers.linear import Linear


class FieldGate(nn.Module):
    """[E ; E ⊙ (W E + b)], W along the fields, [B, M, D] -> [B, 2 M, D] (FINAL, Zhu et al. 2023).

    W starts at zero and b at one: at first the fields stand there twice.
    """

    def __init__(self, num_fields: int) -> None:
        super().__init__()
        self.linear = Linear(num_fields, num_fields)
        nn.init.zeros_(self.linear.weight)
        nn.init.ones_(self.linear.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, 2 M, D]."""
        gates = self.linear(vectors.transpose(1, 2)).transpose(1, 2)
        return torch.cat([vectors, vectors * gates], 1)
