from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from crossfield.layers.cross import CrossStack
from crossfield.layers.half_cross import Aggregation, ExponentialCrossNet, HalfCrossLayer, LinearCrossNet

NETS = (ExponentialCrossNet, LinearCrossNet)


def layers(dim: int, num_layers: int, **settings: object) -> Iterator[HalfCrossLayer]:
    for _ in range(num_layers):
        yield HalfCrossLayer(dim, **{"num_heads": 2, "aggregation": "self_mask", **settings})  # type: ignore[arg-type]


def randomised(net: CrossStack) -> CrossStack:
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net.double()


def second_half(layer: HalfCrossLayer, c: list[float], aggregation: Aggregation) -> list[float]:
    gain, shift = layer.scale.weight.tolist(), layer.scale.bias.tolist()
    if aggregation == "affine":
        return [gain[i] * c[i] + shift[i] for i in range(len(c))]
    mean = sum(c) / len(c)
    spread = (sum((one - mean) ** 2 for one in c) / len(c) + 1e-5) ** 0.5
    return [c[i] * max((c[i] - mean) / spread * gain[i] + shift[i], 0.0) for i in range(len(c))]


@pytest.mark.parametrize("aggregation", ["self_mask", "affine"])
@pytest.mark.parametrize("kind", NETS)
def test_equals_the_formula_one_number_at_a_time(kind: type[CrossStack], aggregation: Aggregation) -> None:
    torch.manual_seed(0)
    net = randomised(kind(layers(4, 2, aggregation=aggregation)))
    x_1 = torch.randn(3, 2, 4, dtype=torch.float64)
    outputs = net(x_1).flatten(0, 1).tolist()
    for start, output in zip(x_1.flatten(0, 1).tolist(), outputs, strict=True):
        x = start
        for layer in net.layers:
            assert isinstance(layer, HalfCrossLayer)
            W, b = layer.W.weight.tolist(), layer.bias.tolist()
            c = [sum(W[i][j] * x[j] for j in range(4)) for i in range(2)]
            C = c + second_half(layer, c, aggregation)
            anchor = x if kind is ExponentialCrossNet else start
            x = [anchor[i] * (C[i] + b[i]) + x[i] for i in range(4)]
        assert output == pytest.approx(x, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("kind", NETS)
def test_gradient(kind: type[CrossStack]) -> None:
    torch.manual_seed(0)
    net = randomised(kind(layers(4, 2)))
    assert gradcheck(net, (torch.randn(2, 2, 4, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize(("kind", "degree"), [(ExponentialCrossNet, 8), (LinearCrossNet, 4)])
def test_three_layers_reach_the_degree_they_promise_and_no_more(kind: type[CrossStack], degree: int) -> None:
    # Without the mask, which is no polynomial.
    torch.manual_seed(0)
    net = randomised(kind(layers(2, 3, num_heads=1, aggregation="affine")))
    steps = torch.arange(degree + 2, dtype=torch.float64).reshape(-1, 1, 1)
    values = net(steps * torch.tensor([0.1, -0.2], dtype=torch.float64))[:, 0, 0]
    highest: Tensor = torch.diff(values, n=degree)
    assert highest.abs().min() > 1e-7
    torch.testing.assert_close(highest[0], highest[1], rtol=1e-5, atol=0)


def test_initial_values() -> None:
    torch.manual_seed(0)
    layer = next(layers(1000, 1))
    assert [(name, one.shape) for name, one in layer.W.named_parameters()] == [("weight", (500, 1000))]
    assert layer.W.weight.std().item() == pytest.approx((2 / 1500) ** 0.5, rel=0.02)
    assert 0 <= layer.bias.min() < 0.02 and 0.98 < layer.bias.max() <= 1
    assert layer.bias.mean().item() == pytest.approx(0.5, abs=0.05)


def test_batch_norm_has_one_mean_and_spread_per_head() -> None:
    layer = next(layers(4, 1, batch_norm=True)).double()
    with torch.no_grad():
        layer.bias.zero_()
        layer.scale.weight.zero_()
    x = torch.randn(8, 2, 4, dtype=torch.float64) * torch.tensor([[[1.0], [100.0]]], dtype=torch.float64)
    c = ((layer(torch.ones_like(x), x) - x)[:, :, :2]).detach()
    torch.testing.assert_close(c.mean((0, 2)), torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(c.var((0, 2), correction=0), torch.ones(2, dtype=torch.float64), atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("kind", NETS)
def test_small_batches(kind: type[CrossStack], size: int) -> None:
    net = kind(layers(4, 2, batch_norm=True, dropout=0.5))
    assert net(torch.randn(size, 2, 4)).shape == (size, 2, 4)
