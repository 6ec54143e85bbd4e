"""Trials of the tour: one landmark, one seed, one budget; several trials at once where there are cores for it."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from crossfield import metrics
from crossfield.data.store import Reader, Store
from crossfield.evaluate import predict
from crossfield.fitting import EVALUATION_ROWS, click_monitor, interactions
from crossfield.landmarks import Crosses, Landmark, build
from crossfield.models.base import Model, Solved, num_numbers
from crossfield.report import Run
from crossfield.schema import ModelSchema
from crossfield.train import TrainConfig, Trainer

Floats = NDArray[np.float64]
Say = Callable[[str], None]

SEEN_ROWS = 800_000
"""Training rows a model sees, repetitions included, where the data are few enough for that."""
MOST_EPOCHS = 20
BATCH_ROWS = 1024
LEAST_STEPS = 40
"""Per epoch; data of few rows get smaller batches to make as many."""
LEAST_BATCH_ROWS = 32
WHOLE_TABLE_ROWS = 100_000
"""Up to so many table rows Adam moves all of them at every step; above, only those of the batch."""


@dataclass(frozen=True)
class Budget:
    """What every model of a tour may spend."""

    num_epochs: int
    batch_size: int

    @classmethod
    def of(cls, num_rows: int) -> Self:
        """About 800 steps: smaller batches for few training rows, fewer epochs, down to one, for many."""
        num_epochs = min(max(SEEN_ROWS // num_rows, 1), MOST_EPOCHS)
        return cls(num_epochs, min(BATCH_ROWS, max(LEAST_BATCH_ROWS, num_rows // LEAST_STEPS)))


@dataclass(frozen=True)
class Stores:
    """Encoded training, validation and test rows."""

    train: Store
    valid: Store
    test: Store


@dataclass(frozen=True)
class Trial:
    """One trained model: how it did, and its logits on the test rows."""

    run: Run
    logits: Floats
    num_parameters: int


@dataclass(frozen=True)
class Job:
    """A trial to be run. folders: of the stores. effects [n, 3]: what is planted in the test rows, if anything."""

    landmark: Landmark
    folders: tuple[Path, Path, Path]
    budget: Budget
    seed: int
    effects: Floats | None

    def run(self) -> Trial:
        """Open the stores and train."""
        train, valid, test = (Store.open(folder, verify=False) for folder in self.folders)
        stores = Stores(train, valid, test)
        return train_one(self.landmark, stores, budget=self.budget, seed=self.seed, effects=self.effects)


def train_all(
    landmarks: Sequence[Landmark],
    stores: Mapping[Crosses, Stores],
    budget: Budget,
    *,
    seeds: int,
    effects: Floats | None = None,
    processes: int = 1,
    say: Say = lambda text: None,
) -> dict[str, list[Trial]]:
    """Trials of every landmark by name, seed by seed; the numbers do not depend on how many run at once."""
    jobs = [
        Job(one, _folders(stores[one.crosses]), budget, seed, effects) for seed, one in product(range(seeds), landmarks)
    ]
    found: dict[str, list[Trial]] = {one.name: [] for one in landmarks}
    for done, (job, trial) in enumerate(zip(jobs, _run_jobs(jobs, processes), strict=True), start=1):
        found[job.landmark.name].append(trial)
        told = f"AUC {trial.run.auc:.4f} in {trial.run.seconds:.1f} s"
        say(f"{done:>3} of {len(jobs)}  {job.landmark.name}, seed {job.seed}: {told}")
    return found


def _folders(stores: Stores) -> tuple[Path, Path, Path]:
    return stores.train.folder, stores.valid.folder, stores.test.folder


def _run_jobs(jobs: Sequence[Job], processes: int) -> Iterator[Trial]:
    """The trials in the order of their jobs."""
    if processes < 2 or len(jobs) < 2:
        yield from map(Job.run, jobs)
        return
    # Fresh processes, not forks: polars and torch have threads, and a fork of a process with threads may hang.
    pool = ProcessPoolExecutor(min(processes, len(jobs)), mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(Job.run, jobs)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    # PERF: steps this small gain nothing from a second thread, and on a busy machine the two wait for each other:
    # FM then took 31 CPU-seconds instead of 2.8.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_one(landmark: Landmark, stores: Stores, *, budget: Budget, seed: int, effects: Floats | None = None) -> Trial:
    """Train one landmark with one seed, keep its best epoch by validation AUC, and judge it on the test rows."""
    with _one_thread():
        torch.manual_seed(seed)
        model = build(landmark, stores.train.model_schema)
        # CPU time: it does not grow when others use the machine too, other trials among them.
        started = time.process_time()
        curve = _learn(model, stores, budget, seed)
        seconds = time.process_time() - started
        found = predict(model, Reader(stores.test, batch_size=EVALUATION_ROWS, shuffle=False).epoch())
    rows = (np.asarray(stores.test.labels, dtype=np.float64), found.logits, found.weights)
    run = Run(
        seed=seed,
        auc=metrics.auc(*rows),
        log_loss=metrics.log_loss(*rows),
        normalized_entropy=metrics.normalized_entropy(*rows),
        seconds=seconds,
        curve=curve,
        slopes=planted_slopes(found.logits, effects) if effects is not None else (),
    )
    return Trial(run, found.logits, num_numbers(model))


def _learn(model: Model, stores: Stores, budget: Budget, seed: int) -> tuple[float, ...]:
    """Solve or train; validation AUC after each epoch, nothing for a solved model."""
    if isinstance(model, Solved):
        model.solve(interactions(stores.train))
        return ()
    config = config_of(stores.train.model_schema, budget, seed)
    reader = Reader(stores.train, batch_size=config.batch_size, seed=seed)
    result = Trainer(model, reader, config, evaluate=click_monitor(stores.valid)).fit()
    return tuple(record["auc"] for record in result.history)


def config_of(schema: ModelSchema, budget: Budget, seed: int) -> TrainConfig:
    """How every landmark is trained."""
    num_rows = sum(one.num_rows for one in schema.fields)
    return TrainConfig(
        epochs=budget.num_epochs,
        batch_size=budget.batch_size,
        lr=5e-3,
        optimizer="adam" if num_rows <= WHOLE_TABLE_ROWS else "lazy_adam",
        embedding_l2=1e-5,
        precision="fp32",
        compile="off",
        monitor="auc",
        seed=seed,
    )


def planted_slopes(logits: Floats, effects: Floats) -> tuple[float, ...]:
    """Least-squares slopes of logits [n] on the planted parts [n, 3] together: 1 where a part is learnt, 0 if not."""
    design = np.column_stack([np.ones(len(effects)), effects])
    return tuple(np.linalg.lstsq(design, logits, rcond=None)[0][1:].tolist())
