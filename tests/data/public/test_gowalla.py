from collections.abc import Callable
from pathlib import Path

from crossfield.data.public import PublicData
from crossfield.data.public.gowalla import GOWALLA


def test_a_line_becomes_one_pair_per_place(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 7 3\n1\n2 7\n")
    (tmp_path / "test.txt").write_text("0 9\n2 3 7580\n")
    data = GOWALLA.load(tmp_path)
    assert data.train.frame.collect().rows() == [(0, 7), (0, 3), (2, 7)]
    assert data.train.files == (tmp_path / "train.txt",)
    assert data.train.schema.label is None
    assert data.ranking is not None and data.ranking.negatives is None
    assert data.ranking.pairs.rows() == [(0, 9), (2, 3), (2, 7580)]


def test_the_real_files_have_their_known_counts(load_or_skip: Callable[[str], PublicData]) -> None:
    data = load_or_skip("gowalla")
    train = data.train.frame.collect()
    assert data.ranking is not None
    assert (len(train), len(data.ranking.pairs)) == (810_128, 217_242)
    assert (train["user"].n_unique(), train["item"].n_unique()) == (29_858, 40_981)
    assert set(data.ranking.pairs["item"]) <= set(train["item"])
