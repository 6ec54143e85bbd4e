"""Popularity, the floor: TopPop in Cremonesi, Koren, Turrin, "Recommender Algorithms on Top-N Tasks", RecSys 2010.

https://doi.org/10.1145/1864708.1864721
"""

import torch
from pydantic import Field
from torch import Tensor

from crossfield.batch import Batch
from crossfield.models.base import Interactions, ModelConfig, Solved
from crossfield.schema import ModelSchema


class PopularityConfig(ModelConfig):
    """What popularity can be told."""

    smoothing: float = Field(10.0, gt=0)
    """Rows at the overall click rate added to every item's own; used where there are negatives."""


class Popularity(Solved):
    """The same score for every user: how often an item was chosen.

    Where every row is a positive, log(1 + n_i) for n_i rows of the item; where there are negatives too, the logit of
    the smoothed click rate (c_i + s c) / (n_i + s), c_i positives among n_i rows, c the overall rate.
    """

    config_type = PopularityConfig
    scores: Tensor

    def __init__(self, schema: ModelSchema, config: PopularityConfig) -> None:
        super().__init__(schema, config)
        self.smoothing = config.smoothing
        self.item = schema.position("item")
        self.register_buffer("scores", torch.zeros(schema.categorical[self.item].num_rows))

    def solve(self, interactions: Interactions) -> None:
        """Count the rows and the positives of every item, weighted."""
        weights = interactions.weights.double()
        shown = self._sum_per_item(interactions.items, weights)
        chosen = self._sum_per_item(interactions.items, weights * interactions.labels)
        # PAPER: with negatives it is the smoothed click rate; TopPop counts choices alone.
        has_both_classes = bool((interactions.labels != interactions.labels[:1]).any())
        self.scores.copy_(self._smoothed_logit(chosen, shown) if has_both_classes else chosen.log1p())

    def _sum_per_item(self, items: Tensor, values: Tensor) -> Tensor:
        return values.new_zeros(self.scores.shape).index_add(0, items, values)

    def _smoothed_logit(self, chosen: Tensor, shown: Tensor) -> Tensor:
        overall = chosen.sum() / shown.sum()
        return torch.logit((chosen + self.smoothing * overall) / (shown + self.smoothing))

    def forward(self, batch: Batch) -> Tensor:
        """Scores [B, 1] float32; an item that was never met scores as a new one."""
        return self.scores[batch.categorical[:, self.item]].unsqueeze(1)

    def field_sums(self, batch: Batch) -> Tensor:
        """No pair of fields: [B, 0] float32."""
        return self.scores.new_zeros(batch.size, 0)
