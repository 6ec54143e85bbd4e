"""The engine of one machine: Polars' streaming execution, in bounded memory."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from crossfield.data.engines import Arrays, RowLocal, Work


class PolarsEngine:
    """Group-bys and scans by Polars, one column at a time, so that memory follows the widest column's vocabulary."""

    def counts(self, frame: pl.LazyFrame, values: RowLocal) -> pl.DataFrame:
        """Distinct values and how often: columns value, count (int64)."""
        column = values(frame).select(pl.first().alias("value"))
        counts = column.group_by("value").agg(pl.len().cast(pl.Int64).alias("count"))
        return counts.collect(engine="streaming")

    def blocks(self, frame: pl.LazyFrame, num_rows: int, work: Work) -> Iterator[Arrays]:
        """What ``work`` makes of every ``num_rows`` rows, in the order of the rows."""
        first_row = 0
        for rows in self.batches(frame, num_rows):
            yield work(rows, first_row)
            first_row += len(rows)

    def batches(self, frame: pl.LazyFrame, num_rows: int) -> Iterator[pl.DataFrame]:
        """The rows in their order, ``num_rows`` at a time, the last batch shorter."""
        yield from frame.collect_batches(chunk_size=num_rows, maintain_order=True, lazy=True, engine="streaming")

    def num_rows(self, frame: pl.LazyFrame) -> int:
        """How many rows there are."""
        return int(frame.select(pl.len()).collect(engine="streaming").item())

    def reads(self, frame: pl.LazyFrame) -> bool:
        """Whatever is made of columns is read where it is."""
        return True

    def to_parquet(self, frame: pl.LazyFrame, path: Path) -> None:
        """Write the rows into one Parquet file, light on the processor: the file is read 40 times and thrown away."""
        frame.sink_parquet(path, compression="lz4", statistics=False, maintain_order=True, engine="streaming")
