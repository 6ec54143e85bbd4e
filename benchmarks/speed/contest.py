"""What every contestant measures alike: wall and CPU seconds of each part, peak memory, AUC and log loss.

Runs in the contestants' own environments, so it knows nothing but the standard library and NumPy.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STARTED = time.time() - time.process_time()
"""About when the interpreter started: imports before this line count too."""

DENSE = [f"I{number}" for number in range(1, 14)]
CATEGORICAL = [f"C{number}" for number in range(1, 27)]
EMBEDDING_DIM, HIDDEN, BATCH_ROWS, LEARNING_RATE = 16, (400, 400, 400), 4096, 1e-3
"""The work: the same for all."""
CROSS_LAYERS, CIN, DLRM_BOTTOM = 3, (64, 64), (128, 64)
RANKING_DIM, TOWER = 64, (128, 64, 32)


class Contest:
    """One contestant training one model on one set of rows for one epoch."""

    def __init__(self, lib: str) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--model", required=True)
        parser.add_argument("--data", type=Path, required=True, help="folder with the rows")
        parser.add_argument("--work", type=Path, required=True, help="scratch folder")
        parser.add_argument("--threads", type=int, default=2)
        parser.add_argument("--full-tables", action="store_true", help="a row for every id there is, met or not")
        given = parser.parse_args()
        self.lib, self.model, self.threads = lib, given.model, given.threads
        self.data, self.work = given.data, given.work
        self.train_file, self.valid_file = given.data / "train.csv", given.data / "valid.csv"
        self.sizes: dict[str, int] = {}
        if given.full_tables:
            sizes = json.loads((given.data / "info.json").read_text())["sizes"]
            # Two more for missing and unseen ids.
            self.sizes = {name: size + 2 for name, size in zip(CATEGORICAL, sizes, strict=True)}
        self.parts: dict[str, dict[str, float]] = {}

    def size(self, name: str, met: int) -> int:
        """Table rows of a column of which so many ids were met."""
        return max(self.sizes.get(name, 0), met)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part of the work."""
        wall, cpu = time.perf_counter(), cpu_seconds()
        yield
        self.parts[name] = {"wall": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu}

    def finish(self, version: str, *, train_rows: int, valid_rows: int, **found: Any) -> None:
        """Print the result line."""
        train, evaluation = self.parts["train"], self.parts["evaluate"]
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        line = {
            "lib": self.lib,
            "version": version,
            "model": self.model,
            "threads": self.threads,
            "train_rows": train_rows,
            "valid_rows": valid_rows,
            "train_rows_per_s": train_rows / train["wall"],
            "train_rows_per_cpu_s": train_rows / train["cpu"],
            "evaluate_rows_per_s": valid_rows / evaluation["wall"],
            "parts": self.parts,
            "seconds": time.time() - STARTED,
            "cpu_seconds": cpu_seconds(),
            "peak_mb": peak_kb / 1024,
            "load": os.getloadavg()[0],
            **found,
        }
        print("RESULT " + json.dumps(line), flush=True)


def cpu_seconds() -> float:
    """Of this process and the children it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in usages)


def scores(labels: Any, probabilities: Any) -> dict[str, float]:
    """AUC and log loss by scikit-learn, for contestants that have none of their own."""
    import numpy as np
    from sklearn.metrics import log_loss, roc_auc_score

    labels, probabilities = (np.asarray(one, np.float64).ravel() for one in (labels, probabilities))
    return {
        "auc": float(roc_auc_score(labels, probabilities)),
        "log_loss": float(log_loss(labels, probabilities.clip(1e-7, 1 - 1e-7))),
    }


def read_with_pandas(contest: Contest) -> tuple[Any, int]:
    """Training and validation rows as one frame and the number of the former: ids from 0, dense as log(1 + x).

    What the READMEs of the libraries without a reader of their own tell their users to do.
    """
    import numpy as np
    import pandas as pd
    from sklearn.preprocessing import LabelEncoder

    text = dict.fromkeys(CATEGORICAL, str)
    train, valid = (pd.read_csv(one, dtype=text) for one in (contest.train_file, contest.valid_file))
    rows = pd.concat([train, valid], ignore_index=True)
    rows[CATEGORICAL] = rows[CATEGORICAL].fillna("-1")
    rows[DENSE] = np.log1p(rows[DENSE].fillna(0).astype("float64")).astype("float32")
    for name in CATEGORICAL:
        rows[name] = LabelEncoder().fit_transform(rows[name])
    return rows, len(train)
