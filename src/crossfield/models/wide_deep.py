"""Wide & Deep: Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016.

https://arxiv.org/abs/1606.07792
"""

from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.layers.features import DenseAs, FlatFeatures
from crossfield.layers.linear import FirstOrder, Prediction
from crossfield.layers.mlp import MLP
from crossfield.models.base import DeepConfig, Model
from crossfield.schema import ModelSchema


class WideDeepConfig(DeepConfig):
    """What Wide & Deep can be told; the paper's embeddings are 32 wide (section 4.2)."""

    dense_as: DenseAs = "value"
    """Dense features in the deep part as they are, or as value times vector (FuxiCTR, the published CTR tables)."""


class WideDeep(Model):
    """Memorised ids and crosses plus an MLP: ŷ = w_wideᵀ[x, φ(x)] + w_deepᵀ a^(L) + b (equation 3).

    φ(x) are the schema's crosses. The two parts have optimisers of their own: FTRL with L1 for the wide one in the
    paper, AdaGrad for the deep one.
    """

    config_type = WideDeepConfig

    def __init__(self, schema: ModelSchema, config: WideDeepConfig) -> None:
        super().__init__(schema, config)
        # PAPER: x are all fields and dense features, as in the formula; the paper's own app store model had nothing
        # but one cross in its wide part. The ids of a multi-valued field are indicators: each adds its weight.
        self.wide = FirstOrder(schema, bias=False, pooling="sum")
        self.features = FlatFeatures(schema, config.embedding_dim, dense_as=config.dense_as, std=config.embedding_std)
        # PAPER: this part learns by the run's optimiser, lazy Adam unless told otherwise, not by AdaGrad; the wide
        # part's FTRL has a β of 1/4096 (train.wide_beta), where its own paper has 1.
        self.deep = MLP(self.features.output_dim, config.deep, batch_norm=config.batch_norm, dropout=config.dropout)
        self.prediction = Prediction(self.deep.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        found = self.features.find(batch)
        logits: Tensor = self.wide(batch, found) + self.prediction(self.deep(self.features(batch, found)))
        return logits

    def parameter_roles(self) -> dict[str, list[nn.Parameter]]:
        """The wide part, for FTRL, and the deep one, embeddings and common bias included, for the main optimiser."""
        deep = [self.features, self.deep, self.prediction]
        return {
            "wide": list(self.wide.parameters()),
            "deep": [parameter for module in deep for parameter in module.parameters()],
        }
