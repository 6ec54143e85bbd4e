from collections.abc import Callable
from pathlib import Path

import polars as pl

from crossfield.data.dataset import Dataset, load
from crossfield.data.public import PublicData
from crossfield.data.public.movielens_100k import MOVIELENS_100K
from crossfield.schema import Kind


def write(folder: Path) -> None:
    (folder / "u.data").write_text("2\t9\t3\t881250949\n1\t7\t4\t891717742\n1\t9\t5\t878887116\n")
    (folder / "u.user").write_text("1|24|M|technician|05711\n2|53|F|other|V1G4L\n")
    films = [
        "7|Amélie (1995)|01-Jan-1995||http://x|" + "|".join("0001010000000000000"),
        "9|unknown||||" + "|".join("1000000000000000000"),
    ]
    (folder / "u.item").write_bytes("\n".join(films).encode("latin-1"))


def test_ratings_meet_their_users_and_films_in_the_ratings_order(tmp_path: Path) -> None:
    write(tmp_path)
    rows = MOVIELENS_100K.load(tmp_path).train.frame.collect()
    assert rows["user_id"].to_list() == [2, 1, 1]
    assert rows["item_id"].to_list() == [9, 7, 9]
    assert rows["age"].to_list() == [53, 24, 24]
    assert rows["zip_code"].to_list() == ["V1G4L", "05711", "05711"]
    assert rows["title"].to_list() == ["unknown", "Amélie (1995)", "unknown"]
    assert rows["year"].to_list() == [None, 1995, None]
    assert rows["genres"].to_list() == ["unknown", "Animation|Comedy", "unknown"]


def test_schema_has_a_threshold_a_time_and_many_valued_genres(tmp_path: Path) -> None:
    write(tmp_path)
    schema = MOVIELENS_100K.load(tmp_path).train.schema
    assert str(schema.label) == "rating>=4.0" or str(schema.label) == "rating>=4"
    assert (schema.user, schema.item, schema.time) == ("user_id", "item_id", "timestamp")
    assert (schema["genres"].kind, schema["genres"].separator) == (Kind.MULTI, "|")
    assert set(schema.ignored) == {"title", "zip_code"}


def read_back(dataset: Dataset, path: Path) -> Dataset:
    """The rows through a CSV file, read with the flags the loader names."""
    dataset.frame.collect().write_csv(path)
    return load(
        path,
        label="rating>=4",
        user="user_id",
        item="item_id",
        time="timestamp",
        ignore=("zip_code", "title"),
        kinds={
            "user_id": Kind.CATEGORICAL,
            "item_id": Kind.CATEGORICAL,
            "age": Kind.DENSE,
            "gender": Kind.CATEGORICAL,
            "occupation": Kind.CATEGORICAL,
            "year": Kind.DENSE,
            "genres": Kind.MULTI,
        },
        separators={"genres": "|"},
    )


def test_the_joined_rows_as_a_csv_with_flags_are_the_same_data(
    load_or_skip: Callable[[str], PublicData], tmp_path: Path
) -> None:
    public = load_or_skip("movielens-100k").train
    plain = read_back(public, tmp_path / "joined.csv")
    assert plain.schema.fingerprint == public.schema.fingerprint
    assert plain.frame.collect().equals(public.frame.collect())


def test_the_real_files_have_their_known_counts(load_or_skip: Callable[[str], PublicData]) -> None:
    rows = load_or_skip("movielens-100k").train.frame.collect()
    assert len(rows) == 100_000
    assert rows.select((pl.col("rating") >= 4).sum()).item() == 55_375
    assert (rows["user_id"].n_unique(), rows["item_id"].n_unique()) == (943, 1_682)
    assert rows.filter(pl.col("title") == "Toy Story (1995)")["genres"].unique().to_list() == [
        "Animation|Children's|Comedy"
    ]
    assert rows["age"].null_count() == rows["genres"].null_count() == 0
