from collections.abc import Callable
from itertools import combinations_with_replacement, permutations
from typing import Any, get_args

import pytest
import torch
from scipy.optimize import least_squares  # type: ignore[import-untyped]  # scipy has no types
from torch import Tensor, nn
from torch.autograd import gradcheck

from crossfield.layers.cross import CrossNet
from crossfield.layers.cross_v2 import CrossLayerV2, CrossMixLayer, CrossNetMix, CrossNetV2, Gate, Nonlinearity
from crossfield.layers.linear import Linear

GATES: tuple[Gate, ...] = get_args(Gate)
NONLINEARITIES: tuple[Nonlinearity, ...] = get_args(Nonlinearity)
EXACT = 1e-6


def randomised(net: nn.Module, *, std: float = 1.0) -> Any:
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=std)
    return net.double()


def mix(dim: int, num_layers: int, *, gate: Gate = "softmax", nonlinearity: Nonlinearity = "tanh") -> CrossNetMix:
    return CrossNetMix(dim, num_layers, num_experts=3, rank=2, gate=gate, nonlinearity=nonlinearity)


def product(matrix: list[list[float]], vector: list[float]) -> list[float]:
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


@pytest.mark.parametrize("low_rank", [None, 2])
def test_equals_the_formula_one_number_at_a_time(low_rank: int | None) -> None:
    net = randomised(CrossNetV2(4, 3, low_rank=low_rank))
    x_0 = torch.randn(5, 4, dtype=torch.float64)
    for start, output in zip(x_0.tolist(), net(x_0), strict=True):
        x = start
        for layer in net.layers:
            maps = [layer.W] if low_rank is None else [*layer.W]
            inner = x
            for one in maps:
                inner = product(one.weight.tolist(), inner)
            b = maps[-1].bias.tolist()
            x = [start[i] * (inner[i] + b[i]) + x[i] for i in range(4)]
        assert output.tolist() == pytest.approx(x, abs=1e-9)


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("gate", GATES)
def test_a_mixture_equals_the_formula_one_expert_at_a_time(gate: Gate, nonlinearity: Nonlinearity) -> None:
    net = randomised(mix(4, 2, gate=gate, nonlinearity=nonlinearity))
    scalar: dict[Nonlinearity, Callable[[float], float]] = {
        "identity": lambda x: x,
        "tanh": lambda x: float(torch.tensor(x, dtype=torch.float64).tanh()),
        "hard_tanh": lambda x: min(max(x, -1.0), 1.0),
        "relu": lambda x: max(x, 0.0),
    }
    g = scalar[nonlinearity]
    x_0 = torch.randn(5, 4, dtype=torch.float64)
    for start, output in zip(x_0.tolist(), net(x_0), strict=True):
        x = start
        for layer in net.layers:
            gates = gates_of(layer, x, gate)
            b, crossed = layer.bias.tolist(), x
            for i in range(3):
                inner = [g(one) for one in product(layer.V[i].tolist(), x)]
                inner = [g(one) for one in product(layer.C[i].tolist(), inner)]
                expert = product(layer.U[i].tolist(), inner)
                crossed = [crossed[d] + gates[i] * start[d] * (expert[d] + b[d]) for d in range(4)]
            x = crossed
        assert output.tolist() == pytest.approx(x, abs=1e-9)


def gates_of(layer: Any, x: list[float], gate: Gate) -> list[float]:
    if gate == "constant":
        return [1.0, 1.0, 1.0]
    powers = torch.tensor(product(layer.gate.weight.tolist(), x), dtype=torch.float64).exp()
    gates: list[float] = (powers / (powers.sum() if gate == "softmax" else powers + 1)).tolist()
    return gates


