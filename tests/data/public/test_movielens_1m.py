from collections.abc import Callable
from pathlib import Path

import pytest

from crossfield.data.public import PublicData
from crossfield.data.public.movielens_1m import MOVIELENS_1M
from crossfield.errors import DataError


def write(folder: Path) -> None:
    (folder / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    films = "1::Toy Story (1995)::Animation|Children's|Comedy\n73::Misérables, Les (1995)::Drama|Musical\n"
    (folder / "movies.dat").write_bytes(films.encode("latin-1"))


def test_official_ratings_give_stars_and_times(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "ratings.dat").write_text("2::73::5::978300760\n1::1::3::978302109\n")
    (tmp_path / "labels_rating_ge4.csv").write_text("userId,movieId,label\n1,1,0\n")  # the ratings win
    train = MOVIELENS_1M.load(tmp_path).train
    rows = train.frame.collect()
    assert rows["rating"].to_list() == [5, 3]
    assert rows["age"].to_list() == [56, 1]
    assert rows["year"].to_list() == [1995, 1995]
    assert rows["genres"].to_list() == ["Drama|Musical", "Animation|Children's|Comedy"]
    assert (train.schema.time, train.files[0].name) == ("timestamp", "ratings.dat")


def test_labels_serve_where_there_are_no_ratings(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "labels_rating_ge4.csv").write_text("userId,movieId,label\n2,1,1\n1,73,0\n")
    data = MOVIELENS_1M.load(tmp_path)
    assert data.train.frame.collect()["label"].to_list() == [1, 0]
    assert (str(data.train.schema.label), data.train.schema.time) == ("label", None)
    assert any("labels only" in note for note in data.notes)


def test_neither_is_an_error_that_names_the_official_file(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=r"ratings\.dat missing in .*grouplens\.org.*--accept-terms"):
        MOVIELENS_1M.load(tmp_path)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "ratings.dat").write_text("2::73::5::978300760\n1::1\n")
    with pytest.raises(DataError, match=r"ratings\.dat has lines that are not user_id::item_id::rating::timestamp"):
        MOVIELENS_1M.load(tmp_path)


def test_the_real_files_have_their_known_counts(load_or_skip: Callable[[str], PublicData]) -> None:
    data = load_or_skip("movielens-1m")
    rows = data.train.frame.collect()
    assert len(rows) == (982_394 if data.train.schema.time is None else 1_000_209)
    assert rows["gender"].null_count() == rows["genres"].null_count() == rows["year"].null_count() == 0
