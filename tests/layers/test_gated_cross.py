import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.layers.cross_v2 import CrossLayerV2
from crossfield.layers.gated_cross import GatedCrossLayer, GatedCrossNet


def randomised(net: GatedCrossNet) -> GatedCrossNet:
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net.double()


def test_equals_the_formula_one_number_at_a_time() -> None:
    net = randomised(GatedCrossNet(4, 3))
    c_0 = torch.randn(5, 4, dtype=torch.float64)
    for start, output in zip(c_0.tolist(), net(c_0), strict=True):
        c = start
        for layer in net.layers:
            assert isinstance(layer, GatedCrossLayer)
            W_c, b, W_g = layer.W_c.weight.tolist(), layer.W_c.bias.tolist(), layer.W_g.weight.tolist()
            crossed = [sum(W_c[i][j] * c[j] for j in range(4)) + b[i] for i in range(4)]
            gates = [1 / (1 + math.exp(-sum(W_g[i][j] * c[j] for j in range(4)))) for i in range(4)]
            c = [start[i] * crossed[i] * gates[i] + c[i] for i in range(4)]
        assert output.tolist() == pytest.approx(c, rel=1e-9)


def test_gradient() -> None:
    net = randomised(GatedCrossNet(3, 2))
    assert gradcheck(net, (torch.randn(2, 3, dtype=torch.float64, requires_grad=True),))


def test_an_open_gate_leaves_dcn_v2_and_a_closed_one_the_input() -> None:
    layer, open_gate = GatedCrossLayer(3).double(), CrossLayerV2(3).double()
    open_gate.W.load_state_dict(layer.W_c.state_dict())
    c = torch.rand(4, 3, dtype=torch.float64) + 0.5
    with torch.no_grad():
        layer.W_g.weight.fill_(100.0)
        torch.testing.assert_close(layer(c, c), open_gate(c, c), rtol=0, atol=1e-12)
        layer.W_g.weight.fill_(-100.0)
        torch.testing.assert_close(layer(c, c), c, rtol=0, atol=1e-12)


def test_parameters_and_initial_values() -> None:
    torch.manual_seed(0)
    layer = GatedCrossLayer(100)
    for weight in (layer.W_c.weight, layer.W_g.weight):
        assert weight.std().item() == pytest.approx(0.1, rel=0.05)
    assert not layer.W_c.bias.any()
    assert sum(one.numel() for one in GatedCrossNet(10, 4).parameters()) == 4 * (2 * 100 + 10)


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    assert GatedCrossNet(3, 2)(torch.randn(size, 3)).shape == (size, 3)
