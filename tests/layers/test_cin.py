from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from crossfield.errors import ConfigError
from crossfield.layers import cin
from crossfield.layers.cin import CIN, CINLayer

M, D = 3, 2


def randomised(net: nn.Module) -> Any:
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net.double()


def naive(x_k: list[list[float]], x_0: list[list[float]], layer: CINLayer) -> list[list[float]]:
    """X^k of one row, one number at a time; vectors are rows, as in the paper."""
    W = layer.weight.tolist()
    bias = layer.bias.tolist() if layer.bias is not None else [0.0] * layer.weight.shape[2]
    pairs = list(product(range(len(x_k)), range(len(x_0))))
    return [
        [sum(W[j][i][h] * x_k[i][d] * x_0[j][d] for i, j in pairs) + bias[h] for d in range(D)]
        for h in range(layer.weight.shape[2])
    ]


@pytest.mark.parametrize("is_trained", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_formula_one_number_at_a_time(bias: bool, is_trained: bool) -> None:
    net = randomised(CIN(M, (4, 3), bias=bias)).train(is_trained)
    vectors = torch.randn(5, M, D, dtype=torch.float64)
    for x_0, output in zip(vectors.tolist(), net(vectors), strict=True):
        x_k, expected = x_0, []
        for layer in net.layers:
            x_k = naive(x_k, x_0, layer)
            expected += [sum(one) for one in x_k]
        assert output.tolist() == pytest.approx(expected, abs=1e-9)


def test_training_in_blocks_gives_the_same_as_field_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cin, "BLOCK_ROWS", 4)
    net = randomised(CIN(M, (4, 3), bias=True))
    vectors = torch.randn(7, M, D, dtype=torch.float64, requires_grad=True)
    found = {}
    for is_trained in (True, False):
        output = net.train(is_trained)(vectors)
        found[is_trained] = output, *torch.autograd.grad(output.square().sum(), [vectors, *net.parameters()])
    torch.testing.assert_close(found[True], found[False])


def test_split_in_half_the_first_half_goes_on_and_the_other_out() -> None:
    net = randomised(CIN(M, (4, 6, 3), split_half=True))
    vectors = torch.randn(2, M, D, dtype=torch.float64)
    for x_0, output in zip(vectors.tolist(), net(vectors), strict=True):
        first = naive(x_0, x_0, net.layers[0])
        second = naive(first[:2], x_0, net.layers[1])
        third = naive(second[:3], x_0, net.layers[2])
        expected = [sum(one) for one in (*first[2:], *second[3:], *third)]
        assert output.tolist() == pytest.approx(expected, abs=1e-9)
    assert net.output_dim == 2 + 3 + 3


def test_the_activation_is_between_the_layers_and_before_the_sums() -> None:
    net = randomised(CIN(M, (4, 3), activation="relu"))
    vectors = torch.randn(5, M, D, dtype=torch.float64)
    x_0 = vectors.transpose(1, 2)
    first = net.layers[0](x_0, x_0).relu()
    second = net.layers[1](first, x_0).relu()
    torch.testing.assert_close(net(vectors), torch.cat([first.sum(1), second.sum(1)], 1))


def test_a_width_without_a_half_is_refused_unless_it_is_the_last() -> None:
    with pytest.raises(ConfigError, match=r"5 vectors leaves 2\.5 for the next"):
        CIN(M, (5, 4), split_half=True)
    assert CIN(M, (5,), split_half=True).output_dim == 5


@pytest.mark.parametrize("is_trained", [True, False])
def test_gradient(is_trained: bool) -> None:
    net = randomised(CIN(M, (4, 2), bias=True, split_half=True)).train(is_trained)
    assert gradcheck(net, (torch.randn(2, M, D, dtype=torch.float64, requires_grad=True),))


def test_gradient_of_every_weight() -> None:
    layer = randomised(CINLayer(4, M, 2, bias=True))
    x_k, x_0 = torch.randn(2, D, 4, dtype=torch.float64), torch.randn(2, D, M, dtype=torch.float64)

    def of(weight: Tensor) -> Tensor:
        done: Tensor = torch.func.functional_call(layer, {"weight": weight}, (x_k, x_0))
        return done

    assert gradcheck(of, (layer.weight,))


def test_under_autocast_products_are_rounded_and_sums_are_not() -> None:
    layer = CINLayer(6, 9, 8)
    nn.init.ones_(layer.weight)
    x_k, x_0 = torch.ones(3, D, 6), torch.full((3, D, 9), 3.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        done = layer(x_k, x_0)
    # 6 x 3 x 9; in bf16 162 is not among the sums that 144 + 18 can be rounded to halfway, in float32 it is exact.
    assert done.dtype == torch.float32 and (done == 162).all()
    done.sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
    assert (layer.weight.grad == 3 * 3 * D).all()


def test_nothing_of_the_size_of_all_products_is_kept_for_the_gradient() -> None:
    sizes: list[int] = []

    def seen(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    layer = CINLayer(20, 10, 30)
    x_k, x_0 = torch.randn(7, D, 20, requires_grad=True), torch.randn(7, D, 10, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
        layer(x_k, x_0)
    assert sorted(sizes) == sorted([x_k.numel(), x_0.numel(), layer.weight.numel()])


def test_initial_values_and_parameters() -> None:
    torch.manual_seed(0)
    layer = CINLayer(50, 20, 100, bias=True)
    assert layer.weight.std().item() == pytest.approx((2 / (50 * 20 + 100)) ** 0.5, rel=0.03)
    assert layer.bias is not None and not layer.bias.any()
    assert sum(one.numel() for one in CIN(10, (64, 64)).parameters()) == 64 * 100 + 64 * 640


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    net = CIN(M, (4, 2))
    net(torch.randn(size, M, D)).sum().backward()
    assert net(torch.randn(size, M, D)).shape == (size, 6)
    assert net.eval()(torch.randn(size, M, D)).shape == (size, 6)
