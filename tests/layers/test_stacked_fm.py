import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.layers.field_map import FieldMap
from crossfield.layers.stacked_fm import FactorizationMachineBlock, OptimizedFM, WukongLayer


def layer_of(num_inputs: int, dim: int = 3) -> WukongLayer:
    torch.manual_seed(0)
    layer = WukongLayer(num_inputs, dim, num_fm=2, num_linear=2, rank=3, hidden=(5,))
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.double()


def matmul(a: list[list[float]], b: list[list[float]]) -> list[list[float]]:
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]


def normed(numbers: list[float], norm: nn.LayerNorm) -> list[float]:
    mean = sum(numbers) / len(numbers)
    sd = math.sqrt(sum((one - mean) ** 2 for one in numbers) / len(numbers) + 1e-5)
    gain, shift = norm.weight.tolist(), norm.bias.tolist()
    return [(one - mean) / sd * gain[i] + shift[i] for i, one in enumerate(numbers)]


def naive(layer: WukongLayer, X: list[list[float]]) -> list[list[float]]:
    """One example: all pairs' dot products are formed, then projected."""
    pairs = matmul(X, [list(column) for column in zip(*X, strict=True)])
    flat = normed([one for row in matmul(pairs, layer.fmb.fm.Y.tolist()) for one in row], layer.fmb.norm)
    linear = [module for module in layer.fmb.mlp.modules() if isinstance(module, nn.Linear)]
    for number, one in enumerate(linear):
        mapped = matmul([flat], one.weight.t().tolist())[0]
        flat = [a + b for a, b in zip(mapped, one.bias.tolist(), strict=True)]
        if number < len(linear) - 1:
            flat = [max(0.0, a) for a in flat]
    fmb = [flat[start : start + 3] for start in range(0, len(flat), 3)]
    lcb = matmul(layer.lcb.weight.tolist(), X)
    residual = matmul(layer.residual.weight.tolist(), X) if isinstance(layer.residual, FieldMap) else X
    added = [[a + b for a, b in zip(*rows, strict=True)] for rows in zip([*fmb, *lcb], residual, strict=True)]
    return [normed(row, layer.norm) for row in added]


@pytest.mark.parametrize("num_inputs", [4, 6])
def test_equals_the_formulas_one_number_at_a_time(num_inputs: int) -> None:
    layer = layer_of(num_inputs)
    assert isinstance(layer.residual, FieldMap) == (num_inputs != 4)
    vectors = torch.randn(3, num_inputs, 3, dtype=torch.float64)
    expected = torch.tensor([naive(layer, example.tolist()) for example in vectors], dtype=torch.float64)
    torch.testing.assert_close(layer(vectors), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_inputs", [4, 5])
def test_gradient(num_inputs: int) -> None:
    vectors = torch.randn(2, num_inputs, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer_of(num_inputs), (vectors,))


def test_a_projection_by_the_identity_leaves_all_dot_products() -> None:
    fm = OptimizedFM(4, 4).double()
    with torch.no_grad():
        fm.Y.copy_(torch.eye(4))
    vectors = torch.randn(3, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(fm(vectors), vectors @ vectors.transpose(1, 2))


def test_initial_values() -> None:
    torch.manual_seed(0)
    assert OptimizedFM(300, 100).Y.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.05)


def test_the_block_s_vectors_are_not_cut_off_at_zero() -> None:
    torch.manual_seed(0)
    made = FactorizationMachineBlock(4, 3, 5, rank=2, hidden=(8,))(torch.randn(20, 4, 5))
    assert made.shape == (20, 3, 5) and (made < 0).any()


@pytest.mark.parametrize(("size", "num_inputs"), [(0, 3), (1, 3), (2, 1)])
def test_small_batches_and_a_single_vector(size: int, num_inputs: int) -> None:
    layer = WukongLayer(num_inputs, 3, num_fm=2, num_linear=1, rank=4, hidden=())
    assert layer(torch.randn(size, num_inputs, 3)).shape == (size, 3, 3) and layer.num_outputs == 3
