import pytest
import torch
from torch.autograd import gradcheck

from crossfield.layers.dot import DotInteraction


@pytest.mark.parametrize("itself", [False, True])
def test_the_lower_triangle_row_by_row(itself: bool) -> None:
    vectors = torch.randn(3, 5, 4, dtype=torch.float64)
    layer = DotInteraction(5, itself=itself)
    expected = [[float(row[i] @ row[j]) for i in range(5) for j in range(i + itself)] for row in vectors]
    torch.testing.assert_close(layer(vectors), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    assert layer.output_dim == (15 if itself else 10)
    assert gradcheck(layer, (vectors.requires_grad_(),))


def test_dlrm_on_criteo_has_351_pairs() -> None:
    assert DotInteraction(27).output_dim == 351


@pytest.mark.parametrize(("size", "num_vectors"), [(0, 3), (1, 3), (2, 1)])
def test_small_batches_and_a_single_vector(size: int, num_vectors: int) -> None:
    layer = DotInteraction(num_vectors)
    assert layer(torch.randn(size, num_vectors, 4)).shape == (size, layer.output_dim)


def test_the_layer_holds_no_state() -> None:
    assert DotInteraction(3).state_dict() == {}
