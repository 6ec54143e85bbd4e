"""The compressed interaction network of xDeepFM: explicit crosses of whole vectors, one order more per layer."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from crossfield.eager import eager
from crossfield.errors import ConfigError
from crossfield.layers.mlp import ACTIVATIONS, Activation

BLOCK_ROWS = 512
"""Rows [B D] whose products lie in the cache together."""


def compress(x_k: Tensor, x_0: Tensor, weight: Tensor) -> Tensor:
    """Σ_i Σ_j W_ij^h x_k^i x_0^j: x_k [B, D, I], x_0 [B, D, J], W [J, I, H] -> [B, D, H], at least float32.

    Field by field, as Σ_j (x_k W_j) x_0^j, so that the [B, D, I, J] products of the formula are never formed.
    """
    total = x_k.new_zeros(*x_k.shape[:2], weight.shape[2], dtype=torch.promote_types(x_k.dtype, torch.float32))
    for j, matrix in enumerate(weight.unbind(0)):
        total.addcmul_(x_k @ matrix, x_0[..., j : j + 1])
    return total


class _Compress(torch.autograd.Function):
    """``compress`` with the products of some rows at a time, which the gradient forms again.

    PERF: 4096 rows, D = 16, J = 39, two layers of 64, one AVX-512 core, forward and backward: in bf16 1.05 s instead of
    1.50 field by field, in fp32 2.0 instead of 2.9. All products at once would be 0.7 GB (1.3 in fp32) per layer.
    Forward alone, 2048 rows, two cores, fp32: 100 ms instead of 159.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x_k: Tensor, x_0: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x_k, x_0, weight)
        out = x_k.new_empty(*x_k.shape[:2], weight.shape[2], dtype=torch.promote_types(x_k.dtype, torch.float32))
        matrix = weight.flatten(0, 1)
        for x_kb, x_0b, out_b in _blocks(x_k, x_0, out):
            out_b.copy_(_products(x_kb, x_0b).flatten(1) @ matrix)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_k, x_0, weight = ctx.saved_tensors  # type: ignore[attr-defined]  # torch does not type it
        to_x_k, to_x_0 = torch.empty_like(x_k), torch.empty_like(x_0)
        matrix = weight.flatten(0, 1)
        to_matrix = torch.zeros_like(matrix, dtype=gradient.dtype)
        for x_kb, x_0b, back, to_x_kb, to_x_0b in _blocks(x_k, x_0, gradient.to(x_k.dtype), to_x_k, to_x_0):
            to_matrix += _products(x_kb, x_0b).flatten(1).t() @ back
            to_products = (back @ matrix.t()).view(-1, *weight.shape[:2])
            to_x_0b.copy_((to_products @ x_kb.unsqueeze(2)).squeeze(2))
            to_x_kb.copy_((x_0b.unsqueeze(1) @ to_products).squeeze(1))
        return to_x_k, to_x_0, to_matrix.view_as(weight).to(weight.dtype)


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """[B, D, ...] each -> views of some rows [B D, ...] of all of them at a time."""
    return zip(*(torch.split(one.flatten(0, 1), BLOCK_ROWS) for one in tensors), strict=True)


def _products(x_k: Tensor, x_0: Tensor) -> Tensor:
    """x_0^j x_k^i, [n, I], [n, J] -> [n, J, I]."""
    return x_0.unsqueeze(2) * x_k.unsqueeze(1)


@eager
def _compress_blocks(x_k: Tensor, x_0: Tensor, weight: Tensor) -> Tensor:
    # Inside a compiled graph the loop over blocks would be unrolled.
    compressed: Tensor = _Compress.apply(x_k, x_0, weight)  # type: ignore[no-untyped-call]  # torch does not type it
    return compressed


class CINLayer(nn.Module):
    """X^k_h = Σ_i Σ_j W^{k,h}_ij (X^{k-1}_i ⊙ X^0_j), [B, D, I], [B, D, J] -> [B, D, H] (Lian et al. 2018, 3.1).

    I and J are the numbers of vectors that come in, H of those that go out. W starts Xavier-normal as a map of all
    I x J products, ``bias`` (not in the paper; one number per vector that goes out) at zero.
    """

    def __init__(self, num_in: int, num_fields: int, num_out: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_fields, num_in, num_out))
        self.bias = nn.Parameter(torch.zeros(num_out)) if bias else None
        nn.init.xavier_normal_(self.weight.view(num_fields * num_in, num_out))

    def forward(self, x_k: Tensor, x_0: Tensor) -> Tensor:
        """X^{k-1} [B, D, I], X^0 [B, D, J] -> X^k [B, D, H]; float32 sums of bf16 products under autocast."""
        given: tuple[Tensor, ...] = (x_k, x_0, self.weight)
        if torch.is_autocast_enabled(x_k.device.type):
            given = tuple(one.to(torch.get_autocast_dtype(x_k.device.type)) for one in given)
        is_run = (self.training and torch.is_grad_enabled()) or torch.is_inference_mode_enabled()
        compressed: Tensor = _compress_blocks(*given) if is_run else compress(*given)
        return compressed if self.bias is None else compressed + self.bias


class CIN(nn.Module):
    """CIN layers of ``widths`` vectors on M vectors, each vector summed over D: [B, M, D] -> [B, output_dim].

    Layer k holds crosses of order k + 1. With ``split_half`` (the authors' code, not the paper) the first half of a
    layer's vectors goes on to the next layer and the other half to the output; the last layer's all go to the output.
    Raises ConfigError where a width has no half.
    """

    def __init__(
        self,
        num_vectors: int,
        widths: Sequence[int],
        *,
        bias: bool = False,
        split_half: bool = False,
        activation: Activation = "identity",
    ) -> None:
        super().__init__()
        passed = [_half(width) for width in widths[:-1]] if split_half else widths[:-1]
        num_in = (num_vectors, *passed)
        self.layers = nn.ModuleList(
            CINLayer(num_in[k], num_vectors, width, bias=bias) for k, width in enumerate(widths)
        )
        self.activation = ACTIVATIONS[activation]()
        self.num_held_back = (*passed, 0) if split_half else (0,) * len(widths)
        self.output_dim = sum(widths) - sum(self.num_held_back)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> p⁺ [B, output_dim]."""
        x_0 = x_k = vectors.transpose(1, 2).contiguous()
        pooled = []
        for layer, num_held_back in zip(self.layers, self.num_held_back, strict=True):
            X = self.activation(layer(x_k, x_0))
            pooled.append(X[..., num_held_back:].sum(1))
            x_k = X[..., :num_held_back] if num_held_back else X
        return torch.cat(pooled, 1)


def _half(width: int) -> int:
    if width % 2:
        raise ConfigError(
            f"split in half, a CIN layer of {width} vectors leaves {width / 2} for the next; make it even"
        )
    return width // 2
