"""Dropout: the share, the mean, the generator, the gradient."""

import pytest
import torch

from crossfield.layers.dropout import Dropout


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_a_share_is_zero_and_the_rest_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    dropped = Dropout(p)(torch.ones(1_000_003))
    kept = dropped[dropped != 0]
    assert float((dropped == 0).double().mean()) == pytest.approx(p, abs=0.002)
    assert kept.min() == kept.max() == pytest.approx(1 / (1 - p), rel=2e-4)
    assert float(dropped.double().mean()) == pytest.approx(1, abs=0.01)


def test_neighbours_fall_independently() -> None:
    """Four dice come from one random number: none may say anything of another."""
    torch.manual_seed(0)
    fell = (Dropout(0.3)(torch.ones(4_000_000)) == 0).double().view(-1, 4)
    assert fell.mean(0).tolist() == pytest.approx([0.3] * 4, abs=0.002)
    assert (torch.corrcoef(fell.t()) - torch.eye(4)).abs().max() < 0.005
    assert torch.corrcoef(torch.stack([fell[:-1, 3], fell[1:, 0]]))[0, 1].abs() < 0.005


def test_the_seed_decides_and_every_call_draws_anew() -> None:
    layer, ones = Dropout(0.5), torch.ones(100)
    torch.manual_seed(7)
    first, second = layer(ones), layer(ones)
    torch.manual_seed(7)
    assert torch.equal(layer(ones), first) and not torch.equal(first, second)


def test_the_gradient_passes_where_the_number_did() -> None:
    layer, x = Dropout(0.4), torch.randn(3, 5, dtype=torch.float64, requires_grad=True)

    def seeded(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return layer(x)

    assert torch.autograd.gradcheck(seeded, (x,))


@pytest.mark.parametrize("shape", [(0, 4), (1,), (5, 3, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_shapes_and_types_stay(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.ones(shape, dtype=dtype)
    dropped = Dropout(0.5)(x)
    assert dropped.shape == x.shape and dropped.dtype == dtype and set(dropped.flatten().tolist()) <= {0.0, 2.0}


def test_what_is_not_contiguous_is_dropped_too() -> None:
    x = torch.ones(6, 4).t()
    assert set(Dropout(0.5)(x).flatten().tolist()) == {0.0, 2.0}


def test_evaluation_drops_nothing() -> None:
    x = torch.randn(10)
    assert torch.equal(Dropout(0.9).eval()(x), x)
