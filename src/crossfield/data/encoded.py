"""Encoded rows as arrays, on their way from the encoder to the store and into batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from crossfield.batch import Batch, Jagged
from crossfield.schema import ModelSchema

Lists = tuple[np.ndarray, np.ndarray]
"""Values [sum of L] and offsets [n + 1] int64: row i holds ``values[offsets[i]:offsets[i + 1]]``."""


_LISTS = ("values", "offsets")


@dataclass(frozen=True)
class Encoded:
    """Encoded rows as arrays, [n, ...] in the order of the ModelSchema."""

    dense: np.ndarray
    """[n, N] float32."""
    categorical: np.ndarray
    """[n, F] int32."""
    sequences: dict[str, Lists]
    """Values int32 of each multi-valued field."""
    labels: np.ndarray | None
    """[n] float32, 0 or 1."""
    weights: np.ndarray | None
    """[n] float32."""
    groups: np.ndarray
    """[n] int64: hash of the user's token, 0 without a user."""
    rows: np.ndarray
    """[n] int64: number of the row in its data set: of a part, within the part."""

    @property
    def num_rows(self) -> int:
        """How many rows n."""
        return len(self.rows)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name, as ``of`` takes it; lists by the number of their field."""
        plain = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        lists = enumerate(self.sequences.values())
        return plain | {f"{name}{at}": one for at, some in lists for name, one in zip(_LISTS, some, strict=True)}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], sequences: Sequence[str]) -> Self:
        """The rows of ``arrays``; the names of their multi-valued fields stay with the encoder."""
        lists = {one: (arrays[f"values{at}"], arrays[f"offsets{at}"]) for at, one in enumerate(sequences)}
        plain = {name: arrays.get(name) for name in cls.__dataclass_fields__ if name != "sequences"}
        return cls(**plain, sequences=lists)  # type: ignore[arg-type]  # of those that may be None

    def select(self, rows: np.ndarray) -> "Encoded":
        """The rows at the given positions [n'], in that order."""
        return Encoded(
            dense=self.dense[rows],
            categorical=self.categorical[rows],
            sequences={name: take_lists(*lists, rows=rows) for name, lists in self.sequences.items()},
            labels=None if self.labels is None else self.labels[rows],
            weights=None if self.weights is None else self.weights[rows],
            groups=self.groups[rows],
            rows=self.rows[rows],
        )

    def batches(self, schema: ModelSchema, batch_size: int) -> Iterator[Batch]:
        """The rows in batches, in order, the last one shorter."""
        for start in range(0, self.num_rows, batch_size):
            yield self.select(np.arange(start, min(start + batch_size, self.num_rows))).batch(schema)

    def batch(self, schema: ModelSchema) -> Batch:
        """The rows as a batch whose ids are checked; labels [B, 1]."""
        return Batch(
            dense=torch.from_numpy(self.dense),
            categorical=torch.from_numpy(self.categorical.astype(np.int64)),
            sequences={
                name: Jagged(torch.from_numpy(values.astype(np.int64)), torch.from_numpy(offsets))
                for name, (values, offsets) in self.sequences.items()
            },
            labels=None if self.labels is None else torch.from_numpy(self.labels).unsqueeze(1),
            weights=None if self.weights is None else torch.from_numpy(self.weights),
            groups=torch.from_numpy(self.groups),
            rows=torch.from_numpy(self.rows),
        ).check(schema)


def take_lists(values: np.ndarray, offsets: np.ndarray, *, rows: np.ndarray) -> Lists:
    """The lists of the given rows [n'], in that order: values and offsets [n' + 1] int64."""
    starts, lengths = offsets[rows], offsets[rows + 1] - offsets[rows]
    taken = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.repeat(starts - taken[:-1], lengths) + np.arange(taken[-1])
    return values[places], taken
