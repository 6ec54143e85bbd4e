"""Products of powers of complex vectors, computed by Euler's formula as sums of logarithms and angles."""

import torch
from torch import Tensor, nn

from crossfield.layers.dropout import Dropout
from crossfield.layers.linear import Linear
from crossfield.layers.norm import LayerNorm

SMALLEST_SQUARE = 1e-8
"""Added to r² + p², so that a vector of length zero has a logarithm."""


class EulerLayer(nn.Module):
    """M complex vectors r_j + i p_j -> K: o_k = (r'_k + λ_k cos θ_k) + i (p'_k + λ_k sin θ_k) (Tian et al. 2023, 4.2).

    Explicit: λ_k = exp(Σ_j α_{j,k} ln |r_j + i p_j| + δ_k) and θ_k = Σ_j α_{j,k} arg(r_j + i p_j) + δ'_k, which is the
    product of the vectors to the powers α. Implicit: r' = ReLU(W r + b), p' = ReLU(W p + b) on all M D numbers, with
    the same W and b. α [M, K] starts at the identity where M = K, else with each output on one input drawn at random;
    δ and δ' [K, D] start from N(0, .01²), W Xavier-normal. ``layer_norm`` normalises the real and imaginary vectors.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        dim: int,
        *,
        layer_norm: bool = False,
        explicit_dropout: float = 0.0,
        implicit_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.alpha = nn.Parameter(_first_orders(num_inputs, num_outputs))
        self.delta = nn.Parameter(0.01 * torch.randn(num_outputs, dim))
        self.delta_theta = nn.Parameter(0.01 * torch.randn(num_outputs, dim))
        self.W = Linear(num_inputs * dim, num_outputs * dim)
        self.norm_r, self.norm_p = (LayerNorm(dim) if layer_norm else nn.Identity() for _ in range(2))
        self.drop_explicit, self.drop_implicit = Dropout(explicit_dropout), Dropout(implicit_dropout)

    def forward(self, r: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts r, p [B, M, D] -> [B, K, D] each."""
        # An angle jumps by 2π where a vector crosses the negative real axis, and its powers jump with it: rounded to
        # bf16, a vector can land on the other side. So autocast ends here.
        with torch.autocast(r.device.type, enabled=False):
            return self._interact(r, p)

    def _interact(self, r: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        log_lambda = 0.5 * (r.square() + p.square() + SMALLEST_SQUARE).log()
        lambda_k = (self._orders(log_lambda) + self.delta).exp()
        theta_k = self._orders(torch.atan2(p, r)) + self.delta_theta
        o_r = self._implicit(r) + lambda_k * theta_k.cos()
        o_p = self._implicit(p) + lambda_k * theta_k.sin()
        return self.norm_r(o_r), self.norm_p(o_p)

    def _orders(self, terms: Tensor) -> Tensor:
        """Σ_j α_{j,k} terms_j, [B, M, D] -> [B, K, D]."""
        kept: Tensor = self.drop_explicit(terms)
        return self.alpha.t() @ kept

    def _implicit(self, part: Tensor) -> Tensor:
        """ReLU(W part + b), [B, M, D] -> [B, K, D]."""
        mapped: Tensor = self.W(self.drop_implicit(part.flatten(1)))
        return torch.unflatten(mapped.relu(), 1, self.delta.shape)


def _first_orders(num_inputs: int, num_outputs: int) -> Tensor:
    # The authors' start, on which they say much depends: sums of few inputs, not noise on all of them.
    if num_inputs == num_outputs:
        return torch.eye(num_inputs)
    return (torch.randn(num_inputs, num_outputs) / 0.01).softmax(0)
