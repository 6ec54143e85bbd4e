import math
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from crossfield.layers.bilinear import BilinearInteraction, BilinearType, HadamardInteraction

KINDS: list[BilinearType] = ["all", "each", "interaction"]


def matrix_of(layer: BilinearInteraction, i: int, pair: int) -> list[list[float]]:
    index = {"all": 0, "each": i, "interaction": pair}[layer.kind]
    matrix: list[list[float]] = layer.W[index].tolist()
    return matrix


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_formula_one_number_at_a_time(kind: BilinearType) -> None:
    torch.manual_seed(0)
    layer = BilinearInteraction(4, 3, kind).double()
    vectors = torch.randn(2, 4, 3, dtype=torch.float64)
    expected = []
    for example in vectors.tolist():
        products = []
        for pair, (i, j) in enumerate(combinations(range(4), 2)):
            W = matrix_of(layer, i, pair)
            mapped = [sum(example[i][d] * W[d][e] for d in range(3)) for e in range(3)]
            products.append([mapped[e] * example[j][e] for e in range(3)])
        expected.append(products)
    torch.testing.assert_close(layer(vectors), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_plain_product_is_the_bilinear_one_with_the_identity() -> None:
    vectors = torch.randn(3, 5, 4, dtype=torch.float64)
    layer = BilinearInteraction(5, 4, "all").double()
    with torch.no_grad():
        layer.W[0] = torch.eye(4)
    torch.testing.assert_close(HadamardInteraction(5)(vectors), layer(vectors), rtol=0, atol=1e-12)
    assert HadamardInteraction(5).state_dict() == {} and HadamardInteraction(5).num_pairs == 10


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(kind: BilinearType) -> None:
    layer = BilinearInteraction(3, 2, kind).double()
    vectors = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)

    def interact(vectors: Tensor, W: Tensor) -> Tensor:
        made: Tensor = torch.func.functional_call(layer, {"W": W}, (vectors,))
        return made

    assert gradcheck(interact, (vectors, layer.W.detach().clone().requires_grad_()))


@pytest.mark.parametrize(("kind", "num_matrices"), [("all", 1), ("each", 5), ("interaction", 15)])
def test_every_matrix_starts_xavier_normal_by_itself(kind: BilinearType, num_matrices: int) -> None:
    torch.manual_seed(0)
    layer = BilinearInteraction(6, 60, kind)
    assert layer.W.shape == (num_matrices, 60, 60)
    for matrix in layer.W:
        assert matrix.std().item() == pytest.approx(math.sqrt(1 / 60), rel=0.06)
    # What public code does instead: all matrices at once, as if the first axes were those of a convolution's kernel.
    at_once = nn.init.xavier_normal_(torch.empty(15, 60, 60))
    assert at_once.std().item() < 0.3 * math.sqrt(1 / 60)


@pytest.mark.parametrize("kind", KINDS)
def test_no_matrix_is_without_a_gradient(kind: BilinearType) -> None:
    layer = BilinearInteraction(4, 3, kind)
    layer(torch.randn(5, 4, 3)).sum().backward()
    assert layer.W.grad is not None and layer.W.grad.flatten(1).any(1).all()


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_small_batches(kind: BilinearType, size: int) -> None:
    assert BilinearInteraction(2, 3, kind)(torch.randn(size, 2, 3)).shape == (size, 1, 3)
