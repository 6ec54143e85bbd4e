"""Cross layers with a gate that says, number by number, how much of each cross goes on."""

from torch import Tensor, nn

from crossfield.layers.cross import CrossStack
from crossfield.layers.linear import Linear


class GatedCrossLayer(nn.Module):
    """c_{l+1} = c_0 ⊙ (W_c c_l + b) ⊙ σ(W_g c_l) + c_l, [B, H] -> [B, H] (Wang et al. 2023, equation 1).

    W_c and W_g start Xavier-normal, b at zero.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # PAPER: the authors' code starts b from U(0, 1); the paper says nothing, and a cross layer's b starts at zero.
        self.W_c, self.W_g = Linear(dim, dim), Linear(dim, dim, bias=False)

    def forward(self, c_0: Tensor, c_l: Tensor) -> Tensor:
        """c_0 [B, H], c_l [B, H] -> c_{l+1} [B, H]."""
        crossed: Tensor = c_0 * self.W_c(c_l) * self.W_g(c_l).sigmoid() + c_l
        return crossed


class GatedCrossNet(CrossStack):
    """L gated cross layers on c_0, [B, H] -> [B, H]: the network "GCN" of the paper."""

    def __init__(self, dim: int, num_layers: int) -> None:
        super().__init__(GatedCrossLayer(dim) for _ in range(num_layers))
