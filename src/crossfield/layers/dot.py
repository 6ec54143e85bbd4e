"""DLRM's interaction: the dot products of all pairs of vectors."""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from crossfield.layers.precision import in_autocast_format


class DotInteraction(nn.Module):
    """<z_i, z_j> for every pair i > j (i >= j with ``itself``) of M vectors, [B, M, D] -> [B, num_pairs].

    The strictly lower triangle of Z Zᵀ, row by row (Naumov et al. 2019, section 2.2).
    """

    pairs: Tensor
    places: Tensor

    def __init__(self, num_vectors: int, *, itself: bool = False) -> None:
        super().__init__()
        left, right = torch.tril_indices(num_vectors, num_vectors, 0 if itself else -1)
        self.output_dim = left.shape[0]
        places = torch.full((num_vectors, num_vectors), self.output_dim)
        places[left, right] = places[right, left] = torch.arange(self.output_dim)
        self.register_buffer("pairs", left * num_vectors + right, persistent=False)
        self.register_buffer("places", places.flatten(), persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, num_pairs]."""
        if torch.is_grad_enabled() and vectors.requires_grad:
            products: Tensor = _PairProducts.apply(  # type: ignore[no-untyped-call]  # torch does not type it
                in_autocast_format(vectors), self.pairs, self.places
            )
            return products
        return _pair_products(vectors, self.pairs)


def _pair_products(vectors: Tensor, pairs: Tensor) -> Tensor:
    products = vectors @ vectors.transpose(1, 2)
    # PERF: choosing columns of 4096 x 729 takes 3.5 ms in bf16 and 0.6 in fp32.
    return products.to(torch.promote_types(products.dtype, torch.float32)).flatten(1).index_select(1, pairs)


class _PairProducts(torch.autograd.Function):
    """Products of pairs, with a gradient in one product: ∂/∂Z = (G + Gᵀ) Z, where G is that of the lower triangle.

    PERF: DLRM with 27 vectors of 16, batches of 4096, two cores: 60 ms a step, so 56.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, vectors: Tensor, pairs: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(vectors, places)
        return _pair_products(vectors, pairs)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        vectors, places = ctx.saved_tensors  # type: ignore[attr-defined]  # torch does not type it
        num_vectors = vectors.shape[1]
        # A zero behind the pairs serves the places that have none.
        both = F.pad(gradient, (0, 1)).index_select(1, places).view(-1, num_vectors, num_vectors)
        both.diagonal(dim1=1, dim2=2).mul_(2)
        return both.to(vectors.dtype) @ vectors, None, None
