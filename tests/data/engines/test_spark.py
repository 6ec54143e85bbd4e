import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from crossfield.data import fitting
from crossfield.data.dataset import Dataset, load
from crossfield.data.encode import Encoder, EncoderConfig, on_disk
from crossfield.data.engines import Engine, spark
from crossfield.data.engines.polars import PolarsEngine
from crossfield.data.engines.spark import SparkEngine
from crossfield.data.store import write_store
from crossfield.errors import DataError, MissingExtraError, RunError, SchemaError
from tests.spark import files_of, spark_or_skip

ROWS = pl.DataFrame({"a": ["x", None, "x", "ä"] * 50, "n": [3, 1, 2, 0] * 50})


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SparkEngine:
    spark_or_skip()
    monkeypatch.setattr(spark, "SLICE_ROWS", 64)
    return SparkEngine(tmp_path)


def test_without_pyspark_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'crossfield\[spark\]'"):
        SparkEngine()


def test_only_what_can_be_read_from_the_middle_is_read_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    ROWS.write_parquet(path)
    ROWS.write_csv(tmp_path / "rows.csv")
    rows = pl.scan_parquet(path)
    engine = SparkEngine.__new__(SparkEngine)  # it needs no session for that
    assert engine.reads(rows) and engine.reads(rows.select("n"))
    assert engine.reads(rows.with_columns(pl.col("a").replace({"x": None})))
    assert engine.reads(pl.scan_parquet([path, path]))
    assert not engine.reads(rows.filter(pl.col("n") > 1))
    assert not engine.reads(rows.with_row_index("row").filter(pl.col("row") > 1).drop("row"))
    assert not engine.reads(pl.scan_csv(tmp_path / "rows.csv"))
    assert not engine.reads(ROWS.lazy())


def test_counts_are_those_of_polars(engine: SparkEngine) -> None:
    rows = ROWS.with_columns(
        x=pl.Series([0.0, -0.0, None, 1e-300, 0.1] * 40),
        e=pl.col("a").cast(pl.Enum(["ä", "x"])),
        b=pl.col("n") > 1,
    ).lazy()
    for make in (
        lambda some: some.select("a"),
        lambda some: some.select("e"),
        lambda some: some.select("b"),
        lambda some: some.select(pl.col("n") % 2),
        lambda some: some.select(pl.col("x") + 0.0),
        lambda some: some.select(pl.col("a").drop_nulls().str.split("x").explode()),
    ):
        found, expected = (one.counts(rows, make).sort("value") for one in (engine, PolarsEngine()))
        assert found.equals(expected) and found.schema == expected.schema


def test_blocks_come_in_the_order_of_the_rows(engine: SparkEngine, tmp_path: Path) -> None:
    rows = pl.DataFrame({"n": range(1000)}).lazy().filter(pl.col("n") % 3 == 0)

    def work(some: pl.DataFrame, first_row: int) -> dict[str, np.ndarray]:
        return {"n": some["n"].to_numpy(), "first": np.array(first_row)}

    found = list(engine.blocks(rows, 50, work))
    assert [int(one["first"]) for one in found] == list(range(0, 334, 50))
    assert np.concatenate([one["n"] for one in found]).tolist() == list(range(0, 1000, 3))
    assert list(engine.blocks(rows.head(0), 50, work)) == []
    assert list(tmp_path.iterdir()) == [], "scratch files are gone"


def test_what_is_wrong_with_a_row_is_said_as_by_one_machine(engine: SparkEngine) -> None:
    def work(some: pl.DataFrame, first_row: int) -> dict[str, np.ndarray]:
        if first_row >= 100:
            raise DataError(f"row {first_row} is bad")
        return {}

    with pytest.raises(DataError, match=r"^row 100 is bad$"):
        list(engine.blocks(ROWS.lazy(), 50, work))


def test_what_spark_cannot_do_is_said_in_one_line(engine: SparkEngine) -> None:
    def work(some: pl.DataFrame, first_row: int) -> dict[str, np.ndarray]:
        raise ZeroDivisionError("by nothing")

    with pytest.raises(RunError, match=r"^Spark could not do it: ZeroDivisionError: by nothing$"):
        list(engine.blocks(ROWS.lazy(), 50, work))


