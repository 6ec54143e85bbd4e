"""FinalNet: Zhu et al., "FINAL: Factorized Interaction Layer for CTR Prediction", SIGIR 2023.

https://doi.org/10.1145/3539618.3591988
"""

from functools import partial
from typing import Literal

from torch import Tensor

from crossfield.batch import Batch
from crossfield.errors import ConfigError
from crossfield.layers.factorized import FactorizedInteraction, Residual
from crossfield.layers.features import FeatureVectors
from crossfield.layers.field_gate import FieldGate
from crossfield.layers.linear import Prediction
from crossfield.layers.mlp import MLP
from crossfield.models.base import BranchObjective, Model, TwoStreamConfig
from crossfield.schema import ModelSchema


class FinalNetConfig(TwoStreamConfig):
    """What FinalNet can be told; the published settings have batch norm, widths of 400 to 1000 and one to three layers.

    Its streams are blocks of factorised layers.
    """

    structure: Literal["1B", "2B"] = "2B"
    """One block, or two that also learn from their common prediction; 1B has no use for deep_2 and dropout_2."""
    field_gate: bool = False
    """The first block sees every field twice, once gated by the others; on in all but one of the published 2B rows."""
    residual: Residual = "concat"
    """A layer's first- and second-order halves side by side, or both of full width and added up (twice the weights)."""


class FinalNet(Model):
    """Blocks of layers that multiply: ŷ = (y_1 + y_2) / 2, y_i = w_iᵀ x_i,L + b_i, of one block alone ŷ = y_1.

    A layer: [h_2 ; h_1] = W x_l + b, x_{l+1} = ReLU(BN([h_2 ; h_1 ⊙ h_2])). Block 2 starts from the vectors E side by
    side, block 1 too or from [E ; E ⊙ (W_g E + b_g)]. Two blocks are trained by BCE(ŷ, y) + BCE(y_1, ŷ) + BCE(y_2, ŷ),
    where ŷ teaches and learns nothing in the last two.
    """

    # PAPER: concatenation, then batch norm and ReLU, as in the authors' code, which the published numbers are of. By
    # second-hand accounts the paper puts the activation on the factor, h_2 = h_1 ⊙ σ(...), and adds up.

    config_type = FinalNetConfig

    def __init__(self, schema: ModelSchema, config: FinalNetConfig) -> None:
        super().__init__(schema, config)
        # PAPER: dense features are value times vector, as in the authors' code.
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        num_fields, dim = self.vectors.num_vectors, config.embedding_dim
        self.gate = FieldGate(num_fields) if config.field_gate else None
        block = partial(
            MLP, batch_norm=config.batch_norm, linear=partial(FactorizedInteraction, residual=config.residual)
        )
        dropout_1, dropout_2 = config.dropouts
        self.block_1 = block((2 if config.field_gate else 1) * num_fields * dim, config.deep_1, dropout=dropout_1)
        self.prediction_1 = Prediction(self.block_1.output_dim, 1)
        self.block_2 = self.prediction_2 = None
        if config.structure == "2B":
            self.block_2 = block(num_fields * dim, config.deep_2, dropout=dropout_2)
            self.prediction_2 = Prediction(self.block_2.output_dim, 1)

    @property
    def branch_objective(self) -> BranchObjective | None:
        """Two blocks learn from what they predict together; one has nobody to learn from."""
        return None if self.block_2 is None else "distillation"

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        if self.block_2 is None:
            return self._first(self.vectors(batch))
        return self.branch_logits(batch)[0]

    def branch_logits(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, 1] float32 of both blocks together, and of each; raises ConfigError where there is one."""
        vectors = self.vectors(batch)
        y_1, y_2 = self._first(vectors), self._second(vectors)
        return (y_1 + y_2) / 2, y_1, y_2

    def _first(self, vectors: Tensor) -> Tensor:
        gated = vectors if self.gate is None else self.gate(vectors)
        logits: Tensor = self.prediction_1(self.block_1(gated.flatten(1)))
        return logits

    def _second(self, vectors: Tensor) -> Tensor:
        if self.block_2 is None or self.prediction_2 is None:
            raise ConfigError('structure = "1B" has one block and no branches; use "2B"')
        logits: Tensor = self.prediction_2(self.block_2(vectors.flatten(1)))
        return logits
