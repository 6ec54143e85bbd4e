import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.layers.senet import SENET


def randomised(num_vectors: int, ratio: float) -> SENET:
    torch.manual_seed(1)
    layer = SENET(num_vectors, ratio)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.double()


def test_equals_the_formula_one_number_at_a_time() -> None:
    layer = randomised(5, 2)
    W_1, W_2 = layer.W_1.weight.tolist(), layer.W_2.weight.tolist()
    vectors = torch.randn(6, 5, 3, dtype=torch.float64)
    seen = set()
    for example, output in zip(vectors.tolist(), layer(vectors), strict=True):
        z = [sum(vector) / 3 for vector in example]
        hidden = [max(0.0, sum(W_1[k][i] * z[i] for i in range(5))) for k in range(2)]
        a = [max(0.0, sum(W_2[i][k] * hidden[k] for k in range(2))) for i in range(5)]
        seen |= {one > 0 for one in a}
        for i in range(5):
            assert output[i].tolist() == pytest.approx([a[i] * one for one in example[i]], abs=1e-12)
    assert seen == {False, True}


def test_gradient() -> None:
    vectors = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(randomised(4, 2), (vectors,))


@pytest.mark.parametrize(("num_vectors", "ratio", "units"), [(10, 2, 5), (10, 3, 3), (2, 3, 1), (3, 0.3, 10)])
def test_units_are_fields_over_the_ratio_and_at_least_one(num_vectors: int, ratio: float, units: int) -> None:
    layer = SENET(num_vectors, ratio)
    assert layer.W_1.weight.shape == (units, num_vectors) and layer.W_2.weight.shape == (num_vectors, units)
    assert sum(one.numel() for one in layer.parameters()) == 2 * num_vectors * units


@pytest.mark.parametrize("seed", range(8))
def test_no_field_starts_without_a_gradient(seed: int) -> None:
    torch.manual_seed(seed)
    layer, vectors = SENET(2, 3.0), torch.randn(64, 2, 4)
    layer(vectors).square().sum().backward()
    assert layer.W_1.weight.grad is not None and layer.W_1.weight.grad.any()
    assert layer.W_2.weight.grad is not None and layer.W_2.weight.grad.all()


def test_all_fields_count_alike_at_first() -> None:
    torch.manual_seed(0)
    vectors = torch.rand(20, 6, 4) + 0.1
    weights = SENET(6, 2.0)(vectors) / vectors
    torch.testing.assert_close(weights, weights[:, :1, :1].expand(20, 6, 4))


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    assert SENET(3)(torch.randn(size, 3, 4)).shape == (size, 3, 4)
