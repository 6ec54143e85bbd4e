from collections.abc import Callable
from pathlib import Path

import polars as pl

from crossfield.data.dataset import load
from crossfield.data.public import PublicData, data_folder
from crossfield.data.public.frappe import FRAPPE, OPTIONS
from crossfield.data.source import Layout
from crossfield.schema import Kind

LINES = """0 204:1 4798:1 5041:1 5046:1 5053:1 5055:1 5058:1 5060:1 5073:1 5183:1
1 42:1 1572:1 5042:1 5047:1 5053:1 5055:1 5058:1 5060:1 5070:1 5150:1
"""


def test_positions_become_the_ten_named_fields(tmp_path: Path) -> None:
    for name in FRAPPE.files:
        (tmp_path / name).write_text(LINES)
    data = FRAPPE.load(tmp_path)
    rows = data.train.frame.collect()
    assert rows.columns == ["label", *data.train.schema.columns]
    assert rows["label"].to_list() == [0, 1]
    assert rows["user"].to_list() == ["204", "42"]
    assert rows["city"].to_list() == ["5183", "5150"]
    assert [one.kind for one in data.train.schema.features] == [Kind.CATEGORICAL] * 10
    assert (data.train.schema.user, data.train.schema.item) == ("user", "item")
    assert any("train negatives re-drawn" in note for note in data.notes)


def test_a_plain_path_with_flags_is_the_same_data(load_or_skip: Callable[[str], PublicData]) -> None:
    public = load_or_skip("frappe")
    plain = load(
        data_folder() / "frappe" / "train.rebuilt.libsvm",
        label="label",
        user="user",
        item="item",
        kinds=OPTIONS.kinds,
        layout=Layout(columns=OPTIONS.columns),
    )
    assert plain.schema.fingerprint == public.train.schema.fingerprint
    assert plain.frame.collect().equals(public.train.frame.collect())


def test_the_real_files_have_their_known_counts(load_or_skip: Callable[[str], PublicData]) -> None:
    data = load_or_skip("frappe")
    assert data.valid is not None and data.test is not None
    shapes = [part.frame.select(pl.len(), pl.col("label").sum()).collect().row(0) for part in (data.valid, data.test)]
    assert shapes == [(57_722, 19_063), (28_860, 9_536)]
    train = data.train.frame.collect()
    assert (len(train), train["label"].sum()) == (202_009, 67_598)
    assert train["user"].n_unique() == 954  # of 957: three have no training row
