from collections.abc import Callable
from pathlib import Path

from crossfield.data.dataset import load
from crossfield.data.public import PublicData, data_folder
from crossfield.data.public.criteo_sample import CRITEO_SAMPLE, OPTIONS
from crossfield.data.source import Layout
from crossfield.schema import Kind

HASHES = "\t".join(f"{number:08x}" for number in range(25))
LINES = "0\t1\t-1\t" + "2\t" * 10 + f"\t{HASHES}\t\n1\t\t0\t" + "3\t" * 10 + f"7\t{HASHES}\t05db9164\n"


def test_thirteen_numbers_and_twenty_six_strings(tmp_path: Path) -> None:
    for name in CRITEO_SAMPLE.files:
        (tmp_path / name).write_text(LINES)
    train = CRITEO_SAMPLE.load(tmp_path).train
    rows = train.frame.collect()
    assert len(rows) == 2
    assert rows["I1"].to_list() == [1, None] and rows["I2"].to_list() == [-1, 0] and rows["I13"].to_list() == [None, 7]
    assert rows["C1"].to_list() == ["00000000"] * 2  # hexadecimal text, not the number 0
    assert rows["C26"].to_list() == [None, "05db9164"]
    kinds = [one.kind for one in train.schema.features]
    assert kinds == [Kind.DENSE] * 13 + [Kind.CATEGORICAL] * 26


def test_a_plain_path_with_flags_is_the_same_data(load_or_skip: Callable[[str], PublicData]) -> None:
    public = load_or_skip("criteo-sample")
    plain = load(
        data_folder() / "criteo-sample" / "wide_resdnn.train.csv",
        label="label",
        kinds=OPTIONS.kinds,
        layout=Layout(columns=OPTIONS.columns, header=False, separator="\t"),
    )
    assert plain.schema.fingerprint == public.train.schema.fingerprint
    assert plain.frame.collect().equals(public.train.frame.collect())


def test_the_real_files_have_their_known_counts(load_or_skip: Callable[[str], PublicData]) -> None:
    data = load_or_skip("criteo-sample")
    assert data.valid is not None and data.test is not None
    assert [part.num_rows for part in (data.train, data.valid, data.test)] == [7_200, 409, 391]
    assert set(data.train.frame.collect()["label"]) == {0, 1}
