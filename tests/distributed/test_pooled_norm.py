"""Batch normalisation by everybody's rows: alone, what the plain layer does (with others, see test_spread)."""

import pytest
import torch

from crossfield.distributed.pooled_norm import PooledNorm, pool_norm
from crossfield.distributed.team import ALONE
from crossfield.layers.norm import BatchNorm


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 2), (1, 3), (0, 3)])
def test_it_is_the_plain_layer_where_there_are_no_others(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    plain, pooled = (BatchNorm(3).double() for _ in range(2))
    pool_norm(pooled, ALONE)
    assert isinstance(pooled, PooledNorm)
    inputs = [torch.randn(shape, dtype=torch.float64).requires_grad_()]
    inputs.append(inputs[0].detach().clone().requires_grad_())
    for norm, given in zip((plain, pooled), inputs, strict=True):
        norm(given).sin().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    torch.testing.assert_close(dict(pooled.state_dict()), dict(plain.state_dict()))
    some = torch.randn(4, *shape[1:], dtype=torch.float64)
    torch.testing.assert_close(pooled.eval()(some), plain.eval()(some))


def test_numbers_keep_their_format() -> None:
    norm = BatchNorm(3)
    pool_norm(norm, ALONE)
    assert norm(torch.randn(4, 3).bfloat16()).dtype == torch.bfloat16
