"""EulerNet: Tian et al., "EulerNet: Adaptive Feature Interaction Learning via Euler's Formula for CTR ...", SIGIR 2023.

https://arxiv.org/abs/2304.10711
"""

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.layers.euler import EulerLayer
from crossfield.layers.features import FeatureVectors
from crossfield.layers.linear import Prediction
from crossfield.models.base import EmbeddingConfig, Model, Width
from crossfield.schema import ModelSchema


class EulerNetConfig(EmbeddingConfig):
    """What EulerNet can be told; the defaults are those of the authors' run on Frappe."""

    embedding_dim: int = Field(16, ge=2)
    """Width D of the embeddings; of a single number, normalisation would leave nothing."""
    orders: tuple[Width, ...] = Field((52,), min_length=1)
    """Order vectors K of each Euler layer, which are the complex vectors it gives out (the authors' shape)."""
    layer_norm: bool = True
    """Layer normalisation of the real and of the imaginary vectors after each layer."""
    explicit_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of logarithms and angles dropped before the order vectors."""
    implicit_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of numbers dropped before the linear map."""


class EulerNet(Model):
    """Products of fields to learned powers, in the complex plane: ŷ = wᵀ Re(o) + wᵀ Im(o) + b.

    Field j enters as μ_j (cos e_j + i sin e_j), of length μ_j and angle e_j, so that the product Π_j of powers α_j is
    exp(Σ_j α_j ln λ_j) at the angle Σ_j α_j θ_j: orders are learned, not set. Each layer adds ReLU(W r + b) to the real
    part and ReLU(W p + b) to the imaginary one (section 4.2).
    """

    config_type = EulerNetConfig

    def __init__(self, schema: ModelSchema, config: EulerNetConfig) -> None:
        super().__init__(schema, config)
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        num_vectors, width = self.vectors.num_vectors, config.embedding_dim
        self.mu = nn.Parameter(torch.ones(num_vectors, 1))
        self.layers = nn.ModuleList(
            EulerLayer(
                num_inputs,
                num_outputs,
                width,
                layer_norm=config.layer_norm,
                explicit_dropout=config.explicit_dropout,
                implicit_dropout=config.implicit_dropout,
            )
            for num_inputs, num_outputs in pairwise((num_vectors, *config.orders))
        )
        self.prediction = Prediction(config.orders[-1] * width, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        e = self.vectors(batch)
        r, p = self.mu * e.cos(), self.mu * e.sin()
        for layer in self.layers:
            r, p = layer(r, p)
        # PAPER: the authors' code maps both parts by the same w and b and so adds b twice; once is as much.
        logits: Tensor = self.prediction((r + p).flatten(1))
        return logits
