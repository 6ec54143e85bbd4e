"""MovieLens-1M as papers on clicks use it: 4 and 5 stars against 1 and 2, parted at random (Harper & Konstan, 2015)."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from crossfield.data.options import DataConfig
from crossfield.data.public.movielens_1m import MOVIELENS_1M, read_ratings, with_users_and_films
from crossfield.data.public.record import PublicData, PublicSet, load_with
from crossfield.schema import Kind

OPTIONS = DataConfig(
    label="rating>=4",
    user="user_id",
    item="item_id",
    kinds={
        **dict.fromkeys(("user_id", "gender", "age", "occupation", "item_id", "year"), Kind.CATEGORICAL),
        "genres": Kind.MULTI,
    },
    separators={"genres": "|"},
)


def read(folder: Path) -> PublicData:
    """Ratings with their users and films, three stars left out: 739,012 rows, 8:1:1 at random.

    Written to a CSV file, the joined rows want ``--label 'rating>=4' --user user_id --item item_id``, genres as
    multi-valued at ``|``, and the kinds of ``OPTIONS``.
    """
    paths = tuple(folder / name for name in ("ratings.dat", "users.dat", "movies.dat"))
    ratings = read_ratings(paths[0]).filter(pl.col("rating") != 3).drop("timestamp")
    joined = with_users_and_films(ratings, *paths[1:]).drop("zip_code", "title")
    whole = replace(load_with(OPTIONS, joined), name="movielens-1m-ctr", files=paths)
    train, valid, test = whole.split("random", sizes=(0.8, 0.1, 0.1), seed=0)
    notes = (
        "4 and 5 stars are clicks, 1 and 2 are none, and 3 are left out",
        "no split is published: this one is ours, always the same",
    )
    return PublicData(train=train, valid=valid, test=test, notes=notes)


MOVIELENS_1M_CTR = PublicSet(
    name="movielens-1m-ctr",
    about="739,012 ratings of films that are not three stars, 7 fields of user and film: the click papers' ML-1M",
    terms=MOVIELENS_1M.terms,
    address=MOVIELENS_1M.address,
    files={"ratings.dat": "", **MOVIELENS_1M.files},
    options=OPTIONS,
    read=read,
    archive=MOVIELENS_1M.archive,
    home=MOVIELENS_1M.name,
)