def table(num_rows: int = 1500) -> pl.DataFrame:
    """Every kind of column, with gaps and ties."""
    random = np.random.default_rng(0)
    words = pl.Series(["Ä", "a", "b", "zz", "1", ""])
    draw = random.integers(0, 6, (4, num_rows))
    return pl.DataFrame(
        {
            "label": random.integers(0, 2, num_rows),
            "weight": random.uniform(0.5, 2, num_rows),
            "user": random.integers(0, 300, num_rows),
            "word": words.gather(draw[0]),
            "hashed": words.gather(draw[1]),
            "tags": words.gather(draw[2]) + "|" + words.gather(draw[3]),
            "flag": pl.Series(["True", "FALSE", None]).gather(draw[0] % 3),
            "plain": random.normal(0, 1, num_rows),
            "gaps": pl.Series(random.exponential(9, num_rows)).set(pl.Series(draw[0] == 2), None),
            "quantile": random.normal(0, 1, num_rows).round(1),
            "bucket": random.exponential(9, num_rows).round(),
            "square": random.integers(0, 900, num_rows),
        }
    )


CONFIG = {
    "min_count": 2,
    "missing_indicator": True,
    "features": {
        "hashed": {"hash_buckets": 4},
        "gaps": {"transform": "log1p"},
        "quantile": {"transform": "quantile"},
        "bucket": {"transform": "buckets"},
        "square": {"transform": "squared_log"},
    },
}
WORDS: dict[str, Any] = {
    "label": "label",
    "weight": "weight",
    "user": "user",
    "kinds": {
        "tags": "multi",
        **dict.fromkeys(("word", "hashed", "flag", "square"), "categorical"),
        **dict.fromkeys(("plain", "gaps", "quantile", "bucket"), "dense"),
    },
    "separators": {"tags": "|"},
    "crosses": [["word", "tags"], ["user", "bucket"]],
}


def encoded(rows: Dataset, folder: Path, engine: Engine) -> dict[str, bytes]:
    folder.mkdir()
    with on_disk(rows, folder=folder, engine=engine) as readable:
        encoder = Encoder.fit(readable, EncoderConfig.of(CONFIG), engine=engine)
        blocks = encoder.stream(readable, labelled=True, chunk_rows=400, engine=engine)
        write_store(blocks, folder / "store", model_schema=encoder.model_schema, fingerprint=encoder.fingerprint)
    encoder.save(folder / "encoder")
    return files_of(folder)


@pytest.mark.parametrize("kind", ["text", "parquet", "part", "frame"])
def test_the_encoder_and_its_rows_are_those_of_polars(
    engine: SparkEngine, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark, "SLICE_ROWS", 1000)
    monkeypatch.setattr(fitting, "MOMENT_ROWS", 300)
    path = tmp_path / ("rows.csv" if kind == "text" else "rows.parquet")
    (table().write_csv if kind == "text" else table().write_parquet)(path)
    rows = load(table() if kind == "frame" else path, **WORDS)
    if kind == "part":
        rows = rows.split("random", sizes=(0.8, 0.2))[0]
    expected, found = encoded(rows, tmp_path / "polars", PolarsEngine()), encoded(rows, tmp_path / "spark", engine)
    assert len(found) == 13 and b"[" in found["encoder/encoder.json"]
    assert {name for name in expected if expected[name] != found.get(name)} == set()
    assert found.keys() == expected.keys()


def test_errors_of_the_encoder_are_those_of_polars(engine: SparkEngine, tmp_path: Path) -> None:
    rows = pl.DataFrame({"x": ["1", "2", "three", "4"] * 10, "label": [0, 1] * 20})
    data = load(rows, label="label", kinds={"x": "dense"})
    for one in (PolarsEngine(), engine):
        with pytest.raises(DataError, match=r"column 'x' holds numbers, but row 2 .* 'three'"):
            Encoder.fit(data, engine=one)
    lists = load(pl.DataFrame({"x": [[1], [2]] * 5, "label": [0, 1] * 5}), label="label", kinds={"x": "multi"})
    unfit = Dataset(lists.frame.with_columns(x=pl.struct(y=1)), lists.schema, "unfit")
    for one in (PolarsEngine(), engine):
        with pytest.raises(SchemaError, match="cannot be a category"):
            Encoder.fit(unfit, engine=one)


def test_new_ids_of_an_update_are_counted_alike(engine: SparkEngine) -> None:
    encoder = Encoder.fit(load(table().head(700), **WORDS), EncoderConfig.of(CONFIG))
    new = load(table().tail(800), **WORDS)
    (one, first), (other, second) = (encoder.grown(new, update=1, engine=some) for some in (PolarsEngine(), engine))
    assert one.fingerprint == other.fingerprint
    assert {name: vars(growth)["new"] for name, growth in first.items()} == {
        name: vars(growth)["new"] for name, growth in second.items()
    }
