from typing import Any

import pytest
import torch
from torch.autograd import gradcheck

from crossfield.layers.convolution import FieldConvolution


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_equals_the_sum_over_each_neighbourhood(kernel_size: int) -> None:
    layer = FieldConvolution(2, kernel_size).double()
    assert layer.convolution.bias is not None
    torch.nn.init.normal_(layer.convolution.bias)
    vectors = torch.randn(3, 4, 5, dtype=torch.float64)
    kernels, biases = layer.convolution.weight[:, 0].tolist(), layer.convolution.bias.tolist()
    reach = range(kernel_size)

    def around(x: list[list[float]], i: int, f: int) -> float:
        return x[i][f] if 0 <= i < 4 and 0 <= f < 5 else 0.0

    def at(x: list[list[float]], c: int, i: int, f: int) -> Any:
        half = kernel_size // 2
        return biases[c] + sum(kernels[c][a][b] * around(x, i + a - half, f + b - half) for a in reach for b in reach)

    expected = [[[at(x, c, i, f) for f in range(5)] for c in range(2) for i in range(4)] for x in vectors.tolist()]
    torch.testing.assert_close(layer(vectors), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_gradient() -> None:
    layer = FieldConvolution(2, 3).double()
    assert gradcheck(layer, (torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True),))


def test_initial_values() -> None:
    torch.manual_seed(0)
    layer = FieldConvolution(400, 5)
    assert layer.convolution.weight.std().item() == pytest.approx((2 / (25 + 400 * 25)) ** 0.5, rel=0.03)
    assert layer.convolution.bias is not None and not layer.convolution.bias.any()


@pytest.mark.parametrize("shape", [(0, 3, 4), (1, 3, 4), (2, 1, 4)])
def test_small_batches_and_a_single_vector(shape: tuple[int, int, int]) -> None:
    vectors = torch.randn(shape, requires_grad=True)
    output = FieldConvolution(2, 3)(vectors)
    output.sum().backward()
    assert output.shape == (shape[0], 2 * shape[1], 4) and vectors.grad is not None
