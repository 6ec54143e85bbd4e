from typing import Any

import polars as pl
import pytest

from crossfield.data.labels import check_labels, read_labels, read_weights
from crossfield.errors import DataError
from crossfield.schema import Label
from tests.data.tables import dataset


def labels_of(values: list[Any], label: Label | None = None) -> list[float]:
    labels: list[float] = read_labels(pl.DataFrame({"y": values}, strict=False), label or Label("y"), 0).tolist()
    return labels


@pytest.mark.parametrize("values", [[0, 1], [0.0, 1.0], [False, True], ["0", "1"], ["False", "TRUE"]])
def test_binary_labels(values: list[Any]) -> None:
    assert labels_of(values) == [0, 1]


@pytest.mark.parametrize(("value", "said"), [(None, "missing"), (float("nan"), "nan"), (2, "2"), ("yes", "'yes'")])
def test_a_bad_label_names_row_and_value(value: Any, said: str) -> None:
    advice = "remove the row$" if said in ("missing", "nan") else "positive="
    with pytest.raises(DataError, match=f"label 'y' is {said} in row 3 .*{advice}"):
        labels_of([1, 0, 1, value, 5] if value != "yes" else ["1", "0", "1", "yes", "5"])


def test_the_row_is_that_of_the_source() -> None:
    with pytest.raises(DataError, match="row 1001 "):
        read_labels(pl.DataFrame({"y": [1, 7]}), Label("y"), 1000)


def test_labels_are_checked_without_encoding_anything() -> None:
    rows = dataset({"y": [1, 0, None, 7]}, [], label=Label("y"))
    with pytest.raises(DataError, match=r"^table: label 'y' is missing in row 2 \(counted from 0\); it must be 0 or 1"):
        check_labels(rows)
    check_labels(dataset({"y": [1, 0, 5, 7]}, [], label=Label("y", ">=", 5)))
    check_labels(dataset({"y": [None]}, []))


def test_a_named_value_is_the_positive() -> None:
    assert labels_of([">50K", "<=50K"], Label("y", "==", ">50K")) == [1, 0]
    assert labels_of([2.0, 1.0], Label("y", "==", 2)) == [1, 0]
    assert labels_of(["Yes", "yes"], Label("y", "==", "yes")) == [0, 1]
    with pytest.raises(DataError, match="missing in row 1"):
        labels_of(["a", None], Label("y", "==", "a"))


@pytest.mark.parametrize(
    ("operator", "labels"), [(">=", [0, 1, 1]), (">", [0, 0, 1]), ("<", [1, 0, 0]), ("<=", [1, 1, 0])]
)
def test_compared_labels(operator: str, labels: list[float]) -> None:
    assert labels_of([3, 4, 5], Label("y", operator, 4.0)) == labels


def test_a_value_that_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match=r"'x' in row 1 .*y>=4"):
        labels_of(["5", "x"], Label("y", ">=", 4))
    with pytest.raises(DataError, match="nan in row 0"):
        labels_of([float("nan")], Label("y", ">=", 4))


def test_weights() -> None:
    frame = pl.DataFrame({"w": [0.5, 2.0, None, -1.0, float("inf"), float("nan")]})
    assert read_weights(frame.head(2), "w", 0).tolist() == [0.5, 2.0]
    for row in range(2, 6):
        with pytest.raises(DataError, match=f"weight 'w' is .* in row {row} "):
            read_weights(frame.slice(row), "w", row)


@pytest.mark.parametrize("value", ["True", "true"])
@pytest.mark.parametrize("values", [[False, True], ["False", "True"], ["FALSE", "TRUE"]])
def test_a_boolean_label_may_be_written_in_any_way(values: list[Any], value: str) -> None:
    assert labels_of(values, Label("y", "==", value)) == [0, 1]
