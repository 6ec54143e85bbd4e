"""What belongs to a user and what to an item, learned from encoded training rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crossfield.data.encode import Encoder
from crossfield.data.encoded import Encoded, Lists, take_lists
from crossfield.data.vocabulary import FIRST, MISSING, Growth
from crossfield.schema import Kind

Role = Literal["user", "item"]
ROLES: tuple[Role, Role] = ("user", "item")
CHUNK_ROWS = 1 << 18


@dataclass(frozen=True)
class Side:
    """One value per id of a role; what training did not see is missing."""

    columns: Mapping[str, np.ndarray]
    """Name -> [R], int32 for an id field and float32 for a dense feature."""
    lists: Mapping[str, Lists]
    """Name -> values and offsets [R + 1] of a multi-valued field."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its fields and dense features."""
        return (*self.columns, *self.lists)


def learn_sides(rows: Encoded, encoder: Encoder) -> tuple[dict[Role, Side], dict[Role, np.ndarray]]:
    """The sides of user and item, and the ids [*] int64 of each role that the rows hold.

    A field or dense feature belongs to the item if all rows of each item have the same value, to the user likewise.
    What belongs to both by that rule (a constant; the country, where users only meet items of their own) goes to the
    role with fewer distinct ids: it has more rows per id, so more rows could have contradicted. Crosses belong where
    all their parts do. Ids 0 and 1 stand for nobody in particular and are left out.
    """
    first = {role: _first_rows(rows, encoder, role) for role in ROLES}
    constant = {role: _constant(rows, encoder, role, first[role]) for role in ROLES}
    present: dict[Role, np.ndarray] = {role: np.flatnonzero(first[role] >= 0) for role in ROLES}
    strong, weak = sorted(ROLES, key=lambda role: (len(present[role]), role))
    names = {strong: constant[strong], weak: constant[weak] - constant[strong]}
    sides: dict[Role, Side] = {}
    for role in ROLES:
        names[role] |= _crosses_of(encoder, names[role] | {_role_name(encoder, role)})
        sides[role] = _side(rows, encoder, names=names[role], first=first[role])
    return sides, present


def _role_name(encoder: Encoder, role: Role) -> str:
    return encoder.model_schema.categorical[encoder.model_schema.position(role)].name


def _first_rows(rows: Encoded, encoder: Encoder, role: Role) -> np.ndarray:
    """The first row of each id of a role, -1 where there is none, [R] int64."""
    position = encoder.model_schema.position(role)
    first = np.full(encoder.model_schema.categorical[position].num_rows, -1, dtype=np.int64)
    for chunk in _chunks(rows.num_rows):
        ids = rows.categorical[chunk, position]
        new = first[ids] < 0
        # Of equal ids the last assignment stays: reversed, it is the first row.
        first[ids[new][::-1]] = np.arange(chunk.start, chunk.stop)[new][::-1]
    first[:FIRST] = -1
    return first


def _chunks(num_rows: int) -> Iterator[slice]:
    for start in range(0, num_rows, CHUNK_ROWS):
        yield slice(start, min(start + CHUNK_ROWS, num_rows))


def _constant(rows: Encoded, encoder: Encoder, role: Role, first: np.ndarray) -> set[str]:
    """Names of what has one value per id of a role: every row is compared with the first row of its id."""
    schema = encoder.model_schema
    position = schema.position(role)
    names = [one.name for one in schema.categorical]
    same_ids, same_numbers = np.ones(len(names), dtype=bool), np.ones(len(schema.dense), dtype=bool)
    same_lists = dict.fromkeys(rows.sequences, True)
    for chunk in _chunks(rows.num_rows):
        ids = rows.categorical[chunk, position]
        here = np.arange(chunk.start, chunk.stop)[ids >= FIRST]
        there = first[ids[ids >= FIRST]]
        same_ids &= (rows.categorical[here] == rows.categorical[there]).all(0)
        same_numbers &= (rows.dense[here] == rows.dense[there]).all(0)
        for name, lists in rows.sequences.items():
            same_lists[name] = same_lists[name] and _equal_lists(lists, here, there)
    roles = {_role_name(encoder, "user"), _role_name(encoder, "item")}
    crosses = {one.name for one in schema.fields if one.kind is Kind.CROSS}
    found = {name for name, same in zip(names, same_ids, strict=True) if same}
    found |= {name for name, same in zip(schema.dense, same_numbers, strict=True) if same}
    return (found | {name for name, same in same_lists.items() if same}) - roles - crosses


