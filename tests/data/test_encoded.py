import numpy as np
import pytest

from crossfield.data.encoded import Encoded, take_lists
from crossfield.errors import SchemaError
from crossfield.schema import Field, Kind, ModelSchema

SCHEMA = ModelSchema(("x",), (Field("a", 5),), (Field("m", 4, Kind.MULTI),))


@pytest.fixture
def rows() -> Encoded:
    return Encoded(
        dense=np.array([[0.5], [1.5], [2.5]], dtype=np.float32),
        categorical=np.array([[0], [4], [2]], dtype=np.int32),
        sequences={"m": (np.array([3, 2, 1], dtype=np.int32), np.array([0, 2, 2, 3]))},
        labels=np.array([1, 0, 1], dtype=np.float32),
        weights=None,
        groups=np.array([7, 8, 9]),
        rows=np.array([10, 11, 12]),
    )


def test_rows_by_name_and_back(rows: Encoded) -> None:
    arrays = rows.arrays()
    assert set(arrays) == {"dense", "categorical", "values0", "offsets0", "labels", "groups", "rows"}
    again = Encoded.of(arrays, ["m"])
    assert again.weights is None
    assert again.arrays().keys() == arrays.keys() and list(again.sequences) == ["m"]
    assert all((again.arrays()[name] == one).all() for name, one in arrays.items())


def test_lists_in_another_order() -> None:
    values, offsets = take_lists(np.array([3, 2, 1]), np.array([0, 2, 2, 3]), rows=np.array([2, 0, 1, 2]))
    assert (values.tolist(), offsets.tolist()) == ([1, 3, 2, 1], [0, 1, 3, 3, 4])


def test_no_lists() -> None:
    values, offsets = take_lists(np.array([3]), np.array([0, 1]), rows=np.array([], dtype=np.int64))
    assert (values.tolist(), offsets.tolist()) == ([], [0])


def test_selected_rows(rows: Encoded) -> None:
    found = rows.select(np.array([2, 0]))
    assert found.num_rows == 2
    assert (found.dense.tolist(), found.categorical.tolist()) == ([[2.5], [0.5]], [[2], [0]])
    assert found.labels is not None
    assert (found.labels.tolist(), found.weights) == ([1, 1], None)
    assert (found.groups.tolist(), found.rows.tolist()) == ([9, 7], [12, 10])
    assert found.sequences["m"][0].tolist() == [1, 3, 2]


def test_rows_as_a_batch(rows: Encoded) -> None:
    batch = rows.batch(SCHEMA)
    assert batch.categorical.tolist() == [[0], [4], [2]]
    assert batch.sequences["m"].offsets.tolist() == [0, 2, 2, 3]
    assert batch.labels is not None
    assert batch.labels.tolist() == [[1], [0], [1]]
    assert batch.rows is not None
    assert batch.rows.tolist() == [10, 11, 12]


def test_rows_in_batches(rows: Encoded) -> None:
    batches = list(rows.batches(SCHEMA, 2))
    assert [one.size for one in batches] == [2, 1]
    assert batches[1].sequences["m"].values.tolist() == [1]


def test_ids_are_checked_where_a_batch_is_born(rows: Encoded) -> None:
    with pytest.raises(SchemaError, match="field 'a' has id 4"):
        rows.batch(ModelSchema(("x",), (Field("a", 4),), SCHEMA.sequences))
