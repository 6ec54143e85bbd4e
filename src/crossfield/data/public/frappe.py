"""Frappe: which app a phone's user opens in which context (Baltrunas et al., 2015), split as AFN and BARS do."""

from pathlib import Path

from crossfield.data.options import DataConfig
from crossfield.data.public.record import PublicData, PublicSet, load_with
from crossfield.schema import Kind

_FIELDS = (
    "user",
    "item",
    "daytime",
    "weekday",
    "isweekend",
    "homework",
    "cost",
    "weather",
    "country",
    "city",
)
OPTIONS = DataConfig(
    label="label",
    user="user",
    item="item",
    kinds=dict.fromkeys(_FIELDS, Kind.CATEGORICAL),
    columns=("label", *_FIELDS),
)


_CSV = OPTIONS.override({"header": True, "separator": ","})
_REBUILT = ("train.rebuilt.libsvm", "valid.libsvm", "test.libsvm")


def read(folder: Path) -> PublicData:
    """The Frappe_x1 split: 202,027, 57,722 and 28,860 rows; or 202,009 with the training file that was rebuilt.

    The same as ``--columns label,user,item,daytime,weekday,isweekend,homework,cost,weather,country,city
    --label label --user user --item item`` with the kinds of ``OPTIONS``, for the published files with ``--header``.
    """
    is_published = FRAPPE.is_published(folder)
    names = tuple(FRAPPE.files) if is_published else _REBUILT
    train, valid, test = (load_with(_options(folder), folder / name) for name in names)
    rebuilt = (
        "train negatives re-drawn: the app id of the 134,411 training negatives is not the published one, and 18 "
        "training rows are missing; validation and test rows are exact"
    )
    drawn = (
        "one row in three is positive because two negatives were drawn for each positive: calibration is relative "
        "to that"
    )
    return PublicData(train=train, valid=valid, test=test, notes=(drawn,) if is_published else (rebuilt, drawn))


def _options(folder: Path) -> DataConfig:
    return _CSV if FRAPPE.is_published(folder) else OPTIONS


FRAPPE = PublicSet(
    name="frappe",
    about="288,591 app openings of 957 users in context (10 id fields), two drawn negatives for each",
    terms=(
        "Research only; acknowledge it in publications; no redistribution without permission, no attempt to "
        "identify people, no commercial use without permission."
    ),
    address="https://huggingface.co/datasets/reczoo/Frappe_x1",
    files={
        "train.csv": "md5:ba7306e6c4fc19dd2cd84f2f0596d158",
        "valid.csv": "md5:88d51bf2173505436d3a8f78f2a59da8",
        "test.csv": "md5:3470f6d32713dc5f7715f198ca7c612a",
    },
    instead={
        "train.rebuilt.libsvm": "1d01e458d73ca63d142760ed5b03e315f6a76e997cf7f942d19a0883e56788a2",
        "valid.libsvm": "fc9de537bfb9aacca043730cfa7e7878c3a8b49781bbe66a35dd27d6bad7bd29",
        "test.libsvm": "20d3d26705874eea94bcc416dc2e266d4558cc5fba25526fd46807d316b16fd7",
    },
    options=OPTIONS,
    options_of=_options,
    read=read,
)
