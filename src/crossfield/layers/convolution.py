"""Convolution over the map that the fields' vectors make when they lie one above the other."""

from torch import Tensor, nn


class FieldConvolution(nn.Module):
    """C kernels of k x k over the M x D map of the vectors, each map of its own: [B, M, D] -> [B, C M, D].

    Zeros around the map keep its size, so k is odd. The kernels start Xavier-normal, the biases at zero.
    """

    def __init__(self, num_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, num_channels, kernel_size, padding=kernel_size // 2)
        nn.init.xavier_normal_(self.convolution.weight)
        if self.convolution.bias is not None:
            nn.init.zeros_(self.convolution.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, C M, D], the M vectors of the first kernel first."""
        maps: Tensor = self.convolution(vectors.unsqueeze(1))
        return maps.flatten(1, 2)
