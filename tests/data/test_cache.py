import os
from pathlib import Path

import pytest

from crossfield.data import cache
from crossfield.data.cache import filling, kept_rows, mark_used, trouble_with


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSFIELD_CACHE", str(tmp_path))
    return tmp_path / "rows"


def fill(key: str, content: str = "rows") -> Path:
    place = kept_rows(key)
    assert place is not None
    with filling(place) as fresh:
        (fresh / "file").write_text(content)
    return place


def test_off_keeps_nothing_and_a_name_says_where(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept_rows("key") == folder / "key"
    monkeypatch.setenv("CROSSFIELD_CACHE", "off")
    assert kept_rows("key") is None
    monkeypatch.delenv("CROSSFIELD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert kept_rows("key") == Path("/somewhere/crossfield/rows/key")


def test_why_a_folder_cannot_be_used_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trouble_with(tmp_path / "new" / "rows") == "" and (tmp_path / "new" / "rows").is_dir()
    (tmp_path / "file").touch()
    assert trouble_with(tmp_path / "file" / "rows") == "Not a directory"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert trouble_with(tmp_path) == "Permission denied"


def test_a_folder_is_there_whole_or_not_at_all(folder: Path) -> None:
    def fail() -> None:
        with filling(folder / "a") as fresh:
            (fresh / "file").write_text("half")
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert list(folder.iterdir()) == []
    assert (fill("a") / "file").read_text() == "rows"
    assert (fill("a", "newer") / "file").read_text() == "newer"
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_of_several_that_fill_one_folder_at_once_the_first_ones_stays(folder: Path) -> None:
    fill("a", "of no use")
    with filling(folder / "a") as fresh:
        (fresh / "file").write_text("second")
        fill("a", "first")
    assert (folder / "a" / "file").read_text() == "first"
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_what_was_not_used_for_longest_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, key in ((3, "a"), (2, "b"), (1, "c")):
        os.utime(fill(key, "x" * 100), (1e9 - age, 1e9 - age))
    mark_used(folder / "a")
    monkeypatch.setattr(cache, "LIMIT_BYTES", 350)
    fill("d", "x" * 100)
    assert {path.name for path in folder.iterdir()} == {"a", "c", "d"}
    monkeypatch.setattr(cache, "LIMIT_BYTES", 50)
    fill("e", "x" * 100)
    assert [path.name for path in folder.iterdir()] == ["e"], "the newest stays, however large"
