"""Matrix factorisation by SGD, one example a step, on the NCF paper's MovieLens-1M: what our mf-192 does otherwise.

    CROSSFIELD_DATA=DIR python benchmarks/reference/mf_sgd.py [--negatives all unseen] [--seeds 0] [--record]

The algorithm and settings of Rendle, Krichene, Zhang and Anderson (RecSys 2020): in every epoch eight negatives per
film, all examples shuffled, and for each of them a step along the gradient of its log loss and of λ/2 times the squares
of what it looks up. They draw negatives from all films; "unseen" leaves those out that the user has in training, as
Crossfield does. Vectors have 191 numbers, and biases beside them, which the paper counts as 192. The rate of .002, λ of
.005 and 256 epochs are theirs; nothing is chosen here. Prints one JSON line per run, with HR@10 and NDCG@10 of the test
after every eighth epoch; with --record they are also appended to benchmarks/results/ncf-mf-sgd.jsonl.

Environment: ``pip install numba`` beside Crossfield.
"""

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from crossfield import metrics
from crossfield.data.public import load_public
from crossfield.files import append_line

Ids = NDArray[np.int32]
Floats = NDArray[np.float32]

RESULTS = Path(__file__).parents[1] / "results" / "ncf-mf-sgd.jsonl"
WIDTH, STD, LR, L2, NEGATIVES, EPOCHS, EVERY = 191, 0.1, 0.002, 0.005, 8, 256, 8


@njit
def draw(pairs: Ids, seen: NDArray[np.bool_], is_unseen_only: bool, seed: int) -> Ids:
    """Examples [n (1 + NEGATIVES), 3] of an epoch in random order: user, item, label."""
    np.random.seed(seed)
    examples = np.empty((len(pairs) * (1 + NEGATIVES), 3), np.int32)
    for place in range(len(examples)):
        user, item = pairs[place // (1 + NEGATIVES)]
        is_positive = place % (1 + NEGATIVES) == 0
        if not is_positive:
            item = np.random.randint(seen.shape[1])
            while is_unseen_only and seen[user, item]:
                item = np.random.randint(seen.shape[1])
        examples[place, 0], examples[place, 1], examples[place, 2] = user, item, is_positive
    np.random.shuffle(examples)
    return examples


@njit(fastmath=True)
def step_through(examples: Ids, bias: Floats, user_biases: Floats, item_biases: Floats, p: Floats, q: Floats) -> None:
    """A step for every example: w += η ((y - σ(ŷ)) ∂ŷ/∂w - λ w)."""
    lr, l2 = np.float32(LR), np.float32(L2)
    for user, item, label in examples:
        logit = bias[0] + user_biases[user] + item_biases[item]
        for k in range(p.shape[1]):
            logit += p[user, k] * q[item, k]
        error = np.float32(label) - np.float32(1) / (np.float32(1) + np.exp(-logit))
        bias[0] += lr * (error - l2 * bias[0])
        user_biases[user] += lr * (error - l2 * user_biases[user])
        item_biases[item] += lr * (error - l2 * item_biases[item])
        for k in range(p.shape[1]):
            p_k, q_k = p[user, k], q[item, k]
            p[user, k] += lr * (error * q_k - l2 * p_k)
            q[item, k] += lr * (error * p_k - l2 * q_k)


def measure(kind: str, seed: int) -> dict[str, Any]:
    """Train by the paper's settings with one kind of negatives."""
    public = load_public("ncf-ml-1m")
    assert public.ranking is not None and public.ranking.negatives is not None
    pairs = public.train.frame.select("user", "item").collect().to_numpy().astype(np.int32)
    users, targets = (public.ranking.pairs[name].to_numpy() for name in ("user", "item"))
    candidates = np.column_stack([targets, public.ranking.negatives])
    seen = np.zeros((max(pairs[:, 0].max(), users.max()) + 1, max(pairs[:, 1].max(), candidates.max()) + 1), np.bool_)
    seen[pairs[:, 0], pairs[:, 1]] = True
    generator = np.random.default_rng(seed)
    p, q = (generator.normal(0, STD, (size, WIDTH)).astype(np.float32) for size in seen.shape)
    user_biases, item_biases = (np.zeros(size, np.float32) for size in seen.shape)
    bias, history, started = np.zeros(1, np.float32), [], time.process_time()
    for epoch in range(1, EPOCHS + 1):
        examples = draw(pairs, seen, kind == "unseen", int(generator.integers(2**31)))
        step_through(examples, bias, user_biases, item_biases, p, q)
        if epoch % EVERY == 0:
            scores = np.einsum("uk,uck->uc", p[users], q[candidates]) + item_biases[candidates]
            counted = candidates[:, 1:] != targets[:, None]
            ranks = metrics.rank_among_negatives(scores[:, 0], scores[:, 1:], counted=counted)
            found = {"hr@10": metrics.hit_rate(ranks, 10).mean(), "ndcg@10": metrics.ndcg(ranks, 10).mean()}
            history.append({"epoch": epoch, **{name: round(float(value), 5) for name, value in found.items()}})
    return {
        "what": "MF by SGD, one example a step",
        "negatives": kind,
        "seed": seed,
        "test": history[-1],
        "best_on_test": max(history, key=lambda one: one["hr@10"]),
        "history": history,
        "settings": {"width": WIDTH, "std": STD, "lr": LR, "l2": L2, "negatives": NEGATIVES, "epochs": EPOCHS},
        "cpu_seconds": round(time.process_time() - started),
        "versions": {package: version(package) for package in ("crossfield", "numba", "numpy")},
    }


def main() -> None:
    """One run for each kind of negatives and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--negatives", nargs="+", choices=("all", "unseen"), default=("all", "unseen"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--record", action="store_true", help=f"append to {RESULTS.name}")
    given = parser.parse_args()
    for seed in given.seeds:
        for kind in given.negatives:
            line = measure(kind, seed)
            print(json.dumps(line), flush=True)
            if given.record:
                append_line(RESULTS, line)


if __name__ == "__main__":
    main()
