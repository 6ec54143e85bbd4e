"""Cross layers of DCN-V2: a matrix of weights per layer, whole, of low rank, or a mixture of low-rank experts."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossfield.layers.cross import CrossStack
from crossfield.layers.linear import Linear

Gate = Literal["softmax", "sigmoid", "constant"]
Nonlinearity = Literal["identity", "tanh", "hard_tanh", "relu"]
_NONLINEARITIES: dict[Nonlinearity, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "hard_tanh": F.hardtanh,
    "relu": torch.relu,
}


class CrossLayerV2(nn.Module):
    """x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l, [B, H] -> [B, H] (Wang et al. 2021, section 3.2).

    With ``low_rank`` r, W_l = U_l V_lᵀ, both of them H x r (section 3.5). Every matrix starts Xavier-normal, b at zero.
    """

    def __init__(self, dim: int, *, low_rank: int | None = None) -> None:
        super().__init__()
        if low_rank is None:
            self.W: nn.Module = Linear(dim, dim)
        else:
            self.W = nn.Sequential(Linear(dim, low_rank, bias=False), Linear(low_rank, dim))

    def forward(self, x_0: Tensor, x_l: Tensor) -> Tensor:
        """x_0 [B, H], x_l [B, H] -> x_{l+1} [B, H]."""
        return torch.addcmul(x_l, x_0, self.W(x_l))


class CrossNetV2(CrossStack):
    """L cross layers on x_0, [B, H] -> [B, H]: all monomials of x_0 up to degree L + 1, coefficients tied (4.1)."""

    def __init__(self, dim: int, num_layers: int, *, low_rank: int | None = None) -> None:
        super().__init__(CrossLayerV2(dim, low_rank=low_rank) for _ in range(num_layers))


class CrossMixLayer(nn.Module):
    """x_{l+1} = Σ_i G_i(x_l) x_0 ⊙ (U_i g(C_i g(V_iᵀ x_l)) + b) + x_l over E experts, [B, H] -> [B, H] (section 3.5).

    ``gate``: G is the softmax or the sigmoid of a linear map of x_l, or 1 for every expert ("constant"). The experts
    share b, and x_l is added once, outside the mixture. Every matrix starts Xavier-normal, b at zero.
    """

    def __init__(self, dim: int, *, num_experts: int, rank: int, gate: Gate, nonlinearity: Nonlinearity) -> None:
        super().__init__()
        self.V = nn.Parameter(torch.empty(num_experts, rank, dim))
        self.C = nn.Parameter(torch.empty(num_experts, rank, rank))
        self.U = nn.Parameter(torch.empty(num_experts, dim, rank))
        self.bias = nn.Parameter(torch.zeros(dim))
        # PAPER: the gate is a linear map without bias, one per layer; the paper only says that it depends on x_l.
        self.gate = None if gate == "constant" else Linear(dim, num_experts, bias=False)
        self.squash = torch.sigmoid if gate == "sigmoid" else partial(torch.softmax, dim=1)
        self.g = _NONLINEARITIES[nonlinearity]
        for experts in (self.V, self.C, self.U):
            for matrix in experts:  # at once, Xavier would take the third axis for a convolution's kernel
                nn.init.xavier_normal_(matrix)

    def forward(self, x_0: Tensor, x_l: Tensor) -> Tensor:
        """x_0 [B, H], x_l [B, H] -> x_{l+1} [B, H]."""
        inner = self.g(F.linear(x_l, self.V.flatten(0, 1))).view(-1, *self.V.shape[:2])
        inner = self.g(torch.einsum("ber,esr->bes", inner, self.C))
        gates = self._gates(x_l)
        # The gates act on the narrow side, so that all experts are one product and [B, E, H] is never formed.
        gated = (gates.unsqueeze(2) * inner).flatten(1)
        mixture = F.linear(gated, self.U.transpose(0, 1).flatten(1)) + gates.sum(1, keepdim=True) * self.bias
        return x_0 * mixture + x_l

    def _gates(self, x_l: Tensor) -> Tensor:
        if self.gate is None:
            return x_l.new_ones(x_l.shape[0], self.V.shape[0])
        return self.squash(self.gate(x_l))


class CrossNetMix(CrossStack):
    """L cross layers on x_0, [B, H] -> [B, H], each a mixture of low-rank experts."""

    def __init__(
        self, dim: int, num_layers: int, *, num_experts: int, rank: int, gate: Gate, nonlinearity: Nonlinearity
    ) -> None:
        super().__init__(
            CrossMixLayer(dim, num_experts=num_experts, rank=rank, gate=gate, nonlinearity=nonlinearity)
            for _ in range(num_layers)
        )
