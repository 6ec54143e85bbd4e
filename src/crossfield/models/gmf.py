"""Generalised matrix factorisation: He et al., "Neural Collaborative Filtering", WWW 2017, section 3.2.

https://arxiv.org/abs/1708.05031
"""

from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.embedding import FieldEmbedding, id_pair
from crossfield.layers.linear import Prediction
from crossfield.layers.pairs import dot_pairs, item_vectors, user_vectors
from crossfield.models.base import EmbeddingConfig, Model, Width
from crossfield.schema import ModelSchema


class GMFConfig(EmbeddingConfig):
    """Defaults of the NCF authors' code."""

    embedding_dim: Width = 8
    """Width D of the user's and the item's embedding, the paper's predictive factors: 8 to 64 (section 4.1)."""


class GMF(Model):
    """Matrix factorisation with a learned weight per factor: ŷ = hᵀ(p_u ⊙ q_i) + b (equation 9).

    Looks at the user and the item only. L2 on the embeddings alone is void here: h can take up their scale.
    """

    config_type = GMFConfig

    def __init__(self, schema: ModelSchema, config: GMFConfig) -> None:
        super().__init__(schema, config)
        self.embedding = FieldEmbedding(id_pair(schema), schema, config.embedding_dim, std=config.embedding_std)
        # PAPER: the bias is not in the formula but in the authors' code; they draw h LeCun-uniform.
        self.prediction = Prediction(config.embedding_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        p_u, q_i = self.embedding(batch).unbind(1)
        logits: Tensor = self.prediction(p_u * q_i)
        return logits

    def encode_users(self, users: Tensor) -> Tensor:
        """The user's vector weighted, h ⊙ p_u, [U] -> [U, D]."""
        return self.prediction.weight * user_vectors(self.embedding, users)

    def encode_items(self, items: Tensor) -> Tensor:
        """q_i, [I] -> [I, D]."""
        return item_vectors(self.embedding, items)

    def join_sides(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits [U, I] float32."""
        return dot_pairs(users, items) + self.prediction.bias
