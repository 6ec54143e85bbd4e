"""RankMixer: Zhu et al., "RankMixer: Scaling Up Ranking Models in Industrial Recommenders", CIKM 2025.

https://arxiv.org/abs/2507.15551
"""

import math
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from crossfield.batch import Batch
from crossfield.errors import ConfigError
from crossfield.layers.features import FeatureVectors
from crossfield.layers.linear import Prediction
from crossfield.layers.token_mixing import PerTokenLinear, RankMixerBlock
from crossfield.models.base import EmbeddingConfig, Model, Width
from crossfield.schema import ModelSchema


class RankMixerConfig(EmbeddingConfig):
    """What RankMixer can be told; the paper's smaller model has 16 tokens of 768 in 2 layers, its larger 32 of 1536."""

    num_tokens: Width = 8
    """Tokens T; each gets an equal piece of all features side by side (section 3.2)."""
    token_dim: int = Field(128, ge=2)
    """Width D of a token; T must divide it, a part of D / T for each token to exchange (section 3.3.1)."""
    num_layers: Width = 2
    """Blocks L of token mixing and per-token feed-forward."""
    expansion: Width = 4
    """How many times wider than a token its feed-forward is inside; the paper's k, whose value it does not give."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of each feed-forward's hidden outputs that is dropped in training; not in the paper."""

    @model_validator(mode="after")
    def _tokens_divide(self) -> Self:
        dim, tokens = self.token_dim, self.num_tokens
        if dim % tokens:
            raise ValueError(
                f"num_tokens = {tokens} must divide token_dim = {dim}, but {dim} = {tokens} x {dim // tokens} + "
                f"{dim % tokens}; take token_dim = {tokens * (dim // tokens + 1)}"
            )
        return self


class RankMixer(Model):
    """Tokens that exchange parts and each have a feed-forward of their own: ŷ = wᵀ mean_t(x_t) + b.

    x_t = Proj_t(e[d (t - 1) : d t]) of all vectors side by side (section 3.2); then L times S = LN(TokenMixing(X) + X)
    and X = LN(PFFN(S) + S), where token h of TokenMixing is part h of every token (section 3.3).
    """

    config_type = RankMixerConfig

    def __init__(self, schema: ModelSchema, config: RankMixerConfig) -> None:
        super().__init__(schema, config)
        # PAPER: the columns' own order groups them, where the paper groups them by meaning; put alike ones next to each
        # other. Every token has its own Proj, on which the paper is silent. The sparse mixture of experts is left out.
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        self.piece_dim = _piece_dim(self.vectors.num_vectors * config.embedding_dim, config)
        self.tokens = PerTokenLinear(config.num_tokens, self.piece_dim, config.token_dim)
        self.blocks = nn.Sequential()
        for _ in range(config.num_layers):
            self.blocks.append(
                RankMixerBlock(config.num_tokens, config.token_dim, expansion=config.expansion, dropout=config.dropout)
            )
        self.prediction = Prediction(config.token_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        e = self.vectors(batch).flatten(1)
        num_tokens = self.config.num_tokens
        padded = F.pad(e, (0, num_tokens * self.piece_dim - e.shape[1]))
        X_0 = self.tokens(torch.unflatten(padded, 1, (num_tokens, self.piece_dim)))
        X_L = self.blocks(X_0)
        logits: Tensor = self.prediction(X_L.mean(1))
        return logits


def _piece_dim(width: int, config: RankMixerConfig) -> int:
    """Numbers per token, the last token padded with zeros; raises ConfigError where it would get nothing else."""
    tokens, dim = config.num_tokens, config.embedding_dim
    piece_dim = math.ceil(width / tokens)
    used = math.ceil(width / piece_dim)
    if used < tokens:
        raise ConfigError(
            f"model.num_tokens = {tokens} leaves {tokens - used} empty: {width // dim} vectors x {dim} = {width} "
            f"numbers, cut into pieces of {piece_dim}, fill {used} tokens; take a divisor of {width}"
        )
    return piece_dim
