"""A sample of Criteo's display advertising logs, in the layout of the Kaggle contest of 2014."""

from pathlib import Path

from crossfield.data.options import DataConfig
from crossfield.data.public.record import PublicData, PublicSet, load_with
from crossfield.schema import Kind

COUNTS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))
OPTIONS = DataConfig(
    label="label",
    kinds={**dict.fromkeys(COUNTS, Kind.DENSE), **dict.fromkeys(CATEGORIES, Kind.CATEGORICAL)},
    columns=("label", *COUNTS, *CATEGORIES),
    header=False,
    separator="\t",
)


def read(folder: Path) -> PublicData:
    r"""Training, validation and test rows: 7,200, 409 and 391.

    The same as ``--columns label,I1,...,I13,C1,...,C26 --no-header --separator '\t' --label label`` with the kinds
    of ``OPTIONS``: I1 to I13 dense, C1 to C26 categorical.
    """
    names = ("wide_resdnn.train.csv", "wide_resdnn.dev.csv", "wide_resdnn.test.csv")
    train, valid, test = (load_with(OPTIONS, folder / name) for name in names)
    return PublicData(
        train=train, valid=valid, test=test, notes=("a sample for trying things out: no published number applies",)
    )


CRITEO_SAMPLE = PublicSet(
    name="criteo-sample",
    about="8,000 display advertisements, clicked or not: 13 counts and 26 hashed categories, anonymous",
    terms="The terms of Kaggle's contest, accepted on its page: for research, not to be passed on.",
    address="https://www.kaggle.com/c/criteo-display-ad-challenge",
    files={
        "wide_resdnn.train.csv": "2b0614035f6c931dc4ac2c1a1a26fa954f2b9231703f3a77bcdd53d9d9f29872",
        "wide_resdnn.dev.csv": "7ac8a164e43a9903be3d43e640bcd464cfa0d96d7a652ec8ef8a33fe97cac6b9",
        "wide_resdnn.test.csv": "3a7a78b694945482aede520e68300b0e2748603363072822cfbbb9f72d0dfd9a",
    },
    options=OPTIONS,
    read=read,
)
