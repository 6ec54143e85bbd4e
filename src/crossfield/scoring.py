"""Score users with items: from one vector of each or a row of all items where a model allows it, else pair by pair."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossfield.batch import Batch
from crossfield.data.vocabulary import MISSING
from crossfield.layers.pairs import dot_pairs
from crossfield.models.base import HasFieldSums, HasScoreRows, HasSides, Model

Ids = NDArray[np.int64]
PAIRS_PER_PASS = 4096
"""Pairs that go through a model, or through the joint of its two sides, at once on a CPU.

PERF: more leave the processor's cache: 65,536 pairs of seven fields 64 wide take 0.11 s through FM 4,096 at a time
and 0.40 s at once, 0.22 and 0.47 s through DLRM.
"""
PAIRS_PER_LAUNCH = 65_536
"""The same on a GPU, which would wait for its launches."""
ROWS_PER_PASS = 256
"""Users who are scored with all items at once where only some of these scores are wanted."""


class PairSource(Protocol):
    """What ranking needs to know of the training rows; ``data.entities.Entities`` is one."""

    @property
    def items(self) -> NDArray[Any]:
        """Ids of the items that training saw, rising: the catalogue."""
        ...

    def has_seen(self, user_ids: Ids, item_ids: Ids) -> NDArray[np.bool_]:
        """Whether each pair [n] was in training."""
        ...

    def seen_pairs(self, user_ids: Ids) -> tuple[Ids, NDArray[Any]]:
        """Places [p] in ``user_ids`` and item ids [p]: every item that one of the users met in training, once."""
        ...

    @property
    def mixed_crosses(self) -> Sequence[str]:
        """Names of the crosses that belong neither to the user nor to the item."""
        ...

    def pair_batch(self, user_ids: Ids, item_ids: Ids) -> Batch:
        """One row per user and item, [n] each, as the model takes it."""
        ...


class Scorer(Protocol):
    """Logits of users with items, on the model's device; the model is in evaluation mode meanwhile."""

    def catalogue(self, users: Ids) -> Tensor:
        """Logits [U, I] float32 of users [U] with every item that training saw."""
        ...

    def lists(self, users: Ids, items: Ids) -> Tensor:
        """Logits [U, m] float32 of users [U] with items [U, m] of each user's own."""
        ...


def scorer_of(model: Model, entities: PairSource) -> Scorer:
    """The fastest way to score pairs that the model allows."""
    if isinstance(model, HasSides):
        return SideBySide(model, model, catalogue=entities.items)
    if isinstance(model, HasFieldSums) and not entities.mixed_crosses:
        return SideBySide(FieldSides(model, model, entities=entities), model, catalogue=entities.items)
    if isinstance(model, HasScoreRows):
        return RowByRow(model, model, catalogue=entities.items)
    return PairByPair(model, entities)


class PairByPair:
    """The whole model on every pair."""

    def __init__(self, model: Model, entities: PairSource) -> None:
        self._model, self._entities = model, entities

    def catalogue(self, users: Ids) -> Tensor:
        """See ``Scorer``."""
        items = self._entities.items
        return self.lists(users, np.broadcast_to(items, (len(users), len(items))))

    def lists(self, users: Ids, items: Ids) -> Tensor:
        """See ``Scorer``."""
        device = device_of(self._model)
        logits, step = torch.empty(items.size, device=device), _pairs_at_once(device)
        with evaluation_mode(self._model):
            for start in range(0, items.size, step):
                places = np.arange(start, min(start + step, items.size))
                rows, columns = np.divmod(places, items.shape[1])
                batch = self._entities.pair_batch(users[rows], items[rows, columns])
                logits[start : start + len(places)] = logits_of(self._model, batch.to(device))
        return logits.view(items.shape)


