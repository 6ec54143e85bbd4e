"""Negatives: items drawn for positive rows, anew in every epoch, and negative rows left out at random."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from crossfield.batch import Batch, Jagged
from crossfield.data.entities import Entities
from crossfield.errors import DataError

ROWS_AT_ONCE = 4096
"""Rows of small batches that get their negatives together."""
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
        self._is_uniform, self._ends = kind == "uniform", np.cumsum(self._weights)
        if not len(self._ends) or not self._ends[-1]:
            raise DataError("there are no items to draw negatives from")

    def stream(self, batches: Iterable[Batch], *, epoch: int, index: int = 0) -> Iterator[Batch]:
        """Batches of an epoch, the first of them its ``index``-th, each as ``extend`` makes it."""
        for group in _groups(batches):
            yield from self._extend_all(group, epoch=epoch, index=index)
            index += len(group)

    def extend(self, batch: Batch, *, epoch: int, index: int) -> Batch:
        """The batch [B], then a negative of each of its positives, then another one of each, ``per_positive`` in all.

        Labels are those of the batch (1 where it has none) and 0; user and context are the positive's. Where a user
        has met every item, its negatives are items it has met, with weight 0.
        """
        return next(self._extend_all([batch], epoch=epoch, index=index))

    def _extend_all(self, batches: Sequence[Batch], *, epoch: int, index: int) -> Iterator[Batch]:
        """Batches of one epoch, numbered from ``index`` on.

        PERF: batches of 51 films, one core: 80 at once take 0.3 ms each, one by one 1.3: arrays this small cost calls.
        """
        whole, ends = _join(batches), np.cumsum([one.size for one in batches])
        labels = torch.ones(whole.size, 1) if whole.labels is None else whole.labels
        positives = np.flatnonzero(labels[:, 0].numpy() > 0)
        cuts = np.searchsorted(positives, ends)
        owners = np.repeat(np.arange(len(batches)), np.diff(cuts, prepend=0))
        numbers = positives if whole.rows is None else whole.rows.numpy()[positives]
        keys = self._keys(epoch, index + owners[:, None], numbers)
        order = _tiled(np.arange(len(positives)), cuts, self.per_positive)
        copies = whole.select(torch.from_numpy(positives[order]))
        users, own = copies.categorical[:, self._user].numpy(), copies.categorical[:, self._item].numpy()
        items, exhausted = self._draw(users, own, _columns(keys, cuts))
        both = _join([whole, self._entities.with_items(copies, items)])
        both = replace(both, labels=torch.cat([labels, torch.zeros(copies.size, 1)]))
        if exhausted.any() or whole.weights is not None:
            given = torch.ones(whole.size) if whole.weights is None else whole.weights
            drawn = torch.ones(copies.size) if copies.weights is None else copies.weights
            both = replace(both, weights=torch.cat([given, drawn * torch.from_numpy(~exhausted)]))
        drawn_ends = self.per_positive * cuts
        both = both.select(torch.from_numpy(_zipped(ends, whole.size + drawn_ends)))
        for start, stop, first, last in _spans(ends + drawn_ends, drawn_ends):
            part = both.slice(start, stop)
            yield part if whole.weights is not None or exhausted[first:last].any() else replace(part, weights=None)

    def draw(self, user_ids: np.ndarray) -> np.ndarray:
        """Items [n, per_positive] int64 that the users [n] did not meet in training, the same at every call."""
        users = np.repeat(np.asarray(user_ids, dtype=np.int64), self.per_positive)
        keys = self._keys(0, 0, np.arange(len(user_ids))).reshape(-1)
        items, _ = self._draw(users, np.full(len(users), -1), keys)
        return items.reshape(-1, self.per_positive)

    def _keys(self, epoch: int, index: int | np.ndarray, numbers: np.ndarray) -> np.ndarray:
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
            random = _mix(keys[left], attempt)
            # Of equal weights the target is the place: nothing to search.
            places = _targets(self._ends, random) if self._is_uniform else _pick(self._ends, random)
            drawn = self._items[places]
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
    positions: np.ndarray = np.searchsorted(ends, _targets(ends, random), side="right")
    return positions


def _targets(ends: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to below the sum of the weights, all equally likely, from random [n] uint64."""
    targets: np.ndarray = (_uniform(random) * ends[-1]).astype(np.int64)
    return targets


def _mix(keys: np.ndarray, part: np.ndarray | int) -> np.ndarray:
    """SplitMix64 (Steele, Lea & Flood 2014) of keys [*] uint64, each joined with a number."""
    mixed = (keys ^ np.asarray(part).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _uniform(random: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1), [n] float64, from the upper 53 bits."""
    return (random >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _groups(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Batches together, as many as have enough rows."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) * batch.size >= ROWS_AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _tiled(places: np.ndarray, cuts: np.ndarray, times: int) -> np.ndarray:
    """Each part of the places that ends at a cut, so many times: [n] -> [n times]."""
    return np.concatenate([np.tile(part, times) for part in np.split(places, cuts[:-1])])


def _columns(keys: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Keys [n, times] in the order of ``_tiled``."""
    return np.concatenate([part.T.reshape(-1) for part in np.split(keys, cuts[:-1])])


def _zipped(ends: np.ndarray, other_ends: np.ndarray) -> np.ndarray:
    """Positions that put each part of the first rows before its part of the others, which lie behind all first rows."""
    first = np.split(np.arange(ends[-1]), ends[:-1])
    other = np.split(np.arange(ends[-1], other_ends[-1]), other_ends[:-1] - ends[-1])
    return np.concatenate([part for pair in zip(first, other, strict=True) for part in pair])


def _spans(*ends: np.ndarray) -> Iterator[tuple[int, ...]]:
    """Start and end of every part, by each of the ends."""
    sides = [side for one in ends for side in (np.concatenate([[0], one[:-1]]), one)]
    return zip(*(side.tolist() for side in sides), strict=True)


def _join(batches: Sequence[Batch]) -> Batch:
    """Batches as one, without labels where one has none."""
    if len(batches) == 1:
        return batches[0]
    optional = {name: [getattr(one, name) for one in batches] for name in ("labels", "weights", "groups", "rows")}
    return Batch(
        dense=torch.cat([one.dense for one in batches]),
        categorical=torch.cat([one.categorical for one in batches]),
        sequences={name: _join_lists([one.sequences[name] for one in batches]) for name in batches[0].sequences},
        **{name: torch.cat(some) for name, some in optional.items() if all(one is not None for one in some)},
    )


def _join_lists(lists: Sequence[Jagged]) -> Jagged:
    lengths = torch.cat([one.lengths for one in lists])
    return Jagged(torch.cat([one.values for one in lists]), torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))


def keep_mask(labels: np.ndarray, rows: np.ndarray, *, rate: float, seed: int = 0) -> np.ndarray:
    """Which labelled rows to keep, [n] bool: all positives, and negatives with probability ``rate``.

    labels [n] 0 or 1, rows [n] row numbers. A pure function of (seed, row number), so that it does not matter how the
    rows come in blocks. Scores of a model trained on the rest are too high until ``losses.undo_downsampling``
    corrects them.
    """
    random = _uniform(_mix(_mix(np.zeros(len(rows), dtype=np.uint64), seed), rows))
    kept: np.ndarray = (labels > 0) | (random < rate)
    return kept
