"""How rows are read and counted: what an engine must offer so that the encoder's ids do not depend on it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import polars as pl

RowLocal = Callable[[pl.LazyFrame], pl.LazyFrame]
"""Makes one column of values from rows, each row by itself, so that any engine may apply it batch by batch."""


class Engine(Protocol):
    """Runs over rows what ``encode.py`` asks for. Results do not depend on the engine, nor on the order of its work."""

    def counts(self, frame: pl.LazyFrame, values: RowLocal) -> pl.DataFrame:
        """Every distinct value that ``values`` makes, null included, and how often: columns value, count (int64)."""
        ...

    def batches(self, frame: pl.LazyFrame, num_rows: int) -> Iterator[pl.DataFrame]:
        """The rows in their order, ``num_rows`` at a time, the last batch shorter."""
        ...

    def num_rows(self, frame: pl.LazyFrame) -> int:
        """How many rows there are."""
        ...

    def to_parquet(self, frame: pl.LazyFrame, path: Path) -> None:
        """Write the rows, in their order, into one Parquet file."""
        ...
