"""Batch normalisation that survives a batch of one row, or none, in training."""

from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm1d):
    """``nn.BatchNorm1d`` over [B, H]; a training batch of fewer than two rows is normalised by the running statistics.

    The last batch of an epoch, or one rank's share of it, may hold a single row. Its variance is undefined:
    torch raises there, and an empty batch would turn the running statistics into NaN.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[B, H] -> [B, H]."""
        if self.training and input.shape[0] < 2:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)
