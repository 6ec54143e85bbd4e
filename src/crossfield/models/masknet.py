"""MaskNet: Wang, She, Zhang, "MaskNet: Introducing Feature-Wise Multiplication to CTR Ranking Models by ...", DLP 2021.

https://arxiv.org/abs/2102.07619
"""

from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.layers.features import FeatureVectors
from crossfield.layers.field_norm import FieldNorm
from crossfield.layers.linear import Prediction
from crossfield.layers.mask import MaskBlock
from crossfield.layers.mlp import MLP
from crossfield.models.base import EmbeddingConfig, Model, Width
from crossfield.schema import ModelSchema


class MaskNetConfig(EmbeddingConfig):
    """What MaskNet can be told; the paper has three blocks, a reduction ratio of 2 and embeddings 10 wide."""

    structure: Literal["serial", "parallel"] = "parallel"
    """Each block on the one before, or all of them on the embeddings with an MLP on their outputs."""
    blocks: tuple[Width, ...] = Field((64, 64, 64), min_length=1)
    """Widths of the mask blocks."""
    reduction_ratio: float = Field(2.0, gt=0)
    """Width of a mask's hidden layer, as a multiple of the mask's own; from 1 to 5 it has no effect in the paper."""
    embedding_norm: bool = True
    """Layer normalisation of every field's vector before it is masked (LN-EMB); off in the published Frappe row."""
    deep: tuple[Width, ...] = (400, 400, 400)
    """Widths of the hidden layers on top of parallel blocks; the serial structure has none and does not look here."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of each block's and each hidden layer's outputs that is dropped in training; not in the paper."""

    @model_validator(mode="after")
    def _check(self) -> "MaskNetConfig":
        if self.embedding_norm and self.embedding_dim < 2:
            raise ValueError("embedding_norm leaves nothing of embeddings of one number; widen embedding_dim")
        return self


class MaskNet(Model):
    """Masks made from all features multiply what goes into every block: ŷ = wᵀ h + b.

    Block(V) = ReLU(LN(W (V_mask ⊙ V))), V_mask = W_2 ReLU(W_1 V_emb + β_1) + β_2, V_emb all vectors side by side.
    Serial: V = LN-EMB(V_emb) in the first block, the output of the block before in the others, h that of the last.
    Parallel: V = LN-EMB(V_emb) in every block, and h = MLP of all their outputs.
    """

    config_type = MaskNetConfig

    def __init__(self, schema: ModelSchema, config: MaskNetConfig) -> None:
        super().__init__(schema, config)
        # PAPER: the W of a block has no bias, as in FuxiCTR, whose parameter counts are the published ones; LN has one.
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        num_fields, dim = self.vectors.num_vectors, config.embedding_dim
        self.norm = FieldNorm(num_fields, dim) if config.embedding_norm else nn.Identity()
        emb_dim = num_fields * dim
        block = partial(MaskBlock, emb_dim, reduction_ratio=config.reduction_ratio, dropout=config.dropout)
        self.is_serial = config.structure == "serial"
        if self.is_serial:
            self.blocks = nn.ModuleList(block(*widths) for widths in pairwise((emb_dim, *config.blocks)))
            self.deep = MLP(config.blocks[-1], ())
        else:
            self.blocks = nn.ModuleList(block(emb_dim, width) for width in config.blocks)
            self.deep = MLP(sum(config.blocks), config.deep, dropout=config.dropout)
        self.prediction = Prediction(self.deep.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        vectors = self.vectors(batch)
        v_emb, v = vectors.flatten(1), self.norm(vectors).flatten(1)
        if self.is_serial:
            for block in self.blocks:
                v = block(v_emb, v)
        else:
            v = torch.cat([block(v_emb, v) for block in self.blocks], 1)
        logits: Tensor = self.prediction(self.deep(v))
        return logits
