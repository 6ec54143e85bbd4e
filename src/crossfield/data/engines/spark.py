"""The engine of many machines: Spark counts and encodes slices of the rows in its tasks; what it runs there is Polars.

Which token, number and id a value becomes is said once, in expressions over rows. Spark says who evaluates them on
which rows, and adds up the counts; so ids cannot differ from those of one machine. Tasks read the files themselves:
these, and the folder for scratch files, must lie where all of them can see them.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from crossfield import errors
from crossfield.data.engines import Arrays, RowLocal, Work
from crossfield.data.engines.polars import PolarsEngine
from crossfield.errors import CrossfieldError, MissingExtraError, RunError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SLICE_ROWS = 262_144
"""Rows that a task counts at a time."""
TASKS_PER_CORE = 2
"""Tasks of a job: each reads the vocabularies anew, and one that is slow should not be waited for long."""

SPARK = {pl.String: "string", pl.Int64: "bigint", pl.Float64: "double"}
ARROW = {pl.String: pa.string(), pl.Int64: pa.int64(), pl.Float64: pa.float64()}
"""What a type of ours is called there."""

Task = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]


class SparkEngine(PolarsEngine):
    """Counts and encodes in the tasks of a Spark session; rows that lie in no Parquet file are copied into one first.

    Takes the session that is active, or starts one as Spark's own settings say (``spark-submit``,
    ``PYSPARK_SUBMIT_ARGS``, ``spark-defaults.conf``). Raises MissingExtraError without pyspark, RunError where Spark
    does not start.
    """

    def __init__(self, scratch: Path | None = None) -> None:
        self._session, self._scratch = _session(), scratch

    def reads(self, frame: pl.LazyFrame) -> bool:
        """Whether these are rows of Parquet files of which any slice can be read without those before it."""
        plan = frame.slice(1, 1).explain()
        return "Parquet SCAN" in plan and "SLICE: " in plan

    def counts(self, frame: pl.LazyFrame, values: RowLocal) -> pl.DataFrame:
        """Distinct values and how often: columns value, count (int64)."""
        dtype = values(frame).select(pl.first()).collect_schema().dtypes()[0]
        carried = _carried(dtype)
        with self._readable(frame) as rows:
            num_rows = self.num_rows(rows)
            task = _counting(rows, values, carried, SLICE_ROWS)
            with _told():
                parts = self._job(-(-num_rows // SLICE_ROWS), task, f"value {SPARK[carried]}, count bigint")
                found = parts.groupBy("value").sum("count").toArrow()
        counts = pl.DataFrame(pl.from_arrow(found)).rename({"sum(count)": "count"})
        return counts.select(pl.col("value").cast(dtype), pl.col("count").cast(pl.Int64))

    def blocks(self, frame: pl.LazyFrame, num_rows: int, work: Work) -> Iterator[Arrays]:
        """What ``work`` makes of every ``num_rows`` rows, in their order; all of it lies in scratch files first."""
        with TemporaryDirectory(dir=self._scratch, prefix=".crossfield-") as name, self._readable(frame) as rows:
            folder, total = Path(name), self.num_rows(rows)
            num_blocks = -(-total // num_rows)
            with _told():
                task = _working(rows, num_rows, work, folder)
                told = self._job(num_blocks, task, "block bigint, error string, message string").toArrow()
            _raise_first(pl.DataFrame(pl.from_arrow(told)))
            for block in range(num_blocks):
                path = folder / f"{block}.npz"
                with np.load(path) as arrays:
                    yield dict(arrays)
                path.unlink()

    @contextmanager
    def _readable(self, frame: pl.LazyFrame) -> Iterator[pl.LazyFrame]:
        """The rows where tasks can read any slice of them, for as long as the block."""
        if self.reads(frame):
            yield frame
            return
        with TemporaryDirectory(dir=self._scratch, prefix=".crossfield-") as folder:
            path = Path(folder) / "rows.parquet"
            self.to_parquet(frame, path)
            yield pl.scan_parquet(path)

    def _job(self, num_units: int, task: Task, schema: str) -> Any:
        """A Spark frame of what a task gives for the numbers from 0 on, neighbours in the same task."""
        num_tasks = max(min(num_units, TASKS_PER_CORE * self.cores), 1)
        return self._session.range(0, num_units, 1, num_tasks).mapInArrow(task, schema)

    @cached_property
    def cores(self) -> int:
        """Tasks that Spark runs at a time."""
        return int(self._session.sparkContext.defaultParallelism)


def _session() -> "SparkSession":
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise MissingExtraError("pyspark", "spark") from None
    if (active := SparkSession.getActiveSession()) is not None:
        return active
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    settings = {
        # A task is one of many on its machine: Spark counts on one core for each.
        "spark.executorEnv.POLARS_MAX_THREADS": "1",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.maxResultSize": "0",  # a vocabulary is as large as it is: the encoder holds it anyway
    }
    with _told("Spark does not start; it wants Java 17 or newer"):
        session = SparkSession.builder.appName("crossfield").config(map=settings).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


@contextmanager
def _told(what: str = "Spark could not do it") -> Iterator[None]:
    """Spark's errors in one line of ours."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        with warnings.catch_warnings():
            # It asks for a pandas of its own time, and no pandas is used here.
            warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
            yield
    except (PySparkException, Py4JError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next(
            (line for line in reversed(lines) if "Error" in line), lines[0] if lines else type(error).__name__
        )
        raise RunError(f"{what}: {reason}") from error


def _carried(dtype: pl.DataType) -> type[pl.DataType]:
    """The type in which values travel through Spark and back."""
    if dtype.is_float():
        return pl.Float64
    return pl.Int64 if dtype.is_integer() or dtype == pl.Boolean else pl.String


def _counting(frame: pl.LazyFrame, values: RowLocal, dtype: type[pl.DataType], num_rows: int) -> Task:
    """A task that counts the values of slices of ``num_rows`` rows, given by their numbers."""
    schema, here = pa.schema({"value": ARROW[dtype], "count": pa.int64()}), Path.cwd()

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in _numbers(batches, here):
            rows = frame.slice(number * num_rows, num_rows)
            counts = PolarsEngine().counts(rows, values).with_columns(pl.col("value").cast(dtype))
            yield from counts.to_arrow().cast(schema).to_batches()

    return task


def _working(frame: pl.LazyFrame, num_rows: int, work: Work, folder: Path) -> Task:
    """A task that writes what work makes of blocks of rows into files, and says what went wrong with which."""
    folder, here = folder.absolute(), Path.cwd()

    def task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for block in _numbers(batches, here):
            first_row = block * num_rows
            failure: list[str | None] = [None, None]
            try:
                arrays = work(frame.slice(first_row, num_rows).collect(), first_row)
                _save(folder / f"{block}.npz", arrays)
            except CrossfieldError as error:
                failure = [type(error).__name__, json.dumps(error.args)]
            columns = [pa.array([one], kind) for one, kind in zip([block, *failure], _TOLD.types, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=_TOLD)

    return task


_TOLD = pa.schema({"block": pa.int64(), "error": pa.string(), "arguments": pa.string()})


def _save(path: Path, arrays: Arrays) -> None:
    """Write arrays whole: a task that Spark runs a second time must not be seen half done."""
    part = path.with_name(f"{path.stem}.{os.getpid()}.part.npz")
    np.savez(part, **arrays)  # type: ignore[arg-type]  # taken for allow_pickle
    part.replace(path)


def _numbers(batches: Iterator[pa.RecordBatch], here: Path) -> Iterator[int]:
    """The numbers a task is to work on, where the paths of the files mean what they mean to the driver."""
    with suppress(OSError):  # on another machine there may be no such folder; paths from the root mean the same there
        os.chdir(here)
    for batch in batches:
        yield from batch.column(0).to_pylist()


def _raise_first(told: pl.DataFrame) -> None:
    """Raise the error of the first block that had one, as one machine would have met it."""
    for _, name, arguments in told.drop_nulls("error").sort("block").head(1).iter_rows():
        raise getattr(errors, name)(*json.loads(arguments))
