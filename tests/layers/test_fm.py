import pytest
import torch
from torch.autograd import gradcheck

from crossfield.layers.fm import pairwise_sum


@pytest.mark.parametrize("shape", [(3, 5, 4), (1, 2, 1), (2, 1, 3), (0, 4, 2)])
def test_equals_the_sum_over_pairs(shape: tuple[int, int, int]) -> None:
    vectors = torch.randn(shape, dtype=torch.float64)
    num_fields = shape[1]
    expected = [
        [sum(float(row[i] @ row[j]) for i in range(num_fields) for j in range(i + 1, num_fields))] for row in vectors
    ]
    result = pairwise_sum(vectors)
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64).view(-1, 1), rtol=0, atol=1e-12)


def test_gradient() -> None:
    assert gradcheck(pairwise_sum, (torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True),))


def test_numbers_and_vectors_are_further_fields() -> None:
    vectors, x = torch.randn(3, 4, 2, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    v = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    vectors.requires_grad_()
    together = pairwise_sum(torch.cat([vectors, x.unsqueeze(2) * v], 1))
    torch.testing.assert_close(pairwise_sum(vectors, x, v), together)
    with torch.no_grad():
        torch.testing.assert_close(pairwise_sum(vectors, x, v), together)
    assert gradcheck(lambda vectors, v: pairwise_sum(vectors, x, v), (vectors, v))
    assert gradcheck(lambda v: pairwise_sum(vectors[:, :0].detach(), x, v), (v,))
