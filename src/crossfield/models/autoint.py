"""AutoInt: Song et al., "AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural ...", CIKM 2019.

https://arxiv.org/abs/1810.11921
"""

from pydantic import Field
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.errors import SchemaError
from crossfield.layers.features import FeatureVectors
from crossfield.layers.interacting import InteractingLayer, Residual
from crossfield.layers.linear import Prediction
from crossfield.layers.mlp import MLP
from crossfield.models.base import HiddenConfig, Model, Width
from crossfield.schema import ModelSchema


class AutoIntConfig(HiddenConfig):
    """What AutoInt can be told; the defaults are the paper's (section 5.1)."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the attention weights, as in the authors' code, and of the MLP's hidden outputs dropped in training."""
    num_layers: Width = 3
    """Interacting layers."""
    num_heads: Width = 2
    """Heads H of every layer."""
    head_dim: Width = 32
    """Width d' of one head; a layer's vectors are H d' wide (the published tables' attention_dim)."""
    residual: Residual = "linear"
    """W_Res in every layer (equation 8), or the vector itself where widths agree (the published tables), or nothing."""
    scale: bool = False
    """Whether attention products are divided by sqrt(d'); not in the paper, but in the authors' code."""
    layer_norm: bool = False
    """Layer normalisation before each ReLU; not in the paper."""
    deep: tuple[Width, ...] = ()
    """Widths of an MLP beside the attention: with one, this is AutoInt+ (section 5.2.4); () is AutoInt."""


class AutoInt(Model):
    """Self-attention over the fields' vectors, layer on layer: ŷ = wᵀ[e_1^Res ; e_2^Res ; ...] + b (equation 9).

    e_m^Res = ReLU(ẽ_m + W_Res e_m), ẽ_m = Σ_k α_{m,k} W_Value e_k for H heads side by side, α_{m,k} the softmax over k
    of <W_Query e_m, W_Key e_k> (equations 5 to 8). AutoInt+ adds the logit of an MLP on the same vectors.
    """

    config_type = AutoIntConfig

    def __init__(self, schema: ModelSchema, config: AutoIntConfig) -> None:
        super().__init__(schema, config)
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        num_vectors, width = self.vectors.num_vectors, config.embedding_dim
        if num_vectors < 2:
            raise SchemaError(
                "autoint needs two fields or dense features to attend to each other, there is one; use dnn"
            )
        self.attention = nn.Sequential()
        for _ in range(config.num_layers):
            self.attention.append(
                InteractingLayer(
                    width,
                    config.head_dim,
                    config.num_heads,
                    residual=config.residual,
                    scale=config.scale,
                    layer_norm=config.layer_norm,
                    dropout=config.dropout,
                )
            )
            width = config.num_heads * config.head_dim
        self.prediction = Prediction(num_vectors * width, 1)
        self.deep = None
        if config.deep:
            flat_dim = num_vectors * config.embedding_dim
            mlp = MLP(flat_dim, config.deep, batch_norm=config.batch_norm, dropout=config.dropout)
            self.deep = nn.Sequential(mlp, Prediction(mlp.output_dim, 1))

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        e = self.vectors(batch)
        logits: Tensor = self.prediction(self.attention(e).flatten(1))
        return logits if self.deep is None else logits + self.deep(e.flatten(1))
