"""Cross layers: explicit feature crosses whose degree grows by one with every layer."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class CrossLayer(nn.Module):
    """x_{l+1} = x_0 (x_lᵀ w_l) + b_l + x_l, [B, H] -> [B, H] (Wang et al. 2017, section 2.2).

    x_lᵀ w_l is one number per example. w starts from N(0, 2 / (H + 1)), b at zero.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (dim + 1)))

    def forward(self, x_0: Tensor, x_l: Tensor) -> Tensor:
        """x_0 [B, H], x_l [B, H] -> x_{l+1} [B, H]."""
        return x_0 * (x_l @ self.weight).unsqueeze(1) + self.bias + x_l


class CrossStack(nn.Module):
    """Cross layers of any kind one after the other, each shown x_0 as well, [B, H] -> [B, H]."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x_0: Tensor) -> Tensor:
        """[B, H] -> [B, H]."""
        x_l = x_0
        for layer in self.layers:
            x_l = layer(x_0, x_l)
        return x_l


class CrossNet(CrossStack):
    """A stack of cross layers on x_0, [B, H] -> [B, H]: polynomials of x_0 up to degree ``num_layers`` + 1."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__(CrossLayer(dim) for _ in range(num_layers))
