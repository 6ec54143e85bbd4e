"""The multi-layer perceptron that every deep part, tower, bottom and top is made of."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

from crossfield.layers.linear import Linear
from crossfield.layers.norm import BatchNorm

Activation = Literal["relu", "tanh", "sigmoid", "identity"]
ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


class MLP(nn.Sequential):
    """Hidden layers, [B, input_dim] -> [B, output_dim]: each Linear, batch norm, activation, dropout, in this order.

    Without hidden layers it is the identity. The prediction layer is the model's own. ``linear`` makes what stands in
    the place of Linear, of an input and an output width.
    """

    def __init__(
        self,
        input_dim: int,
        hidden: Sequence[int],
        *,
        batch_norm: bool = False,
        dropout: float = 0.0,
        activation: Activation = "relu",
        linear: Callable[[int, int], nn.Module] = Linear,
    ) -> None:
        super().__init__()
        self.output_dim = input_dim
        for width in hidden:
            self.append(linear(self.output_dim, width))
            if batch_norm:
                self.append(BatchNorm(width))
            self.append(ACTIVATIONS[activation]())
            if dropout:
                self.append(nn.Dropout(dropout))
            self.output_dim = width

    def forward(self, input: Tensor) -> Tensor:
        """[B, input_dim] -> [B, output_dim]."""
        for layer in self:
            input = layer(input)
        return input
