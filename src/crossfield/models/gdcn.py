"""GDCN: Wang et al., "Towards Deeper, Lighter and Interpretable Cross Network for CTR Prediction", CIKM 2023.

https://arxiv.org/abs/2311.04635
"""

from pydantic import Field
from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.cross_deep import CrossDeep, Structure
from crossfield.layers.features import DenseAs, FlatFeatures
from crossfield.layers.gated_cross import GatedCrossNet
from crossfield.layers.linear import Prediction
from crossfield.layers.mlp import MLP
from crossfield.models.base import DeepConfig, Model, Width
from crossfield.schema import ModelSchema


class GDCNConfig(DeepConfig):
    """What GDCN can be told; the paper trains embeddings of 16 and three layers of 400 with dropout .5."""

    structure: Structure = "parallel"
    """The MLP beside the cross network (GDCN-P, the better one in the paper), or on top of it (GDCN-S)."""
    num_cross_layers: int = Field(3, ge=1)
    """Gated cross layers; L of them reach polynomials of degree L + 1, each number gated."""
    deep: tuple[Width, ...] = (400, 400, 400)
    """Widths of the deep part's hidden layers; () leaves the gated cross network alone ("GCN")."""
    dense_as: DenseAs = "value"
    """Dense features as they are, or as value times vector (FuxiCTR and the published CTR tables)."""


class GDCN(Model):
    """Cross layers whose crosses pass a gate, and an MLP: ŷ = w_logitᵀ c_final + b.

    c_{l+1} = c_0 ⊙ (W_c c_l + b_l) ⊙ σ(W_g c_l) + c_l is the gated cross layer (equation 1), h_{l+1} = ReLU(W_l h_l +
    b_l) is deep. Parallel: both start from c_0, and c_final = [c_L ; h_L]. Stacked: h_0 = c_L, and c_final = h_L.
    """

    config_type = GDCNConfig

    def __init__(self, schema: ModelSchema, config: GDCNConfig) -> None:
        super().__init__(schema, config)
        # PAPER: one width for all fields; the paper's dimension optimisation trains twice, to find a width per field.
        self.features = FlatFeatures(schema, config.embedding_dim, dense_as=config.dense_as, std=config.embedding_std)
        c_dim = self.features.output_dim
        cross = GatedCrossNet(c_dim, config.num_cross_layers)
        deep = MLP(c_dim, config.deep, batch_norm=config.batch_norm, dropout=config.dropout)
        self.body = CrossDeep(cross, deep, dim=c_dim, structure=config.structure)
        self.prediction = Prediction(self.body.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        c_0 = self.features(batch)
        logits: Tensor = self.prediction(self.body(c_0))
        return logits
