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
