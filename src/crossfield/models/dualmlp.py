"""DualMLP, the baseline in: Mao et al., "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction", AAAI 2023.

https://arxiv.org/abs/2304.00902
"""

from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.features import FeatureVectors
from crossfield.layers.linear import Prediction
from crossfield.layers.mlp import MLP
from crossfield.models.base import Model, TwoStreamConfig
from crossfield.schema import ModelSchema


class DualMLPConfig(TwoStreamConfig):
    """What DualMLP can be told: two MLPs, and nothing else."""


class DualMLP(Model):
    """The sum of two MLPs on the same features: ŷ = w_1ᵀ MLP_1(e) + b_1 + w_2ᵀ MLP_2(e) + b_2.

    e are all vectors side by side. FinalMLP without gates and without the product of its streams.
    """

    config_type = DualMLPConfig

    def __init__(self, schema: ModelSchema, config: DualMLPConfig) -> None:
        super().__init__(schema, config)
        # PAPER: dense features are value times vector, as in the authors' code of FinalMLP.
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        e_dim = self.vectors.num_vectors * config.embedding_dim
        dropout_1, dropout_2 = config.dropouts
        self.mlp_1 = MLP(e_dim, config.deep_1, batch_norm=config.batch_norm, dropout=dropout_1)
        self.mlp_2 = MLP(e_dim, config.deep_2, batch_norm=config.batch_norm, dropout=dropout_2)
        self.prediction_1 = Prediction(self.mlp_1.output_dim, 1)
        self.prediction_2 = Prediction(self.mlp_2.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        e = self.vectors(batch).flatten(1)
        logits: Tensor = self.prediction_1(self.mlp_1(e)) + self.prediction_2(self.mlp_2(e))
        return logits
