"""Fields of which training has met no value: most likely they are written in another way in these rows."""

from collections import Counter

import numpy as np

from crossfield.data.encoded import Encoded
from crossfield.data.vocabulary import MISSING, UNSEEN
from crossfield.schema import Kind, ModelSchema

MIN_VALUES = 20
"""Fewer values may well be all new."""


class Strangers:
    """Counts, block by block, the values of each id field and those that training had not met."""

    def __init__(self, schema: ModelSchema) -> None:
        self._schema = schema
        self._values: Counter[str] = Counter()
        self._unseen: Counter[str] = Counter()

    def add(self, rows: Encoded) -> None:
        """Count the ids of encoded rows; a user who has all rows proves nothing by being new."""
        one_user = self._schema.user if len(rows.groups) and (rows.groups == rows.groups[0]).all() else None
        for position, field in enumerate(self._schema.categorical):
            if field.kind is not Kind.CROSS and field.name != one_user:
                self.add_ids(field.name, rows.categorical[:, position])
        for field in self._schema.sequences:
            if field.kind is not Kind.CROSS:
                self.add_ids(field.name, rows.sequences[field.name][0])

    def add_ids(self, name: str, ids: np.ndarray) -> None:
        """Count the ids of one field."""
        self._values[name] += int(np.count_nonzero(ids != MISSING))
        self._unseen[name] += int(np.count_nonzero(ids == UNSEEN))

    def notes(self) -> list[str]:
        """A sentence for each field whose values are all new."""
        return [
            f"none of the {count:,} values of {name!r} was met in training; are they written in another way here?"
            for name, count in self._values.items()
            if count >= MIN_VALUES and count == self._unseen[name]
        ]
