"""The loop: it learns, it repeats, it resumes to the byte, and it says what goes wrong."""

import math
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossfield import optim
from crossfield.batch import Batch
from crossfield.data.encode import Encoded
from crossfield.data.store import Position, Reader, Store, write_store
from crossfield.errors import ConfigError, CorruptError, DataError, NotFiniteError, RunError
from crossfield.files import read_lines
from crossfield.layers.embedding import FieldEmbedding
from crossfield.mapped import on_disk
from crossfield.models.base import Model
from crossfield.models.deepfm import DeepFM, DeepFMConfig
from crossfield.models.finalnet import FinalNet, FinalNetConfig
from crossfield.models.mf import MF, MFConfig
from crossfield.objectives import Branches, bce_objective, distillation_objective
from crossfield.optim import Adam
from crossfield.schema import Field, Kind, ModelSchema
from crossfield.train import Report, TrainConfig, Trainer, TrainResult

NUM_ROWS, BATCH = 100, 16
NUM_BATCHES = 7  # the last one has 4 rows
SCHEMA = ModelSchema(
    dense=("price",),
    categorical=(Field("user", 12), Field("item", 9)),
    sequences=(Field("genres", 6, Kind.MULTI),),
    user="user",
    item="item",
)
SMALL = DeepFMConfig(embedding_dim=4, deep=(8,), dropout=0.3, batch_norm=True)


