"""Products of a sparse matrix are those of the same matrix written out."""

import pytest
import torch
from torch import Tensor

from crossfield.layers import sparse_rows
from crossfield.layers.sparse_rows import SparseRows, entries_of_product, rows_of_product


def some(num_rows: int = 7, num_columns: int = 5, *, seed: int = 0) -> tuple[SparseRows, Tensor]:
    """Random entries, given in no order; the last row and the last column are empty."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(num_rows, num_columns, generator=generator)
    dense[torch.rand(dense.shape, generator=generator) < 0.5] = 0
    dense[-1], dense[:, -1] = 0, 0
    rows, columns = dense.nonzero().flip(0).t()
    sparse = SparseRows(num_rows, num_columns)
    sparse.fill(rows, columns, dense[rows, columns])
    return sparse, dense


def test_rows_and_single_entries_of_a_product() -> None:
    (X, dense), M = some(), torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    rows, columns = torch.tensor([6, 0, 3, 3, 5]), torch.tensor([1, 3, 0, 2, 1])
    torch.testing.assert_close(rows_of_product(X, M, rows), (dense @ M)[rows])
    torch.testing.assert_close(entries_of_product(X, M, rows, columns), (dense @ M)[rows, columns])
    assert X.lengths.tolist() == (dense != 0).sum(1).tolist()


@pytest.mark.parametrize("columns_at_once", [1, 2, 5, 64])
def test_the_gram_matrix(columns_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_rows, "COLUMNS_AT_ONCE", columns_at_once)
    X, dense = some()
    found = torch.full((5, 5), torch.nan)
    X.write_gram(found)
    torch.testing.assert_close(found, dense.t() @ dense)


def test_no_entry_and_no_row() -> None:
    X, nothing = SparseRows(3, 4), torch.zeros(0, dtype=torch.int64)
    assert not rows_of_product(X, torch.ones(4, 2), torch.tensor([0, 2])).any()
    assert not entries_of_product(X, torch.ones(4, 4), torch.tensor([0, 2]), torch.tensor([1, 1])).any()
    assert rows_of_product(X, torch.ones(4, 2), nothing).shape == (0, 2)
    assert entries_of_product(X, torch.ones(4, 2), nothing, nothing).shape == (0,)
    X.fill(nothing, nothing, torch.zeros(0))
    gram = torch.ones(4, 4)
    X.write_gram(gram)
    assert not gram.any()


def test_it_is_filled_anew() -> None:
    (X, _), (other, dense) = some(), some(seed=1)
    rows, columns = dense.nonzero().t()
    X.fill(rows, columns, dense[rows, columns])
    torch.testing.assert_close(
        rows_of_product(X, torch.eye(5), torch.arange(7)), rows_of_product(other, torch.eye(5), torch.arange(7))
    )


def test_a_state_is_loaded_whatever_number_of_entries_it_holds() -> None:
    (X, _), (other, _) = some(), some(seed=1)
    assert len(X.columns) != len(other.columns)
    other.load_state_dict(X.state_dict())
    assert all(torch.equal(value, X.state_dict()[name]) for name, value in other.state_dict().items())
    state = X.state_dict()
    del state["values"]
    with pytest.raises(RuntimeError, match="values"):
        other.load_state_dict(state)
