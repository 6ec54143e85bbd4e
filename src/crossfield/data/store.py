"""The store: encoded rows in memory-mapped files, and a reader whose order and position are pure data."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Protocol, Self

import numpy as np

from crossfield.batch import Batch
from crossfield.data.dataset import Dataset
from crossfield.data.encode import Encoder, EncoderConfig, on_disk
from crossfield.data.encoded import Encoded
from crossfield.errors import ConfigError, CorruptError
from crossfield.files import MANIFEST, read_manifest, write_manifest
from crossfield.schema import ModelSchema

BLOCK_ROWS = 4096
"""Rows that stay together on disk when the reader shuffles."""
POOL_BLOCKS = 64
"""Blocks whose rows are mixed with each other."""
PLAIN: dict[str, type[np.generic]] = {
    "dense": np.float32,
    "categorical": np.int32,
    "labels": np.float32,
    "weights": np.float32,
    "groups": np.int64,
    "rows": np.int64,
}
"""Array of Encoded -> type of its file."""


class _Writer:
    """Appends blocks to one file per array."""

    def __init__(self, folder: Path, schema: ModelSchema, *, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._files: dict[str, IO[bytes]] = {}
        self._sequences = [one.name for one in schema.sequences]
        self._ends = dict.fromkeys(self._sequences, 0)
        self.num_rows, self.positives = 0, 0.0
        for name in ("dense", "categorical", "groups", "rows"):
            self._write(name, np.empty(0))
        for index in range(len(self._sequences)):
            self._write(f"values{index}", np.empty(0))
            self._write(f"offsets{index}", np.zeros(1))

    def append(self, block: Encoded) -> None:
        for name in PLAIN:
            if (values := getattr(block, name)) is not None:
                self._write(name, values)
        for index, name in enumerate(self._sequences):
            values, offsets = block.sequences[name]
            self._write(f"values{index}", values)
            self._write(f"offsets{index}", offsets[1:] + self._ends[name])
            self._ends[name] += len(values)
        self.num_rows += block.num_rows
        self.positives += 0.0 if block.labels is None else float(block.labels.sum(dtype=np.float64))

    def _write(self, name: str, values: np.ndarray) -> None:
        if name not in self._files:
            path = self._folder / name
            path.unlink(missing_ok=True)  # cutting a file that is mapped elsewhere would kill that process
            self._files[name] = self._stack.enter_context(path.open("wb"))
        self._files[name].write(np.ascontiguousarray(values, dtype=_dtype(name)).data)

    @property
    def names(self) -> list[str]:
        return list(self._files)


def _dtype(name: str) -> type[np.generic]:
    if name in PLAIN:
        return PLAIN[name]
    return np.int32 if name.startswith("values") else np.int64


def write_store(blocks: Iterable[Encoded], folder: Path, *, model_schema: ModelSchema, fingerprint: str) -> "Store":
    """Write encoded rows, block by block in bounded memory, and seal the folder with their checksums.

    ``fingerprint`` is the encoder's. A store that is already there is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    with ExitStack() as stack:
        writer = _Writer(folder, model_schema, stack=stack)
        for block in blocks:
            writer.append(block)
    about = {
        "num_rows": writer.num_rows,
        "positives": writer.positives,
        "arrays": writer.names,
        "fingerprint": fingerprint,
        "model_schema": model_schema.to_json(),
    }
    write_manifest(folder, "store", names=writer.names, about=about)
    return Store.open(folder, verify=False)


def fit_store(dataset: Dataset, folder: Path, *, config: EncoderConfig | None = None) -> tuple[Encoder, "Store"]:
    """Fit an encoder on training rows and store them encoded, reading text only once. Raises as ``Encoder.fit``."""
    folder.mkdir(parents=True, exist_ok=True)
    with on_disk(dataset, folder=folder) as rows:
        encoder = Encoder.fit(rows, config)
        blocks = encoder.stream(rows, labelled=True)
        return encoder, write_store(blocks, folder, model_schema=encoder.model_schema, fingerprint=encoder.fingerprint)


