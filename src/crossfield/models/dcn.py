"""Deep & Cross Network: Wang, Fu, Fu, Wang, "Deep & Cross Network for Ad Click Predictions", ADKDD 2017.

https://arxiv.org/abs/1708.05123
"""

import torch
from pydantic import Field
from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.cross import CrossNet
from crossfield.layers.features import DenseAs, FlatFeatures
from crossfield.layers.linear import Prediction
from crossfield.layers.mlp import MLP
from crossfield.models.base import DeepConfig, Model, Width
from crossfield.schema import ModelSchema


class DCNConfig(DeepConfig):
    """What DCN can be told; the paper's best is 6 cross layers beside 1024-1024 with batch norm (section 4)."""

    num_cross_layers: int = Field(3, ge=1)
    """Cross layers; L of them reach polynomials of degree L + 1 (section 3.1)."""
    deep: tuple[Width, ...] = (400, 400, 400)
    """Widths of the deep part's hidden layers; () leaves the cross network alone ("CrossNet only")."""
    dense_as: DenseAs = "value"
    """Dense features as they are, or as value times vector (FuxiCTR and the published CTR tables)."""


class DCN(Model):
    """A cross network beside an MLP, both on x_0: ŷ = w_logitᵀ[x_L1 ; h_L2] + b (section 2.4).

    x_{l+1} = x_0 x_lᵀ w_l + b_l + x_l crosses, h_{l+1} = ReLU(W_l h_l + b_l) is deep (sections 2.2 and 2.3).
    """

    config_type = DCNConfig

    def __init__(self, schema: ModelSchema, config: DCNConfig) -> None:
        super().__init__(schema, config)
        # PAPER: one width for all fields; the paper's is 6 (cardinality)^(1/4), a width per field.
        self.features = FlatFeatures(schema, config.embedding_dim, dense_as=config.dense_as, std=config.embedding_std)
        x_dim = self.features.output_dim
        self.cross = CrossNet(x_dim, config.num_cross_layers)
        self.deep = None
        if config.deep:
            self.deep = MLP(x_dim, config.deep, batch_norm=config.batch_norm, dropout=config.dropout)
        self.prediction = Prediction(x_dim + (self.deep.output_dim if self.deep else 0), 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        x_0 = self.features(batch)
        x_L1 = self.cross(x_0)
        logits: Tensor = self.prediction(x_L1 if self.deep is None else torch.cat([x_L1, self.deep(x_0)], 1))
        return logits