def _equal_lists(lists: Lists, here: np.ndarray, there: np.ndarray) -> bool:
    left, right = take_lists(*lists, rows=here), take_lists(*lists, rows=there)
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def _crosses_of(encoder: Encoder, names: set[str]) -> set[str]:
    crosses = [one for one in encoder.model_schema.fields if one.kind is Kind.CROSS]
    return {one.name for one in crosses if names.issuperset(encoder.schema[one.name].of)}


def _side(rows: Encoded, encoder: Encoder, *, names: set[str], first: np.ndarray) -> Side:
    schema, present = encoder.model_schema, np.flatnonzero(first >= 0)
    columns: dict[str, np.ndarray] = {}
    for index, one in enumerate(schema.categorical):
        if one.name in names:
            columns[one.name] = np.full(len(first), MISSING, dtype=np.int32)
            columns[one.name][present] = rows.categorical[first[present], index]
    for index, name in enumerate(schema.dense):
        if name in names:
            columns[name] = np.full(len(first), encoder.missing_dense[index])
            columns[name][present] = rows.dense[first[present], index]
    lists = {name: _lists_by_id(rows.sequences[name], first) for name in rows.sequences if name in names}
    return Side(columns, lists)


def _lists_by_id(lists: Lists, first: np.ndarray) -> Lists:
    present = first >= 0
    values, offsets = take_lists(*lists, rows=first[present])
    lengths = np.zeros(len(first), dtype=np.int64)
    lengths[present] = np.diff(offsets)
    return values, np.concatenate([[0], np.cumsum(lengths)])


def merge_sides(
    old: Mapping[Role, Side], rows: Encoded, encoder: Encoder, growths: Mapping[str, Growth]
) -> tuple[dict[Role, Side], dict[Role, np.ndarray]]:
    """Sides brought up to date with new rows of a grown encoder: what the rows say counts, else what was known.

    Which names belong to whom stays as it was learned. Also the ids [*] int64 of each role that the rows hold.
    """
    sides, present = {}, {}
    for role in ROLES:
        first = _first_rows(rows, encoder, role)
        fresh = _side(rows, encoder, names=set(old[role].names), first=first)
        before = growths[_role_name(encoder, role)].rows
        present[role] = np.flatnonzero(first >= 0)
        columns = {
            name: _merge_columns(old[role].columns[name], fresh.columns[name], before, first, growths.get(name))
            for name in old[role].columns
        }
        lists = {
            name: _merge_lists(old[role].lists[name], fresh.lists[name], before, first, growths.get(name))
            for name in old[role].lists
        }
        sides[role] = Side(columns, lists)
    return sides, present


def _merge_columns(
    old: np.ndarray, fresh: np.ndarray, before: np.ndarray, first: np.ndarray, growth: Growth | None
) -> np.ndarray:
    renamed = old if growth is None else growth.renamed[old].astype(old.dtype)
    is_old = (first < 0) & (before >= 0)
    merged = fresh.copy()
    merged[is_old] = renamed[before[is_old]]
    return merged


def _merge_lists(old: Lists, fresh: Lists, before: np.ndarray, first: np.ndarray, growth: Growth | None) -> Lists:
    values = old[0] if growth is None else growth.renamed[old[0]].astype(old[0].dtype)
    both = np.concatenate([values, fresh[0]]), np.concatenate([old[1], fresh[1][1:] + old[1][-1]])
    is_old = (first < 0) & (before >= 0)
    return take_lists(*both, rows=np.where(is_old, before, len(old[1]) - 1 + np.arange(len(first))))
