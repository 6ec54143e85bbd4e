"""Rows on a GPU: a store's arrays copied there once, so that a batch is a gather there."""

from dataclasses import fields, replace

import numpy as np
import torch

from crossfield.batch import Batch
from crossfield.data.store import Reader, Store
from crossfield.schema import ModelSchema

CHECKED_ROWS = 1 << 20
"""Rows copied and checked at once."""


class ResidentRows:
    """All rows of a store without multi-valued fields, on a device; their ids are range-checked on the way there."""

    def __init__(self, store: Store, device: torch.device) -> None:
        blocks = store.encoded.batches(store.model_schema, CHECKED_ROWS)
        parts = [_with_ids(block, torch.int32).to(device) for block in blocks]
        names = [one.name for one in fields(Batch) if isinstance(getattr(parts[0], one.name), torch.Tensor)]
        whole = {name: torch.cat([getattr(one, name) for one in parts]) for name in names}
        self._rows = replace(parts[0], **whole)  # type: ignore[arg-type]  # every value has its field's own type
        self._device = device

    def batch(self, rows: np.ndarray) -> Batch:
        """The rows at the given positions [B] int64, in that order."""
        batch = self._rows.select(torch.from_numpy(rows).to(self._device, non_blocking=True))
        return _with_ids(batch, torch.int64)


def _with_ids(batch: Batch, dtype: torch.dtype) -> Batch:
    return replace(batch, categorical=batch.categorical.to(dtype))


def keep_on(reader: Reader, device: torch.device, *, share: float = 0.5) -> bool:
    """Have a reader take its rows from a GPU where they fill at most this share of its free memory; whether it does."""
    store = reader.store
    if reader.source is not store:
        return True
    if device.type != "cuda" or store.model_schema.sequences or not store.num_rows:
        return False
    if num_bytes(store.model_schema, store.num_rows) > share * torch.cuda.mem_get_info(device)[0]:
        return False
    reader.source = ResidentRows(store, device)
    return True


def num_bytes(schema: ModelSchema, num_rows: int) -> int:
    """What rows of plain fields take at most: numbers, ids, label and weight of four bytes, group and row of eight."""
    return num_rows * 4 * (len(schema.dense) + len(schema.categorical) + 6)
