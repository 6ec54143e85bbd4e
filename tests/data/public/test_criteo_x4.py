import math
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from crossfield.data.encode import Encoder, EncoderConfig
from crossfield.data.public import PublicData
from crossfield.data.public.criteo_sample import CATEGORIES, COUNTS
from crossfield.data.public.criteo_x4 import CRITEO_X4, with_buckets
from crossfield.schema import Kind

HEADER = ",".join(("Label", *COUNTS, *CATEGORIES))
HASHES = ",".join(f"{number:08x}" for number in range(25))
LINES = f"0,1,-1,{'2,' * 10},{HASHES},\n1,,0,{'1382,' * 10}7,{HASHES},05db9164\n"


def test_the_published_layout_becomes_39_categories(tmp_path: Path) -> None:
    for name in CRITEO_X4.files:
        (tmp_path / name).write_text(f"{HEADER}\n{LINES}")
    data = CRITEO_X4.load(tmp_path)
    assert data.valid is not None and data.test is not None
    rows = data.train.frame.collect()
    assert rows["I1"].to_list() == [1, 0] and rows["I2"].to_list() == [-1, 0]
    assert rows["I3"].to_list() == [2, 52] and rows["I13"].to_list() == [0, 3]  # (ln 1382)^2 = 52.3, (ln 7)^2 = 3.8
    assert rows["C1"].to_list() == ["00000000"] * 2 and rows["C26"].to_list() == [None, "05db9164"]
    assert str(data.train.schema.label) == "Label"
    assert [one.kind for one in data.train.schema.features] == [Kind.CATEGORICAL] * 39
    assert {one.schema.fingerprint for one in (data.train, data.valid, data.test)} == {data.train.schema.fingerprint}
    assert [path.name for path in data.train.files] == ["train.csv"]
    assert any("train.csv is not the copy" in note for note in data.notes)


def bucket(x: int | None) -> int:
    """As BARS's code says it, number by number."""
    value = 0 if x is None else x
    return math.floor(math.log(value) ** 2) if value > 2 else value


def test_counts_of_the_sample_fall_into_the_benchmark_s_buckets(load_or_skip: Callable[[str], PublicData]) -> None:
    rows = load_or_skip("criteo-sample").train.frame.select(COUNTS)
    raw, found = rows.collect(), with_buckets(rows).collect()
    for name in COUNTS:
        assert found[name].to_list() == [bucket(one) for one in raw[name]]
        assert found[name].dtype == pl.Int64


@pytest.mark.slow
def test_the_real_files_have_the_counts_and_vocabularies_of_the_benchmark_s_logs(
    load_or_skip: Callable[[str], PublicData],
) -> None:
    data = load_or_skip("criteo-x4")
    assert data.valid is not None and data.test is not None
    shapes = [one.frame.select(pl.len(), pl.col("Label").sum()).collect().row(0) for one in (data.train, data.valid)]
    assert shapes == [(36_672_493, 9_396_350), (4_584_062, 1_174_544)]
    fields = Encoder.fit(data.train, EncoderConfig(min_count=10)).model_schema.categorical
    counts = [44, 99, 122, 41, 220, 112, 80, 69, 92, 6, 27, 37, 72]
    categories = [1446, 554, 157339, 117822, 306, 18, 11882, 630, 5, 39530, 5131, 156656, 3176]
    categories += [28, 11043, 148913, 12, 4560, 2003, 5, 154564, 18, 17, 53031, 82, 40955]
    assert {one.name: one.num_rows for one in fields} == dict(
        zip((*COUNTS, *CATEGORIES), counts + categories, strict=True)
    )
