"""DHEN: Zhang et al., "A Deep and Hierarchical Ensemble Network for Large-Scale Click-Through Rate Prediction", 2022.

https://arxiv.org/abs/2203.11014
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from crossfield.batch import Batch
from crossfield.errors import SchemaError
from crossfield.layers.attention import EncoderLayer
from crossfield.layers.convolution import FieldConvolution
from crossfield.layers.dot import DotInteraction
from crossfield.layers.embedding import FieldEmbedding
from crossfield.layers.ensemble import Ensemble, EnsembleBy
from crossfield.layers.field_map import FieldMap
from crossfield.layers.linear import Linear, Prediction
from crossfield.layers.mlp import MLP
from crossfield.layers.self_cross import FlatCross, GramCross
from crossfield.models.base import HiddenConfig, Model, Width
from crossfield.schema import ModelSchema

Interaction = Literal["dot", "attention", "convolution", "linear", "cross"]
Interactions = Annotated[tuple[Interaction, ...], Field(min_length=1)]


class DHENConfig(HiddenConfig):
    """What DHEN can be told; the paper publishes no widths, so these are ours."""

    layers: tuple[Interactions, ...] = Field((("dot", "linear"), ("dot", "linear")), min_length=1)
    """The interactions of each layer: any of dot, attention, convolution, linear and cross. Dot and linear is what the
    paper stacks 2, 4 and 8 times."""
    num_embeddings: Width | None = None
    """Embeddings l that every interaction gives; by default as many as the features have."""
    ensemble: EnsembleBy = "sum"
    """How a layer joins its interactions: sum, weighted_sum with a learned weight for each, or concatenation."""
    layer_norm: bool = True
    """Whether layers end in a layer norm; without it, those of linear maps, crosses and bare dots are polynomials."""
    norm_over: Literal["layer", "embedding"] = "layer"
    """What a layer norm takes together: all numbers of the layer, or those of each embedding, as a Transformer does."""
    dot: tuple[Width, ...] = (64,)
    """Hidden widths of the MLP behind a layer's dot products; () leaves these bare: a linear map of them."""
    cross: Literal["flat", "gram"] = "flat"
    """flat: x ⊙ (W x + b), x the embeddings side by side. gram: W vec(X Xᵀ) + b."""
    num_heads: Width = 2
    """Heads of the self-attention; they share embedding_dim equally."""
    feed_forward_dim: Width = 64
    """Hidden width of the feed-forward part behind the self-attention."""
    num_channels: Width = 4
    """Kernels of a convolution."""
    kernel_size: Width = 3
    """Height in embeddings and width in components of these kernels; odd."""
    convolution_activation: Literal["identity", "relu"] = "identity"
    """Between a convolution and its linear map; identity, the paper's formula, makes one linear map of both."""
    bottom: tuple[Width, ...] = (64,)
    """Hidden widths of the MLP that turns the dense features into embeddings."""
    num_dense_embeddings: Width = 1
    """Embeddings that the dense features become."""
    top: tuple[Width, ...] = (400, 400, 400)
    """Hidden widths of the head; () leaves a linear map of the last layer's embeddings."""
    batch_norm: bool = False
    """Batch normalisation in the hidden layers of bottom and top; the layers between have a norm of their own."""
    activation_checkpointing: bool = False
    """Compute each layer once more in the backward pass instead of keeping what is inside: less memory, same result."""

    def widths(self, num_vectors: int) -> list[int]:
        """Embeddings that enter each layer and, last, those that leave the stack, for ``num_vectors`` that enter it."""
        each = self.num_embeddings or num_vectors
        side_by_side = self.ensemble == "concatenation"
        return [num_vectors, *(each * len(one) if side_by_side else each for one in self.layers)]

    @model_validator(mode="after")
    def _check(self) -> "DHENConfig":
        if self.layer_norm and self.norm_over == "embedding" and self.embedding_dim < 2:
            raise ValueError('norm_over = "embedding" leaves nothing of embeddings of one number; widen embedding_dim')
        # Two embeddings stand for the features' own, which only the schema knows.
        for number, (width, layer) in enumerate(zip(self.widths(2), self.layers, strict=False), start=1):
            if "dot" in layer and width < 2:
                raise ValueError(f"layer {number} has dot products, but num_embeddings = 1 makes 1 x 0 / 2 = 0 pairs")
            if "attention" in layer:
                self._check_heads()
            if "convolution" in layer:
                self._check_kernel()
        return self

    def _check_heads(self) -> None:
        dim, heads = self.embedding_dim, self.num_heads
        if dim % heads:
            raise ValueError(
                f"embedding_dim = {dim} cannot be shared equally by num_heads = {heads}: "
                f"{dim} = {heads} x {dim // heads} + {dim % heads}"
            )

    def _check_kernel(self) -> None:
        dim, size = self.embedding_dim, self.kernel_size
        if size % 2 == 0:
            raise ValueError(
                f"kernel_size = {size} is even: {dim} + 2 x {size // 2} - {size} + 1 = {dim + 1}, not {dim}"
            )
        if size > dim:
            raise ValueError(f"kernel_size = {size} is more than embedding_dim = {dim}")


