"""What the optimisers' state in bf16 costs in AUC: DeepFM on the rows of ctr_data.py, both formats with each seed.

    python benchmarks/speed/table_state.py --data DIR [--seeds 5] [--record]

--data is a folder that ctr_data.py filled. With --record lines go to benchmarks/results/table-state.jsonl.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from crossfield.data.store import Reader
from crossfield.evaluate import predict
from crossfield.files import append_line
from crossfield.fitting import EVALUATION_ROWS, versions
from crossfield.metrics import auc, log_loss
from crossfield.models import CATALOGUE
from crossfield.preparation import Prepared, prepare
from crossfield.ranker import load_as
from crossfield.recipe import Recipe
from crossfield.train import Trainer

RESULTS = Path(__file__).parents[1] / "results" / "table-state.jsonl"
OPTIMIZERS = {"lazy_adam": 1e-3, "adagrad": 1e-2}
"""Those that keep a number or two per weight, with the learning rate of their tables."""


def recipe_of(optimizer: str, state: str, seed: int) -> Recipe:
    """DeepFM as docs/speed.md has it."""
    dense = {f"I{number}": "dense" for number in range(1, 14)}
    ids = {f"C{number}": "categorical" for number in range(1, 27)}
    train = {"epochs": 1, "batch_size": 4096, "seed": seed, "threads": 2, "compile": "off"}
    return Recipe.of(
        {
            "model": {"name": "deepfm", "embedding_dim": 16, "embedding_std": 1e-4},
            "train": {**train, "optimizer": optimizer, "lr": OPTIMIZERS[optimizer], "table_state": state},
            "data": {"label": "label", "kinds": dense | ids},
        }
    )


def train(recipe: Recipe, prepared: Prepared) -> dict[str, Any]:
    """One training; a line."""
    assert prepared.valid is not None
    torch.manual_seed(recipe.train.seed)
    model = CATALOGUE[recipe.name](prepared.encoder.model_schema, recipe.model)
    trainer = Trainer(model, Reader(prepared.train, batch_size=4096, seed=recipe.train.seed), recipe.train)
    started = time.perf_counter()
    trainer.fit()
    seconds = time.perf_counter() - started
    found = predict(model, Reader(prepared.valid, batch_size=EVALUATION_ROWS, shuffle=False).epoch())
    assert found.labels is not None
    states = trainer._optimizers.parts["embedding"].optimizer.state.values()
    return {
        "optimizer": recipe.train.optimizer,
        "table_state": recipe.train.table_state,
        "seed": recipe.train.seed,
        "auc": auc(found.labels, found.logits),
        "log_loss": log_loss(found.labels, found.logits),
        "seconds": round(seconds, 2),
        "state_mb": sum(one.nbytes for state in states for one in state.values()) / 1e6,
        "rows": prepared.train.num_rows,
        "versions": versions(),
    }


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(2)
    first = recipe_of("lazy_adam", "fp32", 0)
    rows = load_as(first, str(given.data / "train.csv"), None)
    valid = load_as(first, str(given.data / "valid.csv"), rows.schema)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(first, rows, valid, work=Path(folder))
        for seed in range(given.seeds):
            for optimizer in OPTIMIZERS:
                for state in ("fp32", "bf16"):
                    line = train(recipe_of(optimizer, state, seed), prepared)
                    print(json.dumps(line), flush=True)
                    if given.record:
                        append_line(RESULTS, line)


if __name__ == "__main__":
    main()
