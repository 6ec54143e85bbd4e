"""Labels and weights of rows: 0 or 1 and nothing else, a finite weight, or an error that names the row."""

import numpy as np
import polars as pl

from crossfield.data.dataset import Dataset
from crossfield.data.numeric import number
from crossfield.data.text import reading
from crossfield.data.tokens import are_booleans, canonical
from crossfield.errors import RowError
from crossfield.schema import Label

_BINARY = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}


def read_labels(frame: pl.DataFrame, label: Label, first_row: int) -> np.ndarray:
    """Labels 0 and 1, [n] float32; ``first_row`` is the number of the frame's first row in its data set.

    Raises RowError naming the row (counted from 0) and the value where a label is missing, or is neither 0 nor 1
    (nor a number to compare with, for a label such as rating>=4).
    """
    found = frame.select(positive(label, frame.schema[label.column])).to_series()
    wrong = found.is_null().arg_true()
    if len(wrong):
        raise _untold(label, frame[label.column][wrong[0]], first_row + int(wrong[0]))
    return found.cast(pl.Float32).to_numpy(writable=True)


def check_labels(dataset: Dataset) -> None:
    """Raise what ``read_labels`` would, with the name of the rows, after one pass over the column of the label."""
    label = dataset.schema.label
    if label is None:
        return
    is_wrong = positive(label, dataset.frame.collect_schema()[label.column]).is_null()
    wrong = dataset.frame.select(label.column).with_row_index("crossfield row").filter(is_wrong).head(1)
    with reading(dataset.name), dataset.naming():
        for row, value in wrong.collect(engine="streaming").iter_rows():
            raise _untold(label, value, row)


def _untold(label: Label, value: object, row: int) -> RowError:
    said = "missing" if value is None else repr(value)
    return RowError(f"label {label.column!r} is {said} in", row, f"; {_advice(label, value)}")


def positive(label: Label, dtype: pl.DataType) -> pl.Expr:
    """Whether a row is a positive, as 0 and 1 or false and true; null where the label cannot be told."""
    column = pl.col(label.column)
    if label.value is None:
        text = canonical(column, dtype).str.to_lowercase()
        return text.replace_strict(_BINARY, default=None, return_dtype=pl.Float32)
    if label.operator == "==":
        value = pl.Series([label.value])
        found, wanted = canonical(column, dtype), canonical(pl.lit(value), value.dtype).first()
        # A CSV file holds True where Parquet holds a boolean, whose token is true.
        return found.str.to_lowercase() == wanted.str.to_lowercase() if are_booleans(value) else found == wanted
    values, bound = number(label.column, dtype), float(label.value)
    return {">=": values >= bound, ">": values > bound, "<=": values <= bound, "<": values < bound}[label.operator]


def _advice(label: Label, value: object) -> str:
    if label.value is None and (value is None or value != value):  # NaN differs from itself
        return "it must be 0 or 1: correct it or remove the row"
    if label.value is None:
        return "it must be 0 or 1, or say which rows are positive with positive=VALUE or label='column>=VALUE'"
    return f"{label} cannot be told from it; remove the row or correct it"


def read_weights(frame: pl.DataFrame, column: str, first_row: int) -> np.ndarray:
    """Weights of rows, [n] float32; raises RowError naming the row where one is missing, negative or not finite."""
    values = frame.select(number(column, frame.schema[column])).to_series()
    wrong = (~(values.is_finite() & (values >= 0))).fill_null(True).arg_true()
    if len(wrong):
        said = f"weight {column!r} is {frame[column][wrong[0]]!r} in"
        raise RowError(said, first_row + int(wrong[0]), "; weights are finite numbers from 0 up")
    return values.cast(pl.Float32).to_numpy(writable=True)
