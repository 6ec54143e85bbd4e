"""The plan of a fit: what it would take in memory, on disk and in time."""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch

from crossfield.acceleration import choose_bf16, choose_means, has_fast_bf16
from crossfield.data.dataset import Dataset
from crossfield.data.encode import Encoder
from crossfield.errors import ConfigError
from crossfield.fitting import check_monitor, check_tables, num_negatives
from crossfield.footprint import Footprint, measure, optimizer_bytes, outline
from crossfield.memory import available_memory
from crossfield.models import CATALOGUE
from crossfield.models.base import Model, Solved
from crossfield.optim import OptimConfig
from crossfield.preparation import check_trainable, prepare
from crossfield.probe import Probe, run_probe
from crossfield.ranks import RankPlan, check_ranks, plan_ranks
from crossfield.recipe import Recipe
from crossfield.savings import Saving, is_hashed, savings
from crossfield.schema import Field, ModelSchema

OPTIMIZERS: tuple[str, ...] = get_args(OptimConfig.model_fields["optimizer"].annotation)


@dataclass(frozen=True)
class FieldSize:
    """One id field."""

    name: str
    kind: str
    rows: int
    """Of its table, missing and unseen included."""
    parameters: int
    """Numbers in all tables of the model that are about this field."""
    seen_once: int
    """Ids that training has met once; 0 where ids are hashed and nobody knows."""


@dataclass(frozen=True)
class Plan:
    """What a fit would take; sizes in bytes, times in seconds."""

    recipe: Recipe
    data: str
    train_rows: int
    valid_rows: int
    dense_features: int
    fields: tuple[FieldSize, ...]
    """The one with most parameters first."""
    footprint: Footprint
    optimizers: dict[str, int]
    """What each optimiser would keep from step to step, by name."""
    means: tuple[str, ...]
    """What the fit would compute with, and why."""
    bf16_unused: bool
    """Whether the device has bf16 instructions that the recipe leaves alone."""
    available: int | None
    """Memory; None where the system does not say."""
    disk_free: int
    savings: tuple[Saving, ...] = ()
    """Looked for where the run would not fit."""
    reading_seconds: float = 0.0
    """Reading, fitting the encoder and, where there is a probe, encoding: the fit spends it too."""
    probe: Probe | None = None
    no_probe: str = ""
    """Why there is none."""
    ranks: RankPlan | None = None
    """The same training on several ranks, where that was asked for."""

    @property
    def table_rows(self) -> int:
        """Rows of all fields."""
        return sum(one.rows for one in self.fields)

    @property
    def is_solved(self) -> bool:
        """Whether the model is solved in one go: without checkpoints, and nothing is chosen by validation rows."""
        return issubclass(CATALOGUE[self.recipe.name], Solved)

    @property
    def keeps_best(self) -> bool:
        """Whether the best weights are kept beside the latest."""
        return self.valid_rows > 0 and not self.is_solved

    @property
    def needed(self) -> int:
        """Memory for the run, beside the program and the data."""
        return self.footprint.needed(has_valid=self.keeps_best)

    @property
    def checkpoint(self) -> int:
        """One checkpoint on disk."""
        return 0 if self.is_solved else self.footprint.checkpoint(has_valid=self.keeps_best)

    @property
    def mapped(self) -> int:
        """Tables in files while the run goes on."""
        return self.footprint.mapped(has_valid=self.keeps_best)

    @property
    def fits(self) -> bool | None:
        """Whether the run would fit in memory; None where the system does not say what is available."""
        return None if self.available is None else self.needed <= self.available

    @property
    def can_double(self) -> bool:
        """Whether there are rows and memory for steps of twice the batch."""
        has_room = self.available is None or self.needed + self.footprint.step <= self.available
        return has_room and 2 * self.recipe.train.batch_size <= self.train_rows

    @property
    def epoch_seconds(self) -> float | None:
        """The steps of one epoch."""
        return None if self.probe is None else self.train_rows / self.probe.timed.rows_per_second

    @property
    def total_seconds(self) -> float | None:
        """All epochs and their evaluations: early stopping can only make it less."""
        if self.probe is None or self.epoch_seconds is None:
            return None
        config, evaluation = self.recipe.train, self.probe.evaluation_seconds or 0.0
        return config.epochs * (self.epoch_seconds + config.evals_per_epoch * evaluation)

    def to_json(self) -> dict[str, Any]:
        """Plain values, and what follows from them."""
        follows = ("table_rows", "needed", "checkpoint", "mapped", "fits", "epoch_seconds", "total_seconds")
        of_footprint = {name: getattr(self.footprint, name) for name in ("parameters", "training_flops")}
        return {
            **asdict(self),
            **{name: getattr(self, name) for name in follows},
            "recipe": self.recipe.plain(),
            "ranks": None if self.ranks is None else self.ranks.to_json(),
            "footprint": {**of_footprint, **asdict(self.footprint)},
        }


