"""Squeeze and excitation over fields: one weight per field and example, read off all the fields together."""

import math

from torch import Tensor, nn

from crossfield.layers.linear import Linear


class SENET(nn.Module):
    """v_i = a_i e_i with a = ReLU(W_2 ReLU(W_1 z)), z_i the mean of e_i, [B, M, D] -> [B, M, D].

    Huang et al. 2019, section 3.2. W_1 has M / ``reduction_ratio`` rows, rounded down, at least one; neither map has a
    bias.
    """

    def __init__(self, num_vectors: int, reduction_ratio: float = 3.0) -> None:
        super().__init__()
        reduced = max(1, int(num_vectors / reduction_ratio))
        self.W_1, self.W_2 = Linear(num_vectors, reduced, bias=False), Linear(reduced, num_vectors, bias=False)
        # PAPER: W_2 starts at one number, so that all fields count alike at first. Drawn at random, a row of it without
        # a positive number gives a_i = 0 for every example (what it is shown is never negative): no gradient, and that
        # field is gone for good. With few fields, and so few units, that is likely.
        nn.init.constant_(self.W_2.weight, math.sqrt(2 / (num_vectors + reduced)))

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, M, D]."""
        z = vectors.mean(2)
        a: Tensor = self.W_2(self.W_1(z).relu()).relu()
        return vectors * a.unsqueeze(2)
