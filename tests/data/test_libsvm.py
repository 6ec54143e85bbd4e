from pathlib import Path

import polars as pl
import pytest

from crossfield.data.libsvm import is_libsvm, scan_libsvm
from crossfield.data.public import data_folder
from crossfield.data.text import Layout
from crossfield.errors import DataError


def write(folder: Path, content: str, name: str = "rows.libsvm") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def read(path: Path, **layout: object) -> pl.DataFrame:
    return scan_libsvm([path], Layout(**layout)).collect()  # type: ignore[arg-type]


def test_positions_of_ones_are_ids_and_fixed_indices_are_numbers(tmp_path: Path) -> None:
    frame = read(write(tmp_path, "1 1:0.5 7:1 20:1\n0 1:2 8:1 20:1\n"))
    assert dict(frame.schema) == {"label": pl.Int64, "x_1": pl.Float64, "field_2": pl.String, "field_3": pl.String}
    assert frame.rows() == [(1, 0.5, "7", "20"), (0, 2.0, "8", "20")]


def test_ragged_rows_of_ones_are_one_list(tmp_path: Path) -> None:
    frame = read(write(tmp_path, "+1 3:1 9:1\n-1 4:1 # a remark\n+1\n"))
    assert frame.to_dict(as_series=False) == {"label": [1, -1, 1], "ids": [["3", "9"], ["4"], []]}


def test_ragged_rows_of_numbers_are_one_column_per_index(tmp_path: Path) -> None:
    frame = read(write(tmp_path, "0.5 1:0.5 10:2\n1.5 2:1\n"))
    assert frame.columns == ["label", "x_1", "x_2", "x_10"]
    assert frame.rows() == [(0.5, 0.5, 0.0, 2.0), (1.5, 0.0, 1.0, 0.0)]


@pytest.mark.parametrize(
    ("whole", "part", "rows"),
    [
        # Each part by itself: a column per index it names, fields, a list of ids no longer than its rows.
        ("1 0:0.5 7:2\n0 3:1\n", "0 3:4 9:1\n1 3:2 9:1\n", [(0, 0.0, 4.0, 0.0), (1, 0.0, 2.0, 0.0)]),
        ("1 1:0.5 7:1\n0 1:2 8:1\n", "0 1:1 8:1\n", [(0, 1.0, "8")]),
        ("1 1:1 7:1\n0 9:1\n", "0 3:1 7:1\n1 4:1 9:1\n", [(0, ["3", "7"]), (1, ["4", "9"])]),
        ("1 1:0.5 7:2\n0 1:2 7:3\n", "0 1:1\n1 7:4\n", [(0, 1.0, 0.0), (1, 0.0, 4.0)]),
    ],
)
def test_a_part_is_laid_out_like_the_whole(tmp_path: Path, whole: str, part: str, rows: list[tuple[object]]) -> None:
    columns = read(write(tmp_path, whole)).columns
    frame = read(write(tmp_path, part), laid_out=tuple(columns))
    assert (frame.columns, frame.rows()) == (columns, rows)
    named = tuple("abcd"[: len(columns)])
    assert read(write(tmp_path, whole), laid_out=named, columns=named).columns == [*named]


def test_names_and_blank_lines(tmp_path: Path) -> None:
    frame = read(write(tmp_path, "1 5:1  6:1\r\n\r\n0 5:1 7:1\r\n"), columns=("click", "user", "item"))
    assert frame.rows(named=True)[1] == {"click": 0, "user": "5", "item": "7"}
    with pytest.raises(DataError, match="has 3 columns, 1 names were given: click"):
        read(write(tmp_path, "1 5:1 6:1\n"), columns=("click",))


def test_libsvm_is_known_by_name_or_by_its_lines(tmp_path: Path) -> None:
    assert is_libsvm(write(tmp_path, "", "train.svm"))
    assert is_libsvm(write(tmp_path, "1 2:1 3:1\n-1 4:0.5\n", "train.txt"))
    assert not is_libsvm(write(tmp_path, "1 2\n3 4\n", "train.txt"))
    assert not is_libsvm(write(tmp_path, "1 2:1\n", "train.csv"))


def test_a_line_that_is_not_libsvm_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 2 is not libsvm .*: '0 five:1'"):
        read(write(tmp_path, "1 5:1\n0 five:1\n"))
    with pytest.raises(DataError, match="is empty"):
        read(write(tmp_path, ""))


def test_frappe_is_a_label_and_ten_id_columns() -> None:
    path = data_folder() / "frappe" / "test.libsvm"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    frame = read(path)
    assert frame.shape == (28_860, 11)
    assert frame.row(0) == (0, "204", "4798", "5041", "5046", "5053", "5055", "5058", "5060", "5073", "5183")
    assert frame["label"].sum() == 9_536
