"""Gowalla: places people checked in to, split as LightGCN and BARS do (Cho et al., 2011; He et al., 2020)."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from crossfield.data.options import DataConfig
from crossfield.data.public.record import PublicData, PublicSet, RankingTest, load_with

OPTIONS = DataConfig(user="user", item="item")


def read(folder: Path) -> PublicData:
    """810,128 training pairs and 217,242 held-out pairs to rank against all 40,981 places; no label.

    A line holds a user and then all of that user's places; as rows of two columns the same is said by
    ``--user user --item item``.
    """
    path = folder / "train.txt"
    train = replace(load_with(OPTIONS, _pairs(path)), name="gowalla", files=(path,))
    notes = ("test pairs are ranked against all places the user has no training pair with",)
    return PublicData(train=train, ranking=RankingTest(_pairs(folder / "test.txt")), notes=notes)


def _pairs(path: Path) -> pl.DataFrame:
    cells = pl.scan_lines(path, glob=False).select(pl.col("line").str.strip_chars().str.split(" ").alias("cells"))
    lists = cells.select(pl.col("cells").list.first().alias("user"), pl.col("cells").list.slice(1).alias("item"))
    # A user without any place is a line with one number, and no pair.
    return lists.explode("item").drop_nulls().cast(pl.Int64).collect()


GOWALLA = PublicSet(
    name="gowalla",
    about="1,027,370 check-ins of 29,858 users at 40,981 places, a fifth held out",
    terms=(
        "No licence is stated: collected and published for research by Cho, Myers and Leskovec (2011); cite them, "
        "and He et al. (2020, LightGCN) for the split."
    ),
    address="https://github.com/gusye1234/LightGCN-PyTorch/tree/master/data/gowalla",
    files={
        "train.txt": "0f086326b28a56c2e6dcb81d86ee72d4ccb7eed3a8d26788392356d8f51111cc",
        "test.txt": "099a2a73924e4b754dc6efd730d764f492321b53c38eb93298850c83acf57be3",
    },
    options=OPTIONS,
    read=read,
)
