"""MovieLens-1M as the NCF paper used it: implicit pairs, the last film of each user held out (He et al., 2017)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossfield.data.dataset import Dataset
from crossfield.data.options import DataConfig
from crossfield.data.public.record import PublicData, PublicSet, RankingTest, load_with
from crossfield.errors import DataError

OPTIONS = DataConfig(
    user="user", item="item", columns=("user", "item"), header=False, separator="\t", split="leave_one_out"
)
_RATINGS, _PAIRS = "ml-1m.train.rating", "ml-1m.train.pairs"


def read(folder: Path) -> PublicData:
    r"""994,169 training pairs and a ranking test of 6,040 users with 99 negatives each; no label.

    The same as ``--columns user,item --no-header --separator '\t' --user user --item item --split
    leave_one_out`` for a file of the training pairs alone; stars and times of the authors' file are left out.
    """
    test, own = read_test(folder / "ml-1m.test.rating", folder / "ml-1m.test.negative")
    notes = (
        f"for {own} of {len(test.pairs):,} users the held-out film is among their own negatives, as published: "
        "merging duplicates leaves them fewer candidates",
    )
    return PublicData(train=_train(folder), ranking=test, notes=notes)


def _train(folder: Path) -> Dataset:
    ratings = folder / _RATINGS
    if not ratings.is_file():
        return load_with(OPTIONS, folder / _PAIRS)
    named = OPTIONS.override({"columns": None, "header": None, "separator": None})
    return replace(load_with(named, _pairs(ratings)), name=ratings.name, files=(ratings,))


def read_test(pairs_path: Path, negatives_path: Path) -> tuple[RankingTest, int]:
    """The NCF paper's kind of test, and for how many users the held-out item is among their own negatives.

    Raises DataError where the two files do not belong together.
    """
    pairs = _pairs(pairs_path)
    negatives = _negatives(negatives_path, pairs)
    own = (negatives == pairs["item"].to_numpy()[:, None]).any(axis=1).sum()
    return RankingTest(pairs, negatives), int(own)


def _pairs(path: Path) -> pl.DataFrame:
    names = ["user", "item", "rating", "timestamp"]
    return pl.read_csv(path, separator="\t", has_header=False, new_columns=names).select("user", "item")


def _negatives(path: Path, pairs: pl.DataFrame) -> NDArray[np.int64]:
    """Items [n, 99] of lines that start with their pair, ``(user,item)``."""
    table = pl.read_csv(path, separator="\t", has_header=False)
    expected = pairs.select(pl.format("({},{})", "user", "item")).to_series()
    if len(table) != len(pairs) or not (table.to_series(0) == expected).all():
        raise DataError(f"the lines of {path} do not start with the test pairs, in the same order; get it again")
    return np.ascontiguousarray(table[:, 1:].to_numpy())


_TEST = {
    "ml-1m.test.rating": "231ae11eb060b643a8c58c063cd17ffc743b54f569afb073d1abb6cf126b88b5",
    "ml-1m.test.negative": "127853228a76b7d21c0481e8ef8d00dd009cd5c88670dbdd9e9debfdb9f93de4",
}
NCF_ML_1M = PublicSet(
    name="ncf-ml-1m",
    about="994,169 films watched by 6,040 users, one more each to find among 99 others: the NCF paper's test",
    terms=(
        "MovieLens terms: research only, acknowledge GroupLens, no redistribution and no commercial use without "
        "permission; the split is He et al.'s (2017), cite it."
    ),
    address="https://github.com/hexiangnan/neural_collaborative_filtering",
    files={_RATINGS: "", **_TEST},
    instead={_PAIRS: "8c6de39f15a1a983f2662f8e6103dfdc72ae88d056dc0669c49ab5e257478fec", **_TEST},
    options=OPTIONS,
    read=read,
)
