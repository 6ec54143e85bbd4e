"""DCN-V2: Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale ...", WWW 2021.

https://arxiv.org/abs/2008.13535
"""

from pydantic import Field
from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.cross_deep import CrossDeep, Structure
from crossfield.layers.cross_v2 import CrossNetV2
from crossfield.layers.features import DenseAs, FlatFeatures
from crossfield.layers.linear import Prediction
from crossfield.layers.mlp import MLP
from crossfield.models.base import DeepConfig, Model, Width
from crossfield.schema import ModelSchema


class DCNV2Config(DeepConfig):
    """What DCN-V2 can be told; the paper's best on Criteo is 2 cross layers under 768-768, stacked (section 7)."""

    structure: Structure = "parallel"
    """The MLP on top of the cross network, or beside it; which is better depends on the data (section 3.4)."""
    num_cross_layers: int = Field(2, ge=1)
    """Cross layers; L of them reach every monomial up to degree L + 1 (section 4.1)."""
    low_rank: Width | None = None
    """Rank r of the cross layers' weights W = U Vᵀ; without one, W is a full matrix (section 3.5)."""
    deep: tuple[Width, ...] = (400, 400, 400)
    """Widths of the deep part's hidden layers; () leaves the cross network alone ("CrossNet only")."""
    dense_as: DenseAs = "value"
    """Dense features as they are, or as value times vector (FuxiCTR and the published CTR tables)."""


class DCNV2(Model):
    """A cross network with a matrix of weights per layer, and an MLP: ŷ = w_logitᵀ h + b (section 3.4).

    x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l crosses, h_{l+1} = ReLU(W_l h_l + b_l) is deep (sections 3.2 and 3.3).
    Parallel: both start from x_0, and h = [x_{L_c} ; h_{L_d}]. Stacked: h_0 = x_{L_c}, and h = h_{L_d}.
    """

    config_type = DCNV2Config

    def __init__(self, schema: ModelSchema, config: DCNV2Config) -> None:
        super().__init__(schema, config)
        # PAPER: one width for all fields, not 6 (cardinality)^(1/4) each; matrices start Xavier-normal, not He-normal.
        self.features = FlatFeatures(schema, config.embedding_dim, dense_as=config.dense_as, std=config.embedding_std)
        x_dim = self.features.output_dim
        cross = CrossNetV2(x_dim, config.num_cross_layers, low_rank=config.low_rank)
        deep = MLP(x_dim, config.deep, batch_norm=config.batch_norm, dropout=config.dropout)
        self.body = CrossDeep(cross, deep, dim=x_dim, structure=config.structure)
        self.prediction = Prediction(self.body.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        x_0 = self.features(batch)
        logits: Tensor = self.prediction(self.body(x_0))
        return logits