def make_plan(
    recipe: Recipe,
    train: Dataset,
    valid: Dataset | None,
    *,
    steps: int,
    out: Path,
    device: torch.device,
    ranks: int | None = None,
) -> Plan:
    """Read the rows, count the model, and time ``steps`` steps of training (0: count only).

    With ``ranks`` it is laid on so many too; the steps are of one process. Rows are prepared as a fit prepares them,
    nothing of the steps stays, and ``out`` is only asked how much room it has. Raises DataError, SchemaError,
    ConfigError or RunError as a fit does.
    """
    check_trainable(recipe, train.schema)
    _check_tables(recipe, device)
    if valid is not None:
        check_monitor(recipe, train.schema)
    if recipe.train.tables == "torchrec" and (steps or ranks is not None):
        raise ConfigError(
            'with train.tables = "torchrec" a plan only counts: how tables are laid out a run says at its start; add '
            "--no-probe, and leave --ranks out"
        )
    if ranks is not None:
        check_ranks(recipe, ranks)
    with TemporaryDirectory(prefix="crossfield-") as scratch:
        work, started = Path(scratch), time.perf_counter()
        prepared = prepare(recipe, train, valid, work=work) if steps or ranks else None
        encoder = Encoder.fit(train, recipe.encoder) if prepared is None else prepared.encoder
        train_rows = train.num_rows if prepared is None else prepared.train.num_rows
        num_rows = train_rows, valid.num_rows if valid is not None else 0
        seconds = time.perf_counter() - started
        plan = count(recipe, encoder, num_rows, out=out, device=device)
        plan = replace(plan, data=train.name, reading_seconds=seconds)
        if prepared is not None and ranks is not None:
            plan = replace(plan, ranks=plan_ranks(recipe, prepared, ranks, device=device))
        if prepared is None or not steps or plan.no_probe:
            return replace(plan, no_probe=plan.no_probe or "not asked for")
        probe = run_probe(recipe, prepared, steps=steps, work=work, device=device, try_double=plan.can_double)
        return replace(plan, probe=probe)


def count(recipe: Recipe, encoder: Encoder, num_rows: tuple[int, int], *, out: Path, device: torch.device) -> Plan:
    """All that can be said without a step, of so many training and validation rows; and why no step should be made."""
    model = outline(recipe, encoder.model_schema)
    footprint = _counter(recipe, encoder, num_rows[0], device=device)
    counted = footprint(recipe, encoder.model_schema)
    plan = Plan(
        recipe=recipe,
        data="",
        train_rows=num_rows[0],
        valid_rows=num_rows[1],
        dense_features=len(encoder.model_schema.dense),
        fields=_field_sizes(encoder, counted),
        footprint=counted,
        optimizers={one: optimizer_bytes(recipe.override({"train.optimizer": one}), model) for one in OPTIMIZERS},
        means=_means(recipe, model, num_rows[0], device=device),
        bf16_unused=not choose_bf16(recipe.train.precision, device)[0] and has_fast_bf16(device),
        available=available_memory(device),
        disk_free=_disk_free(out),
    )
    if plan.is_solved:
        return replace(plan, no_probe=f"{recipe.name} is solved in one pass over the rows")
    if plan.fits is False:
        return replace(plan, no_probe="it would not fit in memory", savings=_savings(plan, encoder, footprint, device))
    return plan


_Counter = Callable[[Recipe, ModelSchema], Footprint]


def _counter(recipe: Recipe, encoder: Encoder, train_rows: int, *, device: torch.device) -> _Counter:
    """Counts what recipes like this one take on schemas like the encoder's."""
    bf16, _ = choose_bf16(recipe.train.precision, device)
    each = 1 + num_negatives(recipe, encoder.schema)

    def footprint(recipe: Recipe, schema: ModelSchema) -> Footprint:
        return measure(recipe, schema, examples=each * min(recipe.train.batch_size, train_rows), bf16=bf16)

    return footprint


def _check_tables(recipe: Recipe, device: torch.device) -> None:
    """As a fit does; TorchRec need not be there to be counted with."""
    if recipe.train.tables != "torchrec":
        check_tables(recipe, str(device))


def _savings(plan: Plan, encoder: Encoder, footprint: _Counter, device: torch.device) -> tuple[Saving, ...]:
    def needs(recipe: Recipe, schema: ModelSchema) -> int:
        _check_tables(recipe, device)
        return footprint(recipe, schema).needed(has_valid=plan.keeps_best)

    return savings(plan.recipe, encoder, needs=needs, room=plan.available or 0)


def _means(recipe: Recipe, model: Model, train_rows: int, *, device: torch.device) -> tuple[str, ...]:
    config = recipe.train
    _, why = choose_means(
        model,
        device,
        threads=config.threads,
        precision=config.precision,
        compile=config.compile,
        num_rows=config.epochs * train_rows,
    )
    return tuple(why)


def _field_sizes(encoder: Encoder, footprint: Footprint) -> tuple[FieldSize, ...]:
    sizes = [_field_size(encoder, one, footprint) for one in encoder.model_schema.fields]
    return tuple(sorted(sizes, key=lambda one: (-one.parameters, -one.rows)))


def _field_size(encoder: Encoder, one: Field, footprint: Footprint) -> FieldSize:
    seen_once = 0 if is_hashed(encoder, one) else int((encoder.counts(one.name) == 1).sum())
    return FieldSize(one.name, str(one.kind), one.num_rows, footprint.table_parameters.get(one.name, 0), seen_once)


def _disk_free(folder: Path) -> int:
    there = next(one for one in (folder, *folder.absolute().parents) if one.is_dir())
    return shutil.disk_usage(there).free
