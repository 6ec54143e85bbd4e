"""Tables on disk: memory maps of files, which the system reads and writes as memory allows."""

import ctypes
import math
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import repeat
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from torch import Tensor

from crossfield.errors import RunError

_place: ContextVar[Path | str | None] = ContextVar("place of new tables", default=None)
_NOWHERE = "nowhere"
_READERS = 32


@contextmanager
def on_disk(folder: Path | None) -> Iterator[None]:
    """A block in which new tables lie in files of a folder; None leaves them in memory.

    The files have no names: whatever ends the process frees the disk. Raises RunError where there is no room.
    """
    token = _place.set(folder)
    try:
        yield
    finally:
        _place.reset(token)


@contextmanager
def nowhere() -> Iterator[None]:
    """A block in which new tables have a shape and no memory, until they are replaced by others."""
    token = _place.set(_NOWHERE)
    try:
        yield
    finally:
        _place.reset(token)


def new_table(num_rows: int, dim: int) -> Tensor:
    """A table [R, D] float32 whose numbers are not set, where ``on_disk`` or ``nowhere`` wants it."""
    place = _place.get()
    if isinstance(place, Path):
        return _map(place, (num_rows, dim), torch.float32)
    return torch.empty(num_rows, dim, device="meta") if place else torch.empty(num_rows, dim)


def zeros_beside(weight: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros on the same disk as a weight, or on the same device."""
    folder = _folder(weight)
    return weight.new_zeros(shape, dtype=dtype) if folder is None else _map(folder, shape, dtype)


def copy_beside(weight: Tensor | None, value: Tensor) -> Tensor:
    """A copy of a tensor on the same disk as a weight, or in memory on the device where the tensor is."""
    folder = None if weight is None or not value.dim() else _folder(weight)
    if folder is None:
        return value.detach().clone()
    with in_order([value]):
        return _map(folder, value.shape, value.dtype).copy_(value)


@contextmanager
def in_order(tables: Iterable[Tensor]) -> Iterator[None]:
    """A block in which tables are read or written from end to end, those in files by long stretches."""
    on_disk = [one for one in tables if is_on_disk(one)]
    for one in on_disk:
        _advise(one, "MADV_NORMAL")
    try:
        yield
    finally:
        for one in on_disk:
            at_random(one)


def is_on_disk(table: Tensor) -> bool:
    """Whether a tensor is a map of a file that ``on_disk`` made."""
    return _folder(table) is not None


def fetch(table: Tensor, rows: Tensor) -> None:
    """Have rows [n] int64 of a table in memory, where it is on disk: many readers wait for it at once.

    PERF: 4,000 of 20 M rows, most of them on disk only: 0.09 s, and 0.5 to 0.9 where they are read one after another.
    """
    if len(rows) >= _READERS and is_on_disk(table):
        # One number of each row is enough to have it read.
        firsts = table.detach() if table.dim() == 1 else table.detach()[:, :1]
        list(_pool().map(firsts.index_select, repeat(0), rows.chunk(_READERS)))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_READERS, thread_name_prefix="table-reader")


def at_random(table: Tensor) -> Tensor:
    """The same table, a map of a file, of which from now on only the rows that are asked for are read.

    PERF: 20 M rows by 17 in 1 GB of memory: the system else reads 128 KB for every row, 300 GB in two epochs of 0.8 M.
    """
    _advise(table, "MADV_RANDOM")
    return table


def _advise(table: Tensor, advice: str) -> None:
    """Tell the system how the pages of a map will be read, where it can be told."""
    if not hasattr(mmap, advice):
        return
    start, stop = table.data_ptr(), table.data_ptr() + table.nbytes
    start -= start % mmap.PAGESIZE
    ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), getattr(mmap, advice))


def _folder(weight: Tensor) -> Path | None:
    """The folder of the file that a tensor is a map of; None where it lies in memory."""
    name = weight.untyped_storage().filename if weight.device.type == "cpu" else None
    return None if name is None else Path(name).parent


def _map(folder: Path, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros in a new file without a name."""
    size = math.prod(shape)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder) as file:
            _reserve(file.fileno(), size * dtype.itemsize)
            return at_random(torch.from_file(file.name, shared=True, size=size, dtype=dtype).view(*shape))
    except OSError as error:
        wanted = f"{size * dtype.itemsize / 1e9:.1f} GB"
        raise RunError(
            f"no room for a table of {wanted} in {folder}: {error.strerror}; name an --out on a larger disk"
        ) from None


def _reserve(file: int, size: int) -> None:
    # A map of a file that has only a size would end the process where the disk turns out to be full.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)
