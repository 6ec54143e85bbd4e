"""RankMixer's block: tokens exchange their parts without a single weight, then each has a feed-forward of its own."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossfield.layers.dropout import Dropout
from crossfield.layers.norm import LayerNorm


def mix_tokens(tokens: Tensor) -> Tensor:
    """Token h becomes part h of every token side by side, [B, T, D] -> [B, T, D]; T divides D (section 3.3.1).

    Each token has T parts of D / T numbers. Mixing twice gives the tokens back.
    """
    num_tokens, dim = tokens.shape[1:]
    parts = torch.unflatten(tokens, 2, (num_tokens, dim // num_tokens))
    return parts.transpose(1, 2).flatten(2)


class PerTokenLinear(nn.Module):
    """y_t = W_t x_t + b_t with weights of its own for every token t, [B, T, in] -> [B, T, out].

    Each W_t starts Xavier-normal by itself, b_t at zero.
    """

    def __init__(self, num_tokens: int, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_tokens, input_dim, output_dim))
        self.bias = nn.Parameter(torch.zeros(num_tokens, output_dim))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (input_dim + output_dim)))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T, in] -> [B, T, out]."""
        return torch.einsum("bti,tio->bto", tokens, self.weight) + self.bias


class RankMixerBlock(nn.Module):
    """S = LN(TokenMixing(X) + X), then LN(PFFN(S) + S), [B, T, D] -> [B, T, D] (Zhu et al. 2025, section 3.1).

    PFFN is W_t' GELU(W_t s_t + b_t) + b_t' for every token t, ``expansion`` times wider inside (section 3.3.2).
    """

    def __init__(self, num_tokens: int, dim: int, *, expansion: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.wide = PerTokenLinear(num_tokens, dim, expansion * dim)
        self.narrow = PerTokenLinear(num_tokens, expansion * dim, dim)
        self.mixing_norm, self.feed_forward_norm = LayerNorm(dim), LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        mixed = self.mixing_norm(mix_tokens(tokens) + tokens)
        made: Tensor = self.feed_forward_norm(self.narrow(self.dropout(F.gelu(self.wide(mixed)))) + mixed)
        return made
