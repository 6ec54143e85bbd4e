"""A plain deep network: Covington, Adams, Sargin, "Deep Neural Networks for YouTube", RecSys 2016, section 4.

https://doi.org/10.1145/2959100.2959190
"""

from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.features import DenseAs, FlatFeatures
from crossfield.layers.linear import Prediction
from crossfield.layers.mlp import MLP
from crossfield.models.base import DeepConfig, Model
from crossfield.schema import ModelSchema


class DNNConfig(DeepConfig):
    """What the plain network can be told; the paper's is 1024-512-256 (section 4.3)."""

    dense_as: DenseAs = "value"
    """Dense features as they are, or as value times vector (FuxiCTR and the published CTR tables)."""


class DNN(Model):
    """The features side by side into an MLP: ŷ = wᵀ MLP(x_0) + b.

    Multi-valued fields are averaged, as the paper averages watches and searches.
    """

    config_type = DNNConfig

    def __init__(self, schema: ModelSchema, config: DNNConfig) -> None:
        super().__init__(schema, config)
        self.features = FlatFeatures(schema, config.embedding_dim, dense_as=config.dense_as, std=config.embedding_std)
        # PAPER: dense features enter once; the paper also feeds their square and square root.
        self.deep = MLP(self.features.output_dim, config.deep, batch_norm=config.batch_norm, dropout=config.dropout)
        self.prediction = Prediction(self.deep.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        logits: Tensor = self.prediction(self.deep(self.features(batch)))
        return logits
