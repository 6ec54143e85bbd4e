"""Pinterest-20 as the NCF paper used it: pinned images, one of each user's held out (Geng, 2015; He et al., 2017)."""

from pathlib import Path

from crossfield.data.options import DataConfig
from crossfield.data.public.ncf_ml_1m import read_test
from crossfield.data.public.record import PublicData, PublicSet, load_with

OPTIONS = DataConfig(
    user="user",
    item="item",
    ignore=("rating", "timestamp"),
    columns=("user", "item", "rating", "timestamp"),
    header=False,
    separator="\t",
    split="leave_one_out",
)


def read(folder: Path) -> PublicData:
    r"""Training pairs and a ranking test of 55,187 users with 99 negatives each; no label.

    The same as ``--columns user,item,rating,timestamp --no-header --separator '\t' --user user --item item --ignore
    rating --ignore timestamp --split leave_one_out`` for the training pairs.
    """
    test, own = read_test(folder / "pinterest-20.test.rating", folder / "pinterest-20.test.negative")
    notes = (
        "pins have no time: which one of a user's is held out was drawn",
        f"for {own} of {len(test.pairs):,} users the held-out image is among their own negatives, as published",
    )
    return PublicData(train=load_with(OPTIONS, folder / "pinterest-20.train.rating"), ranking=test, notes=notes)


PINTEREST = PublicSet(
    name="pinterest",
    about="1,500,809 images pinned by 55,187 users with 20 or more, one each to find among 99 others: the NCF paper's",
    terms=("No licence is stated: collected for research by Geng et al. (2015), split by He et al. (2017); cite both."),
    address="https://github.com/hexiangnan/neural_collaborative_filtering",
    files={
        "pinterest-20.train.rating": "git:99813f8ed7486c36fa0f405e3f400db5d6fed0be",
        "pinterest-20.test.rating": "3a8a8f7eb8e21cc5928b8259dd2c265269ecfa219d92ba829249956aa293d732",
        "pinterest-20.test.negative": "git:b752ccdc14df423b9484771440ff4a73e4a4a304",
    },
    options=OPTIONS,
    read=read,
)