class DHEN(Model):
    """Layers that each join several interactions: X_{n+1} = LN(Ensemble_i Interaction_i(X_n) + ShortCut(X_n)).

    X_0 are the embedded fields beside what an MLP makes of the dense features; ŷ = wᵀ MLP_top(X_N) + b. ShortCut is
    the identity, or W_n X_n where the number of embeddings changes. Dot products need two embeddings.
    """

    config_type = DHENConfig

    def __init__(self, schema: ModelSchema, config: DHENConfig) -> None:
        super().__init__(schema, config)
        num_dense = len(schema.dense)
        num_vectors = len(schema.embedded) + (config.num_dense_embeddings if num_dense else 0)
        if not num_vectors:
            raise SchemaError("no feature to embed; give one dense or id column, or mark a cross embed=true")
        self.ids = self.bottom = None
        if schema.embedded:
            # PAPER: the ids of a multi-valued field are summed, as in DLRM; the paper does not say.
            self.ids = FieldEmbedding(
                schema.embedded, schema, config.embedding_dim, std=config.embedding_std, pooling="sum"
            )
        if num_dense:
            self.bottom = _dense_embeddings(num_dense, config)
        *inputs, num_outputs = config.widths(num_vectors)
        self.layers = nn.ModuleList(
            DHENLayer(interactions, config, num_inputs=num_inputs, num_each=config.num_embeddings or num_vectors)
            for num_inputs, interactions in zip(inputs, config.layers, strict=True)
        )
        self.top = MLP(
            num_outputs * config.embedding_dim, config.top, batch_norm=config.batch_norm, dropout=config.dropout
        )
        self.prediction = Prediction(self.top.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        parts = [] if self.ids is None else [self.ids(batch)]
        if self.bottom is not None:
            parts.append(self.bottom(batch.dense))
        X_n = torch.cat(parts, 1)
        for layer in self.layers:
            X_n = self._run(layer, X_n)
        logits: Tensor = self.prediction(self.top(X_n.flatten(1)))
        return logits

    def _run(self, layer: nn.Module, X_n: Tensor) -> Tensor:
        X_next: Tensor
        if self.training and self.config.activation_checkpointing:
            X_next = checkpoint(layer, X_n, use_reentrant=False)
        else:
            X_next = layer(X_n)
        return X_next


class DHENLayer(nn.Module):
    """LN(Ensemble_i Interaction_i(X) + ShortCut(X)), [B, M, D] -> [B, M', D]; every interaction gives l embeddings."""

    def __init__(self, interactions: Interactions, config: DHENConfig, *, num_inputs: int, num_each: int) -> None:
        super().__init__()
        self.interactions = nn.ModuleList(_INTERACTIONS[one](num_inputs, num_each, config) for one in interactions)
        # PAPER: all three ensembles are the paper's; the sum is our default because it keeps the shortcut an identity.
        self.ensemble = Ensemble(len(interactions), config.ensemble)
        num_outputs = num_each * (len(interactions) if config.ensemble == "concatenation" else 1)
        self.shortcut = nn.Identity() if num_inputs == num_outputs else FieldMap(num_inputs, num_outputs)
        # PAPER: a layer norm, says the paper, and not of what. That of each embedding takes their lengths away, which
        # cost .003 to .010 of AUC on the tour's rows (embeddings of 8, 3 seeds, 3 stacks): ours takes them together.
        dim = config.embedding_dim
        shape = (dim,) if config.norm_over == "embedding" else (num_outputs, dim)
        self.norm = nn.LayerNorm(shape) if config.layer_norm else nn.Identity()

    def forward(self, X: Tensor) -> Tensor:
        """[B, M, D] -> [B, M', D]."""
        ensemble = self.ensemble([interaction(X) for interaction in self.interactions])
        normed: Tensor = self.norm(ensemble + self.shortcut(X))
        return normed


def _dot(num_inputs: int, num_outputs: int, config: DHENConfig) -> nn.Module:
    """W_m MLP([<x_i, x_j> for i > j]).

    PAPER: the paper's module is Meta's AdvancedDLRM, which is not published: ours is DLRM's dot products and an MLP.
    """
    dots = DotInteraction(num_inputs)
    if not dots.output_dim:
        raise SchemaError(
            'dhen has one embedding here and "dot" needs two: add a column, set num_dense_embeddings to 2, '
            'or leave "dot" out of layers'
        )
    mlp = MLP(dots.output_dim, config.dot, dropout=config.dropout)
    weights = Linear(mlp.output_dim, num_outputs * config.embedding_dim, bias=False)
    return nn.Sequential(dots, mlp, weights, nn.Unflatten(1, (num_outputs, config.embedding_dim)))


def _attention(num_inputs: int, num_outputs: int, config: DHENConfig) -> nn.Module:
    """W TransformerEncoderLayer(X)."""
    encoder = EncoderLayer(
        config.embedding_dim,
        num_heads=config.num_heads,
        hidden_dim=config.feed_forward_dim,
        dropout=config.dropout,
    )
    return nn.Sequential(encoder, FieldMap(num_inputs, num_outputs))


def _convolution(num_inputs: int, num_outputs: int, config: DHENConfig) -> nn.Module:
    """W Conv2d(X).

    PAPER: kernels are not published: ours keep the size of the map, so that W maps all their maps' embeddings.
    """
    activation = nn.ReLU() if config.convolution_activation == "relu" else nn.Identity()
    convolution = FieldConvolution(config.num_channels, config.kernel_size)
    return nn.Sequential(convolution, activation, FieldMap(config.num_channels * num_inputs, num_outputs))


def _linear(num_inputs: int, num_outputs: int, config: DHENConfig) -> nn.Module:
    """W X."""
    return FieldMap(num_inputs, num_outputs)


def _cross(num_inputs: int, num_outputs: int, config: DHENConfig) -> nn.Module:
    """DCN's cross of X with itself; the layer's shortcut stands for its residual.

    PAPER: the paper prints W (X Xᵀ) + b with X of d x m, which is d x d and no list of embeddings, and speaks of pairs
    of features. Read as all pairs' dot products ("gram") it is the dot module without its MLP. Our default is what
    DCN-V2 does on the flat vector ("flat"): the module is named after it, and it adds what dot products cannot.
    """
    kind = FlatCross if config.cross == "flat" else GramCross
    return kind(num_inputs, num_outputs, config.embedding_dim)


_INTERACTIONS: dict[Interaction, Callable[[int, int, DHENConfig], nn.Module]] = {
    "dot": _dot,
    "attention": _attention,
    "convolution": _convolution,
    "linear": _linear,
    "cross": _cross,
}


def _dense_embeddings(num_dense: int, config: DHENConfig) -> nn.Module:
    """An MLP over the dense features, [B, N] -> [B, num_dense_embeddings, D].

    PAPER: the paper says "MLP outputs" and not how many. The last map has no ReLU, which would keep one sign only.
    """
    mlp = MLP(num_dense, config.bottom, batch_norm=config.batch_norm, dropout=config.dropout)
    shape = (config.num_dense_embeddings, config.embedding_dim)
    return nn.Sequential(mlp, Linear(mlp.output_dim, shape[0] * shape[1]), nn.Unflatten(1, shape))
