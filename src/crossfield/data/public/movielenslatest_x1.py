"""MovieLens tags: which tag a user gives a film (Harper & Konstan, 2015), split as AFN and BARS do."""

from pathlib import Path

from crossfield.data.options import DataConfig
from crossfield.data.public.record import PublicData, PublicSet, load_with
from crossfield.schema import Kind

_FIELDS = ("user_id", "item_id", "tag_id")
OPTIONS = DataConfig(
    label="label",
    user="user_id",
    item="item_id",
    kinds=dict.fromkeys(_FIELDS, Kind.CATEGORICAL),
    columns=("label", *_FIELDS),
    header=True,
    separator=",",
)


def read(folder: Path) -> PublicData:
    """The MovielensLatest_x1 split: 1,404,801, 401,372 and 200,686 rows.

    The same as ``--label label --user user_id --item item_id`` with the kinds of ``OPTIONS``.
    """
    names = ("train.csv", "valid.csv", "test.csv")
    train, valid, test = (load_with(OPTIONS, folder / name) for name in names)
    notes = (
        "one row in three is positive because two negatives were drawn for each positive: calibration is relative "
        "to that",
    )
    return PublicData(train=train, valid=valid, test=test, notes=notes)


MOVIELENSLATEST_X1 = PublicSet(
    name="movielenslatest-x1",
    about="668,953 tags that users gave to films (3 id fields), two drawn negatives for each",
    terms=(
        "MovieLens terms: research only, acknowledge GroupLens, no redistribution and no commercial use without "
        "permission; the split is AFN's (Cheng et al., 2020), cite it."
    ),
    address="https://huggingface.co/datasets/reczoo/MovielensLatest_x1",
    files={
        "train.csv": "md5:efc8bceeaa0e895d566470fc99f3f271",
        "valid.csv": "md5:e1930223a5026e910ed5a48687de8af1",
        "test.csv": "md5:54e8c6baff2e059fe067fb9b69e692d0",
    },
    options=OPTIONS,
    read=read,
)
