import cmath
import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.layers.euler import EulerLayer


def randomised(num_inputs: int, num_outputs: int, *, layer_norm: bool = False) -> EulerLayer:
    torch.manual_seed(0)
    layer = EulerLayer(num_inputs, num_outputs, 3, layer_norm=layer_norm)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.double()


def naive(layer: EulerLayer, example: list[list[complex]]) -> list[list[complex]]:
    """One example by complex arithmetic: powers and a product, no logarithm and no angle of our own."""
    alpha, W, b = layer.alpha.tolist(), layer.W.weight.tolist(), layer.W.bias.tolist()
    delta, delta_theta = layer.delta.tolist(), layer.delta_theta.tolist()
    flat = [one for vector in example for one in vector]
    outputs = []
    for k in range(len(delta)):
        vector = []
        for d in range(3):
            product = cmath.exp(delta[k][d] + 1j * delta_theta[k][d])
            for j, field in enumerate(example):
                product *= field[d] ** alpha[j][k]
            mapped = [
                sum(w * x for w, x in zip(W[3 * k + d], part, strict=True)) + b[3 * k + d] for part in parts(flat)
            ]
            vector.append(product + complex(max(0.0, mapped[0]), max(0.0, mapped[1])))
        outputs.append(vector)
    return outputs


def parts(numbers: list[complex]) -> tuple[list[float], list[float]]:
    return [one.real for one in numbers], [one.imag for one in numbers]


def normed(numbers: list[float], norm: nn.Module) -> list[float]:
    assert isinstance(norm, nn.LayerNorm)
    mean = sum(numbers) / 3
    sd = math.sqrt(sum((one - mean) ** 2 for one in numbers) / 3 + 1e-5)
    gain, shift = norm.weight.tolist(), norm.bias.tolist()
    return [(one - mean) / sd * gain[d] + shift[d] for d, one in enumerate(numbers)]


@pytest.mark.parametrize("layer_norm", [False, True])
def test_equals_products_of_complex_powers(layer_norm: bool) -> None:
    layer = randomised(4, 2, layer_norm=layer_norm)
    r, p = torch.randn(2, 3, 4, 3, dtype=torch.float64)
    o_r, o_p = layer(r, p)
    for row in range(3):
        example = [[complex(*one) for one in zip(a, b, strict=True)] for a, b in zip(r[row], p[row], strict=True)]
        for k, expected in enumerate(naive(layer, example)):
            real, imaginary = parts(expected)
            if layer_norm:
                real, imaginary = normed(real, layer.norm_r), normed(imaginary, layer.norm_p)
            assert o_r[row, k].tolist() == pytest.approx(real, rel=1e-5)
            assert o_p[row, k].tolist() == pytest.approx(imaginary, rel=1e-5)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_gradient(layer_norm: bool) -> None:
    layer = randomised(3, 2, layer_norm=layer_norm)
    r, p = torch.randn(2, 2, 3, 3, dtype=torch.float64) + 0.1
    assert gradcheck(layer, (r.requires_grad_(), p.requires_grad_()))


def test_orders_of_one_and_two_multiply_complex_numbers() -> None:
    layer = EulerLayer(2, 1, 3).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.alpha.copy_(torch.tensor([[1.0], [2.0]]))
    r, p = torch.rand(2, 1, 2, 3, dtype=torch.float64) + 0.2
    z = torch.complex(r, p)
    expected = z[:, 0] * z[:, 1] ** 2
    o_r, o_p = layer(r, p)
    torch.testing.assert_close(torch.complex(o_r, o_p)[:, 0], expected, rtol=1e-6, atol=1e-6)


def test_orders_start_at_the_identity_or_at_one_input_each() -> None:
    torch.manual_seed(0)
    assert torch.equal(EulerLayer(4, 4, 3).alpha, torch.eye(4))
    alpha = EulerLayer(10, 52, 3).alpha
    torch.testing.assert_close(alpha.sum(0), torch.ones(52))
    assert (alpha.amax(0) > 0.9).sum() > 40


def test_initial_values() -> None:
    torch.manual_seed(0)
    layer = EulerLayer(10, 52, 100)
    for one in (layer.delta, layer.delta_theta):
        assert one.std().item() == pytest.approx(0.01, rel=0.05)
    assert layer.W.weight.std().item() == pytest.approx(math.sqrt(2 / 6_200), rel=0.05)


def test_vectors_of_length_zero_have_finite_outputs_and_gradients() -> None:
    layer = EulerLayer(3, 2, 4)
    r, p = torch.zeros(2, 5, 3, 4)
    outputs = layer(r.requires_grad_(), p.requires_grad_())
    (outputs[0].sum() + outputs[1].sum()).backward()
    found = [r.grad, p.grad, *(one.grad for one in layer.parameters())]
    assert all(one.isfinite().all() for one in (*outputs, *found) if one is not None)


def test_autocast_ends_at_the_layer() -> None:
    layer = randomised(3, 2).float()
    r, p = torch.randn(2, 4, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = layer(r, p)
    for one, exact in zip(rounded, layer(r, p), strict=True):
        assert torch.equal(one, exact)


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    for part in EulerLayer(3, 2, 4)(*torch.randn(2, size, 3, 4)):
        assert part.shape == (size, 2, 4)
