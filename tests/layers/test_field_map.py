import pytest
import torch
from torch.autograd import gradcheck

from crossfield.layers.field_map import FieldMap


def test_every_output_is_a_mix_of_the_inputs() -> None:
    layer = FieldMap(3, 2).double()
    vectors = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    weights = layer.weight.tolist()
    for x, u in zip(vectors.tolist(), layer(vectors).tolist(), strict=True):
        for j in range(2):
            assert u[j] == pytest.approx([sum(weights[j][i] * x[i][f] for i in range(3)) for f in range(5)], abs=1e-12)
    assert gradcheck(layer, (vectors,))


def test_there_is_no_bias_and_the_weights_start_xavier_normal() -> None:
    torch.manual_seed(0)
    layer = FieldMap(300, 100)
    assert [tuple(one.shape) for one in layer.parameters()] == [(100, 300)]
    assert layer.weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    assert FieldMap(3, 2)(torch.randn(size, 3, 4)).shape == (size, 2, 4)