class Store:
    """Encoded rows on disk, read through memory maps."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        try:
            self.model_schema = ModelSchema.from_json(about["model_schema"])
            self.fingerprint = str(about["fingerprint"])
            self.num_rows = int(about["num_rows"])
            self.positives = float(about["positives"])
            """Sum of the labels."""
            self._arrays: list[str] = list(about["arrays"])
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"{folder} says of itself what no store does: {error}; encode the data again") from None

    @classmethod
    def open(cls, folder: Path, *, fingerprint: str | None = None, verify: bool = True) -> Self:
        """Open a store; ``verify=False`` skips the checksums of its contents, for one that was just written.

        Raises CorruptError where a file is missing, cut or changed, where the folder is something else, or where
        it was written with another encoder than the one of ``fingerprint``.
        """
        store = cls(folder, read_manifest(folder, "store", checksums=verify))
        if verify:
            store._check_sizes()
        if fingerprint is not None and store.fingerprint != fingerprint:
            raise CorruptError(
                f"the store in {folder} was written with another encoder "
                f"({store.fingerprint[:12]} instead of {fingerprint[:12]}); encode the data again"
            )
        return store

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def blocks(self, num_rows: int) -> Iterator[Encoded]:
        """The rows in their order, ``num_rows`` at a time, the last block shorter."""
        for start in range(0, self.num_rows, num_rows):
            yield self.encoded.select(np.arange(start, min(start + num_rows, self.num_rows)))

    @property
    def labels(self) -> np.ndarray | None:
        """Labels of all rows, [n] float32, where the rows were labelled."""
        return self.encoded.labels

    @property
    def categorical(self) -> np.ndarray:
        """Ids of all rows, [n, F] int32."""
        return self.encoded.categorical

    @property
    def weights(self) -> np.ndarray | None:
        """Weights of all rows, [n] float32, where there are any."""
        return self.encoded.weights

    @property
    def groups(self) -> np.ndarray:
        """Hash of each row's user, [n] int64."""
        return self.encoded.groups

    @cached_property
    def encoded(self) -> Encoded:
        """All rows, as read-only memory maps."""
        schema = self.model_schema
        sequences = range(len(schema.sequences))
        return Encoded(
            dense=self._array("dense", len(schema.dense)),
            categorical=self._array("categorical", len(schema.categorical)),
            sequences={
                schema.sequences[i].name: (self._array(f"values{i}"), self._array(f"offsets{i}")) for i in sequences
            },
            labels=self._array("labels") if "labels" in self._arrays else None,
            weights=self._array("weights") if "weights" in self._arrays else None,
            groups=self._array("groups"),
            rows=self._array("rows"),
        )

    def _array(self, name: str, width: int | None = None) -> np.ndarray:
        path = self.folder / name
        shape = (-1,) if width is None else (self.num_rows, width)
        try:
            if not path.stat().st_size:  # an empty file cannot be mapped
                return np.empty(0, dtype=_dtype(name)).reshape(shape)
            return np.asarray(np.memmap(path, dtype=_dtype(name), mode="r")).reshape(shape)
        except (ValueError, OSError) as error:
            raise CorruptError(f"{path} does not hold the rows of its store: {error}; encode the data again") from None

    def _check_sizes(self) -> None:
        """Raise CorruptError where an array has not one entry per row, or lists are not where offsets say."""
        rows = self.encoded
        for name in ("labels", "weights", "groups", "rows"):
            values = getattr(rows, name)
            if values is not None and len(values) != self.num_rows:
                raise CorruptError(f"{self.folder / name} has {len(values)} rows, not {self.num_rows}")
        for values, offsets in rows.sequences.values():
            ends = len(offsets) == self.num_rows + 1 and offsets[0] == 0 and offsets[-1] == len(values)
            if not ends or (np.diff(offsets) < 0).any():
                raise CorruptError(f"the lists of {self.folder} are not where their offsets say; encode the data again")

    def batch(self, rows: np.ndarray) -> Batch:
        """The rows at the given positions [B] int64, in that order, their ids range-checked."""
        return self.encoded.select(rows).batch(self.model_schema)


@dataclass(frozen=True)
class Position:
    """Where a reader stands: the next batch it will give."""

    epoch: int = 0
    batch: int = 0

    def to_json(self) -> dict[str, int]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, int]) -> Self:
        """The position that ``to_json`` wrote."""
        return cls(**values)


