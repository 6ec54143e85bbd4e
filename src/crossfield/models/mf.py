"""Matrix factorisation with biases, as in Rendle, Krichene, Zhang, Anderson, "Neural CF vs. MF Revisited", RecSys 2020.

https://arxiv.org/abs/2005.09683
"""

import torch
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.layers.embedding import FieldEmbedding, id_pair
from crossfield.layers.pairs import dot_pairs, item_vectors, user_vectors
from crossfield.models.base import EmbeddingConfig, Model
from crossfield.schema import ModelSchema


class MFConfig(EmbeddingConfig):
    """What matrix factorisation can be told."""


class MF(Model):
    """A dot product of user and item and their biases: ŷ = b + b_u + b_i + <p_u, q_i>.

    The form of Koren, Bell and Volinsky (IEEE Computer 42(8), 2009), which beats neural models when tuned.
    Looks at the user and the item only. The biases start at zero.
    """

    config_type = MFConfig

    def __init__(self, schema: ModelSchema, config: MFConfig) -> None:
        super().__init__(schema, config)
        pair = id_pair(schema)
        self.embedding = FieldEmbedding(pair, schema, config.embedding_dim, std=config.embedding_std)
        self.biases = FieldEmbedding(pair, schema, 1, std=0.0)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        p_u, q_i = self.embedding(batch).unbind(1)
        b_u, b_i = self.biases(batch).unbind(1)
        logits: Tensor = self.bias + b_u + b_i + (p_u * q_i).sum(1, keepdim=True)
        return logits

    def encode_users(self, users: Tensor) -> Tensor:
        """[p_u ; b + b_u ; 1], [U] -> [U, D + 2]: with the items' vectors the logit is a dot product."""
        p_u, b_u = (user_vectors(one, users) for one in (self.embedding, self.biases))
        return torch.cat([p_u, self.bias + b_u, torch.ones_like(b_u)], 1)

    def encode_items(self, items: Tensor) -> Tensor:
        """[q_i ; 1 ; b_i], [I] -> [I, D + 2]."""
        q_i, b_i = (item_vectors(one, items) for one in (self.embedding, self.biases))
        return torch.cat([q_i, torch.ones_like(b_i), b_i], 1)

    def join_sides(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits [U, I] float32."""
        return dot_pairs(users, items)
