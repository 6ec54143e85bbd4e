"""Layer normalisation of each field's vector, with a gain and a shift of the field's own."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FieldNorm(nn.Module):
    """[LN(e_1), LN(e_2), ...], [B, M, D] -> [B, M, D]: LN-EMB of MaskNet (Wang et al. 2021)."""

    def __init__(self, num_fields: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_fields, dim))
        self.bias = nn.Parameter(torch.zeros(num_fields, dim))

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, M, D]."""
        return F.layer_norm(vectors, vectors.shape[2:]) * self.weight + self.bias
