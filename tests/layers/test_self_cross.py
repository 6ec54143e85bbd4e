import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.layers.field_map import FieldMap
from crossfield.layers.self_cross import FlatCross, GramCross

Kind = type[FlatCross] | type[GramCross]


def randomised(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.double()


@pytest.mark.parametrize("num_outputs", [3, 2])
def test_flat_multiplies_every_component_by_a_sum_of_all(num_outputs: int) -> None:
    layer = randomised(FlatCross(3, num_outputs, 2))
    assert isinstance(layer, FlatCross)
    vectors = torch.randn(4, 3, 2, dtype=torch.float64)
    weights, biases = layer.weights.weight.tolist(), layer.weights.bias.tolist()
    mixes = layer.map.weight.tolist() if isinstance(layer.map, FieldMap) else torch.eye(3).tolist()
    for rows, output in zip(vectors.tolist(), layer(vectors).tolist(), strict=True):
        x = [value for row in rows for value in row]
        crossed = [x[a] * (sum(weights[a][b] * x[b] for b in range(6)) + biases[a]) for a in range(6)]
        expected = [[sum(mix[i] * crossed[2 * i + f] for i in range(3)) for f in range(2)] for mix in mixes]
        assert output == [pytest.approx(row, abs=1e-12) for row in expected]


def test_gram_weighs_every_dot_product_once() -> None:
    layer = randomised(GramCross(3, 2, 4))
    assert isinstance(layer, GramCross)
    vectors = torch.randn(5, 3, 4, dtype=torch.float64)
    weights, biases = layer.weights.weight.tolist(), layer.weights.bias.tolist()
    for x, output in zip(vectors.tolist(), layer(vectors).flatten(1).tolist(), strict=True):
        products = [sum(x[i][f] * x[j][f] for f in range(4)) for i in range(3) for j in range(i + 1)]
        expected = [
            b + sum(w * p for w, p in zip(row, products, strict=True)) for row, b in zip(weights, biases, strict=True)
        ]
        assert output == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("num_outputs", [3, 2])
@pytest.mark.parametrize("kind", [FlatCross, GramCross])
def test_gradient_and_small_batches(kind: Kind, num_outputs: int) -> None:
    layer = randomised(kind(3, num_outputs, 2))
    assert gradcheck(layer, (torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True),))
    for size in (0, 1):
        assert layer(torch.randn(size, 3, 2, dtype=torch.float64)).shape == (size, num_outputs, 2)


@pytest.mark.parametrize(("kind", "expected"), [(FlatCross, 2 / (60 + 60)), (GramCross, 2 / (210 + 60))])
def test_parameters_and_initial_values(kind: Kind, expected: float) -> None:
    torch.manual_seed(0)
    layer = kind(20, 20, 3)
    assert layer.weights.weight.var().item() == pytest.approx(expected, rel=0.05)
    assert not layer.weights.bias.any()
    assert len(list(layer.parameters())) == 2