class Source(Protocol):
    """Where a reader takes rows from: the store, or a copy of it on a GPU."""

    def batch(self, rows: np.ndarray) -> Batch:
        """The rows at the given positions [B] int64, in that order."""
        ...


class Reader:
    """Gives a store's rows in batches; the order is a pure function of (seed, epoch), the position is two numbers.

    Blocks of 4096 rows are permuted, and the rows of each pool of 64 blocks are permuted with each other. Rank r of
    ``world`` gets every world-th row of each global batch, beginning with its r-th; a short last batch may leave a
    rank without rows.
    """

    def __init__(
        self, store: Store, *, batch_size: int, seed: int = 0, shuffle: bool = True, rank: int = 0, world: int = 1
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world or seed < 0:
            raise ConfigError(
                f"batch_size {batch_size} must be positive, seed {seed} not negative, rank {rank} below world {world}"
            )
        self.store, self.batch_size, self.seed, self.shuffle = store, batch_size, seed, shuffle
        self.rank, self.world = rank, world
        self.source: Source = store
        self._position = Position()

    @property
    def num_batches(self) -> int:
        """Batches per epoch; the last one may be short."""
        return -(-self.store.num_rows // self.batch_size)

    @property
    def position(self) -> Position:
        """The next batch to come; set it to continue from there."""
        return self._position

    @position.setter
    def position(self, position: Position) -> None:
        if position.epoch < 0 or not 0 <= position.batch <= self.num_batches:
            raise CorruptError(f"{position} is not one of this reader, which has {self.num_batches} batches per epoch")
        self._position = position

    @property
    def places(self) -> np.ndarray:
        """Which rows of the store a pass without shuffling gives, [n] int64."""
        rows: np.ndarray = np.arange(self.store.num_rows)
        mine: np.ndarray = rows[rows % self.batch_size % self.world == self.rank]
        return mine

    def epoch(self) -> Iterator[Batch]:
        """Batches from the position to the end of its epoch.

        The position moves past a batch when the batch is given, and to the next epoch when they are exhausted.
        """
        epoch = self._position.epoch
        order = _Order(self.store.num_rows, seed=self.seed, epoch=epoch) if self.shuffle else None
        for index in range(self._position.batch, self.num_batches):
            start, stop = index * self.batch_size, min((index + 1) * self.batch_size, self.store.num_rows)
            rows = np.arange(start, stop) if order is None else order.rows(start, stop)
            self._position = Position(epoch, index + 1)
            yield self.source.batch(rows[self.rank :: self.world])
        self._position = Position(epoch + 1)


class _Order:
    """The shuffled order of one epoch, of which any part can be had without the parts before it."""

    def __init__(self, num_rows: int, *, seed: int, epoch: int) -> None:
        self._num_rows, self._key = num_rows, (seed, epoch)
        num_blocks = -(-num_rows // BLOCK_ROWS)
        # Streams differ in their last number: SeedSequence takes (seed, epoch) and (seed, epoch, 0) for the same.
        self._blocks = np.random.default_rng((*self._key, 0)).permutation(num_blocks)
        ends = np.cumsum(np.minimum((self._blocks + 1) * BLOCK_ROWS, num_rows) - self._blocks * BLOCK_ROWS)
        self._starts = np.concatenate([[0], ends])[::POOL_BLOCKS]
        self._pool, self._pool_rows = -1, np.empty(0, dtype=np.int64)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """The rows at positions start to stop of the order, int64."""
        first, last = np.searchsorted(self._starts, [start, stop - 1], side="right") - 1
        parts = []
        for pool in range(first, last + 1):
            begin = int(self._starts[pool])
            parts.append(self._rows_of(pool)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts)

    def _rows_of(self, pool: int) -> np.ndarray:
        if pool != self._pool:
            blocks = self._blocks[pool * POOL_BLOCKS : (pool + 1) * POOL_BLOCKS]
            spans = [np.arange(one * BLOCK_ROWS, min((one + 1) * BLOCK_ROWS, self._num_rows)) for one in blocks]
            random = np.random.default_rng((*self._key, pool + 1))
            self._pool, self._pool_rows = pool, random.permutation(np.concatenate(spans))
        return self._pool_rows
