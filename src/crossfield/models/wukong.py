"""Wukong: Zhang et al., "Wukong: Towards a Scaling Law for Large-Scale Recommendation", ICML 2024.

https://arxiv.org/abs/2403.02545
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.errors import SchemaError
from crossfield.layers.embedding import FieldEmbedding
from crossfield.layers.linear import Linear, Prediction
from crossfield.layers.mlp import MLP
from crossfield.layers.stacked_fm import WukongLayer
from crossfield.models.base import DeepConfig, Model, Width
from crossfield.schema import ModelSchema


class WukongConfig(DeepConfig):
    """What Wukong can be told; the defaults are small ones of the paper's search on Criteo (appendix A)."""

    embedding_dim: int = Field(16, ge=2)
    """Width d of all vectors; of a single number, normalisation would leave nothing. The paper has 128 on Criteo."""
    bottom: tuple[Width, ...] = (512, 256)
    """Widths of the hidden layers that turn the dense features into one vector (section 3.2)."""
    num_layers: Width = 3
    """Layers l of the stack; layer i holds interactions of orders 1 to 2^i (section 3.3)."""
    num_fm_vectors: Width = 16
    """Vectors n_F that each layer's factorisation machine block gives out."""
    num_linear_vectors: Width = 16
    """Vectors n_L that each layer's linear compression gives out."""
    fm_rank: Width = 24
    """Columns k of Y in the optimised factorisation machine X Xᵀ Y (section 3.6)."""
    fm_hidden: tuple[Width, ...] = (512,)
    """Widths of the hidden layers in each factorisation machine block, which are without batch norm (section 3.4)."""


class Wukong(Model):
    """Factorisation machines stacked, so that orders double with every layer: ŷ = wᵀ MLP(flatten(X_l)) + b.

    X_{i+1} = LN([FMB(X_i) ; LCB(X_i)] + X_i), FMB(X) = reshape(MLP(LN(flatten(X Xᵀ Y)))), LCB(X) = W_L X (sections 3.3
    to 3.6). X_0 are the embedded fields, multi-valued ones summed, and a vector made of the dense features by an MLP.
    """

    config_type = WukongConfig

    def __init__(self, schema: ModelSchema, config: WukongConfig) -> None:
        super().__init__(schema, config)
        dim, num_fields, num_dense = config.embedding_dim, len(schema.embedded), len(schema.dense)
        num_vectors = num_fields + bool(num_dense)
        if not num_vectors:
            raise SchemaError("no feature to embed; give one dense or id column, or mark a cross embed=true")
        # PAPER: one vector per field; the paper gives several to a feature deemed important, and lets unimportant
        # ones share one, without a rule for either. All dense features share one, as in DLRM.
        self.embedding = self.bottom = None
        if num_fields:
            self.embedding = FieldEmbedding(schema.embedded, schema, dim, std=config.embedding_std, pooling="sum")
        if num_dense:
            mlp = MLP(num_dense, config.bottom, batch_norm=config.batch_norm, dropout=config.dropout)
            self.bottom = nn.Sequential(mlp, Linear(mlp.output_dim, dim))
        self.stack = nn.Sequential()
        for _ in range(config.num_layers):
            layer = WukongLayer(
                num_vectors,
                dim,
                num_fm=config.num_fm_vectors,
                num_linear=config.num_linear_vectors,
                rank=config.fm_rank,
                hidden=config.fm_hidden,
                dropout=config.dropout,
            )
            self.stack.append(layer)
            num_vectors = layer.num_outputs
        self.deep = MLP(num_vectors * dim, config.deep, batch_norm=config.batch_norm, dropout=config.dropout)
        self.prediction = Prediction(self.deep.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        X_0 = [] if self.embedding is None else [self.embedding(batch)]
        if self.bottom is not None:
            X_0.append(self.bottom(batch.dense).unsqueeze(1))
        X_l = self.stack(torch.cat(X_0, 1))
        logits: Tensor = self.prediction(self.deep(X_l.flatten(1)))
        return logits
