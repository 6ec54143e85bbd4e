"""Batch normalisation whose batch is spread over processes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from crossfield.distributed.team import Team
from crossfield.layers.norm import BatchNorm


class PooledNorm(BatchNorm):
    """Batch normalisation by the mean and the variance of everybody's rows; a layer becomes one by ``pool_norm``.

    ``torch.nn.SyncBatchNorm`` refuses CPUs and parts of a batch without rows.
    """

    team: Team

    def forward(self, input: Tensor) -> Tensor:
        """[B, H] or [B, H, L] -> the same; fewer than two rows in all are normalised by the running statistics."""
        if not self.training:
            return super().forward(input)
        [num_rows] = self.team.agree(len(input))
        if num_rows < 2:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        exact = input.to(torch.promote_types(input.dtype, torch.float32))
        dims, shape = [0, *range(2, input.dim())], (1, -1, *[1] * (input.dim() - 2))
        count = num_rows * input.shape[2:].numel()
        mean = self.team.pooled(exact.sum(dims)) / count
        centred = exact - mean.view(shape)
        variance = self.team.pooled(centred.square().sum(dims)) / count
        self._remember(mean.detach(), variance.detach() * (count / (count - 1)))
        normed = centred * ((variance + self.eps).rsqrt() * self.weight).view(shape) + self.bias.view(shape)
        return normed.to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None  # a layer of this house keeps all of them
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        self.num_batches_tracked += 1


def pool_norm(norm: BatchNorm, team: Team) -> None:
    """Let a layer normalise by the rows of a whole team; weights and running statistics stay."""
    norm.__class__ = PooledNorm
    assert isinstance(norm, PooledNorm)  # said to the type checker
    norm.team = team
