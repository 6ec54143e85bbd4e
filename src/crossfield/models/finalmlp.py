"""FinalMLP: Mao, Zhu, Su, Cai, Li, Dong, "FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction", AAAI 2023.

https://arxiv.org/abs/2304.00902
"""

from collections.abc import Sequence
from functools import partial

from pydantic import Field
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.errors import ConfigError, nearest
from crossfield.layers.bilinear_fusion import BilinearFusion
from crossfield.layers.context_gate import ContextGate
from crossfield.layers.features import FeatureVectors
from crossfield.layers.mlp import MLP
from crossfield.models.base import Model, TwoStreamConfig, Width
from crossfield.schema import Field as IdField
from crossfield.schema import ModelSchema


class FinalMLPConfig(TwoStreamConfig):
    """What FinalMLP can be told; its best streams on Criteo are 400-400-400 and 800 or 1000 (published settings)."""

    gates: bool = True
    """Stream-specific feature selection: each stream sees the features through gates of its own."""
    context_1: tuple[str, ...] = ()
    """Names of the id fields that decide the first stream's gates; none: learned gates, the same for every row."""
    context_2: tuple[str, ...] = ()
    """Names of the id fields that decide the second stream's gates; the paper suggests user here, item there."""
    gate_hidden: tuple[Width, ...] = (64,)
    """Widths of the hidden layers of the two gate MLPs."""
    num_heads: int = Field(1, ge=1)
    """Heads k of the bilinear fusion; k divides the last width of both streams."""


class FinalMLP(Model):
    """Two MLPs on differently gated copies of the features: ŷ = Σ_j (b + w_1ᵀ o_1j + w_2ᵀ o_2j + o_1jᵀ W_j o_2j).

    h_i = 2 σ(g_i) ⊙ e selects features, e all vectors side by side and g_i an MLP on context fields with embeddings of
    their own, or on a learned constant; o_i = MLP_i(h_i), cut into k heads o_ij that are fused one by one.
    """

    config_type = FinalMLPConfig

    def __init__(self, schema: ModelSchema, config: FinalMLPConfig) -> None:
        super().__init__(schema, config)
        # PAPER: dense features are value times vector, as in the authors' code.
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        e_dim = self.vectors.num_vectors * config.embedding_dim
        contexts = [chosen_fields(schema, config, key) for key in ("context_1", "context_2")]
        gate = partial(ContextGate, dim=config.embedding_dim, hidden=config.gate_hidden, std=config.embedding_std)
        self.gates = nn.ModuleList(gate(one, schema, e_dim) for one in contexts) if config.gates else None
        dropout_1, dropout_2 = config.dropouts
        self.mlp_1 = MLP(e_dim, config.deep_1, batch_norm=config.batch_norm, dropout=dropout_1)
        self.mlp_2 = MLP(e_dim, config.deep_2, batch_norm=config.batch_norm, dropout=dropout_2)
        self.fusion = BilinearFusion(self.mlp_1.output_dim, self.mlp_2.output_dim, num_heads=config.num_heads)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        e = self.vectors(batch).flatten(1)
        h_1, h_2 = (e, e) if self.gates is None else (gate(batch) * e for gate in self.gates)
        logits: Tensor = self.fusion(self.mlp_1(h_1), self.mlp_2(h_2))
        return logits


def chosen_fields(schema: ModelSchema, config: FinalMLPConfig, key: str) -> Sequence[IdField]:
    """The fields a setting names; raises ConfigError where the schema has no id field of such a name."""
    fields = {one.name: one for one in schema.fields}
    for name in getattr(config, key):
        if name not in fields:
            raise ConfigError(f"model.{key} names {name!r}, which is no id field here{nearest(name, fields)}")
    return [fields[name] for name in getattr(config, key)]