def encoded(num_rows: int = NUM_ROWS) -> Encoded:
    """Rows whose label is whether the item's id is odd: easy to learn."""
    random = np.random.default_rng(0)
    items = random.integers(2, 9, num_rows)
    lengths = random.integers(0, 3, num_rows)
    return Encoded(
        dense=random.normal(size=(num_rows, 1)).astype(np.float32),
        categorical=np.stack([random.integers(2, 12, num_rows), items], 1).astype(np.int32),
        sequences={
            "genres": (
                random.integers(2, 6, lengths.sum()).astype(np.int32),
                np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            )
        },
        labels=(items % 2).astype(np.float32),
        weights=None,
        groups=np.zeros(num_rows, dtype=np.int64),
        rows=np.arange(num_rows),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store([encoded()], tmp_path_factory.mktemp("store"), model_schema=SCHEMA, fingerprint="f")


class Repeat:
    """A stand-in for the negative sampler: each row again with the next item, label 0, ``per_positive`` times."""

    per_positive = 2

    def stream(self, batches: Iterable[Batch], *, epoch: int, index: int) -> Iterator[Batch]:
        for number, batch in enumerate(batches, start=index):
            yield self.extend(batch, epoch=epoch, index=number)

    def extend(self, batch: Batch, *, epoch: int, index: int) -> Batch:
        blocks = [batch]
        for block in range(self.per_positive):
            ids = batch.categorical.clone()
            ids[:, 1] = 2 + (ids[:, 1] + epoch + index + block) % 7
            blocks.append(Batch(batch.dense, ids, batch.sequences))
        labels = [torch.ones(batch.size, 1), torch.zeros(batch.size * self.per_positive, 1)]
        three = batch.select(torch.arange(batch.size).repeat(1 + self.per_positive))
        ids = torch.cat([one.categorical for one in blocks])
        return Batch(three.dense, ids, three.sequences, labels=torch.cat(labels), rows=three.rows)


@dataclass
class Run:
    """One training run on the little store, with everything that makes resuming hard switched on."""

    store: Store
    folder: Path | None = None
    evaluate: Callable[[Model], dict[str, float]] | None = None
    watch: Callable[[Model], dict[str, float]] | None = None
    unseen_rate: float = 0.2
    negatives: Any = None
    objective: Any = None
    model_config: DeepFMConfig = SMALL
    tables: Path | None = None

    def trainer(self, **settings: Any) -> Trainer:
        config = TrainConfig.of(
            {"batch_size": BATCH, "epochs": 2, "lr": 0.02, "precision": "fp32", "compile": "off", **settings}
        )
        torch.manual_seed(config.seed)
        with on_disk(self.tables):
            self.model = DeepFM(SCHEMA, self.model_config)
        self.reports: list[Report] = []
        return Trainer(
            self.model,
            Reader(self.store, batch_size=config.batch_size, seed=config.seed),
            config,
            evaluate=self.evaluate,
            watch=self.watch,
            negatives=self.negatives,
            unseen_rate=self.unseen_rate,
            folder=self.folder,
            on_report=self.reports.append,
            objective=self.objective,
        )

    def fit(self, resume: bool = False, **settings: Any) -> TrainResult:
        return self.trainer(**settings).fit(resume)


def weights(model: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def train_loss(store: Store) -> Callable[[Model], dict[str, float]]:
    """An evaluation on the training rows themselves."""

    def measure(model: Model) -> dict[str, float]:
        model.eval()
        with torch.no_grad():
            return {"log_loss": float(bce_objective(model, store.batch(np.arange(NUM_ROWS))))}

    return measure


def scripted(values: list[float], name: str = "auc") -> Callable[[Model], dict[str, float]]:
    """An evaluation that gives these values, one after the other."""
    left = iter(values)
    return lambda model: {name: next(left)}


def at_call(number: int, event: Callable[[], None]) -> Callable[[nn.Module, Batch], Tensor]:
    """The usual objective, with something happening in the middle of one step."""
    calls = iter(range(1, 10_000))

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        loss = bce_objective(model, batch)
        if next(calls) == number:
            event()
        return loss

    return objective


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def crash() -> None:
    raise RuntimeError("the machine went down")


def test_it_learns_a_planted_pattern(store: Store) -> None:
    run = Run(store, evaluate=train_loss(store), unseen_rate=0.0, model_config=DeepFMConfig(deep=(8,)))
    result = run.fit(epochs=12, lr=2e-3, patience=20, plateau_factor=1.0)
    losses = [record["log_loss"] for record in result.history]
    assert losses[0] > 0.6 and losses[-1] < 0.3
    assert result.best_metrics == {"log_loss": min(losses)}
    assert [record["train_loss"] for record in result.history][-1] < 0.4


def test_a_seed_decides_every_bit_and_another_gives_another_model(store: Store) -> None:
    results = []
    for seed in (0, 0, 1):
        run = Run(store)
        run.fit(seed=seed)
        results.append(weights(run.model))
    assert results[0] == results[1] != results[2]


RESUMED = {"checkpoint_seconds": 1e9, "evals_per_epoch": 2, "clip_norm": 1.0, "embedding_l2": 0.01, "patience": 9}


@pytest.mark.parametrize(
    ("step", "optimizer"),
    [(1, "lazy_adam"), (4, "lazy_adam"), (7, "lazy_adam"), (13, "lazy_adam"), (9, "adam"), (14, "adam")],
)
def test_interrupted_in_the_middle_of_a_step_and_resumed_is_uninterrupted(
    store: Store, tmp_path: Path, step: int, optimizer: str
) -> None:
    """Steps 4, 7, 11 and 14 are followed by an evaluation, 7 and 14 end an epoch."""
    settings: dict[str, Any] = {**RESUMED, "optimizer": optimizer}
    shared: dict[str, Any] = {"evaluate": train_loss(store), "negatives": Repeat()}
    straight = Run(store, **shared)
    expected = straight.fit(**settings)

    broken = Run(store, tmp_path, objective=at_call(step, press_ctrl_c), **shared)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(**settings)
    resumed = Run(store, tmp_path, **shared)
    result = resumed.fit(resume=True, **settings)
    assert f"resumed after step {step}" in result.notes
    assert weights(resumed.model) == weights(straight.model)
    assert result.history == expected.history and result.best_metrics == expected.best_metrics


@pytest.fixture
def rows_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of tables wait for Adam from the third step on, however small the tables."""
    for name, value in (("EXACT_AFTER", 2), ("_WORTH_WAITING", 0), ("_PER_NUMBER", 0)):
        monkeypatch.setattr(f"crossfield.optim.{name}", value)


WAITING: dict[str, Any] = {"optimizer": "adam", "checkpoint_seconds": 1e9, "evals_per_epoch": 2, "clip_norm": 1.0}


def test_a_run_whose_rows_wait_for_adam_is_the_one_that_moves_whole_tables(
    store: Store, request: pytest.FixtureRequest
) -> None:
    plain: dict[str, Any] = {"evaluate": train_loss(store), "model_config": DeepFMConfig(embedding_dim=4, deep=(8,))}
    whole = Run(store, **plain)
    expected = whole.fit(**WAITING)
    request.getfixturevalue("rows_wait")
    late = Run(store, **plain)
    result = late.fit(**WAITING)
    for mine, theirs in zip(late.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    assert weights(late.model) != weights(whole.model), "the last bits differ where rows have waited"
    for one, other in zip(result.history, expected.history, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.usefixtures("rows_wait")
@pytest.mark.parametrize("step", [2, 5, 9, 14])
def test_interrupted_while_rows_wait_and_resumed_is_uninterrupted(store: Store, tmp_path: Path, step: int) -> None:
    straight = Run(store, evaluate=train_loss(store))
    expected = straight.fit(**WAITING)
    broken = Run(store, tmp_path, evaluate=train_loss(store), objective=at_call(step, press_ctrl_c))
    with pytest.raises(KeyboardInterrupt):
        broken.fit(**WAITING)
    assert all(getattr(one, "late", None) is None for one in broken.model.modules())
    resumed = Run(store, tmp_path, evaluate=train_loss(store))
    result = resumed.fit(resume=True, **WAITING)
    assert f"resumed after step {step}" in result.notes and result.history == expected.history
    assert weights(resumed.model) == weights(straight.model)


@pytest.mark.usefixtures("rows_wait")
@pytest.mark.parametrize("name", ["_add", "_put"])
def test_interrupted_while_waiting_rows_catch_up_and_resumed_is_uninterrupted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    straight = Run(store, evaluate=train_loss(store))
    expected = straight.fit(**WAITING)
    settle, work = Adam._settle, getattr(optim, name)

    def stop(*given: Any) -> None:
        work(*given)
        monkeypatch.setattr(optim, name, work)
        os.kill(os.getpid(), signal.SIGINT)

    def settle_and_stop(self: Adam, weight: Tensor, group: Any) -> bool:
        if "moved" in self.state.get(weight, ()):
            monkeypatch.setattr(optim, name, stop)
            monkeypatch.setattr(Adam, "_settle", settle)
        return settle(self, weight, group)

    monkeypatch.setattr(Adam, "_settle", settle_and_stop)
    broken = Run(store, tmp_path, evaluate=train_loss(store))
    with pytest.raises(KeyboardInterrupt):
        broken.fit(**WAITING)
    resumed = Run(store, tmp_path, evaluate=train_loss(store))
    assert resumed.fit(resume=True, **WAITING).history == expected.history
    assert weights(resumed.model) == weights(straight.model)


@pytest.mark.usefixtures("rows_wait")
def test_a_run_whose_rows_waited_goes_on_where_they_cannot(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain: dict[str, Any] = {"evaluate": train_loss(store), "model_config": DeepFMConfig(embedding_dim=4, deep=(8,))}
    straight = Run(store, **plain)
    straight.fit(**WAITING)
    broken = Run(store, tmp_path, objective=at_call(9, press_ctrl_c), **plain)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(**WAITING)
    monkeypatch.setattr(Trainer, "_rows_may_wait", False)
    resumed = Run(store, tmp_path, **plain)
    resumed.fit(resume=True, **WAITING)
    for mine, theirs in zip(resumed.model.parameters(), straight.model.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("step", [2, 9])
def test_after_a_crash_the_last_checkpoint_leads_to_the_same_end(store: Store, tmp_path: Path, step: int) -> None:
    straight = Run(store, evaluate=train_loss(store))
    straight.fit()
    broken = Run(store, tmp_path, evaluate=train_loss(store), objective=at_call(step, crash))
    with pytest.raises(RuntimeError, match="went down"):
        broken.fit(checkpoint_seconds=0)
    resumed = Run(store, tmp_path, evaluate=train_loss(store))
    result = resumed.fit(resume=True, checkpoint_seconds=0)
    assert f"resumed after step {step - 1}" in result.notes
    assert weights(resumed.model) == weights(straight.model)


@pytest.mark.parametrize("starts_on_disk", [True, False])
def test_a_run_may_move_its_tables_to_the_disk_and_back(store: Store, tmp_path: Path, starts_on_disk: bool) -> None:
    straight = Run(store, evaluate=train_loss(store))
    expected = straight.fit(**RESUMED)
    places = [tmp_path / "tables", None] if starts_on_disk else [None, tmp_path / "tables"]
    first, then = (Run(store, tmp_path / "run", evaluate=train_loss(store), tables=one) for one in places)
    first.objective = at_call(9, press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        first.fit(**RESUMED, tables="disk" if starts_on_disk else "memory")
    result = then.fit(resume=True, **RESUMED, tables="memory" if starts_on_disk else "disk")
    assert "resumed after step 9" in result.notes and result.history == expected.history
    assert weights(then.model) == weights(straight.model)


def test_interrupted_while_evaluating_it_evaluates_again(store: Store, tmp_path: Path) -> None:
    def interrupted(model: Model) -> dict[str, float]:
        raise KeyboardInterrupt

    straight = Run(store, evaluate=train_loss(store))
    expected = straight.fit()
    with pytest.raises(KeyboardInterrupt):
        Run(store, tmp_path, evaluate=interrupted).fit()
    resumed = Run(store, tmp_path, evaluate=train_loss(store))
    assert resumed.fit(resume=True).history == expected.history
    assert weights(resumed.model) == weights(straight.model)


def test_a_damaged_newest_checkpoint_is_passed_over_and_said_so(store: Store, tmp_path: Path) -> None:
    straight = Run(store)
    straight.fit()
    with pytest.raises(RuntimeError):
        Run(store, tmp_path, objective=at_call(6, crash)).fit(checkpoint_seconds=0)
    newest = max(tmp_path.glob("checkpoint-*")) / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5])
    resumed = Run(store, tmp_path)
    result = resumed.fit(resume=True, checkpoint_seconds=0)
    assert "resumed after step 4" in result.notes
    assert any("checkpoint-000005 is damaged" in note for note in result.notes)
    assert weights(resumed.model) == weights(straight.model)


def test_only_damaged_checkpoints_are_an_error(store: Store, tmp_path: Path) -> None:
    Run(store, tmp_path).fit()
    for folder in tmp_path.glob("checkpoint-*"):
        (folder / "scalars.json").write_text("{}")
    with pytest.raises(CorruptError, match="no checkpoint of"):
        Run(store, tmp_path).fit(resume=True)


def test_resuming_a_finished_run_gives_its_result_without_a_step(store: Store, tmp_path: Path) -> None:
    first = Run(store, tmp_path, evaluate=train_loss(store))
    expected = first.fit()
    again = Run(store, tmp_path, evaluate=train_loss(store), objective=at_call(1, crash))
    result = again.fit(resume=True)
    assert result.history == expected.history and result.best_epoch == expected.best_epoch
    assert weights(again.model) == weights(first.model)


def test_more_epochs_go_on_from_the_last_weights_not_the_best(store: Store, tmp_path: Path) -> None:
    values = [0.9, 0.5, 0.5, 0.5]
    straight = Run(store, evaluate=scripted(values))
    straight.fit(epochs=4, patience=9)
    Run(store, tmp_path, evaluate=scripted(values[:2])).fit(epochs=2, patience=9)
    longer = Run(store, tmp_path, evaluate=scripted(values[2:]))
    assert len(longer.fit(resume=True, epochs=4, patience=9).history) == 4
    assert weights(longer.model) == weights(straight.model)


def test_a_resumed_run_has_the_threads_that_it_asks_for(store: Store, tmp_path: Path) -> None:
    Run(store, tmp_path).fit(threads=1, epochs=1)
    inside: list[int] = []
    look = at_call(1, lambda: inside.append(torch.get_num_threads()))
    result = Run(store, tmp_path, objective=look).fit(resume=True, threads=2, epochs=2)
    assert inside == [2] and "2 threads as asked, before 1" in result.notes


def test_resuming_where_nothing_is_starts(store: Store, tmp_path: Path) -> None:
    run = Run(store, tmp_path / "new")
    assert len(run.fit(resume=True).history) == 2


def test_an_earlier_run_is_not_overwritten(store: Store, tmp_path: Path) -> None:
    Run(store, tmp_path).fit()
    with pytest.raises(RunError, match="holds checkpoints of an earlier run"):
        Run(store, tmp_path).fit()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"lr": 0.5}, r"lr = 0\.02, not 0\.5"), ({"optimizer": "sgd"}, 'optimizer = "lazy_adam", not "sgd"')],
)
def test_checkpoints_of_other_settings_are_refused(
    store: Store, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    Run(store, tmp_path).fit()
    with pytest.raises(RunError, match=message):
        Run(store, tmp_path).fit(resume=True, **settings)


def test_checkpoints_of_another_model_are_refused(store: Store, tmp_path: Path) -> None:
    Run(store, tmp_path).fit()
    with pytest.raises(RunError, match="other weights"):
        Run(store, tmp_path, model_config=DeepFMConfig(deep=(9,))).fit(resume=True)


def test_the_best_weights_are_restored(store: Store) -> None:
    seen: list[dict[str, bytes]] = []
    values = iter([0.6, 0.8, 0.7])

    def measure(model: Model) -> dict[str, float]:
        seen.append(weights(model))
        return {"auc": next(values)}

    run = Run(store, evaluate=measure)
    result = run.fit(epochs=3, patience=5)
    assert result.best_epoch == 1 and result.best_metrics == {"auc": 0.8}
    assert weights(run.model) == seen[1] != seen[2]
    assert not run.model.training


def test_the_rate_falls_at_each_failure_and_patience_stops_the_run(store: Store) -> None:
    run = Run(store, evaluate=scripted([0.5, 0.6, 0.6, 0.6, 0.9]))
    result = run.fit(epochs=9, lr=1e-3, patience=2, min_lr=2e-4)
    assert [record["lr"] for record in result.history] == [1e-3, 1e-3, 1e-3, 2e-4]
    assert run.reports[-1].note == "no improvement in 2 evaluations"
    assert result.best_epoch == 1


def test_evaluations_are_spread_over_the_epoch(store: Store) -> None:
    result = Run(store, evaluate=scripted([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])).fit(evals_per_epoch=3)
    assert [record["step"] for record in result.history] == [3, 5, 7, 10, 12, 14]
    assert [record["epoch"] for record in result.history] == [0, 0, 0, 1, 1, 1]


def test_without_validation_all_epochs_are_trained_and_it_says_so(store: Store) -> None:
    run = Run(store)
    result = run.fit(epochs=3)
    assert result.best_epoch is None and result.best_metrics is None
    assert [record["epoch"] for record in result.history] == [0, 1, 2]
    assert "no validation rows: training all 3 epochs" in run.reports[0].note
    assert run.reports[-1].note == "all epochs done"


def test_ids_no_row_had_are_set_to_their_fields_mean(store: Store) -> None:
    run = Run(store, unseen_rate=0.0)
    run.fit(epochs=1)
    embeddings = [module for module in run.model.modules() if isinstance(module, FieldEmbedding)]
    assert embeddings
    for embedding in embeddings:
        for name in ("user", "item", "genres"):
            table = embedding.table(name)
            torch.testing.assert_close(table[:2], table[2:].mean(0).expand(2, -1))


def test_dropped_ids_train_the_unseen_row(store: Store) -> None:
    run = Run(store, unseen_rate=0.5)
    run.fit(epochs=1)
    embedding = next(module for module in run.model.modules() if isinstance(module, FieldEmbedding))
    table = embedding.table("item")
    torch.testing.assert_close(table[0], table[2:].mean(0))  # no row lacks an item
    assert not torch.allclose(table[1], table[2:].mean(0), atol=1e-4)


def test_a_loss_that_is_not_finite_names_step_and_rows_and_is_not_saved(store: Store, tmp_path: Path) -> None:
    calls = iter(range(1, 100))

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        return bce_objective(model, batch) * (math.nan if next(calls) in (4, 5) else 1.0)

    with pytest.raises(NotFiniteError, match=r"step 4: the numbers are not finite \(loss nan\)"):
        Run(store, tmp_path, objective=objective).fit(checkpoint_seconds=0)
    resumed = Run(store, tmp_path)
    assert "resumed after step 3" in resumed.fit(resume=True).notes


def test_a_gradient_that_is_not_finite_changes_no_weight_and_is_named(store: Store, tmp_path: Path) -> None:
    calls, before = iter(range(1, 100)), []

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        if next(calls) == NUM_BATCHES:
            before.append(weights(model))
            model.get_parameter("prediction.weight").register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]
        return bce_objective(model, batch)

    run = Run(store, tmp_path, evaluate=scripted([0.5]), objective=objective)
    with pytest.raises(NotFiniteError, match=rf"step {NUM_BATCHES}: .* parameters prediction\.weight") as caught:
        run.fit()
    assert caught.value.incident["parameters"] == ("prediction.weight",)
    kept = {
        name: value for name, value in weights(run.model).items() if "running" not in name and "tracked" not in name
    }
    assert kept == {name: before[0][name] for name in kept}
    assert not list(tmp_path.glob("checkpoint-*")) and (tmp_path / "incident" / "manifest.json").is_file()


def test_a_full_disk_is_a_clear_error_and_the_checkpoint_before_stays(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def fill_the_disk() -> None:
        monkeypatch.setattr("crossfield.checkpoint.save_file", full_disk)

    with monkeypatch.context(), pytest.raises(RunError, match="No space left on device"):
        Run(store, tmp_path, objective=at_call(3, fill_the_disk)).fit(checkpoint_seconds=0)
    monkeypatch.undo()
    assert "resumed after step 2" in Run(store, tmp_path).fit(resume=True).notes


def test_records_of_an_interrupted_run_read_like_those_of_a_straight_one(store: Store, tmp_path: Path) -> None:
    def numbers(folder: Path) -> list[tuple[str, int, float | None]]:
        lines = read_lines(folder / "log.jsonl")
        return [(one["kind"], one["step"], one["train_loss"]) for one in lines if one["kind"] != "progress"]

    Run(store, tmp_path / "straight").fit()
    with pytest.raises(RuntimeError):
        Run(store, tmp_path / "broken", objective=at_call(9, crash)).fit(checkpoint_seconds=1e9)
    with pytest.raises(KeyboardInterrupt):
        Run(store, tmp_path / "broken", objective=at_call(10, press_ctrl_c)).fit(resume=True)
    Run(store, tmp_path / "broken").fit(resume=True)
    found = numbers(tmp_path / "broken")
    assert [one[:2] for one in found] == [
        ("start", 0),
        ("evaluation", 7),
        ("start", 10),
        ("evaluation", 14),
        ("end", 14),
    ]
    del found[2]
    assert found == numbers(tmp_path / "straight")


def test_progress_is_reported_with_speed_and_time_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfield.train._REPORT_SECONDS", 0.0)
    run = Run(store)
    run.fit()
    progress = [report for report in run.reports if report.kind == "progress"]
    assert len(progress) == 2 * NUM_BATCHES
    middle = progress[6]
    assert middle.fraction == 0.5 and middle.epoch == 0 and middle.rows_per_second > 0
    assert middle.eta_seconds > 0 and math.isfinite(middle.eta_seconds)
    assert [report.kind for report in run.reports[:2]] == ["start", "progress"]


def test_drawn_negatives_take_part_in_bce_and_bpr(store: Store) -> None:
    sizes: list[int] = []

    def watching(model: nn.Module, batch: Batch) -> Tensor:
        sizes.append(batch.size)
        return bce_objective(model, batch)

    Run(store, negatives=Repeat(), objective=watching).fit(epochs=1)
    assert sizes == [3 * BATCH] * 6 + [3 * 4]
    assert Run(store, negatives=Repeat()).fit(epochs=1, objective="bpr").history[0]["train_loss"] > 0


def test_no_rows_are_an_error(tmp_path: Path) -> None:
    empty = write_store([], tmp_path, model_schema=SCHEMA, fingerprint="f")
    with pytest.raises(DataError, match="no training rows"):
        Run(empty).trainer()


def test_bf16_keeps_weights_in_fp32_and_stays_close(store: Store) -> None:
    single, half = Run(store, evaluate=train_loss(store)), Run(store, evaluate=train_loss(store))
    # At a rate at which a rounding is not amplified: 0.011 at most over 12 seeds.
    first, second = single.fit(epochs=3, lr=3e-3), half.fit(epochs=3, lr=3e-3, precision="bf16")
    assert all(value.dtype != torch.bfloat16 for value in half.model.state_dict().values())
    assert weights(single.model) != weights(half.model)
    assert first.history[-1]["log_loss"] == pytest.approx(second.history[-1]["log_loss"], abs=0.02)
    assert "bf16 as asked" in second.notes


def test_torch_is_left_as_it_was(store: Store) -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    inside: list[tuple[int, bool]] = []

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        inside.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
        return bce_objective(model, batch)

    run = Run(store, objective=objective)
    run.fit(threads=2, epochs=1)
    assert set(inside) == {(2, True)}
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_the_reader_may_stand_anywhere_before(store: Store) -> None:
    straight, moved = Run(store), Run(store)
    straight.fit()
    trainer = moved.trainer()
    trainer.reader.position = Position(5, 3)
    trainer.fit()
    assert weights(moved.model) == weights(straight.model)


@pytest.fixture
def flat_store(tmp_path: Path) -> Iterator[Store]:
    rows = encoded()
    schema = ModelSchema(dense=SCHEMA.dense, categorical=SCHEMA.categorical, user="user", item="item")
    flat = Encoded(**{**vars(rows), "sequences": {}})
    yield write_store([flat], tmp_path / "flat", model_schema=schema, fingerprint="f")


@pytest.mark.filterwarnings("ignore:::torch")  # what torch's compiler warns of in its own code
def test_compiled_steps_are_compiled_once(flat_store: Store) -> None:
    torch._dynamo.reset()
    model = MF(flat_store.model_schema, MFConfig(embedding_dim=4))
    config = TrainConfig(batch_size=BATCH, epochs=3, precision="fp32", compile="on")
    steps: list[int] = []

    def forbid(report: Report) -> None:
        """After the first epoch nothing new can come."""
        steps.append(report.step)
        torch._dynamo.config.error_on_recompile = bool(report.step)

    with torch._dynamo.config.patch(error_on_recompile=False):
        Trainer(model, Reader(flat_store, batch_size=BATCH), config, on_report=forbid).fit()
    assert max(steps) == 3 * NUM_BATCHES


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::torch")  # what torch's compiler warns of in its own code
def test_compiled_training_resumes_to_the_byte(flat_store: Store, tmp_path: Path) -> None:
    def fit(folder: Path, objective: Any = None, resume: bool = False) -> dict[str, bytes]:
        torch._dynamo.reset()
        torch.manual_seed(0)
        model = DeepFM(flat_store.model_schema, SMALL)
        config = TrainConfig(batch_size=BATCH, epochs=2, precision="fp32", compile="on")
        reader = Reader(flat_store, batch_size=BATCH)
        Trainer(model, reader, config, folder=folder, objective=objective, unseen_rate=0.2).fit(resume)
        return weights(model)

    expected = fit(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "broken", at_call(3, press_ctrl_c))
    assert fit(tmp_path / "broken", resume=True) == expected


@pytest.mark.parametrize(
    "compile",
    [
        "off",
        # what torch's compiler warns of in its own code
        pytest.param("on", marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore:::torch")]),
    ],
)
def test_a_model_of_branches_learns_by_what_its_paper_minimises(flat_store: Store, compile: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = FinalNet(flat_store.model_schema, FinalNetConfig(embedding_dim=4, deep_1=(8,), deep_2=(8,)))
    rows = flat_store.batch(np.arange(NUM_ROWS))
    before = distillation_objective(Branches(model), rows).item()
    assert before > bce_objective(model, rows).item() + 0.5
    shared = {"batch_size": NUM_ROWS, "epochs": 30, "lr": 0.02, "precision": "fp32", "compile": compile}
    history = Trainer(model, Reader(flat_store, batch_size=NUM_ROWS), TrainConfig.of(shared)).fit().history
    assert history[0]["train_loss"] == pytest.approx(before, rel=1e-5)
    assert bce_objective(model, rows).item() < 0.3


def test_what_is_only_watched_decides_nothing(store: Store) -> None:
    rising = iter(range(10))

    def worse(model: Model) -> dict[str, float]:
        return {"log_loss": float(next(rising))}

    plain, watched = Run(store), Run(store, watch=worse)
    plain.fit(epochs=3)
    result = watched.fit(epochs=3, patience=1)
    assert weights(plain.model) == weights(watched.model)  # the last ones, after all epochs at one rate
    assert [one["test log_loss"] for one in result.history] == [0.0, 1.0, 2.0]
    assert result.best_epoch is None and not result.best_metrics
    both = Run(store, evaluate=train_loss(store), watch=lambda model: {"log_loss": 0.0}).fit(epochs=2)
    assert {"log_loss", "test log_loss"} <= set(both.history[0])
    chosen = Run(store, evaluate=train_loss(store), watch=lambda model: {"log_loss": 0.0})
    with pytest.raises(ConfigError, match="'test log_loss' is not measured; did you mean 'log_loss'"):
        chosen.fit(monitor="test log_loss")
