"""DeepFM: Guo, Tang, Ye, Li, He, "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017.

https://arxiv.org/abs/1703.04247
"""

from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.features import FeatureVectors
from crossfield.layers.fm import pairwise_sum
from crossfield.layers.linear import FirstOrder, Prediction
from crossfield.layers.mlp import FieldMLP
from crossfield.models.base import DeepConfig, Model
from crossfield.schema import ModelSchema


class DeepFMConfig(DeepConfig):
    """What DeepFM can be told; the paper's embeddings are 10 wide and its "dropout" of .5 is the share kept (3.1)."""


class DeepFM(Model):
    """A factorisation machine and an MLP on the same vectors: ŷ = y_FM + y_DNN (equation 1).

    y_FM = <w, x> + Σ_{i<j} <V_i, V_j> x_i x_j (equation 2), y_DNN = w_outᵀ MLP([V_1 x_1 ; V_2 x_2 ; ...]) + b.
    """

    config_type = DeepFMConfig

    def __init__(self, schema: ModelSchema, config: DeepFMConfig) -> None:
        super().__init__(schema, config)
        # PAPER: a multi-valued field is one field, the mean of its ids' weights and vectors; the paper has none.
        self.linear = FirstOrder(schema, bias=False, pooling="mean")
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        self.deep = FieldMLP(
            self.vectors.num_vectors * config.embedding_dim,
            config.deep,
            batch_norm=config.batch_norm,
            dropout=config.dropout,
        )
        self.prediction = Prediction(self.deep.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        found = self.vectors.find(batch)
        V, x, V_x = self.vectors.parts(batch, found)
        y_fm = self.linear(batch, found) + pairwise_sum(V, x, V_x)
        y_dnn = self.prediction(self.deep(V.flatten(1), x, V_x))
        logits: Tensor = y_fm + y_dnn
        return logits
