"""How the outputs of several modules on the same input become one."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

EnsembleBy = Literal["sum", "weighted_sum", "concatenation"]


class Ensemble(nn.Module):
    """The sum of k lists of vectors, a sum with learned weights, or all side by side, [B, L, D] each -> [B, L', D].

    There is one weight per member, and it starts at 1, which is the plain sum.
    """

    def __init__(self, num_members: int, how: EnsembleBy) -> None:
        super().__init__()
        self.how = how
        self.weights = nn.Parameter(torch.ones(num_members)) if how == "weighted_sum" else None

    def num_outputs(self, num_each: int, num_members: int) -> int:
        """How many vectors come out where each of the members gives ``num_each``."""
        return num_each * num_members if self.how == "concatenation" else num_each

    def forward(self, members: Sequence[Tensor]) -> Tensor:
        """K tensors [B, L, D] -> [B, L, D], or [B, k L, D] side by side."""
        if self.how == "concatenation":
            return torch.cat(list(members), 1)
        if self.weights is None:
            return torch.stack(list(members)).sum(0)
        return torch.stack([weight * one for weight, one in zip(self.weights, members, strict=True)]).sum(0)
