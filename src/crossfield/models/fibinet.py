"""FiBiNET: Huang, Zhang, Zhang, "FiBiNET: Combining Feature Importance and Bilinear feature Interaction", RecSys 2019.

https://arxiv.org/abs/1905.09433
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from crossfield.batch import Batch
from crossfield.errors import SchemaError
from crossfield.layers.bilinear import BilinearInteraction, BilinearType, HadamardInteraction
from crossfield.layers.features import FeatureVectors
from crossfield.layers.linear import FirstOrder, Prediction
from crossfield.layers.mlp import MLP
from crossfield.layers.senet import SENET
from crossfield.models.base import DeepConfig, Model, Width
from crossfield.schema import ModelSchema


class FiBiNETConfig(DeepConfig):
    """What FiBiNET can be told; the paper trains embeddings of 10 and three layers of 400 with dropout .5 (4.1)."""

    reduction_ratio: float = Field(3.0, gt=0)
    """How many times fewer units than fields SENET squeezes them into (section 3.2)."""
    bilinear_type: BilinearType = "interaction"
    """One matrix for all pairs, one for each left field, or one for each interaction of two (section 3.3)."""
    bilinear_on: Literal["senet", "raw", "both", "shared"] = "senet"
    """Which vectors get the bilinear product, the others the plain one; shared: both, by the same matrices."""
    deep: tuple[Width, ...] = (400, 400, 400)
    """Widths of the deep part's hidden layers; () sums the products up with learned weights."""


class FiBiNET(Model):
    """Pairwise products of raw and of re-weighted vectors, then an MLP: ŷ = w_0 + Σ_i w_i x_i + y_d (equation 11).

    SENET re-weights: v_i = a_i e_i, a = ReLU(W_2 ReLU(W_1 z)), z_i the mean of e_i (equations 2 to 4). Pairs i < j of
    e and of v give p_ij = (e_i W) ⊙ e_j and q_ij = (v_i W) ⊙ v_j, or without W (5 to 7); y_d = w_dᵀ MLP([p ; q]).
    """

    config_type = FiBiNETConfig

    def __init__(self, schema: ModelSchema, config: FiBiNETConfig) -> None:
        super().__init__(schema, config)
        # PAPER: pairs are i < j, as its counts have them, where its formulas also admit i = j; y_d is added as a
        # logit, where the text puts it through a sigmoid first. The default is the deep model's best of its table 6,
        # "01": the plain product on the raw vectors, the bilinear one on SENET's. FuxiCTR has both bilinear.
        self.linear = FirstOrder(schema, bias=False, pooling="mean")
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        num_vectors = self.vectors.num_vectors
        if num_vectors < 2:
            raise SchemaError("fibinet needs two fields or dense features to have a pair, there is one; use dnn")
        self.senet = SENET(num_vectors, config.reduction_ratio)
        self.raw_products = _products(config, num_vectors, is_bilinear=config.bilinear_on != "senet")
        self.senet_products = None
        if config.bilinear_on != "shared":
            self.senet_products = _products(config, num_vectors, is_bilinear=config.bilinear_on != "raw")
        c_dim = 2 * self.raw_products.num_pairs * config.embedding_dim
        self.deep = MLP(c_dim, config.deep, batch_norm=config.batch_norm, dropout=config.dropout)
        self.prediction = Prediction(self.deep.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        found = self.vectors.find(batch)
        e = self.vectors(batch, found)
        products = self.raw_products if self.senet_products is None else self.senet_products
        p, q = self.raw_products(e), products(self.senet(e))
        y_d = self.prediction(self.deep(torch.cat([p, q], 1).flatten(1)))
        logits: Tensor = self.linear(batch, found) + y_d
        return logits


def _products(config: FiBiNETConfig, num_vectors: int, *, is_bilinear: bool) -> HadamardInteraction:
    if is_bilinear:
        return BilinearInteraction(num_vectors, config.embedding_dim, config.bilinear_type)
    return HadamardInteraction(num_vectors)
