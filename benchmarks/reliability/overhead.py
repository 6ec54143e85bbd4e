"""What checkpoints cost: a fit at the default interval, each checkpoint timed and weighed.

    python benchmarks/reliability/overhead.py --data DIR [--models deepfm dcn_v2] [--epochs 5] [--record]

DIR is of benchmarks/speed/ctr_data.py: 1.02 M ids, none left out here, so that the tables are as large as they get.
With --record a line per model goes to benchmarks/results/reliability.jsonl.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from crossfield import checkpoint
from crossfield.files import append_line
from crossfield.ranker import Ranker
from crossfield.train_options import TrainConfig

RESULTS = Path(__file__).parents[1] / "results" / "reliability.jsonl"


class Timed:
    """Writes checkpoints with a watch and a scale beside it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.size = 0
        self._save = checkpoint.save_checkpoint
        checkpoint.save_checkpoint = self

    def __call__(self, folder: Path, **state: Any) -> Path:
        """Write one."""
        started = time.monotonic()
        path = self._save(folder, **state)
        self.seconds.append(time.monotonic() - started)
        self.size = sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
        return path


def measure(model: str, data: Path, epochs: int) -> dict[str, Any]:
    """Fit once and say what the checkpoints took of it."""
    timed = Timed()
    columns = {"label": "label", "kinds": {f"I{one}": "dense" for one in range(1, 14)}}
    train = {"epochs": epochs, "patience": epochs}
    ranker = Ranker(model, embedding_dim=16, train=train, encoder={"min_count": 1}, data=columns)
    with TemporaryDirectory() as folder:
        ranker.fit(str(data / "train.csv"), str(data / "valid.csv"), out=Path(folder) / "run", quiet=True)
    about = ranker.about
    return {
        "what": "checkpoints",
        "model": model,
        "interval_s": TrainConfig().checkpoint_seconds,
        "parameters": about["parameters"],
        "train_seconds": round(about["train_seconds"], 1),
        "count": len(timed.seconds),
        "checkpoint_seconds": [round(one, 3) for one in timed.seconds],
        "megabytes": round(timed.size / 1e6, 1),
        "share": round(sum(timed.seconds) / about["train_seconds"], 5),
        "versions": about["versions"],
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["deepfm", "dcn_v2"])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    for model in given.models:
        line = measure(model, given.data, given.epochs)
        print(json.dumps(line), flush=True)
        if given.record:
            append_line(RESULTS, line)


if __name__ == "__main__":
    main()
