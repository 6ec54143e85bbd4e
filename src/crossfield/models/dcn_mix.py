"""DCN-Mix: Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale ...", WWW 2021.

https://arxiv.org/abs/2008.13535
"""

from pydantic import Field
from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.cross_deep import CrossDeep, Structure
from crossfield.layers.cross_v2 import CrossNetMix, Gate, Nonlinearity
from crossfield.layers.features import DenseAs, FlatFeatures
from crossfield.layers.linear import Prediction
from crossfield.layers.mlp import MLP
from crossfield.models.base import DeepConfig, Model, Width
from crossfield.schema import ModelSchema


class DCNMixConfig(DeepConfig):
    """What DCN-Mix can be told; the paper's best on Criteo: 3 cross layers, 4 experts, 512-512, a constant gate (7)."""

    structure: Structure = "parallel"
    """The MLP on top of the cross network, or beside it; which is better depends on the data (section 3.4)."""
    num_cross_layers: int = Field(3, ge=1)
    """Cross layers, each a mixture of experts."""
    num_experts: Width = 4
    """Experts K of every cross layer."""
    rank: Width = 32
    """Rank r of every expert; the paper's best has 258 over its experts, and on Criteo about 64 are needed."""
    gate: Gate = "softmax"
    """How much each expert counts: softmax or sigmoid of a linear map of x_l, or one each (section 3.5)."""
    nonlinearity: Nonlinearity = "hard_tanh"
    """The g inside an expert; identity makes it a low-rank product of three matrices (section 3.5)."""
    deep: tuple[Width, ...] = (400, 400, 400)
    """Widths of the deep part's hidden layers; () leaves the cross network alone ("CrossNet-Mix")."""
    dense_as: DenseAs = "value"
    """Dense features as they are, or as value times vector (FuxiCTR and the published CTR tables)."""


class DCNMix(Model):
    """DCN-V2 whose cross layers are mixtures of low-rank experts, and an MLP: ŷ = w_logitᵀ h + b (section 3.5).

    x_{l+1} = Σ_i G_i(x_l) E_i(x_l) + x_l with E_i(x_l) = x_0 ⊙ (U_l^i g(C_l^i g(V_l^iᵀ x_l)) + b_l).
    Parallel: cross network and MLP start from x_0, and h = [x_{L_c} ; h_{L_d}]. Stacked: h = MLP(x_{L_c}).
    """

    config_type = DCNMixConfig

    def __init__(self, schema: ModelSchema, config: DCNMixConfig) -> None:
        super().__init__(schema, config)
        # PAPER: one width for all fields, not 6 (cardinality)^(1/4) each; matrices start Xavier-normal, not He-normal.
        self.features = FlatFeatures(schema, config.embedding_dim, dense_as=config.dense_as, std=config.embedding_std)
        x_dim = self.features.output_dim
        cross = CrossNetMix(
            x_dim,
            config.num_cross_layers,
            num_experts=config.num_experts,
            rank=config.rank,
            gate=config.gate,
            nonlinearity=config.nonlinearity,
        )
        deep = MLP(x_dim, config.deep, batch_norm=config.batch_norm, dropout=config.dropout)
        self.body = CrossDeep(cross, deep, dim=x_dim, structure=config.structure)
        self.prediction = Prediction(self.body.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        x_0 = self.features(batch)
        logits: Tensor = self.prediction(self.body(x_0))
        return logits
