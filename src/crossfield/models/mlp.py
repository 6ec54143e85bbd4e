"""NCF's MLP: He et al., "Neural Collaborative Filtering", WWW 2017, section 3.3.

https://arxiv.org/abs/1708.05031
"""

from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.embedding import FieldEmbedding, id_pair
from crossfield.layers.linear import Prediction
from crossfield.layers.mlp import MLP
from crossfield.layers.pairs import PairTower, item_vectors, user_vectors
from crossfield.models.base import HiddenConfig, Model, Width
from crossfield.schema import ModelSchema


class NCFMLPConfig(HiddenConfig):
    """Defaults of the NCF authors' code for 8 predictive factors."""

    # PAPER: with 8 factors the paper's 32 -> 16 -> 8 tower would start from embeddings of 16; the authors' code
    # and published weights have 32 per side and a 64 -> 32 -> 16 -> 8 tower.
    embedding_dim: Width = 32
    """Width D of the user's and the item's embedding; the tower starts from 2 D."""
    hidden: tuple[Width, ...] = (32, 16, 8)
    """Widths of the tower, halving; the last one is the paper's predictive factors, () is its MLP-0 (section 4.4)."""


class NCFMLP(Model):
    """A tower over user and item: z_1 = [p_u ; q_i], z_l = ReLU(W_l z_(l-1) + b_l), ŷ = hᵀz_L + b (equation 10).

    Looks at the user and the item only.
    """

    config_type = NCFMLPConfig

    def __init__(self, schema: ModelSchema, config: NCFMLPConfig) -> None:
        super().__init__(schema, config)
        self.embedding = FieldEmbedding(id_pair(schema), schema, config.embedding_dim, std=config.embedding_std)
        self.tower = MLP(2 * config.embedding_dim, config.hidden, batch_norm=config.batch_norm, dropout=config.dropout)
        # PAPER: all layers start Xavier-normal; the authors' code draws hidden ones Glorot-uniform, h LeCun-uniform.
        self.prediction = Prediction(self.tower.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        logits: Tensor = self.prediction(self.tower(self.embedding(batch).flatten(1)))
        return logits

    def encode_users(self, users: Tensor) -> Tensor:
        """The user's half of the first layer, [U] -> [U, H]."""
        return self._pair_tower.user_half(user_vectors(self.embedding, users))

    def encode_items(self, items: Tensor) -> Tensor:
        """The item's half of the first layer, [I] -> [I, H]."""
        return self._pair_tower.item_half(item_vectors(self.embedding, items))

    def join_sides(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits [U, I] float32."""
        return self._pair_tower.join(users, items)

    @property
    def _pair_tower(self) -> PairTower:
        return PairTower(self.tower, self.prediction.weight, b=self.prediction.bias)
