"""Negatives: items drawn for positive rows, anew in every epoch, and negative rows left out at random."""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from crossfield.batch import Batch, Jagged
from crossfield.data.entities import Entities
from crossfield.errors import DataError

MAX_ROUNDS = 10
"""Draws before the items that are left for a user are listed instead."""


class NegativeSampler:
    """Adds to each positive row the same row with items its user did not meet in training.

    Draws depend on (seed, epoch, index of the global batch, number of the row) alone: the same on any number of ranks.
    """

    def __init__(
        self,
        entities: Entities,
        *,
        per_positive: int,
        kind: Literal["uniform", "popularity"] = "uniform",
        seed: int = 0,
    ) -> None:
        self._entities, self.per_positive, self._seed = entities, per_positive, seed
        schema = entities.encoder.model_schema
        self._user, self._item = schema.position("user"), schema.position("item")
        self._items = entities.items
        self._weights = (
            entities.popularity[self._items] if kind == "popularity" else np.ones(len(self._items), np.int64)
        )
        self._ends = np.cumsum(self._weights)
        if not len(self._ends) or not self._ends[-1]:
            raise DataError("there are no items to draw negatives from")

    def extend(self, batch: Batch, *, epoch: int, index: int) -> Batch:
        """The batch [B], then a negative of each of its positives, then another one of each, ``per_positive`` in all.

        Labels are those of the batch (1 where it has none) and 0; user and context are the positive's. Where a user
        has met every item, its negatives are items it has met, with weight 0.
        """
        labels = torch.ones(batch.size, 1) if batch.labels is None else batch.labels
        positives = torch.nonzero(labels[:, 0] > 0)[:, 0]
        copies = batch.select(positives.repeat(self.per_positive))
        numbers = positives if batch.rows is None else batch.rows[positives]
        keys = self._keys(epoch, index, numbers.numpy()).T.reshape(-1)
        users, own = copies.categorical[:, self._user].numpy(), copies.categorical[:, self._item].numpy()
        items, exhausted = self._draw(users, own, keys)
        negatives = self._entities.with_items(copies, items)
        both = torch.cat([labels, torch.zeros(copies.size, 1)])
        weights = _weights(batch, copies, torch.from_numpy(exhausted))
        return replace(_join(batch, negatives), labels=both, weights=weights)

    def draw(self, user_ids: np.ndarray) -> np.ndarray:
        """Items [n, per_positive] int64 that the users [n] did not meet in training, the same at every call."""
        users = np.repeat(np.asarray(user_ids, dtype=np.int64), self.per_positive)
        keys = self._keys(0, 0, np.arange(len(user_ids))).reshape(-1)
        items, _ = self._draw(users, np.full(len(users), -1), keys)
        return items.reshape(-1, self.per_positive)

    def _keys(self, epoch: int, index: int, numbers: np.ndarray) -> np.ndarray:
        """A random key for each negative of each row, [n, per_positive] uint64."""
        keys = np.zeros((len(numbers), self.per_positive), dtype=np.uint64)
        for part in (self._seed, epoch, index, numbers[:, None], np.arange(self.per_positive)):
            keys = _mix(keys, part)
        return keys

    def _draw(self, users: np.ndarray, own: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items [n] int64 that are new to the users [n] and not their ``own``, and for whom there is none, [n] bool."""
        items, exhausted = np.zeros(len(users), dtype=np.int64), np.zeros(len(users), dtype=bool)
        left = np.arange(len(users))
        for attempt in range(MAX_ROUNDS):
            drawn = self._items[_pick(self._ends, _mix(keys[left], attempt))]
            items[left] = drawn
            left = left[self._entities.has_seen(users[left], drawn) | (drawn == own[left])]
            if not len(left):
                break
        for place in left:
            # PERF: one by one, but only for users who have met nearly everything.
            allowed = ~np.isin(self._items, [*self._entities.seen(users[place]), own[place]])
            exhausted[place] = not allowed.any()
            if allowed.any():
                weights = self._weights * allowed
                ends = np.cumsum(weights if weights.any() else allowed)
                items[place] = self._items[_pick(ends, _mix(keys[place : place + 1], MAX_ROUNDS))[0]]
        return items, exhausted


def _pick(ends: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Positions drawn in proportion to weights whose cumulative sums are ``ends``, from random [n] uint64."""
    targets = (_uniform(random) * ends[-1]).astype(np.int64)
    positions: np.ndarray = np.searchsorted(ends, targets, side="right")
    return positions


def _mix(keys: np.ndarray, part: np.ndarray | int) -> np.ndarray:
    """SplitMix64 (Steele, Lea & Flood 2014) of keys [*] uint64, each joined with a number."""
    mixed = (keys ^ np.asarray(part).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _uniform(random: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1), [n] float64, from the upper 53 bits."""
    return (random >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _weights(batch: Batch, copies: Batch, exhausted: Tensor) -> Tensor | None:
    if batch.weights is None and not exhausted.any():
        return None
    given = torch.ones(batch.size) if batch.weights is None else batch.weights
    drawn = torch.ones(copies.size) if copies.weights is None else copies.weights
    return torch.cat([given, drawn * ~exhausted])


def _join(first: Batch, second: Batch) -> Batch:
    """The input of both batches, one after the other; groups and rows as well where there are any."""
    return Batch(
        dense=torch.cat([first.dense, second.dense]),
        categorical=torch.cat([first.categorical, second.categorical]),
        sequences={name: _join_lists(one, second.sequences[name]) for name, one in first.sequences.items()},
        groups=_join_optional(first.groups, second.groups),
        rows=_join_optional(first.rows, second.rows),
    )


def _join_lists(first: Jagged, second: Jagged) -> Jagged:
    offsets = torch.cat([first.offsets, second.offsets[1:] + first.offsets[-1]])
    return Jagged(torch.cat([first.values, second.values]), offsets)


def _join_optional(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else torch.cat([first, second])


def keep_mask(labels: np.ndarray, rows: np.ndarray, *, rate: float, seed: int = 0) -> np.ndarray:
    """Which labelled rows to keep, [n] bool: all positives, and negatives with probability ``rate``.

    labels [n] 0 or 1, rows [n] row numbers. A pure function of (seed, row number), so that it does not matter how the
    rows come in blocks. Scores of a model trained on the rest are too high until ``losses.undo_downsampling``
    corrects them.
    """
    random = _uniform(_mix(_mix(np.zeros(len(rows), dtype=np.uint64), seed), rows))
    kept: np.ndarray = (labels > 0) | (random < rate)
    return kept
