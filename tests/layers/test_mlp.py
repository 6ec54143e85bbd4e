import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.layers.dropout import Dropout
from crossfield.layers.linear import Linear, set_padding
from crossfield.layers.mlp import MLP, FieldMLP
from crossfield.layers.norm import BatchNorm


def test_a_hidden_layer_is_linear_norm_activation_dropout() -> None:
    layers = list(MLP(3, [5, 2], batch_norm=True, dropout=0.1))
    assert [type(one) for one in layers] == [Linear, BatchNorm, nn.ReLU, Dropout] * 2


def test_output_is_the_nested_formula() -> None:
    mlp = MLP(3, [4, 2]).double()
    first, second = (value.tolist() for name, value in mlp.named_parameters() if name.endswith("weight"))
    x = torch.randn(5, 3, dtype=torch.float64)
    for row, output in zip(x.tolist(), mlp(x), strict=True):
        h_1 = [max(0.0, sum(w * value for w, value in zip(ws, row, strict=True))) for ws in first]
        h_2 = [max(0.0, sum(w * value for w, value in zip(ws, h_1, strict=True))) for ws in second]
        assert output.tolist() == pytest.approx(h_2, abs=1e-12)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_gradient(batch_norm: bool) -> None:
    torch.manual_seed(0)
    mlp = MLP(3, [4, 2], batch_norm=batch_norm, activation="tanh").double()
    assert gradcheck(mlp, (torch.randn(5, 3, dtype=torch.float64, requires_grad=True),))


def test_no_hidden_layer_is_the_identity() -> None:
    mlp, x = MLP(3, []), torch.randn(2, 3)
    assert mlp(x) is x and mlp.output_dim == 3


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    mlp = MLP(3, [4, 2], batch_norm=True, dropout=0.5)
    assert mlp(torch.randn(size, 3)).shape == (size, mlp.output_dim) == (size, 2)


def test_dropout_works_in_training_only() -> None:
    torch.manual_seed(0)
    mlp, x = MLP(3, [1000], dropout=0.4, activation="sigmoid"), torch.ones(1, 3)
    assert (mlp(x) == 0).float().mean().item() == pytest.approx(0.4, abs=0.05)
    assert (mlp.eval()(x) > 0).all()


def test_another_layer_takes_the_linear_ones_place() -> None:
    made = []

    def layer(input_dim: int, output_dim: int) -> nn.Module:
        made.append((input_dim, output_dim))
        return nn.Linear(input_dim, output_dim)

    layers = list(MLP(3, [5, 2], linear=layer))
    assert made == [(3, 5), (5, 2)]
    assert [type(one) for one in layers] == [nn.Linear, nn.ReLU] * 2


@pytest.mark.parametrize("hidden", [(3, 2), ()])
@pytest.mark.parametrize("pad_to", [1, 4])
def test_numbers_and_vectors_are_further_fields(hidden: tuple[int, ...], pad_to: int) -> None:
    torch.manual_seed(0)
    deep = FieldMLP(9 * 2, hidden).double()
    set_padding(deep, pad_to)
    vectors, x = torch.randn(5, 8, dtype=torch.float64), torch.randn(5, 5, dtype=torch.float64)
    v = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    vectors.requires_grad_()
    together = torch.cat([vectors, (x.unsqueeze(2) * v).flatten(1)], 1)
    torch.testing.assert_close(deep(vectors, x, v), deep(together))
    assert gradcheck(lambda vectors, v: deep(vectors, x, v), (vectors, v))
