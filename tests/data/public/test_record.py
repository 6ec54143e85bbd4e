from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

from crossfield.data.options import DataConfig
from crossfield.data.public.record import PublicData, PublicSet, data_folder, load_prepared, load_with
from crossfield.errors import DataError

OPTIONS = DataConfig(label="click", columns=("click", "age"), header=False, missing=("?",))


def read(folder: Path) -> PublicData:
    return PublicData(train=load_with(OPTIONS, folder / "rows.csv"), notes=("made up",))


def made_up(content: bytes) -> PublicSet:
    checksum = sha256(content).hexdigest()
    return PublicSet(
        name="made-up",
        about="three rows",
        terms="None.",
        address="https://example.org",
        files={"rows.csv": checksum},
        options=OPTIONS,
        read=read,
    )


def test_data_folder_is_the_environment_s_else_the_user_s_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFIELD_DATA", "~/sets")
    assert data_folder() == Path.home() / "sets"
    monkeypatch.setenv("CROSSFIELD_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert data_folder() == Path("/caches/crossfield/data")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_folder() == Path.home() / ".cache" / "crossfield" / "data"


def test_options_are_passed_to_load_as_flags_would_be(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,30\n0,?\n1,50\n")
    data = load_with(OPTIONS, tmp_path / "rows.csv")
    assert data.frame.collect()["age"].to_list() == [30, None, 50]
    assert str(data.schema.label) == "click"


def test_a_changed_copy_is_read_and_named_in_the_notes(tmp_path: Path) -> None:
    content = b"1,30\n0,40\n1,50\n"
    (tmp_path / "rows.csv").write_bytes(content)
    assert made_up(content).load(tmp_path).notes == ("made up",)
    notes = made_up(content + b"0,60\n").load(tmp_path).notes
    assert notes == ("made up", "rows.csv is not the copy this loader was written for (its checksum differs)")


def test_a_file_without_a_known_checksum_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,30\n0,40\n1,50\n")
    assert replace(made_up(b""), files={"rows.csv": ""}).load(tmp_path).notes == ("made up",)


def test_files_may_lie_in_another_set_s_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFIELD_DATA", "/data")
    assert [str(replace(made_up(b""), home=home).folder()) for home in (None, "other")] == [
        "/data/made-up",
        "/data/other",
    ]


def test_rows_can_be_changed_before_their_columns_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,30\n0,?\n1,50\n")
    data = load_prepared(OPTIONS, tmp_path / "rows.csv", lambda rows: rows.with_columns(old=pl.col("age") > 40))
    assert data.frame.collect()["old"].to_list() == [False, None, True]
    assert [one.name for one in data.schema.features] == ["age", "old"]
    assert (data.name, data.files) == ("rows.csv", (tmp_path / "rows.csv",))


def test_extra_files_are_checked_where_they_are_there(tmp_path: Path) -> None:
    content = b"1,30\n0,40\n1,50\n"
    (tmp_path / "rows.csv").write_bytes(content)
    one = replace(made_up(content), extra_files={"more.csv": "0" * 64})
    assert one.load(tmp_path).notes == ("made up",)
    (tmp_path / "more.csv").write_text("x")
    assert "more.csv is not the copy" in one.load(tmp_path).notes[-1]


def test_missing_files_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"made-up: rows\.csv missing in .*get the files from https://example\.org"):
        made_up(b"").load(tmp_path)
