"""Train a committed recipe with several seeds and append one result line per seed.

    python benchmarks/quality.py frappe/deepfm --seeds 0 1 2

Lines go to benchmarks/results/<data set>.jsonl; `make docs` draws docs/benchmarks.md from them. A seed that stands
there already for the same recipe is skipped.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from crossfield import verbs

RESULTS = Path(__file__).parent / "results"
KEPT = ("lib", "model", "dataset", "seed", "valid", "best_epoch", "parameters", "train_rows", "threads")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="committed recipe, such as frappe/deepfm")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    for seed in given.seeds:
        run(given.recipe, seed)


def run(name: str, seed: int) -> None:
    """One training; its line is appended unless it is there."""
    recipe = verbs.resolve_recipe(Path(name), None, {"train.seed": seed})
    path = RESULTS / f"{recipe.data.path}.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    if any(one["recipe_sha256"] == recipe.sha256 for one in done):
        print(f"{name}, seed {seed}: there already")
        return
    with tempfile.TemporaryDirectory() as folder:
        found = verbs.fit(
            recipe, Path(folder) / "run", schema=None, resume=False, overwrite=False, device="cpu", quiet=False
        ).json
    with path.open("a") as file:
        file.write(json.dumps(line_of(name, found)) + "\n")
    print(f"{name}, seed {seed}: {found['test']}")


def line_of(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """A result line: what was run, on what, and what came out."""
    metrics = {key: value for key, value in found["test"].items() if isinstance(value, int | float)}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "recipe": name,
        **{key: found[key] for key in KEPT},
        "metrics": metrics,
        "seconds": found["train_seconds"],
        "train_sps": found["train_sps"],
        "versions": found["versions"],
        "data_sha256": found["data_sha256"],
        "recipe_sha256": found["recipe_sha256"],
        "commit": commit,
    }


if __name__ == "__main__":
    main()
