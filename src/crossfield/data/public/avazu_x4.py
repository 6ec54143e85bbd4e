"""Avazu: ten days of mobile advertising, clicked or not (Kaggle contest of 2014), split as AutoInt and BARS do."""

from pathlib import Path

import polars as pl

from crossfield.data.options import DataConfig
from crossfield.data.public.avazu_sample import FIELDS
from crossfield.data.public.record import PublicData, PublicSet, load_prepared
from crossfield.schema import Kind

_TIMES = ("hour", "weekday", "weekend")
OPTIONS = DataConfig(
    label="click",
    ignore=("id",),
    kinds=dict.fromkeys((*_TIMES, *FIELDS), Kind.CATEGORICAL),
    columns=("id", "click", "hour", *FIELDS),
    header=True,
    separator=",",
)


def read(folder: Path) -> PublicData:
    """The Avazu_x4 split: 32,343,172, 4,042,897 and 4,042,898 rows, 24 categories.

    The hour is made three categories as the benchmark does. The rest of the files is as ``--label click --ignore id``
    with the kinds of ``OPTIONS`` reads it; ``encoder.min_count`` is the table's.
    """
    names = ("train.csv", "valid.csv", "test.csv")
    train, valid, test = (load_prepared(OPTIONS, folder / name, with_times) for name in names)
    notes = (
        "id is left out, and hour (YYMMDDHH) is the hour of the day, the day of the week and whether that is a weekend",
        "rows are parted at random, not by time: rows of one minute are on both sides",
    )
    return PublicData(train=train, valid=valid, test=test, notes=notes)


def with_times(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows with hour 0 to 23, weekday 1 (Monday) to 7 and weekend 0 or 1 instead of hour YYMMDDHH."""
    written = pl.col("hour").cast(pl.String)
    weekday = written.str.slice(0, 6).str.to_date("%y%m%d").dt.weekday().cast(pl.Int64)
    hour = written.str.slice(6, 2).cast(pl.Int64)
    return rows.with_columns(hour, weekday.alias("weekday"), (weekday > 5).cast(pl.Int64).alias("weekend"))


AVAZU_X4 = PublicSet(
    name="avazu-x4",
    about="40,428,967 mobile advertisements of ten days, clicked or not: 21 categories and the hour, anonymous",
    terms=(
        "The terms of Kaggle's contest, accepted on its page: for research, not to be passed on; the split is BARS's "
        "(Zhu et al., 2021), cite it."
    ),
    address="https://huggingface.co/datasets/reczoo/Avazu_x4",
    files={
        "train.csv": "md5:de3a27264cdabf66adf09df82328ccaa",
        "valid.csv": "md5:33232931d84d6452d3f956e936cab2c9",
        "test.csv": "md5:3ebb774a9ca74d05919b84a3d402986d",
    },
    options=OPTIONS,
    read=read,
)
