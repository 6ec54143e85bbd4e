"""Logistic regression on ids: Richardson, Dominowska, Ragno, "Predicting Clicks", WWW 2007.

https://doi.org/10.1145/1242572.1242643
"""

from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.linear import FirstOrder
from crossfield.models.base import Model, ModelConfig
from crossfield.schema import ModelSchema


class LogisticRegressionConfig(ModelConfig):
    """Logistic regression has nothing to choose but its optimiser."""


class LogisticRegression(Model):
    """One weight per id, cross and dense feature: ŷ = wᵀx + b.

    The ids of a multi-valued field are indicators: each adds its own weight.
    """

    config_type = LogisticRegressionConfig

    def __init__(self, schema: ModelSchema, config: LogisticRegressionConfig) -> None:
        super().__init__(schema, config)
        self.linear = FirstOrder(schema, bias=True, pooling="sum")

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        logits: Tensor = self.linear(batch)
        return logits

    def field_sums(self, batch: Batch) -> Tensor:
        """No pair of fields: [B, 0] float32."""
        return batch.dense.new_zeros(batch.size, 0)
