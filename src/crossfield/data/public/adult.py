"""Adult: the US census of 1994, who earns more than 50,000 dollars a year (Kohavi, 1996)."""

from dataclasses import replace
from pathlib import Path

import polars as pl

from crossfield.data.dataset import Dataset
from crossfield.data.options import DataConfig
from crossfield.data.public.record import Archive, PublicData, PublicSet, load_with
from crossfield.schema import Kind

_DENSE = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")
_CATEGORICAL = (
    "workclass",
    "education",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "native_country",
)
OPTIONS = DataConfig(
    label="income",
    positive=">50K",
    ignore=("fnlwgt",),
    kinds={**dict.fromkeys(_DENSE, Kind.DENSE), **dict.fromkeys(_CATEGORICAL, Kind.CATEGORICAL)},
    columns=(
        "age",
        "workclass",
        "fnlwgt",
        "education",
        "education_num",
        "marital_status",
        "occupation",
        "relationship",
        "race",
        "sex",
        "capital_gain",
        "capital_loss",
        "hours_per_week",
        "native_country",
        "income",
    ),
    header=False,
    separator=", ",
    missing=("?", ""),
)


def read(folder: Path) -> PublicData:
    """Training and test files as published; no validation file.

    The same as ``--columns age,workclass,... --no-header --separator ', ' --missing '?' --label income
    --positive '>50K' --ignore fnlwgt`` with the kinds of ``OPTIONS``, for adult.data. The test file's labels end
    in a full stop, which is taken off here.
    """
    notes = (
        "fnlwgt is left out: it is the number of people a row stands for, not something known about a person, and "
        "published results do not weight by it",
        "there is no validation file: split one off the training rows",
    )
    train, test = (load_with(OPTIONS, folder / name) for name in ("adult.data", "adult.test"))
    return PublicData(train=train, test=_without_full_stop(test), notes=notes)


def _without_full_stop(test: Dataset) -> Dataset:
    return replace(test, frame=test.frame.with_columns(pl.col("income").str.strip_suffix(".")))


def strip_frame(content: bytes) -> bytes:
    """A file without the comment line before its rows and the blank lines after them, as UCI's archive has."""
    lines = [line for line in content.split(b"\n") if line and not line.startswith(b"|")]
    return b"\n".join(lines)


ADULT = PublicSet(
    name="adult",
    about="US census income of 1994: 48,842 people, 5 numbers and 8 categories each, who earns over 50,000 dollars",
    terms="Creative Commons Attribution 4.0; cite Becker and Kohavi (1996), UCI Machine Learning Repository.",
    address="https://archive.ics.uci.edu/dataset/2/adult",
    files={
        "adult.data": "ea895aae047aa83ca757e3024a029be8b11806c656ad2c5b1efd8cec28af19ad",
        "adult.test": "10ab70aad17401e173c0096b6775f78362409517422ceb26c80f5f04dbc2e02e",
    },
    options=OPTIONS,
    read=read,
    archive=Archive(
        url="https://archive.ics.uci.edu/static/public/2/adult.zip",
        members={"adult.data": "adult.data", "adult.test": "adult.test"},
        clean=strip_frame,
    ),
)
