"""A linear map over the axis of fields: every vector that comes out is a mix of those that went in."""

from torch import Tensor

from crossfield.layers.linear import Linear


class FieldMap(Linear):
    """u_j = Σ_i W_{j,i} x_i, [B, M, D] -> [B, M', D]: all D components are mixed alike, none with another.

    W [M', M] starts Xavier-normal; there is no bias.
    """

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__(num_inputs, num_outputs, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """[B, M, D] -> [B, M', D]."""
        return super().forward(input.transpose(1, 2)).transpose(1, 2)
