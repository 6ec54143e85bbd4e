"""A cross network and an MLP, one on top of the other or side by side."""

from typing import Literal

import torch
from torch import Tensor, nn

from crossfield.layers.mlp import MLP

Structure = Literal["stacked", "parallel"]


class CrossDeep(nn.Module):
    """A cross network with an MLP on top of it, or beside it, [B, H] -> [B, output_dim].

    Stacked: h = deep(cross(x_0)). Parallel: h = [cross(x_0) ; deep(x_0)].
    A ``deep`` without layers leaves the cross network alone in either structure.
    """

    def __init__(self, cross: nn.Module, deep: MLP, *, dim: int, structure: Structure) -> None:
        super().__init__()
        self.cross, self.deep = cross, deep
        self.is_parallel = structure == "parallel" and len(deep) > 0
        self.output_dim = deep.output_dim + (dim if self.is_parallel else 0)

    def forward(self, x_0: Tensor) -> Tensor:
        """[B, H] -> [B, output_dim]."""
        x_L = self.cross(x_0)
        h: Tensor = torch.cat([x_L, self.deep(x_0)], 1) if self.is_parallel else self.deep(x_L)
        return h
