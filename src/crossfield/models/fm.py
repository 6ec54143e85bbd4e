"""Factorisation machine of second order: Rendle, "Factorization Machines", ICDM 2010.

https://doi.org/10.1109/ICDM.2010.127
"""

from torch import Tensor

from crossfield.batch import Batch
from crossfield.errors import SchemaError
from crossfield.layers.features import FeatureVectors
from crossfield.layers.fm import pairwise_sum
from crossfield.layers.linear import FirstOrder
from crossfield.models.base import EmbeddingConfig, Model
from crossfield.schema import ModelSchema


class FMConfig(EmbeddingConfig):
    """What a factorisation machine can be told; embedding_dim is the paper's k, embedding_std libFM's stdev."""


class FM(Model):
    """A weight per feature and a dot product per pair: ŷ = w_0 + Σ_i w_i x_i + Σ_{i<j} <v_i, v_j> x_i x_j (equation 1).

    Needs two embedded fields (dense features count), else there is no pair.
    """

    config_type = FMConfig

    def __init__(self, schema: ModelSchema, config: FMConfig) -> None:
        super().__init__(schema, config)
        # PAPER: a multi-valued field enters with x_i = 1 / L per id, as the paper's sets do, and as one field: pairs
        # of ids inside it are left out, because they would make a row's score depend on how many ids it lists.
        self.linear = FirstOrder(schema, bias=True, pooling="mean")
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        if self.vectors.num_vectors < 2:
            raise SchemaError("fm crosses pairs of fields and the schema has one; use logistic_regression")

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        found = self.vectors.find(batch)
        logits: Tensor = self.linear(batch, found) + pairwise_sum(self.vectors(batch, found))
        return logits

    def field_sums(self, batch: Batch) -> Tensor:
        """Σ_i v_i x_i, [B, D] float32."""
        sums: Tensor = self.vectors(batch).sum(1)
        return sums
