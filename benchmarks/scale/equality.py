"""Whether several processes train what one trains: losses of every step and the weights at the end.

python benchmarks/scale/equality.py [--sizes 1 2 4] [--seeds 0 1 2] [--models dhen dlrm ...] [--torchrec] [--record]

Gloo processes on this machine, the same global batch, no dropout. Rows are random: 2 dense features, 3 id fields of
1,003, 58 and 12 rows, none of these sums divisible by the processes; the last batch of each epoch has one row, so that
all processes but the first have none of it. All tables lie by rows. One line per model, optimiser, seed, number type,
mesh and number of processes; with --record they are appended to benchmarks/results/scale-equality.jsonl. A line's
``loss`` is the largest relative difference of a step's loss, ``weights`` that of all weights in norm; ``passed`` says
whether they stay within 1e-9 in float64, and 1e-6 and 1e-5 in fp32. ``resharded`` says whether what this many processes
saved is, bit by bit, what one process loads.

With --torchrec TorchRec holds the tables, whole (table_wise) or by rows (row_wise), and is compared with one process
that has them in memory, which also loads what was saved; in fp32, without the L2 and the clip of the others, by the
optimisers that FBGEMM has for CPUs. Lines go to benchmarks/results/scale-torchrec.jsonl.
"""

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.data.encode import Encoded
from crossfield.data.store import Reader, Store, write_store
from crossfield.distributed import spread, torchrec_tables
from crossfield.distributed.team import ALONE, Team, join
from crossfield.files import append_line
from crossfield.models import CATALOGUE
from crossfield.objectives import bce_objective
from crossfield.schema import Field, ModelSchema
from crossfield.train import TrainConfig, Trainer

RESULTS = Path(__file__).parents[1] / "results"
BATCH, NUM_ROWS = 64, 8 * 64 + 1
EPOCHS = 2
SCHEMA = ModelSchema(
    dense=("price", "age"), categorical=(Field("user", 1003), Field("item", 58), Field("page", 12)), user="user"
)
SIZES: dict[str, dict[str, Any]] = {
    "dhen": {"embedding_dim": 8, "bottom": (16,), "top": (32,), "layers": (("dot", "linear"), ("attention", "linear"))},
    "dlrm": {"embedding_dim": 8, "bottom": (16, 8), "top": (32,)},
    "deepfm": {"embedding_dim": 8, "deep": (32, 32)},
    "wide_deep": {"embedding_dim": 8, "deep": (32, 32)},
}
OPTIMIZERS = ("lazy_adam", "rowwise_adagrad", "adam", "adagrad", "sgd")
FUSED = ("rowwise_adagrad", "adagrad", "sgd")
LAYOUTS = ("table_wise", "row_wise")
WITHIN = {"float64": (1e-9, 1e-9), "float32": (1e-6, 1e-5)}


@dataclass(frozen=True)
class Case:
    """One training."""

    model: str
    optimizer: str
    seed: int
    dtype: str
    mesh: str = "auto"
    layout: str | None = None
    """Of tables that TorchRec holds: one of LAYOUTS."""
    tables: str = "memory"


def encoded() -> Encoded:
    """Rows whose ids are as uneven as real ones."""
    random = np.random.default_rng(0)
    items, users = random.integers(2, 58, NUM_ROWS), np.minimum(random.zipf(1.2, NUM_ROWS) + 1, 1002)
    return Encoded(
        dense=random.normal(size=(NUM_ROWS, 2)).astype(np.float32),
        categorical=np.stack([users, items, random.integers(2, 12, NUM_ROWS)], 1).astype(np.int32),
        sequences={},
        labels=((items + users) % 2).astype(np.float32),
        weights=None,
        groups=np.zeros(NUM_ROWS, dtype=np.int64),
        rows=np.arange(NUM_ROWS),
    )


@dataclass
class Typed:
    """A store whose numbers have the type of a case."""

    store: Store
    dtype: torch.dtype

    def batch(self, rows: np.ndarray) -> Batch:
        """The rows at the given positions."""
        batch = self.store.batch(rows)
        return replace(batch, dense=batch.dense.to(self.dtype))


def train(team: Team, case: Case, rows: Path, run: Path) -> tuple[list[float], dict[str, np.ndarray]]:
    """Train one case; losses by step, and the weights, which the first process has whole."""
    spread.SMALL_TABLE = 0
    settings = {"batch_size": BATCH, "epochs": EPOCHS, "lr": 0.01, "precision": "fp32", "tables": case.tables}
    if case.layout is None:
        settings |= {"clip_norm": 1.0, "embedding_l2": 1e-4}
    else:
        torchrec_tables.KINDS = (case.layout,)
    config = TrainConfig.of({**settings, "optimizer": case.optimizer, "seed": case.seed, "mesh": case.mesh})
    store, kind, dtype = Store.open(rows, verify=False), CATALOGUE[case.model], getattr(torch, case.dtype)
    torch.manual_seed(case.seed)
    model = kind(SCHEMA, kind.config_type(**SIZES[case.model])).to(dtype)
    reader = Reader(store, batch_size=BATCH, seed=case.seed, rank=team.rank, world=team.size)
    reader.source = Typed(store, dtype)
    losses: list[float] = []

    def objective(called: nn.Module, batch: Batch) -> Tensor:
        loss = bce_objective(called, batch)
        losses.append(loss.item())
        return loss

    trainer = Trainer(model, reader, config, folder=run, objective=objective, team=team)
    trainer.fit(resume=True)
    return losses, {name: one.numpy().copy() for name, one in trainer.model.state_dict().items()}


