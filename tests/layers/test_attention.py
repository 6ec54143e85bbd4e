import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from crossfield.layers.attention import EncoderLayer, SelfAttention


def randomised(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.double()


def matrix_times(weight: Tensor, x: list[float]) -> list[float]:
    return [sum(w * one for w, one in zip(row, x, strict=True)) for row in weight.tolist()]


def attend(layer: SelfAttention, fields: list[list[float]], num_heads: int) -> list[list[float]]:
    """Self-attention one number at a time."""
    q, k, v = ([matrix_times(one.weight, x) for x in fields] for one in (layer.query, layer.key, layer.value))
    width = len(fields[0]) // num_heads
    mixed = [[0.0] * len(fields[0]) for _ in fields]
    for start in range(0, num_heads * width, width):
        part = range(start, start + width)
        for i in range(len(fields)):
            products = [sum(q[i][f] * k[j][f] for f in part) / math.sqrt(width) for j in range(len(fields))]
            total = sum(math.exp(one) for one in products)
            for f in part:
                mixed[i][f] = sum(math.exp(one) / total * v[j][f] for j, one in enumerate(products))
    return [matrix_times(layer.output.weight, x) for x in mixed]


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_attention_equals_the_formula_one_number_at_a_time(num_heads: int) -> None:
    layer = randomised(SelfAttention(4, num_heads))
    assert isinstance(layer, SelfAttention)
    vectors = torch.randn(3, 5, 4, dtype=torch.float64)
    expected = [attend(layer, row, num_heads) for row in vectors.tolist()]
    torch.testing.assert_close(layer(vectors), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_encoder_layer_equals_torchs_own() -> None:
    mine = randomised(EncoderLayer(6, num_heads=2, hidden_dim=10))
    assert isinstance(mine, EncoderLayer)
    theirs = nn.TransformerEncoderLayer(6, 2, 10, dropout=0.0, batch_first=True, dtype=torch.float64)
    first, _, second = mine.feed_forward
    with torch.no_grad():
        attention = mine.attention
        theirs.self_attn.in_proj_weight.copy_(
            torch.cat([one.weight for one in (attention.query, attention.key, attention.value)])
        )
        theirs.self_attn.out_proj.weight.copy_(attention.output.weight)
        for bias in (theirs.self_attn.in_proj_bias, theirs.self_attn.out_proj.bias):
            bias.zero_()
    for module, source in (
        (theirs.linear1, first),
        (theirs.linear2, second),
        (theirs.norm1, mine.attention_norm),
        (theirs.norm2, mine.feed_forward_norm),
    ):
        module.load_state_dict(source.state_dict())
    vectors = torch.randn(4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(mine(vectors), theirs(vectors), rtol=0, atol=1e-12)


def test_gradient() -> None:
    layer = randomised(EncoderLayer(4, num_heads=2, hidden_dim=3))
    assert gradcheck(layer, (torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True),))


def test_fields_have_no_positions() -> None:
    layer = randomised(EncoderLayer(4, num_heads=2, hidden_dim=3))
    vectors, order = torch.randn(2, 5, 4, dtype=torch.float64), torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(layer(vectors[:, order]), layer(vectors)[:, order], rtol=0, atol=1e-12)


def test_each_matrix_starts_xavier_normal_by_itself() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(200, 4)
    assert [tuple(one.shape) for one in layer.parameters()] == [(200, 200)] * 4
    assert all(one.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02) for one in layer.parameters())


def test_dropout_acts_in_training_only() -> None:
    layer, vectors = EncoderLayer(4, num_heads=1, hidden_dim=3, dropout=0.5), torch.randn(2, 3, 4)
    assert not torch.equal(layer(vectors), layer(vectors))
    assert torch.equal(layer.eval()(vectors), layer(vectors))


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches_and_a_single_field(size: int) -> None:
    layer = EncoderLayer(4, num_heads=2, hidden_dim=3)
    assert layer(torch.randn(size, 3, 4)).shape == (size, 3, 4)
    alone = torch.randn(size, 1, 4)
    expected = layer.attention.output(layer.attention.value(alone))
    torch.testing.assert_close(layer.attention(alone), expected)
