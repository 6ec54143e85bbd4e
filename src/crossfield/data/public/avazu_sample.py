"""A sample of Avazu's mobile advertising logs, in the layout of the Kaggle contest of 2014."""

from pathlib import Path

from crossfield.data.options import DataConfig
from crossfield.data.public.record import PublicData, PublicSet, load_with
from crossfield.schema import Kind

FIELDS = (
    "C1",
    "banner_pos",
    "site_id",
    "site_domain",
    "site_category",
    "app_id",
    "app_domain",
    "app_category",
    "device_id",
    "device_ip",
    "device_model",
    "device_type",
    "device_conn_type",
    *(f"C{number}" for number in range(14, 22)),
)
OPTIONS = DataConfig(
    label="click",
    ignore=("id", "hour"),
    kinds=dict.fromkeys(FIELDS, Kind.CATEGORICAL),
    columns=("id", "click", "hour", *FIELDS),
    separator=",",
)


def read(folder: Path) -> PublicData:
    """Training, validation and test rows: 8,087, 480 and 432; only the training file has a header.

    The same as ``--columns id,click,hour,C1,...,C21 --label click --ignore id --ignore hour`` with the kinds of
    ``OPTIONS``: every field is categorical.
    """
    names = ("wide_resdnn.train.csv", "wide_resdnn.dev.csv", "wide_resdnn.test.csv")
    train, valid, test = (load_with(OPTIONS, folder / name) for name in names)
    notes = (
        "a sample for trying things out: no published number applies",
        "all rows are of one hour (21 October 2014, 00:00), so the hour, weekday and weekend that the full set's "
        "published results use would be constants here and are left out",
    )
    return PublicData(train=train, valid=valid, test=test, notes=notes)


AVAZU_SAMPLE = PublicSet(
    name="avazu-sample",
    about="8,999 mobile advertisements of one hour, clicked or not: 21 categories, anonymous",
    terms="The terms of Kaggle's contest, accepted on its page: for research, not to be passed on.",
    address="https://www.kaggle.com/c/avazu-ctr-prediction",
    files={
        "wide_resdnn.train.csv": "49fb8cdcadfd9030a6fcb8cd97fe8205d94b84723ee8292e229d741ce1362e4f",
        "wide_resdnn.dev.csv": "1dbd14ef356202a106766d175ab20dfa182838c8cf77e6b018dd18df05c7e757",
        "wide_resdnn.test.csv": "9c81e37b0766fb1daa430706c0c8188046e6daf6a295ab667687d87dada32f35",
    },
    options=OPTIONS,
    read=read,
)
