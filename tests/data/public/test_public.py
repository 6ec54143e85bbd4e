import re
from pathlib import Path

import pytest

from crossfield.data.public import PUBLIC, download, load_public, public_set
from crossfield.errors import DataError


def test_names_are_keys_and_belong_to_a_module_each() -> None:
    import crossfield.data.public as package

    folder = Path(package.__file__).parent
    assert [one.name for one in PUBLIC.values()] == list(PUBLIC)
    for name in PUBLIC:
        assert (folder / f"{name.replace('-', '_')}.py").is_file(), name


@pytest.mark.parametrize("name", PUBLIC)
def test_every_record_is_complete(name: str) -> None:
    one = PUBLIC[name]
    assert one.address.startswith(("https://", "http://"))
    assert len(one.about) > 30 and len(one.terms) > 30
    checksums = {**one.files, **one.instead, **one.extra_files}.values()
    assert all(re.fullmatch(r"[0-9a-f]{64}|md5:[0-9a-f]{32}|git:[0-9a-f]{40}|", checksum) for checksum in checksums)
    # Without a checksum of its own, a file comes out of an archive that has one, or others with one serve instead.
    assert all(checksums) or (one.archive is not None and one.archive.sha256 is not None) or all(one.instead.values())
    # Every file the loader wants is in the archive, where there is one.
    assert one.archive is None or set(one.files) <= set(one.archive.members)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_table_in_the_docs_has_every_set(name: str) -> None:
    table = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1
    assert PUBLIC[name].address in rows[0]
    assert ("`--download`" in rows[0]) == (PUBLIC[name].archive is not None)


def test_only_three_archives_are_served() -> None:
    served = [name for name, one in PUBLIC.items() if one.archive]
    assert served == ["adult", "movielens-100k", "movielens-1m", "movielens-1m-ctr"]
    assert PUBLIC["movielens-1m-ctr"].folder() == PUBLIC["movielens-1m"].folder()


def test_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(DataError, match="no public data set 'adlut'; did you mean 'adult'"):
        public_set("adlut")


def test_load_says_what_is_missing_where_it_belongs_and_the_terms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSFIELD_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        load_public("frappe")
    text = str(caught.value)
    assert "train.csv, valid.csv, test.csv missing" in text
    assert str(tmp_path / "frappe") in text
    assert "reczoo/Frappe_x1" in text and "Research only" in text
    assert "accept" not in text  # no archive: there is nothing to accept and fetch
    with pytest.raises(DataError, match="--accept-terms"):
        load_public("adult")


def test_download_shows_the_terms_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFIELD_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match=r"adult comes with terms: Creative Commons .*archive.ics.uci.edu.*--accept-terms"
    ):
        download("adult")
    with pytest.raises(DataError, match=r"cannot be fetched automatically; get it from https://www\.kaggle\.com"):
        download("criteo-sample", accept_terms=True)
    assert not list(tmp_path.iterdir())
