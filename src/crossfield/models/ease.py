"""EASE^R: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.

https://arxiv.org/abs/1905.03375
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.errors import ConfigError, SchemaError
from crossfield.layers.sparse_rows import SparseRows, entries_of_product, rows_of_product
from crossfield.models.base import Interactions, ModelConfig, Solved
from crossfield.schema import ModelSchema


class EASEConfig(ModelConfig):
    """What EASE can be told."""

    l2: float = Field(500.0, gt=0)
    """λ: what the squares of the weights weigh, the more the denser the data: 1000 suits MovieLens-1M, 100 Gowalla."""
    max_items: int = Field(50_000, ge=1)
    """More items than these are refused: weights and memory grow with their square, 50,000 take 10 GB."""


class EASE(Solved):
    """An autoencoder without a hidden layer, where no item may explain itself: ŷ(u, i) = X_u B_i, diag(B) = 0.

    min_B |X - X B|² + λ |B|² with diag(B) = 0 has the solution B_ij = -P_ij / P_jj for i ≠ j, P = (XᵀX + λ 1)⁻¹.

    X_ui is 1 where u chose i, else 0; with weights the mean weight of the pair's rows. Looks at who chose what only: of
    rows with labels at the positive ones. An item that nobody chose scores 0. Scores rank; they are no log odds. Each
    costs a multiplication and an addition for every item that its user chose.
    """

    config_type = EASEConfig
    B: Tensor
    mean_scores: Tensor

    def __init__(self, schema: ModelSchema, config: EASEConfig) -> None:
        super().__init__(schema, config)
        self.user, self.item = schema.position("user"), schema.position("item")
        num_users, num_items = (schema.categorical[one].num_rows for one in (self.user, self.item))
        if num_items > config.max_items:
            raise SchemaError(
                f"{num_items:,} items make {num_items**2:,} weights, {4e-9 * num_items**2:.0f} GB: raise "
                f"model.max_items where that fits, or encoder.features.{schema.item}.min_count"
            )
        self.X = SparseRows(num_users, num_items)
        self.register_buffer("B", nn.init.zeros_(torch.empty(num_items, num_items)))
        self.register_buffer("mean_scores", torch.zeros(num_items))

    @torch.no_grad()
    def solve(self, interactions: Interactions) -> None:
        """Invert XᵀX + λ 1 where B will stand: nothing else of its size is allocated."""
        S = interactions.to(self.B.device).choices()
        self.X.fill(S.users, S.items, S.weights)
        self.X.write_gram(self.B)
        self.B.diagonal().add_(self.config.l2)
        _invert(self.B)
        self.B.div_(-self.B.diagonal().clone()).diagonal().zero_()
        sums = torch.zeros_like(self.mean_scores).index_add_(0, S.items, S.weights)
        self.mean_scores.copy_(sums @ self.B / self.X.lengths.count_nonzero().clamp(min=1))

    def forward(self, batch: Batch) -> Tensor:
        """Scores [B, 1] float32."""
        users, items = batch.categorical[:, self.user], batch.categorical[:, self.item]
        # PAPER: whoever chose nothing, or is unknown, has the mean scores of all users instead of 0 for every item.
        scores = entries_of_product(self.X, self.B, users, items)
        return torch.where(self.X.lengths[users] > 0, scores, self.mean_scores[items]).unsqueeze(1)

    def score_rows(self, users: Tensor) -> Tensor:
        """Rows of X B, [U] -> [U, item ids]."""
        scores = rows_of_product(self.X, self.B, users)
        return torch.where(self.X.lengths[users, None] > 0, scores, self.mean_scores)


def _invert(matrix: Tensor) -> None:
    """Invert a symmetric positive definite matrix in its own memory; raises ConfigError where float32 is too coarse."""
    # LAPACK wants columns one after the other, as they stand in the transposed matrix: then it copies nothing.
    columns = matrix.t()
    failed = torch.zeros((), dtype=torch.int32, device=matrix.device)
    torch.linalg.cholesky_ex(columns, out=(columns, failed))
    if failed:
        raise ConfigError("XᵀX + λ 1 cannot be inverted in float32: raise model.l2")
    torch.cholesky_inverse(columns, out=columns)
