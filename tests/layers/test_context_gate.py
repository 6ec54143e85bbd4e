import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from crossfield.layers.context_gate import ContextGate
from crossfield.layers.linear import Linear
from crossfield.schema import Field
from tests.contract.cases import SCHEMAS, random_batch

SCHEMA = SCHEMAS["mixed"]
FIELDS = {one.name: one for one in SCHEMA.fields}


def gate_of(*names: str, hidden: tuple[int, ...] = (3,)) -> ContextGate:
    context: list[Field] = [FIELDS[name] for name in names]
    return ContextGate(context, SCHEMA, 5, dim=2, hidden=hidden, std=0.5)


def randomised(gate: ContextGate) -> ContextGate:
    for parameter in gate.parameters():
        nn.init.normal_(parameter)
    return gate.double()


def linear(layer: nn.Module, x: list[float]) -> list[float]:
    assert isinstance(layer, Linear)
    rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [sum(w * one for w, one in zip(row, x, strict=True)) + b for row, b in rows]


def expected(gate: ContextGate, c: list[float]) -> list[float]:
    hidden = [max(one, 0.0) for one in linear(gate.mlp[0], c)]
    return [2 / (1 + math.exp(-one)) for one in linear(gate.linear, hidden)]


def test_equals_the_formula_one_number_at_a_time() -> None:
    torch.manual_seed(0)
    gate, batch = randomised(gate_of("item", "genres")), random_batch(SCHEMA, 6)
    assert gate.context is not None
    items, genres = gate.context.table("item"), gate.context.table("genres")
    column = [one.name for one in SCHEMA.categorical].index("item")
    for row, output in enumerate(gate(batch).tolist()):
        alone = batch.select(torch.tensor([row]))
        listed = [genres[one].tolist() for one in alone.sequences["genres"].values]
        mean = [sum(one[d] for one in listed) / max(len(listed), 1) for d in range(2)]
        c = items[int(alone.categorical[0, column])].tolist() + mean
        assert output == pytest.approx(expected(gate, c), abs=1e-9)


def test_without_context_the_gates_are_the_same_for_every_row() -> None:
    torch.manual_seed(0)
    gate = randomised(gate_of())
    assert gate.constant is not None
    gates = gate(random_batch(SCHEMA, 6))
    assert gates.shape == (1, 5)
    assert gates[0].tolist() == pytest.approx(expected(gate, gate.constant[0].tolist()), abs=1e-9)


def test_gradient() -> None:
    torch.manual_seed(0)
    gate = randomised(gate_of())
    batch = random_batch(SCHEMA, 2)
    assert gate.constant is not None

    def gates(constant: Tensor, weight: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(gate, {"constant": constant, "linear.weight": weight}, (batch,))
        return found

    inputs = tuple(one.detach().requires_grad_() for one in (gate.constant, gate.linear.weight))
    assert gradcheck(gates, inputs)


@pytest.mark.parametrize("names", [(), ("user",), ("user", "genres", "user x day")])
def test_gates_start_near_one(names: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    context = [FIELDS[name] for name in names]
    gate = ContextGate(context, SCHEMA, 5, dim=2, hidden=(64,), std=1e-4)
    assert (gate(random_batch(SCHEMA, 9)) - 1).abs().max() < 1e-3


def test_every_weight_learns_from_the_first_step() -> None:
    # A constant of zero behind a ReLU and zero biases would keep all but the last bias from ever moving.
    torch.manual_seed(0)
    gate = ContextGate([], SCHEMA, 5, dim=2, hidden=(64,), std=1e-4)
    gate(random_batch(SCHEMA, 3)).square().sum().backward()
    assert all(one.grad is not None and bool(one.grad.any()) for one in gate.parameters())


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    batch = replace(random_batch(SCHEMA, size), labels=None)
    assert gate_of("user", "genres")(batch).shape == (size, 5)
    assert gate_of("user", hidden=())(batch).shape == (size, 5)
