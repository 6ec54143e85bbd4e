"""DLRM: Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019.

https://arxiv.org/abs/1906.00091
"""

from functools import partial

import torch
from torch import Tensor

from crossfield.batch import Batch
from crossfield.errors import SchemaError
from crossfield.layers.dot import DotInteraction
from crossfield.layers.embedding import FieldEmbedding
from crossfield.layers.linear import Prediction
from crossfield.layers.mlp import MLP
from crossfield.models.base import HiddenConfig, Model, Width
from crossfield.schema import ModelSchema


class DLRMConfig(HiddenConfig):
    """Defaults of the authors' Criteo Kaggle script; batch norm and dropout are not in the paper."""

    bottom: tuple[Width, ...] = (512, 256, 64)
    """Widths of the bottom MLP's hidden layers; one of width embedding_dim follows. No dense features: no bottom."""
    top: tuple[Width, ...] = (512, 256)
    """Widths of the top MLP's hidden layers; () puts a linear map on the dot products alone."""
    interaction_itself: bool = False
    """Whether the dot product of each vector with itself counts as well (the authors' arch_interaction_itself)."""


class DLRM(Model):
    """Dot products of all pairs, then an MLP: ŷ = wᵀ MLP_top([z_0 ; <z_i, z_j> for i > j]) + b, z_0 = MLP_bottom(x).

    x are the dense features, z_1, z_2, ... the embedded fields, multi-valued ones summed (section 2.1). Without dense
    features there is no z_0. Needs dense features or two embedded fields.
    """

    config_type = DLRMConfig

    def __init__(self, schema: ModelSchema, config: DLRMConfig) -> None:
        super().__init__(schema, config)
        mlp = partial(MLP, batch_norm=config.batch_norm, dropout=config.dropout)
        embedding_dim, num_dense = config.embedding_dim, len(schema.dense)
        # PAPER: embeddings start from N(0, embedding_std²), not from the code's U(±1/sqrt(rows)), and biases at zero,
        # not from N(0, 1/width): one rule for the whole catalogue.
        self.embedding = self.bottom = None
        if schema.embedded:
            self.embedding = FieldEmbedding(
                schema.embedded, schema, embedding_dim, std=config.embedding_std, pooling="sum"
            )
        if num_dense:
            self.bottom = mlp(num_dense, (*config.bottom, embedding_dim))
        self.dots = DotInteraction(len(schema.embedded) + bool(num_dense), itself=config.interaction_itself)
        top_dim = self.dots.output_dim + (embedding_dim if num_dense else 0)
        if not top_dim:
            raise SchemaError("dlrm needs dense features or two embedded fields to have a dot product; use dnn")
        self.top = mlp(top_dim, config.top)
        self.prediction = Prediction(self.top.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        z_0 = [] if self.bottom is None else [self.bottom(batch.dense)]
        vectors = [one.unsqueeze(1) for one in z_0]
        if self.embedding is not None:
            vectors.append(self.embedding(batch))
        interactions = self.dots(torch.cat(vectors, 1))
        logits: Tensor = self.prediction(self.top(torch.cat([*z_0, interactions], 1)))
        return logits
