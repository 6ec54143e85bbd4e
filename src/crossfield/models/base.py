"""The contract of every model: a schema and a config in, logits out. No sigmoid, loss, optimiser or file here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.config import Config
from crossfield.errors import ConfigError
from crossfield.layers.unseen import NUM_SPECIAL
from crossfield.schema import ModelSchema

Width = Annotated[int, Field(ge=1)]
BranchObjective = Literal["distillation", "tri_bce"]


class ModelConfig(Config):
    """What a model can be told; every model has a config of its own, some of them empty."""


class EmbeddingConfig(ModelConfig):
    """What every model with embeddings can be told."""

    embedding_dim: Width = 16
    """Width D of the embeddings."""
    embedding_std: float = Field(0.01, ge=0)
    """Embeddings start from N(0, embedding_std^2); the published CTR tables use 1e-4."""


class HiddenConfig(EmbeddingConfig):
    """What every model with an MLP can be told about its hidden layers."""

    batch_norm: bool = False
    """Batch normalisation in every hidden layer, between the linear map and the activation."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of each hidden layer's outputs that is dropped in training."""


class DeepConfig(HiddenConfig):
    """What every model with a deep part, an MLP over the embeddings, can be told."""

    deep: tuple[Width, ...] = Field((400, 400, 400), min_length=1)
    """Widths of the deep part's hidden layers; three of 400 is what most CTR papers and tables use."""


class TwoStreamConfig(HiddenConfig):
    """What every model of two streams of hidden layers can be told."""

    deep_1: tuple[Width, ...] = Field((400, 400, 400), min_length=1)
    """Widths of the first stream's hidden layers."""
    deep_2: tuple[Width, ...] = Field((400, 400, 400), min_length=1)
    """Widths of the second stream's hidden layers; the papers' best pairs are unequal, one deep and one wide."""
    dropout_2: float | None = Field(None, ge=0, lt=1)
    """Share dropped in the second stream, where it is another than ``dropout``."""

    @property
    def dropouts(self) -> tuple[float, float]:
        """What is dropped in the first stream and in the second."""
        return self.dropout, self.dropout if self.dropout_2 is None else self.dropout_2


class Model(nn.Module):
    """A model is built from a ModelSchema and its config: ``forward(batch)`` gives logits [B, T] float32.

    Construction raises SchemaError where the schema lacks what the model needs (a user, an item, two fields).
    """

    config_type: ClassVar[type[ModelConfig]]

    def __init__(self, schema: ModelSchema, config: Any) -> None:
        super().__init__()
        self.schema, self.config = schema, config

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, T] float32."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def start_from(self, trained: Sequence["Model"]) -> None:
        """Take over the weights of one trained model of the same kind, schema and config.

        Raises ConfigError where these are other models, or more than one.
        """
        names = [type(one).__name__ for one in trained]
        if names != [type(self).__name__]:
            raise ConfigError(f"{type(self).__name__} starts from one model of its own kind, not from {names}")
        self.take_weights(trained[0])

    def take_weights(self, other: nn.Module) -> None:
        """Copy the weights of a model of the same shape; raises ConfigError naming one that has another."""
        mine, theirs = self.state_dict(), other.state_dict()
        for name in sorted({*mine, *theirs}):
            shapes = [tuple(one[name].shape) if name in one else None for one in (mine, theirs)]
            if shapes[0] != shapes[1]:
                raise ConfigError(f"{name} is {shapes[0]} here and {shapes[1]} in the trained model; use its settings")
        self.load_state_dict(theirs)


class Solved(Model):
    """A model that is solved from who met what instead of trained by gradients: popularity, iALS, EASE."""

    def solve(self, interactions: "Interactions") -> None:
        """Set the weights from what users did; called once instead of the training loop."""
        raise TypeError(f"{type(self).__name__} does not define solve")


@dataclass(frozen=True)
class Interactions:
    """Who met which item, as encoded ids: users [n] int64, items [n] int64, labels [n] float32, weights [n] float32."""

    users: Tensor
    items: Tensor
    labels: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> "Interactions":
        """The same on another device."""
        return Interactions(*(one.to(device) for one in (self.users, self.items, self.labels, self.weights)))

    def choices(self) -> "Interactions":
        """The positive pairs of known users, each once, by user and then by item; it weighs the mean of its rows.

        Ids 0 and 1 are no user in particular, so what they chose was not chosen by one and the same. Items are any ids.
        """
        is_choice = (self.labels > 0) & (self.weights > 0) & (self.users >= NUM_SPECIAL)
        keys = (self.users[is_choice] << 32) + self.items[is_choice]
        pairs, owners, num_rows = torch.unique(keys, return_inverse=True, return_counts=True)
        weights = torch.zeros(len(pairs), dtype=torch.float64, device=keys.device)
        weights = weights.index_add_(0, owners, self.weights[is_choice].double()).div_(num_rows).float()
        return Interactions(pairs >> 32, pairs & 0xFFFF_FFFF, torch.ones_like(weights), weights)


@runtime_checkable
class HasParameterRoles(Protocol):
    """A model whose parts have optimisers of their own (Wide & Deep)."""

    def parameter_roles(self) -> dict[str, list[nn.Parameter]]:
        """Role -> parameters; every parameter in exactly one role."""
        ...


@runtime_checkable
class HasBranches(Protocol):
    """A model of two branches each of which its paper trains as well (FinalNet, FCN)."""

    @property
    def branch_objective(self) -> BranchObjective | None:
        """What its paper minimises; None where its settings leave one branch."""
        ...

    def branch_logits(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, T] float32 of the whole model, as ``forward`` gives them, and of its two branches."""
        ...


@runtime_checkable
class HasPenalty(Protocol):
    """A model whose paper penalises what was looked up for an example, example by example (MF)."""

    @property
    def penalises(self) -> bool:
        """Whether its settings ask for that."""
        ...

    def penalised_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits [B, T] float32, as ``forward`` gives them, and what each example [B] adds to its loss."""
        ...


@runtime_checkable
class HasSides(Protocol):
    """A model of user and item alone whose logits come from one vector of each, to be computed once (MF, NCF's models).

    ``join_sides(encode_users(u), encode_items(i))`` gives what ``forward`` gives, to the rounding of float32, in
    evaluation mode.
    """

    def encode_users(self, users: Tensor) -> Tensor:
        """Vectors [U, A] float32 of encoded users [U] int64."""
        ...

    def encode_items(self, items: Tensor) -> Tensor:
        """Vectors [I, C] float32 of encoded items [I] int64."""
        ...

    def join_sides(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits [U, I] float32 of users [U, A] with items [I, C], or with items [U, I, C] of each user's own."""
        ...


@runtime_checkable
class HasScoreRows(Protocol):
    """A model of user and item alone that scores a user with all items about as fast as with one (EASE)."""

    def score_rows(self, users: Tensor) -> Tensor:
        """Logits [U, item ids] float32 of encoded users [U] int64 with every item id."""
        ...


@runtime_checkable
class HasFieldSums(Protocol):
    """A model of second order in its fields, so that what belongs to a user and to an item counts once (FM).

    Its logit is a sum over the fields f of something of each alone, and of <v_f, v_g> over pairs of fields.
    """

    def field_sums(self, batch: Batch) -> Tensor:
        """Σ_f v_f, [B, D] float32; D is 0 where the model is linear in its fields."""
        ...


def num_numbers(model: Model) -> int:
    """Parameters; of a solved model, which has none to train, the numbers it counted."""
    held = model.state_dict().values() if isinstance(model, Solved) else model.parameters()
    return sum(one.numel() for one in held)
