"""Gates chosen by a context: how much each number of a flat vector counts, as FinalMLP's feature selection."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.layers.embedding import FieldEmbedding
from crossfield.layers.linear import Linear
from crossfield.layers.mlp import MLP
from crossfield.schema import Field, ModelSchema


class ContextGate(nn.Module):
    """2 σ(MLP(c)), one gate in 0..2 for each of H numbers; all of them are near 1 at the start.

    c are the vectors of the ``context`` fields, from tables of their own, side by side; without fields a learned
    vector, and so the same gates for every row.
    """

    def __init__(
        self,
        context: Sequence[Field],
        schema: ModelSchema,
        output_dim: int,
        *,
        dim: int,
        hidden: Sequence[int],
        std: float = 0.01,
    ) -> None:
        super().__init__()
        self.context = FieldEmbedding(context, schema, dim, std=std) if context else None
        self.constant = None if context else nn.Parameter(torch.empty(1, dim))
        if self.constant is not None:
            # PAPER: the learned vector starts at random, not at zero as in the authors' code: behind a ReLU, zero
            # biases and a zero input let no gradient reach anything but the last bias, in all of training.
            nn.init.normal_(self.constant, std=std)
        self.mlp = MLP(dim * max(len(context), 1), hidden)
        self.linear = Linear(self.mlp.output_dim, output_dim)

    def forward(self, batch: Batch) -> Tensor:
        """Gates [B, H], or [1, H] where they are the same for every row."""
        c = self.constant if self.context is None else self.context(batch).flatten(1)
        gates: Tensor = 2 * torch.sigmoid(self.linear(self.mlp(c)))
        return gates
