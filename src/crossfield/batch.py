"""The carrier between data and models, and the legend of shape letters used in every docstring.

===== ==================================================================
``B`` examples in a batch
``N`` dense features
``F`` categorical columns, crosses included
``M`` fields after embedding (categorical, multi-valued, and dense where a model embeds them)
``D`` embedding width
``L`` length of a sequence
``T`` tasks
``H`` hidden width
``K`` cut-off of a ranking metric
===== ==================================================================
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from crossfield.errors import SchemaError
from crossfield.schema import ModelSchema


@dataclass(frozen=True)
class Jagged:
    """Lists of ids of different lengths: row b holds ``values[offsets[b]:offsets[b + 1]]``.

    values [sum of L] int64, offsets [B + 1] int64.
    """

    values: Tensor
    offsets: Tensor

    @property
    def lengths(self) -> Tensor:
        """Number of ids per row, [B] int64."""
        return self.offsets[1:] - self.offsets[:-1]

    def select(self, rows: Tensor) -> "Jagged":
        """The lists of the given rows [B'], in that order."""
        lengths = self.lengths[rows]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        starts = torch.repeat_interleave(self.offsets[rows] - offsets[:-1], lengths)
        return Jagged(self.values[starts + torch.arange(starts.shape[0], device=starts.device)], offsets)

    def slice(self, start: int, stop: int) -> "Jagged":
        """The lists from ``start`` to ``stop``, their values in the same memory."""
        offsets = self.offsets[start : stop + 1]
        return Jagged(self.values[offsets[0] : offsets[-1]], offsets - offsets[0])


@dataclass(frozen=True)
class Batch:
    """One batch of encoded examples.

    dense [B, N] float32, categorical [B, F] int64, sequences {name: Jagged}; labels [B, T] float32 and
    weights [B] float32 where there are any; groups [B] int64, a stable hash of the raw user (0 without a
    user column); rows [B] int64, the row's number in its data set.
    """

    dense: Tensor
    categorical: Tensor
    sequences: dict[str, Jagged] = field(default_factory=dict)
    labels: Tensor | None = None
    weights: Tensor | None = None
    groups: Tensor | None = None
    rows: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of examples B."""
        return self.categorical.shape[0]

    def _map(self, tensor: Callable[[Tensor], Tensor], jagged: Callable[[Jagged], Jagged]) -> "Batch":
        changed: dict[str, object] = {
            f.name: tensor(value) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        changed["sequences"] = {name: jagged(value) for name, value in self.sequences.items()}
        return replace(self, **changed)  # type: ignore[arg-type]  # every value has its field's own type

    def select(self, rows: Tensor) -> "Batch":
        """The examples at the given positions [B'] int64, in that order."""
        return self._map(lambda value: value[rows], lambda value: value.select(rows))

    def slice(self, start: int, stop: int) -> "Batch":
        """The examples from ``start`` to ``stop``, in the same memory."""
        return self._map(lambda value: value[start:stop], lambda value: value.slice(start, stop))

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return self._map(
            lambda value: value.to(device, non_blocking=True),
            lambda value: Jagged(value.values.to(device), value.offsets.to(device)),
        )

    def copy(self) -> "Batch":
        """The same batch in memory of its own."""
        return self._map(Tensor.clone, lambda value: Jagged(value.values.clone(), value.offsets.clone()))

    def fill(self, other: "Batch") -> None:
        """Take over the values of another batch of the same size; without sequences."""
        for one in fields(self):
            if isinstance(value := getattr(self, one.name), Tensor):
                value.copy_(getattr(other, one.name), non_blocking=True)

    def pinned(self) -> "Batch":
        """The same batch in memory that a GPU can read while the CPU goes on."""
        return self._map(Tensor.pin_memory, lambda value: Jagged(value.values.pin_memory(), value.offsets.pin_memory()))

    def check(self, schema: ModelSchema) -> "Batch":
        """Check shapes and the range of every id once, where a batch is born; returns self.

        Raises SchemaError naming the field, the id and the number of rows its table has.
        """
        if self.dense.shape != (self.size, len(schema.dense)):
            raise SchemaError(f"dense has shape {tuple(self.dense.shape)}, the schema says {len(schema.dense)}")
        if self.categorical.shape[1] != len(schema.categorical):
            raise SchemaError(
                f"categorical has {self.categorical.shape[1]} columns, the schema says {len(schema.categorical)}"
            )
        if set(self.sequences) != {one.name for one in schema.sequences}:
            raise SchemaError(f"sequences are {sorted(self.sequences)}, the schema says {schema.sequences}")
        if self.size:
            # In NumPy: torch would wake a second team of threads where a prefetching thread makes the batch.
            ids = self.categorical.numpy(force=True)
            low, high = ids.min(0).tolist(), ids.max(0).tolist()
            for one, least, most in zip(schema.categorical, low, high, strict=True):
                _check_range(one.name, least, most, one.num_rows)
        for one in schema.sequences:
            values = self.sequences[one.name].values
            if len(values):
                _check_range(one.name, int(values.min()), int(values.max()), one.num_rows)
        return self


def _check_range(name: str, least: int, most: int, num_rows: int) -> None:
    if least < 0 or most >= num_rows:
        raise SchemaError(f"field {name!r} has id {most if most >= num_rows else least}, its table has {num_rows} rows")


for _type in (Jagged, Batch):
    torch.export.register_dataclass(_type, serialized_type_name=f"crossfield.{_type.__name__}")
