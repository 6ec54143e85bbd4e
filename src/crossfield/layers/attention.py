"""A Transformer encoder layer over the axis of fields: every field's vector looks at all the others."""

import math

from torch import Tensor, nn

from crossfield.layers.dropout import Dropout
from crossfield.layers.linear import Linear
from crossfield.layers.norm import LayerNorm


class SelfAttention(nn.Module):
    """Heads of softmax(Q Kᵀ / sqrt(D / h)) V side by side, times W_O, [B, M, D] -> [B, M, D].

    Q, K, V = X W_Q, X W_K, X W_V, without biases; each head h has D / h of their columns, so ``num_heads`` divides
    ``dim`` (Vaswani et al. 2017, section 3.2). Each matrix starts Xavier-normal by itself.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.head_shape = (num_heads, dim // num_heads)
        self.query, self.key, self.value, self.output = (Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, M, D]."""
        q, k, v = (self._heads(one(vectors)) for one in (self.query, self.key, self.value))
        weights = (q @ k.transpose(2, 3) / math.sqrt(self.head_shape[1])).softmax(3)
        mixed: Tensor = self.output((weights @ v).transpose(1, 2).flatten(2))
        return mixed

    def _heads(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, heads, M, D / heads]."""
        return vectors.view(*vectors.shape[:2], *self.head_shape).transpose(1, 2)


class EncoderLayer(nn.Module):
    """Y = LN(X + Attention(X)), then LN(Y + FFN(Y)), FFN(y) = W_2 ReLU(W_1 y + b_1) + b_2, [B, M, D] -> [B, M, D].

    The layer of a Transformer's encoder, normalised after each part as in the paper (Vaswani et al. 2017, sections
    3.1 and 3.3); ``hidden_dim`` is the width of FFN. The fields' vectors tell who they are: no positions are added.
    """

    def __init__(self, dim: int, *, num_heads: int, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, num_heads)
        self.feed_forward = nn.Sequential(Linear(dim, hidden_dim), nn.ReLU(), Linear(hidden_dim, dim))
        self.attention_norm, self.feed_forward_norm = LayerNorm(dim), LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, M, D] -> [B, M, D]."""
        vectors = self.attention_norm(vectors + self.dropout(self.attention(vectors)))
        found: Tensor = self.feed_forward_norm(vectors + self.dropout(self.feed_forward(vectors)))
        return found
