"""How rows are read and counted: what an engine must offer so that the encoder's ids do not depend on it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

RowLocal = Callable[[pl.LazyFrame], pl.LazyFrame]
"""Makes one column of values from rows, each row by itself, so that any engine may apply it batch by batch."""
Arrays = Mapping[str, np.ndarray[Any, Any]]
"""Arrays by name: what blocks of rows become, wherever that is computed."""
Work = Callable[[pl.DataFrame, int], Arrays]
"""Makes arrays of a block of rows, given with the number of its first row."""


class Engine(Protocol):
    """Runs over rows what ``encode.py`` asks for. Results do not depend on the engine, nor on the order of its work."""

    def counts(self, frame: pl.LazyFrame, values: RowLocal) -> pl.DataFrame:
        """Every distinct value that ``values`` makes, null included, and how often: columns value, count (int64)."""
        ...

    def blocks(self, frame: pl.LazyFrame, num_rows: int, work: Work) -> Iterator[Arrays]:
        """What ``work`` makes of every ``num_rows`` rows, in the order of the rows, the last block shorter."""
        ...

    def batches(self, frame: pl.LazyFrame, num_rows: int) -> Iterator[pl.DataFrame]:
        """The rows in their order, ``num_rows`` at a time, the last batch shorter."""
        ...

    def num_rows(self, frame: pl.LazyFrame) -> int:
        """How many rows there are."""
        ...

    def reads(self, frame: pl.LazyFrame) -> bool:
        """Whether it reads these columns where they are, as often as asked, rather than a copy of them in Parquet."""
        ...

    def to_parquet(self, frame: pl.LazyFrame, path: Path) -> None:
        """Write the rows, in their order, into one Parquet file."""
        ...
