import math

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.layers.token_mixing import PerTokenLinear, RankMixerBlock, mix_tokens


def block_of() -> RankMixerBlock:
    torch.manual_seed(0)
    block = RankMixerBlock(2, 4, expansion=3)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block.double()


def normed(numbers: list[float], norm: nn.LayerNorm) -> list[float]:
    mean = sum(numbers) / len(numbers)
    sd = math.sqrt(sum((one - mean) ** 2 for one in numbers) / len(numbers) + 1e-5)
    gain, shift = norm.weight.tolist(), norm.bias.tolist()
    return [(one - mean) / sd * gain[i] + shift[i] for i, one in enumerate(numbers)]


def linear(layer: PerTokenLinear, t: int, x: list[float]) -> list[float]:
    W, b = layer.weight[t].tolist(), layer.bias[t].tolist()
    return [sum(x[i] * W[i][o] for i in range(len(x))) + b[o] for o in range(len(b))]


def gelu(x: float) -> float:
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def naive(block: RankMixerBlock, X: list[list[float]]) -> list[list[float]]:
    outputs = []
    for t in range(2):
        mixed = [one for token in X for one in token[2 * t : 2 * t + 2]]
        S = normed([a + b for a, b in zip(mixed, X[t], strict=True)], block.mixing_norm)
        made = linear(block.narrow, t, [gelu(one) for one in linear(block.wide, t, S)])
        outputs.append(normed([a + b for a, b in zip(made, S, strict=True)], block.feed_forward_norm))
    return outputs


def test_a_token_gets_one_part_of_every_token() -> None:
    tokens = torch.tensor([[[11, 12, 13, 14, 15, 16], [21, 22, 23, 24, 25, 26], [31, 32, 33, 34, 35, 36]]])
    mixed = [[11, 12, 21, 22, 31, 32], [13, 14, 23, 24, 33, 34], [15, 16, 25, 26, 35, 36]]
    assert mix_tokens(tokens).tolist() == [mixed]
    assert torch.equal(mix_tokens(mix_tokens(tokens)), tokens)


def test_equals_the_formulas_one_number_at_a_time() -> None:
    block = block_of()
    tokens = torch.randn(3, 2, 4, dtype=torch.float64)
    expected = torch.tensor([naive(block, example.tolist()) for example in tokens], dtype=torch.float64)
    torch.testing.assert_close(block(tokens), expected, rtol=0, atol=1e-10)


def test_gradient() -> None:
    assert gradcheck(block_of(), (torch.randn(2, 2, 4, dtype=torch.float64, requires_grad=True),))


def test_every_tokens_matrix_starts_xavier_normal_by_itself() -> None:
    torch.manual_seed(0)
    layer = PerTokenLinear(4, 50, 150)
    assert sum(one.numel() for one in layer.parameters()) == 4 * (50 * 150 + 150)
    for matrix in layer.weight:
        assert matrix.std().item() == pytest.approx(0.1, rel=0.05)
    assert not layer.bias.any()


def test_no_token_sees_anothers_weights() -> None:
    layer = PerTokenLinear(3, 2, 2)
    layer(torch.randn(4, 3, 2))[:, 1].sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.flatten(1).any(1).tolist() == [False, True, False]


@pytest.mark.parametrize(("size", "num_tokens"), [(0, 2), (1, 2), (2, 1)])
def test_small_batches_and_a_single_token(size: int, num_tokens: int) -> None:
    block = RankMixerBlock(num_tokens, 4, expansion=2)
    assert block(torch.randn(size, num_tokens, 4)).shape == (size, num_tokens, 4)
