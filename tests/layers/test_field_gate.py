import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.layers.field_gate import FieldGate


def randomised(gate: FieldGate) -> FieldGate:
    for parameter in gate.parameters():
        nn.init.normal_(parameter)
    return gate.double()


def test_equals_the_formula_one_number_at_a_time() -> None:
    torch.manual_seed(0)
    gate = randomised(FieldGate(3))
    vectors = torch.randn(4, 3, 2, dtype=torch.float64)
    W, b = gate.linear.weight.tolist(), gate.linear.bias.tolist()
    for E, output in zip(vectors.tolist(), gate(vectors).tolist(), strict=True):
        gated = [[E[m][d] * (sum(W[m][n] * E[n][d] for n in range(3)) + b[m]) for d in range(2)] for m in range(3)]
        assert torch.tensor(output).flatten().tolist() == pytest.approx(
            torch.tensor(E + gated).flatten().tolist(), abs=1e-6
        )


def test_gradient() -> None:
    gate = randomised(FieldGate(3))
    assert gradcheck(gate, (torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True),))


def test_at_first_the_fields_stand_there_twice() -> None:
    vectors = torch.randn(4, 3, 2)
    assert torch.equal(FieldGate(3)(vectors), torch.cat([vectors, vectors], 1))


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    assert FieldGate(3)(torch.randn(size, 3, 2)).shape == (size, 6, 2)
