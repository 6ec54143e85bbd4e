from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from crossfield.data.dataset import load
from crossfield.data.public import PublicData, data_folder
from crossfield.data.public.frappe import FRAPPE, OPTIONS
from crossfield.data.source import Layout
from crossfield.parts import part, with_public_options
from crossfield.recipe import Recipe, read_toml, recipe_path
from crossfield.schema import Kind

LINES = """0 204:1 4798:1 5041:1 5046:1 5053:1 5055:1 5058:1 5060:1 5073:1 5183:1
1 42:1 1572:1 5042:1 5047:1 5053:1 5055:1 5058:1 5060:1 5070:1 5150:1
"""


def test_positions_become_the_ten_named_fields(tmp_path: Path) -> None:
    for name in FRAPPE.instead:
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


def test_the_published_files_come_before_the_rebuilt_one(tmp_path: Path) -> None:
    for name in FRAPPE.instead:
        (tmp_path / name).write_text(LINES)
    table = "label,user,item,daytime,weekday,isweekend,homework,cost,weather,country,city\r\n"
    for name in FRAPPE.files:
        assert any("re-drawn" in note for note in FRAPPE.load(tmp_path).notes)
        (tmp_path / name).write_bytes((table + "1,42,1572,5042,5047,5053,5055,5058,5060,5070,5150\r\n" * 3).encode())
    data = FRAPPE.load(tmp_path)
    rows = data.train.frame.collect()
    assert rows.columns == ["label", *data.train.schema.columns] and len(rows) == 3
    assert (rows["label"][0], str(rows["user"][0]), str(rows["city"][0])) == (1, "42", "5150")
    assert [one.kind for one in data.train.schema.features] == [Kind.CATEGORICAL] * 10
    assert not any("re-drawn" in note for note in data.notes)
    assert "train.csv is not the copy this loader was written for (its checksum differs)" in data.notes


def test_recipes_read_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = "label,user,item,daytime,weekday,isweekend,homework,cost,weather,country,city\n"
    rows = "".join(f"{one % 2},{one % 5},{one % 7},1,2,3,4,5,6,7,8\n" for one in range(40))
    (tmp_path / "frappe").mkdir()
    for name in FRAPPE.files:
        (tmp_path / "frappe" / name).write_text(table + rows)
    monkeypatch.setenv("CROSSFIELD_DATA", str(tmp_path))
    values = read_toml(recipe_path(Path("frappe/fm")))
    parts = part(Recipe.of(with_public_options(values)))
    assert parts.train.num_rows == 40 and parts.split == "published"


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
