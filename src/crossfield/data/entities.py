"""Users and items as training saw them: what belongs to whom, who met what, and batches for any pair of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from crossfield.batch import Batch
from crossfield.data.encode import Encoder
from crossfield.data.encoded import Encoded, Lists, take_lists
from crossfield.data.sides import Role, Side, learn_sides, merge_sides
from crossfield.data.store import Store
from crossfield.data.vocabulary import FIRST, MISSING, Growth
from crossfield.errors import CorruptError, SchemaError
from crossfield.files import atomic_path, read_object, write_json
from crossfield.schema import Kind

FILES = ("entities.json", "users.arrow", "items.arrow", "seen.arrow", "popularity.arrow")
"""The files of a saved instance."""
MOST_BITS = 1 << 29
"""Pairs of ids up to which it is written down of each whether it was met: 64 MB."""


@dataclass(frozen=True, eq=False)
class Entities:
    """What belongs to a user, what to an item, who met what in training, and how popular items are."""

    encoder: Encoder
    sides: dict[Role, Side]
    seen_items: Lists
    """Item ids [pairs] int32, rising for each user, and offsets [user ids + 1] int64."""
    popularity: np.ndarray
    """Positive training rows of each item id, [item ids] int64; 0 for ids 0 and 1."""
    items: np.ndarray
    """Ids of the items that training saw, rising, [n] int64."""

    @classmethod
    def fit(cls, store: Store, encoder: Encoder) -> Self:
        """Learn from a store of training rows.

        Raises SchemaError where there is no user or no item, CorruptError where the store was written with another
        encoder.
        """
        if store.fingerprint != encoder.fingerprint:
            raise CorruptError(f"the store in {store.folder} was written with another encoder; encode the data again")
        sides, present = learn_sides(store.encoded, encoder)
        return cls(encoder, sides, _seen_pairs(store), _popularity(store), present["item"])

    def grown(self, store: Store, encoder: Encoder, growths: Mapping[str, Growth]) -> Self:
        """With what a store of new rows says, under a grown encoder: who met what before stays met."""
        sides, present = merge_sides(self.sides, store.encoded, encoder, growths)
        user, item = (growths[self._name(role)] for role in ("user", "item"))
        items = np.union1d(item.renamed[self.items], present["item"])
        popularity = _popularity(store)
        known = item.rows >= 0
        popularity[known] += self.popularity[item.rows[known]]
        seen = _union(_renamed_pairs(self.seen_items, user, item), _seen_pairs(store), num_items=len(item.rows))
        return type(self)(encoder, sides, seen, popularity, items[items >= FIRST])

    @property
    def item_side(self) -> tuple[str, ...]:
        """Names of what belongs to an item, the item itself apart."""
        return self.sides["item"].names

    @property
    def user_side(self) -> tuple[str, ...]:
        """Names of what belongs to a user, the user itself apart."""
        return self.sides["user"].names

    @cached_property
    def mixed_crosses(self) -> list[str]:
        """Names of the crosses that belong neither to the user nor to the item."""
        crosses = [one.name for one in self.encoder.model_schema.fields if one.kind is Kind.CROSS]
        return [name for name in crosses if name not in (*self.user_side, *self.item_side)]

    def seen(self, user_id: int) -> np.ndarray:
        """Ids of the items that the user met in training, positive or not, rising, [n] int64."""
        items, offsets = self.seen_items
        return items[offsets[user_id] : offsets[user_id + 1]].astype(np.int64)

    def seen_pairs(self, user_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places [p] in ``user_ids`` and item ids [p], both int64: every item that one of the users met, once each."""
        items, offsets = take_lists(*self.seen_items, rows=user_ids)
        return np.repeat(np.arange(len(user_ids)), np.diff(offsets)), items.astype(np.int64)

    def has_seen(self, user_ids: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
        """Whether each pair [n] was in training, [n] bool."""
        keys = np.asarray(user_ids, dtype=np.int64) * self._num_ids("item") + item_ids
        if self._seen_bits is not None:
            met: np.ndarray = self._seen_bits[keys >> 3] >> (keys & 7) & 1 == 1
            return met
        places = np.searchsorted(self._seen_keys, keys)
        found = np.zeros(len(keys), dtype=bool)
        inside = places < len(self._seen_keys)
        found[inside] = self._seen_keys[places[inside]] == keys[inside]
        return found

    @cached_property
    def _seen_keys(self) -> np.ndarray:
        items, offsets = self.seen_items
        users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        return users * self._num_ids("item") + items

    @cached_property
    def _seen_bits(self) -> np.ndarray | None:
        """A bit for each pair of ids; None where these would take too much memory.

        PERF: 16,320 pairs among a million, one core: 0.05 ms, and 8 by search among the sorted pairs.
        """
        num_bits = self._num_ids("user") * self._num_ids("item")
        if num_bits > MOST_BITS:
            return None
        bits = np.zeros(-(-num_bits // 8), dtype=np.uint8)
        np.bitwise_or.at(bits, self._seen_keys >> 3, (1 << (self._seen_keys & 7)).astype(np.uint8))
        return bits

    def _num_ids(self, role: Role) -> int:
        schema = self.encoder.model_schema
        return schema.categorical[schema.position(role)].num_rows

    def pair_batch(self, user_ids: np.ndarray, item_ids: np.ndarray) -> Batch:
        """One example per pair of ids, each [n]: both sides as in training, context missing, crosses made anew.

        Raises SchemaError where an id is out of range, or a cross of both sides is made of hashed ids.
        """
        rows = self._blank(len(user_ids))
        rows = self._put(rows, "user", user_ids)
        rows = self._cross(self._put(rows, "item", item_ids), self.mixed_crosses)
        return replace(rows.batch(self.encoder.model_schema), groups=None, rows=None)

    def with_items(self, batch: Batch, item_ids: np.ndarray) -> Batch:
        """The examples of a batch with other items [B]: what belongs to the item changes, all else stays.

        Raises as ``pair_batch``.
        """
        item = {*self.item_side, self._name("item")}
        changed = [name for name in self.mixed_crosses if item.intersection(self.encoder.schema[name].of)]
        rows = self._cross(self._put(_unpack(batch), "item", item_ids), changed)
        fresh = rows.batch(self.encoder.model_schema)
        return replace(batch, dense=fresh.dense, categorical=fresh.categorical, sequences=fresh.sequences)

    def _name(self, role: Role) -> str:
        schema = self.encoder.model_schema
        return schema.categorical[schema.position(role)].name

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {one.name: index for index, one in enumerate(self.encoder.model_schema.categorical)}

    @cached_property
    def _dense(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.encoder.model_schema.dense)}

    def _blank(self, num_rows: int) -> Encoded:
        """Rows in which everything is missing."""
        none = np.empty(0, dtype=np.int32), np.zeros(num_rows + 1, dtype=np.int64)
        return Encoded(
            dense=np.tile(self.encoder.missing_dense, (num_rows, 1)),
            categorical=np.full((num_rows, len(self._columns)), MISSING, dtype=np.int32),
            sequences={one.name: none for one in self.encoder.model_schema.sequences},
            labels=None,
            weights=None,
            groups=np.zeros(num_rows, dtype=np.int64),
            rows=np.arange(num_rows),
        )

    def _put(self, rows: Encoded, role: Role, ids: np.ndarray) -> Encoded:
        """Write one side of each row, in place; returns the rows with the side's lists."""
        ids, side = self._checked(role, ids), self.sides[role]
        rows.categorical[:, self._columns[self._name(role)]] = ids
        for name, values in side.columns.items():
            if name in self._columns:
                rows.categorical[:, self._columns[name]] = values[ids]
            else:
                rows.dense[:, self._dense[name]] = values[ids]
        lists = {name: take_lists(*one, rows=ids) for name, one in side.lists.items()}
        return replace(rows, sequences={**rows.sequences, **lists})

    def _checked(self, role: Role, ids: np.ndarray) -> np.ndarray:
        ids, num_ids = np.asarray(ids, dtype=np.int64), self._num_ids(role)
        if len(ids) and not 0 <= ids.min() <= ids.max() < num_ids:
            raise SchemaError(f"{role} ids go from {ids.min()} to {ids.max()}; the encoder has 0 to {num_ids - 1}")
        return ids

    def _cross(self, rows: Encoded, names: Iterable[str]) -> Encoded:
        """Make crosses anew from the ids of their parts, in place; returns the rows with the crosses' lists."""
        lists = {}
        for name in names:
            owners, parts = self._parts(rows, name)
            ids = self.encoder.cross_ids(name, parts)
            if name in self._columns:
                rows.categorical[:, self._columns[name]] = ids
            else:
                lengths = np.bincount(owners[ids != MISSING], minlength=rows.num_rows)
                lists[name] = ids[ids != MISSING], np.concatenate([[0], np.cumsum(lengths)])
        return replace(rows, sequences={**rows.sequences, **lists})

    def _parts(self, rows: Encoded, cross: str) -> tuple[np.ndarray, list[np.ndarray]]:
        """The ids of a cross's parts, one entry per combination of values, and the row each belongs to."""
        owners, parts = np.arange(rows.num_rows), list[np.ndarray]()
        for name in self.encoder.schema[cross].of:
            if name in self._columns:
                parts.append(rows.categorical[owners, self._columns[name]])
                continue
            values, offsets = take_lists(*rows.sequences[name], rows=owners)
            repeat = np.repeat(np.arange(len(owners)), np.diff(offsets))
            owners, parts = owners[repeat], [*(one[repeat] for one in parts), values]
        return owners, parts

    def save(self, folder: Path) -> None:
        """Write the files of ``FILES`` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "entities.json", {"fingerprint": self.encoder.fingerprint})
        for role, side in self.sides.items():
            columns = {name: pa.array(values) for name, values in side.columns.items()}
            lists = {name: _to_arrow(one) for name, one in side.lists.items()}
            _write_table(folder / f"{role}s.arrow", {**columns, **lists})
        _write_table(folder / "seen.arrow", {"items": _to_arrow(self.seen_items)})
        known = np.isin(np.arange(len(self.popularity)), self.items)
        _write_table(folder / "popularity.arrow", {"positives": pa.array(self.popularity), "known": pa.array(known)})

    @classmethod
    def load(cls, folder: Path, encoder: Encoder) -> Self:
        """Read what ``save`` wrote; raises CorruptError where it is not that, or belongs to another encoder."""
        if read_object(folder / "entities.json").get("fingerprint") != encoder.fingerprint:
            raise CorruptError(f"the users and items in {folder} belong to another encoder")
        try:
            users, items, seen, popularity = (_read_table(folder / name) for name in FILES[1:])
            return cls(
                encoder,
                {"user": _to_side(users), "item": _to_side(items)},
                seen_items=_to_lists(seen["items"]),
                popularity=popularity["positives"].to_numpy(),
                items=np.flatnonzero(popularity["known"].to_numpy()),
            )
        except (KeyError, OSError, pa.ArrowException) as error:
            raise CorruptError(f"{folder} holds no users and items that can be read: {error}") from error


def _seen_pairs(store: Store) -> Lists:
    schema = store.model_schema
    users, items = (store.encoded.categorical[:, schema.position(role)] for role in ("user", "item"))
    num_users, num_items = (schema.categorical[schema.position(role)].num_rows for role in ("user", "item"))
    known = (users >= FIRST) & (items >= FIRST)
    keys = np.unique(users[known].astype(np.int64) * num_items + items[known])
    lengths = np.bincount(keys // num_items, minlength=num_users)
    return (keys % num_items).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)])


def _renamed_pairs(lists: Lists, user: Growth, item: Growth) -> Lists:
    """Who met what, by the ids of a grown encoder; pairs of an evicted user or item are gone."""
    items, offsets = take_lists(*lists, rows=np.maximum(user.rows, 0))
    users = np.repeat(np.arange(len(user.rows)), np.diff(offsets))
    renamed = item.renamed[items]
    kept = (user.rows[users] >= FIRST) & (renamed >= FIRST)
    lengths = np.bincount(users[kept], minlength=len(user.rows))
    return renamed[kept].astype(np.int32), np.concatenate([[0], np.cumsum(lengths)])


def _union(first: Lists, second: Lists, *, num_items: int) -> Lists:
    """Both users' lists together, rising, each item once."""
    keys = [np.repeat(np.arange(len(ends) - 1), np.diff(ends)) * num_items + items for items, ends in (first, second)]
    both = np.union1d(*keys)
    lengths = np.bincount(both // num_items, minlength=len(first[1]) - 1)
    return (both % num_items).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)])


