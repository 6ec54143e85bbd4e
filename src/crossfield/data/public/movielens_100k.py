"""MovieLens-100K: 100,000 ratings of films, joined with what is known of users and films (Harper & Konstan, 2015)."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from crossfield.data.options import DataConfig
from crossfield.data.public.record import Archive, PublicData, PublicSet, load_with
from crossfield.schema import Kind

_GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
OPTIONS = DataConfig(
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


def read(folder: Path) -> PublicData:
    """All 100,000 ratings, each with its user and its film; a rating of 4 or 5 is a click. No split of its own.

    Written to a CSV file, the joined rows want ``--label 'rating>=4' --user user_id --item item_id --time timestamp
    --ignore zip_code --ignore title``, genres as multi-valued at ``|``, and the kinds of ``OPTIONS``.
    """
    paths = tuple(folder / name for name in ("u.data", "u.user", "u.item"))
    ratings, users, films = (read_part(path) for read_part, path in zip((_ratings, _users, _films), paths, strict=True))
    rows = ratings.join(users, on="user_id", how="left", maintain_order="left")
    joined = rows.join(films, on="item_id", how="left", maintain_order="left")
    notes = (
        "a rating of 4 or 5 counts as a click: every row was chosen and rated by its user, so this is not what "
        "people click on when shown",
        "titles and zip codes are left out: they name a film and nearly a person",
    )
    return PublicData(train=replace(load_with(OPTIONS, joined), name="movielens-100k", files=paths), notes=notes)


def _ratings(path: Path) -> pl.DataFrame:
    names = ["user_id", "item_id", "rating", "timestamp"]
    return pl.read_csv(path, separator="\t", has_header=False, new_columns=names)


def _users(path: Path) -> pl.DataFrame:
    names = ["user_id", "age", "gender", "occupation", "zip_code"]
    # A zip code is a name: it starts with zeros, and some are Canadian.
    return pl.read_csv(
        path, separator="|", has_header=False, new_columns=names, schema_overrides={"zip_code": pl.String}
    )


def _films(path: Path) -> pl.DataFrame:
    rows = [line.split("|") for line in path.read_text("latin-1").splitlines()]
    return pl.DataFrame(
        {
            "item_id": [int(row[0]) for row in rows],
            "title": [row[1] for row in rows],
            "year": [int(row[2][-4:]) if row[2] else None for row in rows],
            "genres": ["|".join(_flagged(row[5:])) for row in rows],
        }
    )


def _flagged(flags: list[str]) -> list[str]:
    return [name for name, flag in zip(_GENRES, flags, strict=True) if flag == "1"]


MOVIELENS_100K = PublicSet(
    name="movielens-100k",
    about="100,000 ratings of 1,682 films by 943 users (1997-98), with what is known of the users and the films",
    terms=(
        "Research only; acknowledge GroupLens in publications, imply no endorsement; no redistribution and no "
        "commercial use without permission."
    ),
    address="https://grouplens.org/datasets/movielens/100k/",
    files={
        "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
        "u.user": "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
        "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
    },
    options=OPTIONS,
    read=read,
    archive=Archive(
        url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        members={name: f"ml-100k/{name}" for name in ("u.data", "u.user", "u.item", "README")},
        sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    ),
)
