from collections.abc import Callable
from pathlib import Path

import pytest

from crossfield.data.dataset import load
from crossfield.data.public import PublicData, data_folder
from crossfield.data.public.ncf_ml_1m import NCF_ML_1M
from crossfield.data.source import Layout
from crossfield.errors import DataError


def write(folder: Path, negatives: str) -> None:
    (folder / "ml-1m.train.pairs").write_text("0\t0\n0\t3\n1\t0\n1\t2\n")
    (folder / "ml-1m.test.rating").write_text("0\t25\t5\t978824351\n1\t133\t3\t978300174\n")
    (folder / "ml-1m.test.negative").write_text(negatives)


def test_pairs_to_train_on_and_candidates_to_rank(tmp_path: Path) -> None:
    write(tmp_path, "(0,25)\t10\t11\t12\n(1,133)\t20\t133\t22\n")
    data = NCF_ML_1M.load(tmp_path)
    assert data.train.schema.label is None
    assert (data.train.schema.user, data.train.schema.item) == ("user", "item")
    assert data.train.frame.collect().rows() == [(0, 0), (0, 3), (1, 0), (1, 2)]
    assert data.ranking is not None and data.ranking.negatives is not None
    assert data.ranking.pairs.rows() == [(0, 25), (1, 133)]
    assert data.ranking.negatives.tolist() == [[10, 11, 12], [20, 133, 22]]
    assert any("for 1 of 2 users" in note for note in data.notes)


def test_the_authors_own_training_file_gives_the_same_pairs(tmp_path: Path) -> None:
    write(tmp_path, "(0,25)\t10\t11\t12\n(1,133)\t20\t133\t22\n")
    pairs = NCF_ML_1M.load(tmp_path).train
    (tmp_path / "ml-1m.train.rating").write_text("0\t0\t5\t978\n0\t3\t4\t979\n1\t0\t1\t980\n1\t2\t3\t981\n")
    rated = NCF_ML_1M.load(tmp_path).train
    assert rated.frame.collect().equals(pairs.frame.collect())
    assert rated.schema.fingerprint == pairs.schema.fingerprint
    assert [path.name for path in rated.files] == ["ml-1m.train.rating"]
    (tmp_path / "ml-1m.train.pairs").unlink()
    assert NCF_ML_1M.missing(tmp_path) == ()
    (tmp_path / "ml-1m.train.rating").unlink()
    assert NCF_ML_1M.missing(tmp_path) == ("ml-1m.train.rating",)


@pytest.mark.parametrize("negatives", ["(1,133)\t20\n(0,25)\t10\n", "(0,25)\t10\n"])
def test_candidates_of_other_pairs_are_refused(tmp_path: Path, negatives: str) -> None:
    write(tmp_path, negatives)
    with pytest.raises(DataError, match=r"ml-1m\.test\.negative do not start with the test pairs"):
        NCF_ML_1M.load(tmp_path)


def test_a_plain_path_with_flags_is_the_same_data(load_or_skip: Callable[[str], PublicData]) -> None:
    public = load_or_skip("ncf-ml-1m")
    plain = load(
        data_folder() / "ncf-ml-1m" / "ml-1m.train.pairs",
        user="user",
        item="item",
        layout=Layout(columns=("user", "item"), header=False, separator="\t"),
    )
    assert plain.schema.fingerprint == public.train.schema.fingerprint
    assert plain.frame.collect().equals(public.train.frame.collect())


def test_the_real_files_have_their_known_counts(load_or_skip: Callable[[str], PublicData]) -> None:
    data = load_or_skip("ncf-ml-1m")
    assert data.train.num_rows == 994_169
    assert data.ranking is not None and data.ranking.negatives is not None
    assert data.ranking.negatives.shape == (6_040, 99)
    assert any("for 156 of 6,040 users" in note for note in data.notes)
    assert data.ranking.negatives.max() == 3_705
