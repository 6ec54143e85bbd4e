from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from crossfield.data.encode import Encoder
from crossfield.data.public import PublicData
from crossfield.data.public.movielenslatest_x1 import MOVIELENSLATEST_X1
from crossfield.schema import Kind

LINES = "label,user_id,item_id,tag_id\n1,451,17258,40650\n0,451,20119,57697\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_three_ids_by_name_whatever_ends_a_line(tmp_path: Path, end: str) -> None:
    for name in MOVIELENSLATEST_X1.files:
        (tmp_path / name).write_bytes(LINES.replace("\n", end).encode())
    data = MOVIELENSLATEST_X1.load(tmp_path)
    assert data.valid is not None and data.test is not None
    assert data.train.frame.collect().rows() == [(1, 451, 17_258, 40_650), (0, 451, 20_119, 57_697)]
    schema = data.test.schema
    assert (schema.user, schema.item, str(schema.label)) == ("user_id", "item_id", "label")
    assert [one.kind for one in schema.features] == [Kind.CATEGORICAL] * 3


@pytest.mark.slow
def test_the_real_files_have_the_counts_and_vocabularies_of_the_benchmark_s_logs(
    load_or_skip: Callable[[str], PublicData],
) -> None:
    data = load_or_skip("movielenslatest-x1")
    assert data.valid is not None and data.test is not None
    parts = (data.train, data.valid, data.test)
    shapes = [one.frame.select(pl.len(), pl.col("label").sum()).collect().row(0) for one in parts]
    assert shapes == [(1_404_801, 467_878), (401_372, 134_225), (200_686, 66_850)]
    fields = Encoder.fit(data.train).model_schema.categorical
    assert [(one.name, one.num_rows) for one in fields] == [
        ("user_id", 16_977),
        ("item_id", 23_606),
        ("tag_id", 49_659),
    ]