def train_all(team: Team, cases: list[Case], rows: Path, runs: Path) -> list[Any]:
    """Train cases one after the other, a folder for each."""
    return [train(team, case, rows, runs / str(place)) for place, case in enumerate(cases)]


def several(size: int, cases: list[Case], rows: Path, runs: Path) -> list[Any]:
    """What the first of some processes finds."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    given = [(answers, rank, size, port, cases, rows, runs) for rank in range(size)]
    processes = [context.Process(target=_one_of, args=one) for one in given]
    for process in processes:
        process.start()
    found: list[Any] = answers.get(timeout=1800)
    for process in processes:
        process.join()
    return found


def _one_of(answers: Any, rank: int, size: int, port: int, cases: list[Case], rows: Path, runs: Path) -> None:
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in places.items()}, MASTER_ADDR="127.0.0.1")
    torch.set_num_threads(1)
    found = train_all(join("cpu", lost_seconds=300), cases, rows, runs)
    if rank == 0:
        answers.put(found)


def compare(case: Case, size: int, found: Any, expected: Any, loaded: Any) -> dict[str, Any]:
    """The line of a case: how far several processes are from one."""
    losses, wanted = np.array(found[0]), np.array(expected[0])
    loss = float(np.max(np.abs(losses - wanted) / np.abs(wanted)))
    gap, norm = (
        np.sqrt(sum(float(np.square(one(name).astype(np.float64)).sum()) for name in expected[1]))
        for one in (lambda name: found[1][name] - expected[1][name], lambda name: expected[1][name])
    )
    most = WITHIN[case.dtype]
    is_exact = not loaded[0] and all((loaded[1][name] == found[1][name]).all() for name in found[1])
    return {
        **asdict(case),
        "processes": size,
        "steps": len(losses),
        "loss": loss,
        "weights": float(gap / norm),
        "passed": bool(loss <= most[0] and gap / norm <= most[1]),
        "resharded": bool(is_exact),
    }


def lines(sizes: list[int], cases: list[Case]) -> Iterator[dict[str, Any]]:
    """Every case on every number of processes."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows"
        write_store([encoded()], rows, model_schema=SCHEMA, fingerprint="equality")
        plain = [replace(case, mesh="auto", tables="memory") for case in cases]
        expected = train_all(ALONE, plain, rows, Path(scratch) / "one")
        for size in sizes:
            runs = Path(scratch) / f"of {size}"
            meshed = [replace(case, mesh=case.mesh if case.mesh == "auto" else mesh_of(size)) for case in cases]
            found = several(size, meshed, rows, runs) if size > 1 else train_all(ALONE, meshed, rows, runs)
            loaded = train_all(ALONE, plain, rows, runs)
            for one in zip(meshed, found, expected, loaded, strict=True):
                yield compare(one[0], size, *one[1:])


def mesh_of(size: int) -> str:
    """Two replicas where there are enough processes for two shards each."""
    return f"2x{size // 2}" if size >= 4 else f"1x{size}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(SIZES))
    parser.add_argument("--optimizers", nargs="+", default=list(OPTIMIZERS))
    parser.add_argument("--torchrec", action="store_true")
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cases, results, packages = _cases(given), "scale-equality.jsonl", ["crossfield", "torch", "numpy"]
    if given.torchrec:
        results, packages = "scale-torchrec.jsonl", [*packages, "torchrec", "fbgemm-gpu-cpu"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    about = {"versions": {name: version(name) for name in packages}, "commit": commit}
    for line in lines(given.sizes, cases):
        print(json.dumps(line), flush=True)
        if given.record:
            append_line(RESULTS / results, {**line, **about})


def _cases(given: argparse.Namespace) -> list[Case]:
    if given.torchrec:
        asked = product(given.models, [one for one in given.optimizers if one in FUSED], given.seeds, LAYOUTS)
        return [Case(*one, "float32", layout=layout, tables="torchrec") for *one, layout in asked]
    cases = [Case(*one) for one in product(given.models, given.optimizers, given.seeds, WITHIN)]
    sharded = product(given.models, given.optimizers[:1], given.seeds, WITHIN)
    return [*cases, *(Case(*one, mesh="sharded") for one in sharded)]


if __name__ == "__main__":
    main()