class SideBySide:
    """Every user and every item once, then the joint of the two; ``model`` is who the sides belong to."""

    def __init__(self, sides: HasSides, model: Model, *, catalogue: NDArray[Any]) -> None:
        self._sides, self._model, self._catalogue = sides, model, catalogue

    def catalogue(self, users: Ids) -> Tensor:
        """See ``Scorer``."""
        with _scoring(self._model):
            return self._sides.join_sides(self._encode_users(users), self._encoded_catalogue)

    def lists(self, users: Ids, items: Ids) -> Tensor:
        """See ``Scorer``."""
        distinct, places = np.unique(items, return_inverse=True)
        device = device_of(self._model)
        step = max(1, _pairs_at_once(device) // max(items.shape[1], 1))
        with _scoring(self._model):
            logits = torch.empty(items.shape, device=device)
            user_side, item_side = self._encode_users(users), self._sides.encode_items(self._ids(distinct))
            columns = self._ids(places.reshape(items.shape))
            for start in range(0, len(users), step):
                part = slice(start, start + step)
                logits[part] = self._sides.join_sides(user_side[part], item_side[columns[part]])
        return logits

    @cached_property
    def _encoded_catalogue(self) -> Tensor:
        return self._sides.encode_items(self._ids(self._catalogue))

    def _encode_users(self, users: Ids) -> Tensor:
        return self._sides.encode_users(self._ids(users))

    def _ids(self, ids: NDArray[Any]) -> Tensor:
        return _to_tensor(ids, device_of(self._model))


class RowByRow:
    """Each user with all items, and of these scores the ones that are wanted; ``model`` is whose rows they are."""

    def __init__(self, rows: HasScoreRows, model: Model, *, catalogue: NDArray[Any]) -> None:
        self._rows, self._model, self._catalogue = rows, model, catalogue

    def catalogue(self, users: Ids) -> Tensor:
        """See ``Scorer``."""
        device = device_of(self._model)
        with _scoring(self._model):
            rows = self._rows.score_rows(_to_tensor(users, device))
            return rows.index_select(1, _to_tensor(self._catalogue, device))

    def lists(self, users: Ids, items: Ids) -> Tensor:
        """See ``Scorer``."""
        device = device_of(self._model)
        logits, wanted = torch.empty(items.shape, device=device), _to_tensor(items, device)
        with _scoring(self._model):
            for start in range(0, len(users), ROWS_PER_PASS):
                part = slice(start, start + ROWS_PER_PASS)
                logits[part] = self._rows.score_rows(_to_tensor(users[part], device)).gather(1, wanted[part])
        return logits


class FieldSides:
    """The two sides of a model with field sums s, as vectors whose dot product is the logit.

    ŷ(u, i) = ŷ(u, ∅) + ŷ(∅, i) - ŷ(∅, ∅) + <s(u, ∅) - s(∅, ∅), s(∅, i) - s(∅, ∅)>, where ∅ is nobody and nothing:
    every field belongs to one side, and is missing in the rows of the other.
    """

    def __init__(self, sums: HasFieldSums, model: Model, *, entities: PairSource) -> None:
        self._sums, self._model, self._entities = sums, model, entities

    def encode_users(self, users: Tensor) -> Tensor:
        """[s(u, ∅) - s(∅, ∅) ; ŷ(u, ∅) - ŷ(∅, ∅) ; 1], [U] -> [U, D + 2]."""
        rows = self._rows(users, torch.full_like(users, MISSING)) - self._nobody
        return torch.cat([rows, torch.ones_like(rows[:, :1])], 1)

    def encode_items(self, items: Tensor) -> Tensor:
        """[s(∅, i) - s(∅, ∅) ; 1 ; ŷ(∅, i)], [I] -> [I, D + 2]."""
        rows = self._rows(torch.full_like(items, MISSING), items)
        sums = rows[:, :-1] - self._nobody[:, :-1]
        return torch.cat([sums, torch.ones_like(rows[:, :1]), rows[:, -1:]], 1)

    def join_sides(self, users: Tensor, items: Tensor) -> Tensor:
        """Logits [U, I] float32."""
        return dot_pairs(users, items)

    @property
    def _nobody(self) -> Tensor:
        missing = torch.full((1,), MISSING, device=device_of(self._model))
        return self._rows(missing, missing)

    def _rows(self, users: Tensor, items: Tensor) -> Tensor:
        """[s ; ŷ] of pairs, [n] and [n] -> [n, D + 1]."""
        rows = []
        for pairs in torch.split(torch.stack([users, items], 1), _pairs_at_once(users.device)):
            user_ids, item_ids = pairs.cpu().numpy().T
            batch = self._entities.pair_batch(user_ids, item_ids).to(users.device)
            rows.append(torch.cat([self._sums.field_sums(batch), self._model(batch)[:, :1]], 1))
        return torch.cat(rows)


def _pairs_at_once(device: torch.device) -> int:
    return PAIRS_PER_PASS if device.type == "cpu" else PAIRS_PER_LAUNCH


@contextmanager
def _scoring(model: Model) -> Iterator[None]:
    # Not inference mode: what it makes could not be written to afterwards, as ranking does.
    with evaluation_mode(model), torch.no_grad(), full_precision(device_of(model)):
        yield


def _to_tensor(ids: NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(ids.astype(np.int64, copy=False)).to(device)


def device_of(model: Model) -> torch.device:
    """Where the weights of a model are."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def evaluation_mode(model: Model) -> Iterator[None]:
    """Evaluation mode meanwhile; each module gets its own mode back, after an error too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def full_precision(device: torch.device) -> torch.autocast:
    """No autocast, whatever surrounds."""
    return torch.autocast(device.type, enabled=False)


def logits_of(model: Model, batch: Batch) -> Tensor:
    """Logits [B] float32 of a batch without gradients; of a model with several tasks those of the first."""
    # Inference mode covers the forward pass only: what a reader allocates while it is asked for the next batch must
    # stay usable in training.
    with torch.inference_mode(), full_precision(batch.categorical.device):
        logits: Tensor = model(batch)[:, 0].float()
    return logits
