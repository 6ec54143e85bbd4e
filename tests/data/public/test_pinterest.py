from collections.abc import Callable
from pathlib import Path

import pytest

from crossfield.data.public import PublicData
from crossfield.data.public.pinterest import PINTEREST
from crossfield.errors import DataError


def write(folder: Path, negatives: str) -> None:
    (folder / "pinterest-20.train.rating").write_text("0\t0\t1\t0\n0\t2\t1\t0\n1\t0\t1\t0\n1\t3\t1\t0\n")
    (folder / "pinterest-20.test.rating").write_text("0\t1\t1\t0\n1\t25\t1\t0\n")
    (folder / "pinterest-20.test.negative").write_text(negatives)


def test_pairs_to_train_on_and_candidates_to_rank(tmp_path: Path) -> None:
    write(tmp_path, "(0,1)\t10\t11\t12\n(1,25)\t20\t25\t22\n")
    data = PINTEREST.load(tmp_path)
    schema = data.train.schema
    assert (schema.label, schema.user, schema.item) == (None, "user", "item")
    assert [one.name for one in schema.features] == ["user", "item"]
    assert data.train.frame.select("user", "item").collect().rows() == [(0, 0), (0, 2), (1, 0), (1, 3)]
    assert data.ranking is not None and data.ranking.negatives is not None
    assert data.ranking.pairs.rows() == [(0, 1), (1, 25)]
    assert data.ranking.negatives.tolist() == [[10, 11, 12], [20, 25, 22]]
    assert any("for 1 of 2 users" in note for note in data.notes)


def test_candidates_of_other_pairs_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "(1,25)\t20\n(0,1)\t10\n")
    with pytest.raises(DataError, match=r"pinterest-20\.test\.negative do not start with the test pairs"):
        PINTEREST.load(tmp_path)


def test_the_real_files_have_their_known_counts(load_or_skip: Callable[[str], PublicData]) -> None:
    data = load_or_skip("pinterest")
    assert data.train.num_rows == 1_500_809 - 55_187
    assert data.ranking is not None and data.ranking.negatives is not None
    assert data.ranking.negatives.shape == (55_187, 99)
    assert data.ranking.negatives.max() == 9_915
