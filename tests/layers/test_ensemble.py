import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from crossfield.layers.ensemble import Ensemble, EnsembleBy

MEMBERS = [torch.full((2, 3, 4), value, dtype=torch.float64) for value in (1.0, 10.0, 100.0)]


def test_sum_and_concatenation() -> None:
    assert (Ensemble(3, "sum")(MEMBERS) == 111).all()
    joined = Ensemble(3, "concatenation")(MEMBERS)
    assert joined[0, :, 0].tolist() == [1, 1, 1, 10, 10, 10, 100, 100, 100] and joined.shape == (2, 9, 4)


def test_weights_start_as_the_sum_and_are_learned() -> None:
    ensemble = Ensemble(3, "weighted_sum").double()
    assert (ensemble(MEMBERS) == 111).all()
    with torch.no_grad():
        ensemble.weights.copy_(torch.tensor([2.0, 0.0, 0.5]))  # type: ignore[union-attr]
    assert (ensemble(MEMBERS) == 52).all()


@pytest.mark.parametrize("how", ["sum", "weighted_sum", "concatenation"])
def test_gradient(how: EnsembleBy) -> None:
    ensemble = Ensemble(2, how).double()

    def join(first: Tensor, second: Tensor) -> Tensor:
        joined: Tensor = ensemble([first, second])
        return joined

    members = [torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert gradcheck(join, tuple(members))
    assert ensemble([one[:0] for one in members]).shape[0] == 0


def test_only_the_weighted_sum_has_parameters() -> None:
    counts = [sum(one.numel() for one in Ensemble(3, how).parameters()) for how in ("sum", "weighted_sum")]
    assert counts == [0, 3]
