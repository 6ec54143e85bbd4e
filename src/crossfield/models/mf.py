"""Matrix factorisation with biases, as in Rendle, Krichene, Zhang, Anderson, "Neural CF vs. MF Revisited", RecSys 2020.

https://arxiv.org/abs/2005.09683
"""

import torch
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.layers.embedding import FieldEmbedding, id_pair
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
