"""Neural matrix factorisation: He et al., "Neural Collaborative Filtering", WWW 2017, section 3.4.

https://arxiv.org/abs/1708.05031
"""

from collections.abc import Sequence
from typing import Any, Protocol, Self, cast

import torch
from pydantic import Field
from torch import Tensor

from crossfield.batch import Batch
from crossfield.errors import ConfigError, SchemaError
from crossfield.layers.embedding import FieldEmbedding, id_pair
from crossfield.layers.linear import Prediction
from crossfield.layers.mlp import MLP
from crossfield.layers.pairs import PairTower, dot_pairs, item_vectors, user_vectors
from crossfield.models.base import HiddenConfig, Model, Width
from crossfield.schema import ModelSchema


class NeuMFConfig(HiddenConfig):
    """Defaults of the NCF authors' code for 8 predictive factors."""

    embedding_dim: Width = 8
    """Width of the GMF branch's embeddings, its predictive factors (section 4.1)."""
    mlp_embedding_dim: Width = 32
    """Width of the MLP branch's embeddings; its tower starts from twice that."""
    hidden: tuple[Width, ...] = (32, 16, 8)
    """Widths of the tower, halving; the last one is the MLP branch's predictive factors (section 4.4)."""
    alpha: float = Field(0.5, ge=0, le=1)
    """GMF's share when starting from a trained GMF and MLP, which the rest goes to (equation 13)."""


class TrainedGMF(Protocol):
    """What pre-training takes from a GMF model."""

    schema: ModelSchema
    config: Any
    embedding: FieldEmbedding
    prediction: Prediction


class TrainedMLP(TrainedGMF, Protocol):
    """What pre-training takes from an MLP model."""

    tower: MLP


class NeuMF(Model):
    """GMF and MLP side by side, each with its own embeddings: ŷ = hᵀ[p_u^G ⊙ q_i^G ; z_L] + b (equation 12).

    Looks at the user and the item only.
    """

    config_type = NeuMFConfig

    def __init__(self, schema: ModelSchema, config: NeuMFConfig) -> None:
        super().__init__(schema, config)
        pair, std = id_pair(schema), config.embedding_std
        self.gmf_embedding = FieldEmbedding(pair, schema, config.embedding_dim, std=std)
        self.mlp_embedding = FieldEmbedding(pair, schema, config.mlp_embedding_dim, std=std)
        self.tower = MLP(
            2 * config.mlp_embedding_dim, config.hidden, batch_norm=config.batch_norm, dropout=config.dropout
        )
        # PAPER: the bias is not in the formula but in the authors' code. Layers start Xavier-normal; theirs are drawn
        # Glorot-uniform, h LeCun-uniform.
        self.prediction = Prediction(config.embedding_dim + self.tower.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        p_u, q_i = self.gmf_embedding(batch).unbind(1)
        z_L = self.tower(self.mlp_embedding(batch).flatten(1))
        logits: Tensor = self.prediction(torch.cat([p_u * q_i, z_L], 1))
        return logits

    def encode_users(self, users: Tensor) -> Tensor:
        """[h_GMF ⊙ p_u^G ; the user's half of the first layer], [U] -> [U, D + H]."""
        p_G, p_M = (user_vectors(one, users) for one in (self.gmf_embedding, self.mlp_embedding))
        return torch.cat([self._h_gmf * p_G, self._pair_tower.user_half(p_M)], 1)

    def encode_items(self, items: Tensor) -> Tensor:
        """[q_i^G ; the item's half of the first layer], [I] -> [I, D + H]."""
        q_G, q_M = (item_vectors(one, items) for one in (self.gmf_embedding, self.mlp_embedding))
        return torch.cat([q_G, self._pair_tower.item_half(q_M)], 1)

    def join_sides(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits [U, I] float32."""
        dim = self.gmf_embedding.dim
        from_gmf = dot_pairs(users[:, :dim], items[..., :dim])
        return from_gmf + self._pair_tower.join(users[:, dim:], items[..., dim:])

    @property
    def _h_gmf(self) -> Tensor:
        return self.prediction.weight[:, : self.gmf_embedding.dim]

    @property
    def _pair_tower(self) -> PairTower:
        h_mlp = self.prediction.weight[:, self.gmf_embedding.dim :]
        return PairTower(self.tower, h_mlp, b=self.prediction.bias)

    def start_from(self, trained: Sequence[Model]) -> None:
        """Take over a trained GMF and MLP, fused by ``alpha`` (section 3.4.1), or one trained NeuMF.

        Raises ConfigError where these are other models or have other widths, SchemaError where they were trained on
        different schemas.
        """
        if len(trained) != 2:
            return super().start_from(trained)
        gmf, mlp = sorted(trained, key=lambda one: hasattr(one, "tower"))
        if [type(gmf).__name__, type(mlp).__name__] != ["GMF", "NCFMLP"]:
            raise ConfigError("NeuMF starts from one gmf and one mlp, or from one neumf")
        fused = self.from_pretrained(cast(TrainedGMF, gmf), cast(TrainedMLP, mlp), alpha=self.config.alpha)
        self.take_weights(fused)

    @classmethod
    def from_pretrained(cls, gmf: TrainedGMF, mlp: TrainedMLP, *, alpha: float = 0.5) -> Self:
        """A NeuMF that starts from a trained GMF and a trained MLP: h = [α h_GMF ; (1 - α) h_MLP] (equation 13).

        Its logits are α times GMF's plus (1 - α) times MLP's. The paper then fine-tunes with plain SGD, because
        Adam's moments are not carried over. Raises SchemaError where the two were trained on other schemas,
        ConfigError where α is outside [0, 1].
        """
        if gmf.schema != mlp.schema:
            raise SchemaError("GMF and MLP were trained on different schemas; train both with one encoder")
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha = {alpha}: the share of GMF must lie between 0 and 1")
        model = cls(gmf.schema, _fused_config(gmf.config, mlp.config))
        model.gmf_embedding.load_state_dict(gmf.embedding.state_dict())
        model.mlp_embedding.load_state_dict(mlp.embedding.state_dict())
        model.tower.load_state_dict(mlp.tower.state_dict())
        with torch.no_grad():
            h = [alpha * gmf.prediction.weight, (1 - alpha) * mlp.prediction.weight]
            model.prediction.weight.copy_(torch.cat(h, 1))
            # PAPER: the formula has no bias; the authors' code takes the mean of the two, which is this at α = 0.5.
            model.prediction.bias.copy_(alpha * gmf.prediction.bias + (1 - alpha) * mlp.prediction.bias)
        return model


def _fused_config(gmf: Any, mlp: Any) -> NeuMFConfig:
    shared = mlp.model_dump(include={"hidden", "batch_norm", "dropout", "embedding_std"})
    return NeuMFConfig(embedding_dim=gmf.embedding_dim, mlp_embedding_dim=mlp.embedding_dim, **shared)
