import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from crossfield.data.source import Layout, Source, Tabular, find_files, open_source, reading
from crossfield.errors import DataError

FRAME = pl.DataFrame({"user": ["b", "a", "b"], "age": [3, 1, 2]})


def rows_of(source: Source) -> list[dict[str, object]]:
    return source.frame.collect().to_dicts()


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow", "rows.csv", "rows.tsv", "rows.data"])
def test_one_table_in_any_file_reads_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        FRAME.write_parquet(path)
    elif name.endswith("arrow"):
        FRAME.write_ipc(path)
    else:
        FRAME.write_csv(path, separator="\t" if name.endswith("tsv") else ",")
    source = open_source(str(path))
    assert rows_of(source) == FRAME.to_dicts()
    assert (source.name, source.files) == (name, (path,))


def test_what_a_file_is_shows_in_its_first_bytes(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "export.txt")
    assert rows_of(open_source(tmp_path / "export.txt")) == FRAME.to_dicts()


@pytest.mark.parametrize("frame", [FRAME, FRAME.lazy(), FRAME.to_arrow(), FRAME.to_dicts(), tuple(FRAME.to_dicts())])
def test_frames_and_rows_read_the_same(frame: Tabular) -> None:
    assert rows_of(open_source(frame)) == FRAME.to_dicts()


def test_one_dict_is_one_row() -> None:
    source = open_source({"user": "a", "age": None, "tags": {"x"}, "seen": np.array([1, 2])})
    assert rows_of(source) == [{"user": "a", "age": None, "tags": ["x"], "seen": [1, 2]}]


def test_nan_in_dict_rows_is_no_value_whatever_its_column() -> None:
    nan = float("nan")
    rows = [{"city": "x", "tags": ["a", nan], "age": 1.0}, {"city": nan, "tags": nan, "age": np.float32("nan")}]
    none = {"city": None, "tags": None, "age": None}
    assert rows_of(open_source(rows)) == [{"city": "x", "tags": ["a", None], "age": 1.0}, none]
    assert open_source(rows[1]).frame.collect_schema().dtypes() == [pl.Null] * 3


def test_what_pandas_makes_of_its_rows() -> None:
    pandas = pytest.importorskip("pandas")
    columns = {"city": ["x", None], "day": pandas.to_datetime(["2024-01-05", None]), "n": pandas.array([1, None])}
    rows = pandas.DataFrame({**columns, "tags": [["a"], np.nan]}).to_dict("records")
    assert rows_of(open_source(rows))[1] == {"city": None, "day": None, "n": None, "tags": None}


def test_rows_may_lack_keys() -> None:
    assert rows_of(open_source([{"a": 1}, {"b": "x"}])) == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_pandas_keeps_a_named_index_and_drops_a_counting_one() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [3.0, None], "city": ["x", None]})
    assert rows_of(open_source(frame)) == [{"age": 3.0, "city": "x"}, {"age": None, "city": None}]
    frame.index = pandas.Index([7, 8], name="user")
    assert [row["user"] for row in rows_of(open_source(frame))] == [7, 8]
    with pytest.raises(DataError, match="pandas frame: a column holds values of different kinds"):
        open_source(pandas.DataFrame({"mixed": [1, "x"]}))


def test_a_row_of_a_pandas_frame_is_one_row() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [3.0, None], "city": ["x", "y"], "n": [1, 2]})
    found = open_source(frame.iloc[1]).frame.collect()
    assert found.to_dicts() == [{"age": None, "city": "y", "n": 2}]
    with pytest.raises(DataError, match="a pandas Series is read as one row, its index as the columns' names"):
        open_source(frame["age"])
    with pytest.raises(DataError, match="cannot read rows from a Index"):
        open_source(frame.columns)


def test_pandas_is_not_imported_for_anything_else(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "rows.csv")
    before = "pandas" in sys.modules
    open_source(tmp_path / "rows.csv")
    assert ("pandas" in sys.modules) == before


def test_folders_and_globs_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        FRAME.with_columns(part=pl.lit(number)).write_parquet(tmp_path / f"part.{number}.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".part.1.parquet.crc").touch()
    for place in (str(tmp_path), f"{tmp_path}/*.parquet"):
        source = open_source(place)
        assert source.frame.collect()["part"].to_list() == [1] * 3 + [2] * 3 + [10] * 3
    assert [path.name for path in source.files] == ["part.1.parquet", "part.2.parquet", "part.10.parquet"]


def test_a_folder_by_day_gives_the_day(tmp_path: Path) -> None:
    for day in (1, 2):
        (tmp_path / f"day={day}").mkdir()
        FRAME.write_parquet(tmp_path / f"day={day}" / "rows.parquet")
    assert open_source(tmp_path).frame.collect()["day"].to_list() == [1] * 3 + [2] * 3
    assert open_source(tmp_path / "day=1" / "rows.parquet").frame.collect_schema().names() == ["user", "age"]


def test_missing_holds_for_text_of_any_source() -> None:
    source = open_source({"job": "?", "age": 3}, Layout(missing=("?",), columns=("ignored here",)))
    assert rows_of(source) == [{"job": None, "age": 3}]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "arrow", "frame", "dicts", "pandas"])
