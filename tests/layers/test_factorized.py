import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.errors import ConfigError
from crossfield.layers.factorized import FactorizedInteraction, Residual


def randomised(layer: FactorizedInteraction) -> FactorizedInteraction:
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.double()


@pytest.mark.parametrize("residual", ["concat", "sum"])
def test_equals_the_formula_one_number_at_a_time(residual: Residual) -> None:
    torch.manual_seed(0)
    layer = randomised(FactorizedInteraction(3, 4, residual=residual))
    x = torch.randn(5, 3, dtype=torch.float64)
    W, b = layer.linear.weight.tolist(), layer.linear.bias.tolist()
    half = 2 if residual == "concat" else 4
    for row, output in zip(x.tolist(), layer(x).tolist(), strict=True):
        h = [sum(W[i][j] * row[j] for j in range(3)) + b[i] for i in range(2 * half)]
        products = [h[i] * h[half + i] for i in range(half)]
        expected = h[:half] + products if residual == "concat" else [h[i] + products[i] for i in range(half)]
        assert output == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("residual", ["concat", "sum"])
def test_gradient(residual: Residual) -> None:
    layer = randomised(FactorizedInteraction(3, 4, residual=residual))
    assert gradcheck(layer, (torch.randn(2, 3, dtype=torch.float64, requires_grad=True),))


def test_layers_on_one_another_double_the_degree() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*(randomised(FactorizedInteraction(2, 2)) for _ in range(3)))
    # A polynomial of degree 8 along a line has a constant eighth difference, and no ninth.
    line = torch.arange(10, dtype=torch.float64).unsqueeze(1) * torch.tensor([[0.1, -0.2]], dtype=torch.float64)
    values = net(line)[:, 1]
    eighth = torch.diff(values, n=8)
    assert eighth.abs().min() > 1e-6
    torch.testing.assert_close(eighth[0], eighth[1], rtol=1e-6, atol=0)


def test_an_odd_width_has_no_halves() -> None:
    with pytest.raises(ConfigError, match=r"7 wide has no two halves: 7 = 2 x 3 \+ 1"):
        FactorizedInteraction(3, 7)
    assert FactorizedInteraction(3, 7, residual="sum")(torch.randn(2, 3)).shape == (2, 7)


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    assert FactorizedInteraction(3, 4)(torch.randn(size, 3)).shape == (size, 4)
