"""Steps of Adam without a gradient, all at once, against the same one by one."""

import pytest
import torch

from crossfield.late import BETA1, BETA2, EXACT_AFTER, idle_adam

BETAS, EPS = (BETA1, BETA2), 1e-8


def one_by_one(mean: torch.Tensor, square: torch.Tensor, last: int, now: int) -> torch.Tensor:
    """What Algorithm 1 of the paper does with gradients of zero, at a learning rate of 1."""
    moved = torch.zeros_like(mean)
    for step in range(last + 1, now + 1):
        mean, square = BETAS[0] * mean, BETAS[1] * square
        moved += mean / (1 - BETAS[0] ** step) / ((square / (1 - BETAS[1] ** step)).sqrt() + EPS)
    return moved


@pytest.mark.parametrize("last", [1, 30, EXACT_AFTER, 39_990, 250_000])
@pytest.mark.parametrize("missed", [1, 2, 17, 3_000])
@pytest.mark.parametrize(("size", "error"), [(1.0, 1e-12), (1e-6, 1e-7), (1e-8, 1e-4)])
def test_many_steps_at_once_are_as_many_steps(last: int, missed: int, size: float, error: float) -> None:
    if last < EXACT_AFTER:
        error = max(error, {1.0: 1e-12, 1e-6: 1e-3, 1e-8: 0.05}[size])  # early corrections near ε are rough
    torch.manual_seed(0)
    mean, square = size * torch.randn(4, 3, dtype=torch.float64), size**2 * torch.rand(4, 3, dtype=torch.float64)
    expected = one_by_one(mean, square, last, last + missed)
    kept_mean, kept_square = mean.clone(), square.clone()
    moved = idle_adam().move(kept_mean, kept_square, eps=EPS, last=torch.full((4,), last), now=last + missed)
    torch.testing.assert_close(moved, expected, rtol=error, atol=0)
    torch.testing.assert_close(kept_mean, mean * BETAS[0] ** missed, rtol=1e-12, atol=size * 1e-17)
    torch.testing.assert_close(kept_square, square * BETAS[1] ** missed, rtol=1e-12, atol=0)


def test_rows_that_missed_nothing_and_rows_that_never_moved_stay() -> None:
    mean, square = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [0.0]])
    moved = idle_adam().move(mean, square, eps=EPS, last=torch.tensor([5, 0]), now=5)
    assert moved.tolist() == [[0.0], [0.0]] and mean.tolist() == [[1.0], [0.0]]
