import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from crossfield.layers.interacting import InteractingLayer, Residual
from crossfield.layers.linear import Linear

CHOICES: list[tuple[Residual, bool, bool, int]] = [
    ("linear", False, False, 3),
    ("linear", False, False, 4),
    ("identity", True, False, 3),
    ("identity", False, True, 4),
    ("none", True, True, 3),
]


def layer_of(residual: Residual, scale: bool, layer_norm: bool, input_dim: int) -> InteractingLayer:
    torch.manual_seed(0)
    layer = InteractingLayer(input_dim, 2, 2, residual=residual, scale=scale, layer_norm=layer_norm)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.double()


def naive(layer: InteractingLayer, fields: list[list[float]], *, scale: bool) -> list[list[float]]:
    """One example, number by number: every head attends by itself."""

    def mapped(weight: Tensor, vector: list[float]) -> list[float]:
        return [sum(w * x for w, x in zip(row, vector, strict=True)) for row in weight.tolist()]

    outputs: list[list[float]] = [[] for _ in fields]
    for head in range(2):
        rows = slice(2 * head, 2 * head + 2)
        queries, keys, values = (
            [mapped(one.weight[rows], field) for field in fields] for one in (layer.W_Query, layer.W_Key, layer.W_Value)
        )
        for m, query in enumerate(queries):
            products = [sum(a * b for a, b in zip(query, key, strict=True)) for key in keys]
            powers = [math.exp(one / math.sqrt(2) if scale else one) for one in products]
            for d in range(2):
                mixed = sum(power * value[d] for power, value in zip(powers, values, strict=True))
                outputs[m].append(mixed / sum(powers))
    for m, field in enumerate(fields):
        if isinstance(layer.W_Res, Linear):
            outputs[m] = [a + b for a, b in zip(outputs[m], mapped(layer.W_Res.weight, field), strict=True)]
        elif layer.adds_input:
            outputs[m] = [a + b for a, b in zip(outputs[m], field, strict=True)]
        if isinstance(layer.norm, nn.LayerNorm):
            mean = sum(outputs[m]) / 4
            sd = math.sqrt(sum((one - mean) ** 2 for one in outputs[m]) / 4 + 1e-5)
            gain, shift = layer.norm.weight.tolist(), layer.norm.bias.tolist()
            outputs[m] = [(one - mean) / sd * gain[d] + shift[d] for d, one in enumerate(outputs[m])]
    return [[max(0.0, one) for one in field] for field in outputs]


@pytest.mark.parametrize(("residual", "scale", "layer_norm", "input_dim"), CHOICES)
def test_equals_the_formulas_one_number_at_a_time(
    residual: Residual, scale: bool, layer_norm: bool, input_dim: int
) -> None:
    layer = layer_of(residual, scale, layer_norm, input_dim)
    vectors = torch.randn(3, 5, input_dim, dtype=torch.float64)
    expected = [naive(layer, example.tolist(), scale=scale) for example in vectors]
    torch.testing.assert_close(layer(vectors), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("residual", "scale", "layer_norm", "input_dim"), CHOICES)
def test_gradient(residual: Residual, scale: bool, layer_norm: bool, input_dim: int) -> None:
    layer = layer_of(residual, scale, layer_norm, input_dim)
    assert gradcheck(layer, (torch.randn(2, 3, input_dim, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize(("residual", "input_dim", "has_one"), [("linear", 4, 1), ("identity", 4, 0), ("none", 3, 0)])
def test_where_there_is_a_matrix_for_the_residual(residual: Residual, input_dim: int, has_one: int) -> None:
    layer = InteractingLayer(input_dim, 2, 2, residual=residual)
    assert sum(one.numel() for one in layer.parameters()) == (3 + has_one) * input_dim * 4
    assert sum(one.numel() for one in InteractingLayer(3, 2, 2, residual="identity").parameters()) == 4 * 3 * 4


def test_every_matrix_starts_xavier_normal_by_itself() -> None:
    torch.manual_seed(0)
    layer = InteractingLayer(100, 25, 4)
    for weight in layer.parameters():
        assert weight.shape == (100, 100)
        assert weight.std().item() == pytest.approx(0.1, rel=0.05)


def test_dropped_attention_weights_leave_the_residual() -> None:
    torch.manual_seed(0)
    layer = InteractingLayer(4, 2, 2, residual="identity", dropout=0.9).train()
    vectors = torch.rand(50, 1, 4)
    untouched = (layer(vectors) == vectors).all(2)
    assert 0 < untouched.sum() < 50


@pytest.mark.parametrize(("size", "num_vectors"), [(0, 3), (1, 3), (2, 1)])
def test_small_batches_and_a_single_vector(size: int, num_vectors: int) -> None:
    assert InteractingLayer(3, 2, 2)(torch.randn(size, num_vectors, 3)).shape == (size, num_vectors, 4)
