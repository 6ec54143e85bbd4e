"""The training loop: batches in, a trained model out, and at every step a position from which it can go on exactly."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossfield.acceleration import Means, choose_means, compiled, num_cores, settled
from crossfield.batch import Batch
from crossfield.checkpoint import Checkpoints, check_same_shapes, rng_state, set_rng_state
from crossfield.data.negatives import NegativeSampler
from crossfield.data.prefetch import prefetched
from crossfield.data.resident import keep_on
from crossfield.data.store import Reader
from crossfield.detective import INCIDENT, investigate, save_incident
from crossfield.distributed.spread import wrap
from crossfield.distributed.team import ALONE, Team
from crossfield.distributed.torchrec_tables import FusedTables
from crossfield.errors import ConfigError, CorruptError, DataError, NotFiniteError
from crossfield.files import typed
from crossfield.layers.linear import set_padding
from crossfield.layers.unseen import UntrainedRows, drop_ids
from crossfield.losses import totals
from crossfield.mapped import copy_beside, in_order
from crossfield.models.base import Model
from crossfield.objectives import Objective, choose_objective
from crossfield.optim import build_optimizers
from crossfield.progress import Meter, Report, ReportKind, RunLog, Stopwatch, TrainResult, check_finite, plain
from crossfield.recording import RecordedStep, Step
from crossfield.stopping import Interrupts, Plateau
from crossfield.train_options import TrainConfig

__all__ = ["Evaluate", "Report", "TrainConfig", "TrainResult", "Trainer"]

Evaluate = Callable[[Model], dict[str, float]]

TEST = "test "
"""Begins the names of what is measured on rows that nothing is chosen by."""
_REPORT_SECONDS = 1.0
_SAVE_SHARE = 10
"""Times as long as a checkpoint took training goes on at least, before the next one."""
_AHEAD_ROWS = 1024
"""Rows of a step from which a thread makes the next batch meanwhile."""
_PADDING = 16
FREE_ON_RESUME = frozenset(
    {
        "epochs",
        "patience",
        "threads",
        "checkpoint_seconds",
        "tensorboard",
        "mesh",
        "lost_seconds",
        "tables",
        "table_cache",
    }
)
"""Settings a resumed run may change: they do not touch the steps already made."""
_NOT_FINITE = (
    "step {}: the numbers are not finite; look for extreme values in the rows, or set a lower train.lr or a "
    "train.clip_norm; this step changed {}, and the last checkpoint is kept"
)
_NONE_CHANGED, _SOME_CHANGED = "no weight", "rows of tables, no other weight"


@dataclass
class _Progress:
    """The part of a run's position that is plain numbers."""

    step: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    best_epoch: int | None = None
    best_metrics: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains one model on one reader.

    What happens, in order::

        for each epoch:
            for each batch:                      # from the reader's position
                draw negatives, drop ids         # pure functions of seed and position, or of the saved generators
                loss, gradients, step
                evaluate                         # evals_per_epoch times: keep the best weights, lower lr, or stop
                report, checkpoint               # once a second, every checkpoint_seconds
        restore the best weights

    ``evaluate`` measures the model on validation rows; without it all epochs are trained. What ``watch`` measures is
    written down as ``test ...`` and decides nothing. ``unseen_rate`` is the
    encoder's share of ids to drop. With ``folder``, checkpoints and ``log.jsonl`` go there. First weights are the
    model's own: seed torch before building it. ``start`` is what an earlier ``training`` left. The device is that of
    the model.

    With a ``team`` every process has a trainer of its own, with the same arguments and a reader of its own part of
    each batch; together they do what one would with all of the rows, dropout and dropped ids apart. The trained
    weights are then the first's; the models of the others lose the rows of large tables.
    """

    def __init__(
        self,
        model: Model,
        reader: Reader,
        config: TrainConfig,
        *,
        evaluate: Evaluate | None = None,
        watch: Evaluate | None = None,
        negatives: NegativeSampler | None = None,
        unseen_rate: float = 0.0,
        folder: Path | None = None,
        on_report: Callable[[Report], None] = lambda report: None,
        objective: Objective | None = None,
        start: Mapping[str, Any] | None = None,
        team: Team = ALONE,
    ) -> None:
        self.reader, self.config, self._team = reader, config, team
        if not team.is_alone:
            check_teamwork(config, start)
        self._shapes = {name: list(weight.shape) for name, weight in model.state_dict().items()}
        if fused := fused_tables(config):
            check_fused(config, fused, fused.device(model))
        self._spread = wrap(model, team, mesh=config.mesh, fused=fused)
        self.model = model = self._spread.model
        self._evaluate, self._watch = evaluate, watch
        self._negatives, self._unseen_rate = negatives, unseen_rate
        self._folder, self._on_report, self._start = folder, on_report, start
        default = choose_objective(model, config.objective, negatives)
        self._called, self._objective = default if objective is None else (model, objective)
        self._device = next(model.parameters()).device
        self._num_batches = reader.num_batches
        if not self._num_batches:
            raise DataError("there are no training rows")
        self._full_size = config.batch_size * (1 + (negatives.per_positive if negatives else 0))
        self._last_step = config.epochs * self._num_batches

    def fit(self, resume: bool = False) -> TrainResult:
        """Train to the end and restore the best weights; with ``resume``, go on from the newest whole checkpoint.

        Ctrl-C (any KeyboardInterrupt) saves a checkpoint between two steps and is raised again. Raises RunError where
        the folder's checkpoints are not asked for or belong to other settings, or where the loss is not finite;
        CorruptError where every checkpoint is damaged.
        """
        with self._team.guarded(), Interrupts() as self._interrupts, settled(self._device):
            self._prepare(resume)
            try:
                with nullcontext() if self._team.is_alone else self._interrupts.whole():
                    self._loop()
                    if not self._is_evaluated:
                        self._fill_untrained()
                    self._save()
            except KeyboardInterrupt:
                self._save()
                raise
            finally:
                set_padding(self.model, 1)
                self._optimizers.release(self.model)
                self._log.close()
            return self._finish()

    @property
    def training(self) -> dict[str, Any]:
        """What a later training needs to go on as ``start``: the optimisers' state, and which special ids were met.

        Of a team it is the first process's, and all have to ask.
        """
        optimizers = self._spread.whole_optimizers(self._optimizers)
        return {"optimizers": optimizers, "untrained": self._untrained.state_dict()}

    def _prepare(self, resume: bool) -> None:
        config = self.config
        self._at, self._meter = _Progress(), Meter()
        self._session, self._since_report, self._since_save = Stopwatch(), Stopwatch(), Stopwatch()
        self._optimizers = build_optimizers(self.model, config, norm=self._spread.norm)
        self._spread.attach(self._optimizers)
        if self._rows_may_wait:
            self._optimizers.defer(self.model)
        self._plateau = Plateau(config.monitor, config.patience, config.min_delta)
        self._untrained = UntrainedRows(self.model.schema, self._device)
        self._best: dict[str, Tensor] | None = None
        self._notes = [] if self._evaluate else [f"no validation rows: training all {config.epochs} epochs"]
        self._checkpoints = Checkpoints(self._folder, self._identity(), self._team)
        state = self._checkpoints.find(resume=resume)
        self._means = self._choose_means() if state is None else self._kept_means(typed(Means, state.get("means")))
        self._use_means()
        self._use_device()
        torch.manual_seed(config.seed)
        if state is not None:
            self._try_restore(state)
        elif self._start is not None:
            before = self._start["optimizers"]
            mine = self._spread.join_optimizers(before, self._optimizers) if self._spread.fused else before
            self._optimizers.load_state_dict(mine)
            self._untrained.load_state_dict(self._start["untrained"])
        self._saved = self._place if state is not None else None
        self._save_after = self.config.checkpoint_seconds
        self._first_step = self._at.step
        self._log = RunLog(self._folder if self._team.is_first else None, tensorboard=config.tensorboard)
        self._log.rewind(typed(int, state.get("log_lines")) if state is not None else 0)
        self._emit(self._report("start", note="; ".join(self._notes)))

    @property
    def _rows_may_wait(self) -> bool:
        """A GPU would have to count them, and the gradients of several processes must be of one kind."""
        return self.model is self._spread.whole and self._device.type == "cpu"

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to fit: settings that touch the steps, data, shapes of the weights."""
        settings = {k: v for k, v in self.config.model_dump(mode="json").items() if k not in FREE_ON_RESUME}
        data = {"encoder": self.reader.store.fingerprint, "rows": self.reader.store.num_rows}
        return {**settings, **data, "unseen_rate": self._unseen_rate, "weights": self._shapes}

    def _choose_means(self) -> Means:
        means, notes = choose_means(
            self.model,
            self._device,
            threads=self.config.threads,
            precision=self.config.precision,
            compile="off" if self._spread.notes else self.config.compile,
            num_rows=self._last_step * self.config.batch_size,
        )
        self._notes += [notes[0], *self._spread.notes] if self._spread.notes else notes
        return means

    def _kept_means(self, means: Means) -> Means:
        """Those of the steps before, but for threads that are asked for, and compilation where it cannot be had."""
        self._notes += self._spread.notes
        if self.config.threads not in (None, means.threads):
            self._notes.append(f"{self.config.threads} threads as asked, before {means.threads}")
        if self._spread.notes and means.compiled:
            self._notes.append("the steps before were compiled")
        return replace(
            means,
            threads=self.config.threads or means.threads,
            compiled=means.compiled and not self._spread.notes,
        )

    def _use_means(self) -> None:
        torch.set_num_threads(self._means.threads)
        # In bf16 padding gains nothing.
        set_padding(self.model, _PADDING if self.config.pad_widths and not self._means.bf16 else 1)
        self._full_called = compiled(self._called) if self._means.compiled else self._called

    def _use_device(self) -> None:
        """On a GPU: rows there where they fit, and steps launched whole where that is asked for."""
        # On a GPU a look at every step would wait for it: there the losses are looked at now and then (Meter).
        self._step: Step = self._guarded_step if self._device.type == "cpu" else self._plain_step
        if self._device.type == "cuda":
            if self.config.cuda_graph:
                self._step = RecordedStep(self._plain_step, self.model, self._optimizers, batch_size=self._full_size)
            if self._negatives is None and keep_on(self.reader, self._device):
                self._notes.append("rows on the GPU")

    @property
    def _place(self) -> tuple[int, int]:
        return self._at.step, self._at.evaluations

    def _is_done(self) -> bool:
        return self._at.step >= self._last_step or self._plateau.is_reached

    def _loop(self) -> None:
        self.model.train()
        self._evaluate_if_due()  # a run may have stopped between a step and its evaluation
        while not self._is_done():
            epoch, index = divmod(self._at.step, self._num_batches)
            self.reader.position = replace(self.reader.position, epoch=epoch, batch=index)
            step_time = Stopwatch()
            for batch in self._batches():
                self._train(batch)
                self._meter.busy_seconds += step_time.seconds
                self._evaluate_if_due()
                self._report_and_save_if_due()
                if self._is_done():
                    break
                step_time.restart()

    def _batches(self) -> Iterator[Batch]:
        """What is left of the epoch, read ahead where something is free to do so.

        PERF: a reading thread beside as many computing ones as there are cores holds these up: DeepFM on two cores
        68,800 rows/s with it, 70,700 without. Small batches are made sooner than handed over: GMF with 255 rows a step
        takes 0.67 ms of CPU with a thread, 0.60 without.
        """
        if self.reader.source is not self.reader.store:
            return self.reader.epoch()  # a gather on the GPU, which nobody waits for
        batches = self.reader.epoch()
        if self._negatives is not None:
            epoch, index = divmod(self._at.step, self._num_batches)
            batches = self._negatives.stream(batches, epoch=epoch, index=index)
        if self._device.type == "cuda":
            return prefetched(batch.pinned() for batch in batches)
        is_worth_it = self._means.threads < num_cores() and self._full_size >= _AHEAD_ROWS
        return prefetched(batches) if is_worth_it else batches

    def _train(self, batch: Batch) -> None:
        """One step, never cut in two by a signal."""
        with self._interrupts.whole():
            self._team.seed(self.config.seed, self._at.step)
            batch = self._make_ready(batch)
            loss = self._step(batch)
            self._at.step += 1
            self._meter.add(self._at.step, loss, batch, size=self._team.agree(batch.size)[0])

    def _plain_step(self, batch: Batch) -> Tensor:
        """Loss, gradients, update; the mean loss of the batch."""
        loss = self._gradients(batch)
        self._optimizers.step()
        return loss

    def _guarded_step(self, batch: Batch) -> Tensor:
        """The same, but where numbers are not finite no weight changes, and it is said why."""
        random = torch.get_rng_state()
        loss = self._gradients(batch)
        is_finite = self._optimizers.has_finite_gradients() and bool(torch.isfinite(loss))
        if self._team.agree(not is_finite)[0]:
            if self._spread.fused:
                raise NotFiniteError(_NOT_FINITE.format(self._at.step + 1, _SOME_CHANGED))
            if not self._team.is_alone:
                raise NotFiniteError(_NOT_FINITE.format(self._at.step + 1, _NONE_CHANGED))
            torch.set_rng_state(random)
            incident = investigate(self.model, self._gradients, batch, number=self._at.step + 1)
            if self._folder is not None:
                save_incident(self._folder / INCIDENT, batch, incident)
            raise incident.error()
        self._optimizers.step()
        return loss

    def _gradients(self, batch: Batch) -> Tensor:
        """The mean loss of the batch, its gradients left at the weights."""
        # Compiled code knows one shape only: the short last batch runs as it is.
        called = self._full_called if batch.size == self._full_size else self._called
        together = nullcontext() if self._team.is_alone else totals(self._team.total)
        with together, torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._means.bf16):
            loss = self._objective(called, batch)
        if self._spread.fused and self._device.type == "cpu":
            # Rows change in the backward pass: afterwards it would be too late. Every step waits for one sum more, and
            # gradients that are not finite though the loss is are found when tables have had them.
            self._refuse_not_finite(loss)
        self._optimizers.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._spread.reduce()
        return loss.detach()

    def _refuse_not_finite(self, loss: Tensor) -> None:
        if self._team.agree(not bool(torch.isfinite(loss)))[0]:
            raise NotFiniteError(_NOT_FINITE.format(self._at.step + 1, _NONE_CHANGED))

    def _make_ready(self, batch: Batch) -> Batch:
        if self._device.type != "cpu":
            batch = batch.to(self._device)
        if self._unseen_rate:
            batch = drop_ids(batch, self._unseen_rate)
        self._untrained.observe(batch)
        return batch

    @property
    def _is_evaluated(self) -> bool:
        """Whether an evaluation followed the last step; untrained rows were filled before it.

        To fill them again could change their last bits, where there are now more processes or fewer.
        """
        return bool(self._at.history) and self._at.history[-1]["step"] == self._at.step

    def _evaluate_if_due(self) -> None:
        due = self._at.step * self.config.evals_per_epoch // self._num_batches
        if due <= self._at.evaluations:
            return
        self._check_finite()
        self._fill_untrained()
        metrics = self._measure()
        with self._interrupts.whole():
            report = self._report("evaluation", metrics)
            self._judge(report)
            self._at.evaluations = due
            self._meter.restart()
        self._emit(report)

    def _measure(self) -> dict[str, float] | None:
        found = {name: float(value) for name, value in self._evaluate(self.model).items()} if self._evaluate else {}
        if self._watch is not None:
            found |= {f"{TEST}{name}": float(value) for name, value in self._watch(self.model).items()}
        self.model.train()
        return self._team.hear(lambda: found) or None

    def _judge(self, report: Report) -> None:
        """Write the evaluation down; keep the weights where they are the best so far, else lower the rates."""
        about = {"step": report.step, "epoch": report.epoch, "train_loss": report.train_loss, "lr": report.lr}
        if self._evaluate is not None and report.metrics is not None:
            chosen_by = {name: value for name, value in report.metrics.items() if not name.startswith(TEST)}
            if self._plateau.update(chosen_by):
                self._keep_as_best(self.model.state_dict())
                self._at.best_epoch, self._at.best_metrics = report.epoch, plain(report.metrics)
            else:
                self._optimizers.scale_lr(self.config.plateau_factor, least=self.config.min_lr)
        self._at.history.append(plain({**about, **(report.metrics or {})}))

    def _keep_as_best(self, state: Mapping[str, Tensor]) -> None:
        if self._best is None:
            weights = self.model.state_dict()
            self._best = {name: copy_beside(weights.get(name), value) for name, value in state.items()}
        else:
            with in_order([*state.values(), *self._best.values()]):
                for name, value in state.items():
                    self._best[name].copy_(value)

    def _fill_untrained(self) -> None:
        """Make the weights fit to be measured and kept."""
        with self._interrupts.whole():  # a row half moved would be moved again
            self._optimizers.settle()
        self._untrained.share(self._team.any_of)
        self._untrained.fill(self.model)

    def _report_and_save_if_due(self) -> None:
        if self._since_report.seconds >= _REPORT_SECONDS:
            self._meter.flush()
            self._emit(self._report("progress"))
        is_late = self._since_save.seconds >= self._save_after and self._team.is_first
        is_due, is_interrupted = self._team.agree(is_late, not self._team.is_alone and self._interrupts.is_waiting)
        if is_interrupted:
            self._interrupts.act()
        if is_due:
            self._save()

    def _report(self, kind: ReportKind, metrics: dict[str, float] | None = None, note: str = "") -> Report:
        step, seconds = self._at.step, self._session.seconds
        per_step = seconds / max(step - self._first_step, 1)
        return Report(
            kind=kind,
            step=step,
            epoch=max(step - 1, 0) // self._num_batches,
            fraction=step / self._last_step,
            seconds=self._at.seconds + seconds,
            rows_per_second=self._meter.rows_per_second,
            eta_seconds=per_step * max(self._last_step - step, 0),
            train_loss=self._meter.train_loss,
            lr=self._optimizers.lr,
            metrics=metrics,
            note=note,
        )

    def _emit(self, report: Report) -> None:
        self._since_report.restart()
        self._log.write(report)
        self._on_report(report)

    def _save(self) -> None:
        """Write a checkpoint, unless there is no folder or nothing has happened since the last one."""
        if self._folder is None or self._saved == self._place:
            return
        self._check_finite()
        self._untrained.share(self._team.any_of)
        writing = Stopwatch()
        self._checkpoints.save(self._state())
        asked = self.config.checkpoint_seconds
        self._save_after = max(asked, _SAVE_SHARE * writing.seconds) if asked else 0.0
        self._saved = self._place
        self._since_save.restart()

    def _check_finite(self) -> None:
        """Refuse to judge or keep what cannot be trained further."""
        with self._team.together():
            self._meter.flush()
            check_finite(self._spread.weights(), self._at.step)

    def _state(self) -> dict[str, Any]:
        """The whole position of the run."""
        return {
            "means": asdict(self._means),
            "progress": {**asdict(self._at), "seconds": self._at.seconds + self._session.seconds},
            "log_lines": self._log.num_lines,
            "rng": rng_state(self._device),
            "best": None if self._best is None else self._spread.split_model(self._best),
            "model": self._spread.split_model(self.model.state_dict()),
            "optimizers": self._spread.split_optimizers(self._optimizers),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def _parts(self) -> dict[str, Any]:
        """Everything else with a state of its own."""
        return {
            "plateau": self._plateau,
            "untrained": self._untrained,
            "meter": self._meter,
        }

    def _try_restore(self, state: dict[str, Any]) -> None:
        try:
            self._restore(state)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CorruptError(f"the checkpoint does not fit this run: {error}; train again with --overwrite") from None

    def _restore(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.model.load_state_dict(self._spread.join_model(state["model"]))
        self._optimizers.load_state_dict(self._spread.join_optimizers(state["optimizers"], self._optimizers))
        if not self._rows_may_wait:
            self._optimizers.settle()
        self._at = typed(_Progress, state["progress"])
        for record in self._at.history:
            typed(int, record["step"])
        if state["best"] is not None:
            best = self._spread.join_model(state["best"])
            now = self.model.state_dict()
            check_same_shapes(best, now)
            self._keep_as_best({name: value.to(now[name].device) for name, value in best.items()})
        set_rng_state(state["rng"], self._device)
        self._notes += [*self._checkpoints.skipped, f"resumed after step {self._at.step:,}"]

    def _finish(self) -> TrainResult:
        if self._best is not None:
            self.model.load_state_dict(self._best)
        self._spread.gather()
        self.model = self._spread.whole.eval()
        if isinstance(self._step, RecordedStep) and self._step.reason:
            self._notes.append(f"no CUDA graph: {self._step.reason}")
        stopped = self._at.step < self._last_step
        note = f"no improvement in {self.config.patience} evaluations" if stopped else "all epochs done"
        end = self._report("end", self._at.best_metrics, note)
        self._emit(end)
        return TrainResult(
            history=self._at.history,
            best_epoch=self._at.best_epoch,
            best_metrics=self._at.best_metrics,
            seconds=end.seconds,
            rows_per_second=end.rows_per_second,
            notes=tuple(self._notes),
        )


def check_teamwork(config: TrainConfig, start: Mapping[str, Any] | None = None) -> None:
    """Raise ConfigError where several processes are asked for what only one does."""
    if start is not None:
        raise ConfigError("a training that goes on from another one's state is done by one process, without torchrun")
    if config.tables == "disk":
        raise ConfigError('train.tables = "disk" is for one process; several hold the rows of large tables together')
    for name, asked in (("cuda_graph", config.cuda_graph), ("compile", config.compile == "on")):
        if asked:
            raise ConfigError(f"train.{name} is for one process; leave it out under torchrun")


def fused_tables(config: TrainConfig) -> FusedTables | None:
    """What TorchRec is asked for; None where it holds no tables."""
    if config.tables != "torchrec":
        return None
    return FusedTables(config, config.batch_size, config.table_cache)


def check_fused(config: TrainConfig, fused: FusedTables, device: str) -> None:
    """Raise ConfigError where tables that TorchRec holds are asked for what they cannot do."""
    for name, asked in (("cuda_graph", config.cuda_graph), ("compile", config.compile == "on")):
        if asked:
            raise ConfigError(f'train.{name} is not for train.tables = "torchrec"; leave it out')
    fused.check(device)
