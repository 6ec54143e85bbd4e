import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.layers.field_norm import FieldNorm


def randomised(norm: FieldNorm) -> FieldNorm:
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm.double()


def test_equals_the_formula_one_number_at_a_time() -> None:
    torch.manual_seed(0)
    norm = randomised(FieldNorm(2, 3))
    vectors = torch.randn(4, 2, 3, dtype=torch.float64)
    gain, shift = norm.weight.tolist(), norm.bias.tolist()
    for row, output in zip(vectors.tolist(), norm(vectors).tolist(), strict=True):
        for m in range(2):
            mean = sum(row[m]) / 3
            spread = (sum((one - mean) ** 2 for one in row[m]) / 3 + 1e-5) ** 0.5
            expected = [(row[m][d] - mean) / spread * gain[m][d] + shift[m][d] for d in range(3)]
            assert output[m] == pytest.approx(expected, abs=1e-12)


def test_gradient() -> None:
    norm = randomised(FieldNorm(2, 3))
    assert gradcheck(norm, (torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    assert FieldNorm(2, 3)(torch.randn(size, 2, 3)).shape == (size, 2, 3)