def _popularity(store: Store) -> np.ndarray:
    position = store.model_schema.position("item")
    items = store.encoded.categorical[:, position]
    positive = items if store.labels is None else items[store.labels > 0]
    counts = np.bincount(positive, minlength=store.model_schema.categorical[position].num_rows)
    counts[:FIRST] = 0
    return counts


def _unpack(batch: Batch) -> Encoded:
    """A copy of a batch's input as arrays that can be written to."""
    return Encoded(
        dense=batch.dense.numpy().copy(),
        categorical=batch.categorical.numpy().astype(np.int32),
        sequences={k: (v.values.numpy().astype(np.int32), v.offsets.numpy()) for k, v in batch.sequences.items()},
        labels=None,
        weights=None,
        groups=np.zeros(batch.size, dtype=np.int64),
        rows=np.arange(batch.size),
    )


def _to_arrow(lists: Lists) -> pa.Array:
    values, offsets = lists
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def _to_lists(column: pa.ChunkedArray) -> Lists:
    lists = column.combine_chunks()
    return lists.values.to_numpy(), lists.offsets.to_numpy()


def _to_side(table: pa.Table) -> Side:
    is_list = {name: pa.types.is_large_list(table.schema.field(name).type) for name in table.column_names}
    return Side(
        columns={name: table[name].to_numpy() for name in table.column_names if not is_list[name]},
        lists={name: _to_lists(table[name]) for name in table.column_names if is_list[name]},
    )


def _write_table(path: Path, columns: dict[str, Any]) -> None:
    table = pa.table(columns)
    with atomic_path(path) as temporary, pa.ipc.new_file(temporary, table.schema) as file:
        file.write_table(table)


def _read_table(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()
