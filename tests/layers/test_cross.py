import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.layers.cross import CrossNet


def randomised(net: CrossNet) -> CrossNet:
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net.double()


def test_equals_the_formula_one_number_at_a_time() -> None:
    net = randomised(CrossNet(4, 3))
    x_0 = torch.randn(5, 4, dtype=torch.float64)
    for start, output in zip(x_0.tolist(), net(x_0), strict=True):
        x = start
        for w, b in zip(net.weight.tolist(), net.bias.tolist(), strict=True):
            projected = sum(x[i] * w[i] for i in range(4))
            x = [start[i] * projected + b[i] + x[i] for i in range(4)]
        assert output.tolist() == pytest.approx(x, abs=1e-9)


def test_gradient() -> None:
    net = randomised(CrossNet(3, 2))
    assert gradcheck(net, (torch.randn(2, 3, dtype=torch.float64, requires_grad=True),))


def test_without_biases_the_output_is_a_multiple_of_the_input() -> None:
    torch.manual_seed(0)
    net = CrossNet(6, 3).double()
    x_0 = torch.randn(4, 6, dtype=torch.float64)
    ratios = net(x_0) / x_0
    torch.testing.assert_close(ratios, ratios[:, :1].expand(4, 6), rtol=1e-9, atol=0)


def test_parameters_and_initial_values() -> None:
    torch.manual_seed(0)
    net = CrossNet(20_000, 1)
    assert net.weight.std().item() == pytest.approx((2 / 20_001) ** 0.5, rel=0.03)
    assert not net.bias.any()
    assert sum(one.numel() for one in CrossNet(10, 4).parameters()) == 2 * 10 * 4


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    assert CrossNet(3, 2)(torch.randn(size, 3)).shape == (size, 3)
