"""Error against depth on random polynomials of mixed orders 1 to 4: DCN-V2's cross layers, DCN's, and an MLP.

    python benchmarks/dcn_v2_polynomials.py [--seeds 0 1 2] [--record]

In the manner of the paper's table 2, without its sine and its noise: y = wᵀx + Σ_S w_S Π_{i in S} x_i over ten random
sets S of each size 2, 3 and 4; x uniform on [-1, 1]^10, weights N(0, 1), y scaled to a standard deviation of 1. Prints
one JSON line per trained network; with --record they are also appended to benchmarks/results/dcn-v2-polynomials.jsonl.

``fit``: "adam", as one trains; for the cross networks also "levenberg_marquardt", a second-order method that needs all
rows and weights at once and tells what the form can do from what Adam finds. ``rmse`` is the error on fresh rows,
``limit`` the least that any polynomial of the depth's degree (depth + 1) can reach, its coefficients free: what a cross
network keeps above it is the price of tied coefficients and of training.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import combinations_with_replacement
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from crossfield.files import append_line
from crossfield.layers.cross import CrossNet
from crossfield.layers.cross_v2 import CrossNetV2
from crossfield.layers.mlp import MLP

RESULTS = Path(__file__).parent / "results" / "dcn-v2-polynomials.jsonl"
NUM_INPUTS, SETS_PER_ORDER, DEPTHS = 10, 10, (1, 2, 3, 4, 5)
TRAIN_ROWS, TEST_ROWS = 20_000, 10_000
BATCH, STEPS, LR = 512, 3_000, 1e-2
"""Of Adam."""
MARQUARDT_ROWS, MARQUARDT_STEPS = 4_000, 200
"""It solves for all weights in every step, so that fewer rows and steps do."""
MLP_WIDTH = 64

NETWORKS: dict[str, Callable[[int], tuple[nn.Module, int]]] = {
    "cross_v2": lambda depth: (CrossNetV2(NUM_INPUTS, depth), NUM_INPUTS),
    "cross_v1": lambda depth: (CrossNet(NUM_INPUTS, depth), NUM_INPUTS),
    "mlp": lambda depth: (MLP(NUM_INPUTS, [MLP_WIDTH] * depth), MLP_WIDTH),
}


def polynomial(x: Tensor, generator: torch.Generator) -> Tensor:
    """Values [B] of a random polynomial of x [B, NUM_INPUTS]."""
    y = x @ torch.randn(NUM_INPUTS, generator=generator, dtype=x.dtype)
    for order in (2, 3, 4):
        for _ in range(SETS_PER_ORDER):
            chosen = torch.randperm(NUM_INPUTS, generator=generator)[:order]
            y += x[:, chosen].prod(1) * torch.randn(1, generator=generator, dtype=x.dtype)
    return y / y.std()


def monomials(x: Tensor, degree: int) -> Tensor:
    """All monomials up to a degree, [B, NUM_INPUTS] -> [B, number of them]."""
    orders = range(degree + 1)
    sets = [one for order in orders for one in combinations_with_replacement(range(NUM_INPUTS), order)]
    return torch.stack([x[:, list(one)].prod(1) for one in sets], 1)


def limit(x: Tensor, y: Tensor, degree: int) -> float:
    """Root mean square error of the best polynomial of a degree; 0 where y itself has no higher one."""
    if degree >= 4:
        return 0.0
    features = monomials(x, degree)
    weights = torch.linalg.lstsq(features[:TRAIN_ROWS], y[:TRAIN_ROWS]).solution
    return root_mean_square(features[TRAIN_ROWS:] @ weights - y[TRAIN_ROWS:])


def root_mean_square(errors: Tensor) -> float:
    return float(errors.square().mean().sqrt())


def adam(network: nn.Module, x: Tensor, y: Tensor) -> None:
    """Fit by Adam in float32 with a rate that falls linearly to nothing."""
    network.float()
    x, y = x.float(), y.float()
    optimizer = torch.optim.Adam(network.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(x), (BATCH,))
        optimizer.zero_grad()
        (network(x[rows]).squeeze(1) - y[rows]).square().mean().backward()
        optimizer.step()
        schedule.step()


def levenberg_marquardt(network: nn.Module, x: Tensor, y: Tensor) -> None:
    """Fit by damped Gauss-Newton steps in float64; the damping falls after a step that helps, else rises."""
    x, y = x[:MARQUARDT_ROWS], y[:MARQUARDT_ROWS]
    shapes = {name: one.shape for name, one in network.named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]

    def value(weights: Tensor, row: Tensor) -> Tensor:
        named = zip(shapes.items(), torch.split(weights, sizes), strict=True)
        parts = {name: part.view(shape) for (name, shape), part in named}
        found: Tensor = functional_call(network, parts, row[None])
        return found.squeeze()

    values, gradients = vmap(value, (None, 0)), vmap(grad(value), (None, 0))
    weights, damping = parameters_to_vector(network.parameters()).detach(), 1e-2
    scale, errors = torch.zeros_like(weights), values(weights, x) - y
    for _ in range(MARQUARDT_STEPS):
        jacobian = gradients(weights, x)
        normal, slope = jacobian.t() @ jacobian, jacobian.t() @ errors
        scale = torch.maximum(scale, normal.diagonal())
        for attempt in tried(damping):
            damping = attempt
            step = torch.linalg.solve(normal + torch.diag(damping * scale), slope)
            others = values(weights - step, x) - y
            if others.square().sum() < errors.square().sum():
                weights, errors = weights - step, others
                break
    vector_to_parameters(weights, network.parameters())


def tried(damping: float) -> Iterator[float]:
    """A quarter of the damping that last helped, then more and more."""
    damping = max(damping / 4, 1e-14)
    while damping < 1e8:
        yield damping
        damping *= 4


FITS = {"adam": adam, "levenberg_marquardt": levenberg_marquardt}


def measure(name: str, fit: str, *, depth: int, seed: int) -> dict[str, object]:
    """Train one network on the polynomial of one seed."""
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(TRAIN_ROWS + TEST_ROWS, NUM_INPUTS, generator=generator, dtype=torch.float64) - 1
    y = polynomial(x, generator)
    torch.manual_seed(seed)
    body, width = NETWORKS[name](depth)
    network = nn.Sequential(body, nn.Linear(width, 1)).double()
    started = time.process_time()
    FITS[fit](network, x[:TRAIN_ROWS], y[:TRAIN_ROWS])
    seconds = time.process_time() - started
    with torch.no_grad():
        rmse = root_mean_square(network.double()(x[TRAIN_ROWS:]).squeeze(1) - y[TRAIN_ROWS:])
    return {
        "lib": "crossfield",
        "what": "random polynomials of orders 1-4",
        "network": name,
        "fit": fit,
        "depth": depth,
        "seed": seed,
        "rmse": float(f"{rmse:.3g}"),
        "limit": float(f"{limit(x, y, depth + 1):.3g}"),
        "parameters": sum(one.numel() for one in network.parameters()),
        "inputs": NUM_INPUTS,
        "cpu_seconds": round(seconds, 1),
        "versions": {package: version(package) for package in ("crossfield", "torch")},
    }


def main() -> None:
    """Measure every network at every depth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--record", action="store_true", help=f"append to {RESULTS.name}")
    given = parser.parse_args()
    torch.set_num_threads(1)
    runs = [(name, fit) for name in NETWORKS for fit in FITS if (name, fit) != ("mlp", "levenberg_marquardt")]
    for name, fit in runs:
        for depth in DEPTHS:
            for seed in given.seeds:
                line = measure(name, fit, depth=depth, seed=seed)
                print(json.dumps(line), flush=True)
                if given.record:
                    append_line(RESULTS, line)


if __name__ == "__main__":
    main()
