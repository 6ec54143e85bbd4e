"""The pairwise interaction of a factorisation machine."""

from torch import Tensor


def pairwise_sum(vectors: Tensor) -> Tensor:
    """Σ_{i<j} <v_i, v_j> over the fields, [B, M, D] -> [B, 1], in time linear in M.

    As ½ Σ_f [(Σ_i v_{i,f})² - Σ_i v_{i,f}²] (Rendle 2010, lemma 3.1); the values x_i are already in the vectors.
    """
    square_of_sum = vectors.sum(1).square()
    sum_of_squares = vectors.square().sum(1)
    return 0.5 * (square_of_sum - sum_of_squares).sum(1, keepdim=True)
