"""The cross of a list of vectors with itself, without DCN's residual: for layers that have a shortcut of their own."""

from torch import Tensor, nn

from crossfield.layers.dot import DotInteraction
from crossfield.layers.field_map import FieldMap
from crossfield.layers.linear import Linear


class FlatCross(nn.Module):
    """x ⊙ (W x + b) with x the M vectors side by side, [B, M, D] -> [B, M', D].

    DCN-V2's cross of x with itself (Wang et al. 2021, equation 1) without "+ x": every component meets every other.
    Where M' is not M, a linear map over the fields follows. W starts Xavier-normal, b at zero.
    """

    def __init__(self, num_inputs: int, num_outputs: int, dim: int) -> None:
        super().__init__()
        self.weights = Linear(num_inputs * dim, num_inputs * dim)
        self.map = nn.Identity() if num_inputs == num_outputs else FieldMap(num_inputs, num_outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, M', D]."""
        x = vectors.flatten(1)
        crossed: Tensor = self.map((x * self.weights(x)).view_as(vectors))
        return crossed


class GramCross(nn.Module):
    """W g + b with g the entries of X Xᵀ, every dot product <x_i, x_j> for i >= j once, [B, M, D] -> [B, M', D].

    W starts Xavier-normal, b at zero.
    """

    def __init__(self, num_inputs: int, num_outputs: int, dim: int) -> None:
        super().__init__()
        self.products = DotInteraction(num_inputs, itself=True)
        self.weights = Linear(self.products.output_dim, num_outputs * dim)
        self.to_vectors = nn.Unflatten(1, (num_outputs, dim))

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, M', D]."""
        crossed: Tensor = self.to_vectors(self.weights(self.products(vectors)))
        return crossed
