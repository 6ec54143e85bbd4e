"""Criteo: a week of display advertising, clicked or not (Kaggle contest of 2014), split as AutoInt and BARS do."""

from pathlib import Path

import polars as pl

from crossfield.data.numeric import squared_log
from crossfield.data.options import DataConfig
from crossfield.data.public.criteo_sample import CATEGORIES, COUNTS
from crossfield.data.public.record import PublicData, PublicSet, load_prepared
from crossfield.schema import Kind

OPTIONS = DataConfig(
    label="Label",
    kinds=dict.fromkeys((*COUNTS, *CATEGORIES), Kind.CATEGORICAL),
    columns=("Label", *COUNTS, *CATEGORIES),
    header=True,
    separator=",",
)


def read(folder: Path) -> PublicData:
    """The Criteo_x4 split: 36,672,493, 4,584,062 and 4,584,062 rows, 39 categories.

    The thirteen counts are made categories as the benchmark does. The rest of the files is as ``--label Label`` with
    the kinds of ``OPTIONS`` reads it; ``encoder.min_count`` is the table's.
    """
    names = ("train.csv", "valid.csv", "test.csv")
    train, valid, test = (load_prepared(OPTIONS, folder / name, with_buckets) for name in names)
    notes = (
        "counts are categories: a missing one is 0, x above 2 becomes floor((ln x)^2), and every other number stays "
        "itself",
        "a missing category has an id of its own; the benchmark counts it among the rare ones",
    )
    return PublicData(train=train, valid=valid, test=test, notes=notes)


def with_buckets(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows with their counts as the whole numbers that the benchmark takes for categories."""
    return rows.with_columns(squared_log(pl.col(COUNTS).cast(pl.Float64).fill_null(0)).cast(pl.Int64))


CRITEO_X4 = PublicSet(
    name="criteo-x4",
    about="45,840,617 display advertisements of a week, clicked or not: 13 counts and 26 hashed categories, anonymous",
    terms=(
        "The terms of Kaggle's contest, accepted on its page: for research, not to be passed on; the split is BARS's "
        "(Zhu et al., 2021), cite it."
    ),
    address="https://huggingface.co/datasets/reczoo/Criteo_x4",
    files={
        "train.csv": "md5:4a53bb7cbc0e4ee25f9d6a73ed824b1a",
        "valid.csv": "md5:fba5428b22895016e790e2dec623cb56",
        "test.csv": "md5:cfc37da0d75c4d2d8778e76997df2976",
    },
    options=OPTIONS,
    read=read,
)
