"""What the settings of Gowalla's rows were chosen by: Recall@20 among all places of pairs held back from training.

    CROSSFIELD_DATA=DIR python benchmarks/gowalla_settings.py [ials neumf ...] [--record]

A fiftieth of the training pairs, drawn at random, is held back; the test part is never read. Prints one JSON line per
setting; with --record they are also appended to benchmarks/results/gowalla-settings.jsonl. A setting that is there
already is not run again.
"""

import argparse
import json
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import torch

from crossfield.files import append_line, read_lines
from crossfield.parts import part, with_public_options
from crossfield.ranker import Ranker
from crossfield.recipe import Recipe

RESULTS = Path(__file__).parent / "results" / "gowalla-settings.jsonl"
HELD_BACK, WATCHED = 0.02, 0.2
"""Of the training pairs; and of these while training."""
TRAIN: dict[str, Any] = {
    "epochs": 100,
    "batch_size": 2048,
    "monitor": "recall@20",
    "monitor_items": "all",
    "patience": 3,
    "plateau_factor": 1.0,
    "precision": "fp32",
    "compile": "off",
}


def ials() -> Iterator[dict[str, Any]]:
    """α₀ and λ at width 64, and the best of them at 256."""
    for alpha0, l2 in product((0.003, 0.01, 0.03, 0.1), (0.001, 0.003, 0.01)):
        yield {"model": {"name": "ials", "embedding_dim": 64, "alpha0": alpha0, "l2": l2, "epochs": 8}}
    yield {"model": {"name": "ials", "embedding_dim": 256, "alpha0": 0.01, "l2": 0.003, "epochs": 8}}


def neumf() -> Iterator[dict[str, Any]]:
    """Widths, objective, and Adam over whole tables or over the rows of a batch."""
    narrow = {"name": "neumf", "embedding_dim": 32, "mlp_embedding_dim": 32, "hidden": [64, 32, 16]}
    wide = {"name": "neumf", "embedding_dim": 64, "mlp_embedding_dim": 64, "hidden": [64, 64]}
    for model, objective, optimizer in product((narrow, wide), ("bce", "bpr"), ("adam", "lazy_adam")):
        yield {"model": model, "train": {"objective": objective, "negatives": 4, "optimizer": optimizer, "lr": 1e-3}}


SETTINGS = {"ials": ials, "neumf": neumf}


def measure(settings: dict[str, Any]) -> dict[str, Any]:
    """Train with these settings and rank what was held back."""
    train_section = {**TRAIN, **settings.get("train", {})}
    recipe = Recipe.of(
        with_public_options({"data": {"path": "gowalla"}, "model": settings["model"], "train": train_section})
    )
    train, valid = part(recipe).train.split("random", sizes=(1 - HELD_BACK, HELD_BACK), seed=recipe.data.split_seed)
    watched, _ = valid.split("random", sizes=(WATCHED, 1 - WATCHED), seed=recipe.data.split_seed)
    started = time.process_time()
    ranker = Ranker(recipe).fit(train, watched, quiet=True)
    seconds = time.process_time() - started
    found = ranker.evaluate(valid, ks=(20,), intervals=False, quiet=True)
    return {
        "lib": "crossfield",
        "what": "settings for Gowalla",
        **settings,
        "seed": recipe.train.seed,
        "valid": {name: round(found[name], 5) for name in ("recall@20", "ndcg@20")},
        "best_epoch": ranker.about.get("best_epoch"),
        "cpu_seconds": round(seconds, 1),
        "data_sha256": ranker.about["data_sha256"],
        "versions": {package: version(package) for package in ("crossfield", "torch")},
    }


def main() -> None:
    """Measure every setting that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[*SETTINGS, []], help="all of them if none is named")
    parser.add_argument("--record", action="store_true", help=f"append to {RESULTS.name}")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = read_lines(RESULTS) if RESULTS.is_file() else []
    done = [{key: line[key] for key in ("model", "train") if key in line} for line in lines]
    for name in given.models or SETTINGS:
        for settings in SETTINGS[name]():
            if settings in done:
                continue
            line = measure(settings)
            print(json.dumps(line), flush=True)
            if given.record:
                append_line(RESULTS, line)


if __name__ == "__main__":
    main()
