"""Activations in the number format of autocast, where a layer would else change formats in every operation."""

import torch
from torch import Tensor


def in_autocast_format(x: Tensor) -> Tensor:
    """Numbers in the format that autocast gives to products of matrices, bf16; as they are without it, or in float64.

    For stretches in which products alternate with additions: else each product makes a copy in bf16 and each sum of a
    bf16 and an fp32 tensor one in fp32.
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype == torch.float32:
        return x.to(torch.get_autocast_dtype(kind))
    return x
