"""The whole examination: every planted fault is found, clean rows give none, and large ones are drawn from."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import crossfield.doctor as doctor
from crossfield.checks.finding import SEVERITIES
from crossfield.data.cinema import make_cinema
from crossfield.data.dataset import Dataset
from crossfield.data.public import PUBLIC, load_public
from crossfield.doctor import examine, look_quickly

from .checks.rows import clean, data_of


def faults(train: Dataset, parts: dict[str, Dataset], **words: str) -> list[tuple[str, str]]:
    """Severity and place of all but notes."""
    return [(one.severity, one.where) for one in examine(train, parts, **words).findings if one.severity != "note"]


def parts_of(data: Dataset, how: str | None = None) -> tuple[Dataset, dict[str, Dataset]]:
    train, valid, test = data.split(how)
    return train, {"validation": valid, "test": test}


@pytest.mark.parametrize("how", ["random", "user"])
def test_the_cinema_is_in_good_health(how: str) -> None:
    cinema = data_of(pl.DataFrame(make_cinema(30_000).columns), item="film")
    train, parts = parts_of(cinema, how)
    assert faults(train, parts, split=how) == []
    assert look_quickly(train, parts["validation"], split=how) == []


@pytest.mark.parametrize("name", ["adult", "movielens-100k", "criteo-sample", "avazu-sample"])
def test_public_data_sets_are_in_good_health(name: str) -> None:
    if missing := PUBLIC[name].missing():
        pytest.skip(f"{name}: {', '.join(missing)} not under CROSSFIELD_DATA")
    found = load_public(name)
    train, parts = parts_of(found.train)
    assert faults(train, parts) == []
    if found.test is not None:
        assert faults(found.train, {"test": found.test}) == []


def test_frappe_gives_its_answers_away_in_pairs() -> None:
    """The published split is at random, and who has used an app in one context has used it in others."""
    if missing := PUBLIC["frappe"].missing():
        pytest.skip(f"frappe: {', '.join(missing)} not under CROSSFIELD_DATA")
    found = load_public("frappe")
    assert found.valid is not None
    (one,) = look_quickly(found.train, found.valid)
    assert one.value == pytest.approx(0.368, abs=0.01)
    assert "of the rows hold a user and an item" in one.what


def test_many_faults_at_once_worst_first() -> None:
    rows = clean(4000).with_columns(
        paid=pl.when(pl.col("click") == 1).then(pl.col("age")),
        leak=pl.col("click") * 2.5 + pl.col("age") / 1000,
        same=pl.lit(3.0),
    )
    copied = pl.concat([rows, rows.head(1000)]).sample(fraction=1, shuffle=True, seed=0)
    data = data_of(copied, kinds={"paid": "dense", "same": "dense"})
    train, parts = parts_of(data, "random")
    found = examine(train, parts, split="random").findings
    assert [SEVERITIES.index(one.severity) for one in found] == sorted(SEVERITIES.index(one.severity) for one in found)
    assert {(one.severity, one.where) for one in found} >= {
        ("error", "leak"),
        ("error", "paid"),
        ("warning", "same"),
        ("warning", "training"),  # the copies
        ("warning", "validation"),  # the future, and copies
        ("warning", "test"),
    }
    quick = {(one.severity, one.where) for one in look_quickly(train, parts["validation"], split="random")}
    assert quick == {("error", "leak"), ("error", "paid"), ("warning", "validation")}


def test_a_part_that_does_not_fit_is_said_and_passed_over() -> None:
    train, parts = parts_of(data_of(clean()))
    odd = parts["test"].frame.with_columns(user=pl.lit(1.5), tags=pl.lit(1.5))
    found = faults(train, {**parts, "test": Dataset(odd, train.schema, "odd")})
    assert found == [("error", "test")]


def test_rare_positives_are_found_and_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "QUICK_ROWS", 100)
    monkeypatch.setattr(doctor, "ROWS", 200)
    rows = clean(20_000).with_columns(click=(pl.int_range(pl.len()) % 500 == 7).cast(pl.Int64))
    rows = rows.with_columns(leak=pl.col("click") * 2.5 + pl.col("age") / 1000)
    train, parts = parts_of(data_of(rows, kinds={"leak": "dense"}))
    for findings in (look_quickly(train, parts["validation"]), examine(train, parts).findings):
        assert [(one.where, one.value) for one in findings if one.severity == "error"] == [("leak", 1.0)]
        assert not any("every label" in one.what for one in findings)
    none = Dataset(train.frame.with_columns(click=pl.lit(0)), train.schema, "none")
    (found,) = [one for one in look_quickly(none, None) if one.severity == "error"]
    assert found.what == "every label is 0"


def test_rows_without_any_role() -> None:
    bare = data_of(clean().drop("click", "user", "item", "ts"), label=None)
    (note,) = examine(bare, {}).findings
    assert "no label was named" in note.what
    pairs = data_of(clean().select("user", "item").unique(), label=None)
    assert examine(pairs, {}).findings == ()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_are_read_lazily_and_drawn_from(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROWS", 1000)
    rows = clean(5000).drop("tags").with_columns(leak=pl.col("click") * 1.5 + np.pi)
    path = tmp_path / f"rows.{suffix}"
    rows.write_csv(path) if suffix == "csv" else rows.write_parquet(path)
    train, parts = parts_of(data_of(rows, kinds={"leak": "dense"}))
    read = Dataset(pl.scan_csv(path) if suffix == "csv" else pl.scan_parquet(path), train.schema, "file", (path,))
    found = examine(read, parts)
    assert found.to_json()["rows"] == {"training": 5000, "validation": 500, "test": 500}
    assert 850 < found.looked_at < 1150
    assert ("error", "leak") in [(one.severity, one.where) for one in found.findings]
    assert {one.name for one in tmp_path.iterdir()} == {path.name}
