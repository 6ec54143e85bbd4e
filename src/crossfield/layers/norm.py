"""Normalisation that survives small batches (batch) and half precision (layer)."""

import torch
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


class LayerNorm(nn.LayerNorm):
    """γ ⊙ (x - μ) / σ + β over the last axis; γ and β get their whole gradient in half precision too.

    On a CPU ``nn.LayerNorm`` adds these gradients up in bf16: over 4,096 rows .4 of a sum was left, over 65,536 a
    twentieth.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[..., H] -> [..., H]; float32 from half precision."""
        if input.dtype not in (torch.bfloat16, torch.float16):
            return super().forward(input)
        return F.layer_norm(input, self.normalized_shape, eps=self.eps) * self.weight + self.bias
