import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.errors import ConfigError
from crossfield.layers.linear import Linear
from crossfield.layers.mask import MaskBlock


def randomised(block: MaskBlock) -> MaskBlock:
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    return block.double()


def linear(layer: nn.Module, x: list[float]) -> list[float]:
    assert isinstance(layer, Linear)
    bias = [0.0] * layer.out_features if layer.bias is None else layer.bias.tolist()
    rows = zip(layer.weight.tolist(), bias, strict=True)
    return [sum(w * one for w, one in zip(row, x, strict=True)) + b for row, b in rows]


def relu(x: list[float]) -> list[float]:
    return [max(one, 0.0) for one in x]


def test_equals_the_formula_one_number_at_a_time() -> None:
    torch.manual_seed(0)
    block = randomised(MaskBlock(4, 3, 5, reduction_ratio=2))
    v_emb, v = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    norm = block.hidden[1]
    assert isinstance(norm, nn.LayerNorm)
    gain, shift = norm.weight.tolist(), norm.bias.tolist()
    for emb, row, output in zip(v_emb.tolist(), v.tolist(), block(v_emb, v).tolist(), strict=True):
        mask = linear(block.mask[2], relu(linear(block.mask[0], emb)))
        h = linear(block.hidden[0], [m * one for m, one in zip(mask, row, strict=True)])
        mean = sum(h) / 5
        spread = (sum((one - mean) ** 2 for one in h) / 5 + 1e-5) ** 0.5
        expected = relu([(h[i] - mean) / spread * gain[i] + shift[i] for i in range(5)])
        assert output == pytest.approx(expected, abs=1e-12)


def test_gradient() -> None:
    torch.manual_seed(0)
    block = randomised(MaskBlock(3, 2, 3, reduction_ratio=2))
    inputs = tuple(torch.randn(2, width, dtype=torch.float64, requires_grad=True) for width in (3, 2))
    assert gradcheck(block, inputs)


def test_the_ratio_is_of_the_masks_own_width() -> None:
    block = MaskBlock(100, 30, 50, reduction_ratio=0.8)
    assert isinstance(block.mask[0], Linear) and block.mask[0].out_features == 24


def test_a_mask_without_hidden_units_is_refused_with_the_product() -> None:
    with pytest.raises(ConfigError, match=r"reduction_ratio = 0.01 .* 50 x 0.01 = 0.5; it takes 1"):
        MaskBlock(100, 50, 50, reduction_ratio=0.01)


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    block = MaskBlock(4, 3, 5, reduction_ratio=1, dropout=0.5)
    assert block(torch.randn(size, 4), torch.randn(size, 3)).shape == (size, 5)
