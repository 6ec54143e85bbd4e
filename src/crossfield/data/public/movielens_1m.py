"""MovieLens-1M: a million ratings of films, joined with what is known of users and films (Harper & Konstan, 2015)."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from crossfield.data.options import DataConfig
from crossfield.data.public.record import Archive, PublicData, PublicSet, load_with
from crossfield.errors import DataError
from crossfield.schema import Kind

_LABELS = "labels_rating_ge4.csv"
OPTIONS = DataConfig(
    label="rating>=4",
    user="user_id",
    item="item_id",
    time="timestamp",
    ignore=("zip_code", "title"),
    kinds={
        "user_id": Kind.CATEGORICAL,
        "item_id": Kind.CATEGORICAL,
        "age": Kind.CATEGORICAL,
        "gender": Kind.CATEGORICAL,
        "occupation": Kind.CATEGORICAL,
        "year": Kind.DENSE,
        "genres": Kind.MULTI,
    },
    separators={"genres": "|"},
)
_LABEL_OPTIONS = OPTIONS.override({"label": "label", "time": None})


def read(folder: Path) -> PublicData:
    """Ratings with their users and films; a rating of 4 or 5 is a click. No split of its own.

    Without ratings.dat, which has stars and times, labels_rating_ge4.csv serves: labels for 982,394 of the
    1,000,209 ratings, no stars, no times. Written to a CSV file, the joined rows want
    ``--label 'rating>=4' --user user_id --item item_id --time timestamp --ignore zip_code --ignore title``, genres as
    multi-valued at ``|``, and the kinds of ``OPTIONS``; with labels only ``--label label`` and no time.
    """
    paths = tuple(folder / name for name in (_ratings_name(folder), "users.dat", "movies.dat"))
    from_stars = paths[0].suffix == ".dat"
    ratings = read_ratings(paths[0]) if from_stars else _labels(paths[0])
    train = load_with(OPTIONS if from_stars else _LABEL_OPTIONS, with_users_and_films(ratings, *paths[1:]))
    notes = ("a rating of 4 or 5 counts as a click: every row was chosen and rated by its user",)
    lost = () if from_stars else ("labels only: no stars, no times, and 17,815 of the 1,000,209 ratings are missing",)
    return PublicData(train=replace(train, name="movielens-1m", files=paths), notes=(*notes, *lost))


def _has_labels_only(folder: Path) -> bool:
    return (folder / _LABELS).is_file() and not (folder / "ratings.dat").is_file()


def _ratings_name(folder: Path) -> str:
    for name in ("ratings.dat", _LABELS):
        if (folder / name).is_file():
            return name
    raise MOVIELENS_1M.missing_error(["ratings.dat"], folder)


def _split(path: Path, names: tuple[str, ...]) -> pl.DataFrame:
    """Text columns of a ``::`` separated file in latin-1."""
    rows = [line.split("::") for line in path.read_text("latin-1").splitlines()]
    if any(len(row) != len(names) for row in rows):
        raise DataError(f"{path} has lines that are not {'::'.join(names)}; fetch it again")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def read_ratings(path: Path) -> pl.DataFrame:
    """Stars and times of ratings.dat, in its order."""
    return _split(path, ("user_id", "item_id", "rating", "timestamp")).cast(pl.Int64)


def with_users_and_films(ratings: pl.DataFrame, users_path: Path, films_path: Path) -> pl.DataFrame:
    """Ratings, in their order, with what users.dat and movies.dat say of the user and the film."""
    rows = ratings.join(_users(users_path), on="user_id", how="left", maintain_order="left")
    return rows.join(_films(films_path), on="item_id", how="left", maintain_order="left")


def _labels(path: Path) -> pl.DataFrame:
    return pl.read_csv(path).rename({"userId": "user_id", "movieId": "item_id"})


def _users(path: Path) -> pl.DataFrame:
    frame = _split(path, ("user_id", "gender", "age", "occupation", "zip_code"))
    return frame.cast({"user_id": pl.Int64, "age": pl.Int64, "occupation": pl.Int64})


def _films(path: Path) -> pl.DataFrame:
    frame = _split(path, ("item_id", "title", "genres")).cast({"item_id": pl.Int64})
    year = pl.col("title").str.extract(r"\((\d{4})\)$").cast(pl.Int64).alias("year")
    return frame.with_columns(year).select("item_id", "title", "year", "genres")


MOVIELENS_1M = PublicSet(
    name="movielens-1m",
    about="1,000,209 ratings of 3,706 films by 6,040 users (2000), with what is known of the users and the films",
    terms=(
        "Research only; acknowledge GroupLens in publications and send them a copy, imply no endorsement; no "
        "redistribution and no commercial use without permission."
    ),
    address="https://grouplens.org/datasets/movielens/1m/",
    files={
        "users.dat": "1dc3a95300cb19f7c10e027daf29b8cdf1d908dab65b5edfb45950aa389a10a3",
        "movies.dat": "0140fc2356357c1a851d0f52e893a1e4d3696df632c4141cea8d5bc3d621f0b9",
    },
    extra_files={_LABELS: "84eb6f54f47f797bdd0d47863f655530816c2a70fca4cc0cd0ecb9568281a018"},
    options=OPTIONS,
    options_of=lambda folder: _LABEL_OPTIONS if _has_labels_only(folder) else OPTIONS,
    read=read,
    archive=Archive(
        url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        members={name: f"ml-1m/{name}" for name in ("ratings.dat", "users.dat", "movies.dat", "README")},
        sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    ),
)