@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float32, pl.Float64, pl.Decimal(10, 0)])
def test_missing_holds_for_numbers_and_categories_of_any_source(tmp_path: Path, kind: str, dtype: pl.DataType) -> None:
    columns = {"age": pl.Series([-999, 41, None], dtype=dtype), "zone": pl.Series([1, -999, 3], dtype=dtype)}
    frame = pl.DataFrame({"job": ["NA", "cook", "-999"], **columns}).cast({"job": pl.Categorical})
    if kind == "frame":
        data: Tabular = frame
    elif kind == "dicts":
        data = frame.to_dicts()
    elif kind == "pandas":
        pytest.importorskip("pandas")
        data = frame.with_columns(pl.col("age", "zone").cast(pl.Float64)).to_pandas()
    else:
        data = tmp_path / f"rows.{kind}"
        {"parquet": frame.write_parquet, "arrow": frame.write_ipc}.get(kind, frame.write_csv)(data)
    for missing in (("NA", "-999"), ("", "NA", "-999.0")):
        found = rows_of(open_source(data, Layout(missing=missing)))
        assert found == [
            {"job": None, "age": None, "zone": 1},
            {"job": "cook", "age": 41, "zone": None},
            {"job": None, "age": None, "zone": 3},
        ]


@pytest.mark.parametrize(
    ("column", "missing", "left"),
    [
        (pl.Series([2**53, 2**53 + 1, -(2**63)]), ("9007199254740993", str(-(2**63))), [2**53, None, None]),
        (pl.Series([1.5, float("inf"), -0.0]), ("1.50", "inf", "0"), [None] * 3),
        (pl.Series([True, False]), ("1", "0"), [True, False]),
        (pl.Series([1, 7], dtype=pl.UInt8), ("007", "-1", "1e+0"), [None, 7]),
        (pl.Series([date(1970, 1, 1), date(2024, 1, 1)]), ("1970-01-01",), [None, date(2024, 1, 1)]),
        (pl.Series(["1.50", "1.5"]), ("1.5",), ["1.50", None]),
        (pl.Series(["a", "NA"], dtype=pl.Enum(["a", "NA"])), ("NA",), ["a", None]),
    ],
)
def test_what_missing_means_in_columns_of_other_types(
    column: pl.Series, missing: tuple[str, ...], left: list[object]
) -> None:
    found = open_source(column.alias("x").to_frame(), Layout(missing=missing)).frame.collect()
    assert (found["x"].to_list(), found["x"].dtype) == (left, column.dtype)


def test_missing_costs_nothing_where_no_column_can_hold_it() -> None:
    numbers = pl.LazyFrame({"age": [3, 1]})
    assert "WITH_COLUMNS" not in open_source(numbers, Layout(missing=("NA",))).frame.explain()


def test_nothing_to_read_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file or folder nowhere\.csv; check the path"):
        open_source("nowhere.csv")
    with pytest.raises(DataError, match=r"\*\.parquet matches no file"):
        open_source(f"{tmp_path}/*.parquet")
    with pytest.raises(DataError, match="is empty"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="Polars frame has no rows"):
        open_source(FRAME.clear())
    with pytest.raises(DataError, match="rows has no rows"):
        open_source([])


def test_mixed_folders_are_refused(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "a.csv")
    FRAME.write_csv(tmp_path / "b.csv")
    FRAME.write_parquet(tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"files of different kinds \(2 \.csv, 1 \.parquet\); name one kind"):
        find_files(str(tmp_path))
    with pytest.raises(DataError, match=r"files of different kinds \(parquet, text\)"):
        open_source(f"{tmp_path}/*")


def test_compressed_and_plain_parts_may_stand_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").touch()
    (tmp_path / "b.csv").touch()
    assert len(find_files(str(tmp_path))) == 2


def test_a_cut_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    FRAME.write_parquet(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"rows\.parquet cannot be read"):
        open_source(path)


def test_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "1.parquet")
    FRAME.rename({"age": "years"}).write_parquet(tmp_path / "2.parquet")
    source = open_source(tmp_path)
    with pytest.raises(DataError, match=r"cannot be read: .*years") as said, reading(source.name):
        source.frame.collect()
    FRAME.drop("age").write_parquet(tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"cannot be read: did not find column age$"), reading(source.name):
        source.frame.collect()
    assert "hint" not in str(said.value) and "2.parquet" in str(said.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.jsonl", '{"a": 1}\n'), ("rows.json", "[1]"), ("rows.txt", '[{"a": 1}]'), ("rows.xml", "<a/>")],
)
def test_other_formats_are_named_as_unsupported(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=rf"{name}: unsupported format; give CSV, TSV, Parquet, Arrow or libsvm"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("data", [3, ["a.csv"], {"a": object()}, [{"a": [1]}, {"a": "x"}]])
def test_what_holds_no_rows_is_refused(data: Tabular) -> None:
    with pytest.raises(DataError, match=r"cannot read rows|Python objects|different kinds"):
        open_source(data)


def test_opening_is_lazy(tmp_path: Path) -> None:
    table = pa.table({"a": list(range(10))})
    assert isinstance(open_source(table).frame, pl.LazyFrame)