@pytest.mark.parametrize("low_rank", [None, 2])
def test_gradient(low_rank: int | None) -> None:
    net = randomised(CrossNetV2(3, 2, low_rank=low_rank))
    assert gradcheck(net, (torch.randn(2, 3, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("gate", GATES)
def test_gradient_of_a_mixture(gate: Gate) -> None:
    net = randomised(mix(3, 2, gate=gate))
    assert gradcheck(net, (torch.randn(2, 3, dtype=torch.float64, requires_grad=True),))


def test_one_plain_expert_is_the_low_rank_layer() -> None:
    low: Any = CrossLayerV2(4, low_rank=2)
    one = CrossMixLayer(4, num_experts=1, rank=2, gate="constant", nonlinearity="identity")
    with torch.no_grad():
        one.V[0], one.C[0], one.U[0] = low.W[0].weight, torch.eye(2), low.W[1].weight
        one.bias.copy_(low.W[1].bias.normal_())
    x_0, x_l = torch.randn(2, 3, 4)
    torch.testing.assert_close(one(x_0, x_l), low(x_0, x_l))


@pytest.mark.parametrize("gate", GATES)
def test_the_residual_is_added_once_whatever_the_gates_sum_to(gate: Gate) -> None:
    x_l = torch.randn(3, 4)
    (layer,) = mix(4, 1, gate=gate).layers
    assert torch.equal(layer(torch.zeros(3, 4), x_l), x_l)


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches_keep_their_axis(size: int) -> None:
    nets: list[nn.Module] = [CrossNetV2(3, 2), CrossNetV2(3, 2, low_rank=1), *(mix(3, 2, gate=gate) for gate in GATES)]
    assert all(net(torch.randn(size, 3)).shape == (size, 3) for net in nets)


def test_initial_values_are_one_matrix_s_own() -> None:
    torch.manual_seed(0)
    full, low = CrossLayerV2(200), CrossLayerV2(200, low_rank=50)
    layer = CrossMixLayer(200, num_experts=4, rank=50, gate="softmax", nonlinearity="tanh")
    assert isinstance(full.W, Linear) and isinstance(low.W, nn.Sequential)
    assert full.W.weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.03)
    for matrix in (low.W[0].weight, low.W[1].weight, *layer.V, *layer.U):
        assert matrix.std().item() == pytest.approx((2 / 250) ** 0.5, rel=0.03)
    for matrix in layer.C:
        assert matrix.std().item() == pytest.approx((2 / 100) ** 0.5, rel=0.06)
    assert not (full.W.bias.any() or low.W[1].bias.any() or layer.bias.any())


def test_parameters() -> None:
    def count(net: nn.Module) -> int:
        return sum(one.numel() for one in net.parameters())

    assert count(CrossNetV2(10, 4)) == 4 * (100 + 10)
    assert count(CrossNetV2(10, 4, low_rank=3)) == 4 * (2 * 30 + 10)
    assert count(mix(10, 4)) == 4 * (3 * (20 + 20 + 4) + 10 + 3 * 10)
    assert count(mix(10, 4, gate="constant")) == 4 * (3 * (20 + 20 + 4) + 10)


# The paper's claim (section 4.1): L layers hold every monomial up to degree L + 1, and none above.


def monomials(x: Tensor, degree: int) -> tuple[list[tuple[int, ...]], Tensor]:
    """The index sets of all monomials of x [B, n] up to a degree, and their values [B, number of them]."""
    sets = [one for order in range(degree + 1) for one in combinations_with_replacement(range(x.shape[1]), order)]
    return sets, torch.stack([x[:, list(one)].prod(1) for one in sets], 1)


def coefficients(net: nn.Module, degree: int) -> dict[tuple[int, ...], float]:
    """Those of the polynomial a network of three inputs is, as a polynomial of a degree."""
    x = uniform(300, 3)
    sets, values = monomials(x, degree)
    with torch.no_grad():
        solved = torch.linalg.lstsq(values, net(x)).solution[:, 0]
    return dict(zip(sets, solved.tolist(), strict=True))


def uniform(num_rows: int, dim: int) -> Tensor:
    return 2 * torch.rand(num_rows, dim, dtype=torch.float64) - 1


def network(dim: int, num_layers: int) -> Any:
    return nn.Sequential(CrossNetV2(dim, num_layers), nn.Linear(dim, 1)).double()


@pytest.mark.parametrize("num_layers", [0, 1, 2, 3])
def test_every_monomial_up_to_the_depth_plus_one_and_none_above(num_layers: int) -> None:
    torch.manual_seed(num_layers)
    found = coefficients(randomised(network(3, num_layers)), num_layers + 2)
    assert min(abs(value) for one, value in found.items() if len(one) <= num_layers + 1) > 1e-4
    assert max(abs(value) for one, value in found.items() if len(one) == num_layers + 2) < 1e-9


def test_coefficients_are_tied_by_the_weights_of_both_layers() -> None:
    torch.manual_seed(0)
    net = randomised(network(3, 2))
    first, second = (layer.W.weight.detach() for layer in net[0].layers)
    w = net[1].weight[0].detach()
    for one, value in coefficients(net, 3).items():
        if len(one) == 3:
            orders = set(permutations(one))
            assert value == pytest.approx(sum(float(w[i] * second[i, j] * first[j, k]) for i, j, k in orders), abs=1e-9)


def error_after_fitting(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Root mean square error, in standard deviations of y [B], of up to three least-squares fits, the best one's."""
    errors: list[float] = []
    while not errors or (min(errors) > EXACT and len(errors) < 3):
        errors.append(_fit(net, x, y / y.std(), seed=len(errors)))
    return min(errors)


def _fit(net: nn.Module, x: Tensor, y: Tensor, *, seed: int) -> float:
    torch.manual_seed(seed)
    parameters = list(net.parameters())
    names = [name for name, _ in net.named_parameters()]

    def residuals(vector: Tensor) -> Tensor:
        parts = torch.split(vector, [one.numel() for one in parameters])
        values = {name: part.view(one.shape) for name, part, one in zip(names, parts, parameters, strict=True)}
        fitted: Tensor = torch.func.functional_call(net, values, (x,))
        return fitted.squeeze(1) - y

    jacobian = torch.func.jacrev(residuals)
    found = least_squares(
        lambda vector: residuals(torch.from_numpy(vector)).detach().numpy(),
        torch.randn(sum(one.numel() for one in parameters), dtype=torch.float64).mul(0.5).numpy(),
        lambda vector: jacobian(torch.from_numpy(vector)).detach().numpy(),
        method="lm",
        ftol=1e-15,
        max_nfev=150,
    )
    return float((2 * found.cost / len(y)) ** 0.5)


def error_of_the_best_polynomial(x: Tensor, y: Tensor, degree: int) -> float:
    _, values = monomials(x, degree)
    solved = torch.linalg.lstsq(values, y.unsqueeze(1)).solution
    return float(((values @ solved).squeeze(1) - y).square().mean().sqrt() / y.std())


PLANTED: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "x1 x2": (2, lambda x: x[:, 0] * x[:, 1]),
    "x1 x2 x3": (3, lambda x: x[:, :3].prod(1)),
    "x1 x2 x3 x4": (4, lambda x: x.prod(1)),
    "(x1 + x2) x3 x4 + x2": (3, lambda x: (x[:, 0] + x[:, 1]) * x[:, 2] * x[:, 3] + x[:, 1]),
}


@pytest.mark.parametrize("formula", PLANTED)
def test_a_planted_polynomial_takes_its_depth_and_no_less(formula: str) -> None:
    torch.manual_seed(0)
    degree, of = PLANTED[formula]
    x = uniform(150, 4)
    assert error_after_fitting(network(4, degree - 1), x, of(x)) < EXACT
    assert error_after_fitting(network(4, degree - 2), x, of(x)) > 0.3


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("degree", "dim"), [(2, 4), (3, 3), (4, 2)])
def test_a_random_tied_polynomial_takes_its_depth_and_no_less(degree: int, dim: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = uniform(150, dim)
    with torch.no_grad():
        y = randomised(network(dim, degree - 1), std=0.7)(x).squeeze(1)
    assert error_after_fitting(network(dim, degree - 1), x, y) < EXACT
    least = error_of_the_best_polynomial(x, y, degree - 1)
    assert least > 0.02
    assert error_after_fitting(network(dim, degree - 2), x, y) == pytest.approx(least, rel=1e-3)


def test_one_layer_of_dcn_v2_fits_what_one_of_dcn_does_and_does_not() -> None:
    # f1 and f2 of the paper's table 1; there one layer of DCN leaves 8.9e-13 and 1.0e-1, of DCN-V2 5.1e-13 and 4.5e-15.
    torch.manual_seed(0)
    x = uniform(150, 4)
    x1, x2, x3, x4 = x.unbind(1)
    f1 = x1**2 + x1 * x2 + x3 * x1 + x4 * x1
    f2 = x1**2 + 0.1 * x1 * x2 + x2 * x3 + 0.1 * x3**2
    assert error_after_fitting(network(4, 1), x, f1) < EXACT
    assert error_after_fitting(network(4, 1), x, f2) < EXACT
    dcn: Any = nn.Sequential(CrossNet(4, 1), nn.Linear(4, 1)).double()
    assert error_after_fitting(dcn, x, f2) > 0.1
    # f1 = x1 (x1 + x2 + x3 + x4) is a product of two linear maps, so of rank one. What the residual adds to it, x1
    # times the last weight, DCN cannot take away: it comes near only as that weight shrinks and the layer's own grow.
    with torch.no_grad():
        dcn[0].weight.fill_(1e8)
        dcn[1].weight.copy_(torch.tensor([[1e-8, 0, 0, 0]]))
        dcn[1].bias.zero_()
        assert (dcn(x).squeeze(1) - f1).abs().max() < EXACT
