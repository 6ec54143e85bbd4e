"""The probe: a few real training steps, timed, of which nothing stays."""

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from crossfield.acceleration import choose_means, settled
from crossfield.batch import Batch
from crossfield.data.store import Reader, write_store
from crossfield.fitting import (
    candidates,
    click_monitor,
    num_negatives,
    ranking_monitor,
    sampler_of,
    tables_folder,
)
from crossfield.mapped import on_disk
from crossfield.memory import peak_memory
from crossfield.models import CATALOGUE
from crossfield.models.base import Model
from crossfield.objectives import Objective, choose_objective
from crossfield.preparation import Prepared
from crossfield.recipe import Recipe
from crossfield.train import Trainer

PROBE_SECONDS = 60.0
"""A probe ends after so long, however few its steps."""
_DOUBLE_SHARE = 4
"""The batch of twice the size gets a fourth of the steps: half the time."""
_EVALUATED, _EVALUATION_SECONDS = 65_536, 10
"""Examples of a timed evaluation: so many, or what training does in so many seconds, which takes longer."""


@dataclass(frozen=True)
class Timed:
    """Steps that were timed."""

    steps: int
    seconds: float
    rows_per_second: float
    """Training rows; drawn negatives cost time and do not count."""


@dataclass(frozen=True)
class Probe:
    """What a few steps took."""

    timed: Timed
    double: Timed | None
    """With twice the batch; None where that was not tried."""
    evaluation_seconds: float | None
    """Of one evaluation on all validation rows, scaled up from a part of them; None without any."""
    threads: int
    bf16: bool
    peak: int
    """The most bytes this process has had in memory: the program, reading, encoding, and the steps."""


def run_probe(
    recipe: Recipe, prepared: Prepared, *, steps: int, work: Path, device: torch.device, try_double: bool = False
) -> Probe:
    """Train a fresh model for some steps as the recipe says, uncompiled; evaluate it once; throw it away.

    ``work`` takes scratch files. Raises RunError where the loss is not finite.
    """
    config = recipe.train
    torch.manual_seed(config.seed)
    with on_disk(tables_folder(recipe, work)):
        model = CATALOGUE[recipe.name](prepared.encoder.model_schema, recipe.model).to(device)
    means, _ = choose_means(
        model, device, threads=config.threads, precision=config.precision, compile="off", num_rows=0
    )
    timed, double = time_steps(recipe, model, prepared, steps=steps), None
    if try_double and timed.seconds < PROBE_SECONDS / 2:
        wider = recipe.override({"train.batch_size": 2 * config.batch_size})
        double = time_steps(wider, model, prepared, steps=-(-steps // _DOUBLE_SHARE))
    with settled(device):
        torch.set_num_threads(means.threads)
        evaluation = _evaluation_seconds(recipe, model, prepared, work=work, speed=timed.rows_per_second)
    return Probe(timed, double, evaluation, means.threads, means.bf16, peak_memory())


class _EnoughError(Exception):
    """Ends a training whose steps have been timed."""


class _Stopwatch:
    """An objective that notes when each step begins, and ends the training when it has seen enough of them.

    The first step is not timed: it allocates what the optimisers keep.
    """

    def __init__(self, called: nn.Module, objective: Objective, *, steps: int) -> None:
        self._called, self._objective, self._last = called, objective, steps + 1
        self._starts: list[float] = []
        self._sizes: list[int] = []

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        number = len(self._starts)
        if batch.dense.is_cuda and number in (1, self._last):
            torch.cuda.synchronize(batch.dense.device)
        self._starts.append(time.perf_counter())
        if number >= self._last or (number > 1 and self._seconds > PROBE_SECONDS):
            raise _EnoughError
        self._sizes.append(batch.size)
        return self._objective(self._called, batch)

    @property
    def _seconds(self) -> float:
        return self._starts[-1] - self._starts[1]

    def timed(self, *, examples_per_row: int) -> Timed:
        rows = sum(self._sizes[1:]) / examples_per_row
        return Timed(len(self._sizes) - 1, self._seconds, rows / self._seconds)


def time_steps(recipe: Recipe, model: Model, prepared: Prepared, *, steps: int) -> Timed:
    """Train a model for ``steps`` steps after a first one, or fewer where they take too long.

    Reading, drawing negatives and the like are part of a step. The model and torch's random state change.
    """
    # Epochs without end, as far as the trainer knows: the stopwatch ends them.
    config = recipe.train.override({"epochs": steps + 2, "compile": "off"})
    negatives = sampler_of(recipe, prepared)
    stopwatch = _Stopwatch(*choose_objective(model, config.objective, negatives), steps=steps)
    trainer = Trainer(
        model,
        Reader(prepared.train, batch_size=config.batch_size, seed=config.seed),
        config,
        negatives=negatives,
        unseen_rate=recipe.encoder.unseen_rate,
        objective=stopwatch,
    )
    with suppress(_EnoughError):
        trainer.fit()
    return stopwatch.timed(examples_per_row=1 + num_negatives(recipe, prepared.encoder.schema))


def _evaluation_seconds(recipe: Recipe, model: Model, prepared: Prepared, *, work: Path, speed: float) -> float | None:
    valid, is_implicit = prepared.valid, prepared.encoder.schema.label is None
    if valid is None or not valid.num_rows:
        return None
    examples = min(_EVALUATED, round(_EVALUATION_SECONDS * speed))
    count = min(valid.num_rows, max(examples // (candidates(prepared, recipe.train) if is_implicit else 1), 1))
    part = write_store(
        [valid.encoded.select(np.arange(count) * valid.num_rows // count)],
        work / "probed",
        model_schema=valid.model_schema,
        fingerprint=valid.fingerprint,
    )
    fewer = replace(prepared, valid=part)
    measure = ranking_monitor(fewer, recipe.train) if is_implicit else click_monitor(part)
    assert measure is not None  # there are validation rows, and data without a label have users and items
    started = time.perf_counter()
    measure(model)
    return (time.perf_counter() - started) * valid.num_rows / count
