from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from crossfield.data.encode import Encoder, EncoderConfig
from crossfield.data.public import PublicData
from crossfield.data.public.avazu_sample import FIELDS
from crossfield.data.public.avazu_x4 import AVAZU_X4, with_times
from crossfield.schema import Kind

HEADER = ",".join(("id", "click", "hour", *FIELDS))
REST = (
    "1005,0,1fbe01fe,f3845767,28905ebd,ecad2386,7801e8d9,07d7df22,a99f214a,ddd2926e,44956a24,1,2,15706,320,50,1722,0,"
    "35,-1,79"
)
LINES = f"1000009418151094273,0,14102100,{REST}\n1000016934911786371,1,14102523,{REST}\n"


def test_the_published_layout_becomes_24_categories(tmp_path: Path) -> None:
    for name in AVAZU_X4.files:
        (tmp_path / name).write_text(f"{HEADER}\n{LINES}")
    data = AVAZU_X4.load(tmp_path)
    assert data.valid is not None and data.test is not None
    rows = data.test.frame.collect()
    assert rows["hour"].to_list() == [0, 23]
    assert rows["weekday"].to_list() == [2, 6] and rows["weekend"].to_list() == [0, 1]  # a Tuesday and a Saturday
    assert rows["C20"].to_list() == [-1, -1]
    schema = data.train.schema
    assert [one.kind for one in schema.features] == [Kind.CATEGORICAL] * 24
    assert (str(schema.label), set(schema.ignored)) == ("click", {"id"})
    assert [path.name for path in data.valid.files] == ["valid.csv"]


def test_every_hour_of_the_ten_days(load_or_skip: Callable[[str], PublicData]) -> None:
    hours = [datetime(2014, 10, day, hour) for day in range(21, 31) for hour in range(24)]
    rows = pl.LazyFrame({"hour": [int(one.strftime("%y%m%d%H")) for one in hours]})
    expected = [(one.hour, one.isoweekday(), int(one.isoweekday() in (6, 7))) for one in hours]
    assert with_times(rows).collect().rows() == expected
    sample = load_or_skip("avazu-sample").train.frame
    assert with_times(sample).select("hour", "weekday", "weekend").unique().collect().rows() == [(0, 2, 0)]


@pytest.mark.slow
def test_the_real_files_have_the_counts_and_vocabularies_of_the_benchmark_s_logs(
    load_or_skip: Callable[[str], PublicData],
) -> None:
    data = load_or_skip("avazu-x4")
    assert data.valid is not None and data.test is not None
    shapes = [one.frame.select(pl.len(), pl.col("click").sum()).collect().row(0) for one in (data.train, data.valid)]
    assert shapes == [(32_343_172, 5_492_052), (4_042_897, 686_507)]
    fields = Encoder.fit(data.train, EncoderConfig(min_count=2)).model_schema.categorical
    of_names = [9, 9, 4051, 5461, 27, 6545, 400, 33, 820509, 2903322, 7259, 7, 6]
    sizes = dict(zip(FIELDS, [*of_names, 2556, 10, 11, 434, 6, 70, 173, 62], strict=True))
    assert {one.name: one.num_rows for one in fields} == {**sizes, "hour": 26, "weekday": 9, "weekend": 4}
