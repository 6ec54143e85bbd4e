"""FCN (DCNv3): Li et al., "FCN: Fusing Exponential and Linear Cross Network for Click-Through Rate Prediction", 2024.

https://arxiv.org/abs/2407.13349
"""

from pydantic import Field
from torch import Tensor

from crossfield.batch import Batch
from crossfield.errors import ConfigError
from crossfield.layers.features import FeatureVectors
from crossfield.layers.half_cross import Aggregation, ExponentialCrossNet, HalfCrossLayer, LinearCrossNet
from crossfield.layers.linear import Prediction
from crossfield.models.base import BranchObjective, HiddenConfig, Model
from crossfield.schema import ModelSchema


class FCNConfig(HiddenConfig):
    """What FCN can be told; batch norm is over each head, and dropout follows every cross layer."""

    num_exponential_layers: int = Field(3, ge=1)
    """Layers of the exponential network; L of them reach degree 2^L."""
    num_linear_layers: int = Field(3, ge=1)
    """Layers of the linear network; L of them reach degree L + 1."""
    num_heads: int = Field(1, ge=1)
    """Parts of the embeddings that are crossed each by itself; twice their number divides embedding_dim."""
    aggregation: Aggregation = "self_mask"
    """The second half of a layer's factor: c ⊙ ReLU(LN(c)), or γ ⊙ c + β, as the authors' code of 2025 has it."""


class FCN(Model):
    """Two cross networks and no MLP: ŷ = (y_D + y_S) / 2, each y = wᵀ x_L + b, averaged over the heads.

    y_D: x_{l+1} = x_l ⊙ (C + b) + x_l, exponential; y_S: x_{l+1} = x_1 ⊙ (C + b) + x_l, linear. Both: C = [c ;
    c ⊙ ReLU(LN(c))], c = W x_l half as wide as x_l. x_1 are the first halves of all vectors, then the second ones.
    Trained by Tri-BCE: L + w_D L_D + w_S L_S, where a network that is worse than both together weighs the difference.
    """

    config_type = FCNConfig
    branch_objective: BranchObjective | None = "tri_bce"

    def __init__(self, schema: ModelSchema, config: FCNConfig) -> None:
        super().__init__(schema, config)
        parts = 2 * config.num_heads
        if config.embedding_dim % parts:
            whole, rest = divmod(config.embedding_dim, parts)
            raise ConfigError(
                f"embedding_dim = {config.embedding_dim} has no two halves for each of {config.num_heads} heads: "
                f"{config.embedding_dim} = {parts} x {whole} + {rest}; change one of them"
            )
        # PAPER: embedding_dim is a field's whole width, all heads together; in the authors' settings it is a head's.
        # Dense features are value times vector, as in their code.
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        x_dim = self.vectors.num_vectors * config.embedding_dim // config.num_heads
        self.exponential = ExponentialCrossNet(self._layers(x_dim, config.num_exponential_layers))
        self.linear = LinearCrossNet(self._layers(x_dim, config.num_linear_layers))
        self.prediction_d, self.prediction_s = Prediction(x_dim, 1), Prediction(x_dim, 1)

    def _layers(self, dim: int, num_layers: int) -> list[HalfCrossLayer]:
        config = self.config
        return [
            HalfCrossLayer(
                dim,
                num_heads=config.num_heads,
                aggregation=config.aggregation,
                batch_norm=config.batch_norm,
                dropout=config.dropout,
            )
            for _ in range(num_layers)
        ]

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        return self.branch_logits(batch)[0]

    def branch_logits(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, 1] float32 of both networks together, of the exponential one, and of the linear one."""
        halves = self.vectors(batch).unflatten(2, (self.config.num_heads, 2, -1))
        x_1 = halves.permute(0, 2, 3, 1, 4).flatten(2)
        y_d = self.prediction_d(self.exponential(x_1)).mean(1)
        y_s = self.prediction_s(self.linear(x_1)).mean(1)
        return (y_d + y_s) / 2, y_d, y_s
