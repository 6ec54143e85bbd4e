"""When a step is recorded, and that what is recorded trains the same; CUDA's part is in test_gpu.py."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from crossfield.batch import Batch
from crossfield.models.deepfm import DeepFM, DeepFMConfig
from crossfield.objectives import bce_objective
from crossfield.optim import OptimConfig, Optimizers, build_optimizers
from crossfield.recording import RecordedStep, Step
from crossfield.schema import Field, Kind, ModelSchema

SCHEMA = ModelSchema(dense=("price",), categorical=(Field("user", 12), Field("item", 9)))
ROWS = 8


def batch(seed: int, num_rows: int = ROWS) -> Batch:
    random = np.random.default_rng(seed)
    ids = np.stack([random.integers(0, 12, num_rows), random.integers(0, 9, num_rows)], 1)
    labels = (ids.sum(1) % 2).astype(np.float32)[:, None]
    dense = random.normal(size=(num_rows, 1)).astype(np.float32)
    return Batch(torch.from_numpy(dense), torch.from_numpy(ids), labels=torch.from_numpy(labels))


class Run:
    """A model, its optimisers, and a step that says how it was called."""

    def __init__(self, **settings: Any) -> None:
        torch.manual_seed(0)
        self.model = DeepFM(SCHEMA, DeepFMConfig(embedding_dim=4, deep=(8,)))
        self.optimizers: Optimizers = build_optimizers(self.model, OptimConfig.of({"lr": 0.01, **settings}))
        self.calls: list[str] = []

    def step(self, batch: Batch) -> Tensor:
        loss = bce_objective(self.model, batch)
        self.optimizers.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizers.step()
        return loss.detach()

    def warm(self, step: Step, batch: Batch) -> Tensor:
        self.calls.append("warm")
        return step(batch)

    def record(self, step: Step, batch: Batch) -> Step:
        self.calls.append("record")

        def launch(batch: Batch) -> Tensor:
            self.calls.append("launch")
            return step(batch)

        return launch

    def recorded(self, record: Any = None) -> RecordedStep:
        return RecordedStep(
            self.step, self.model, self.optimizers, batch_size=ROWS, warm=self.warm, record=record or self.record
        )


def test_every_call_trains_and_all_are_launched_whole_after_the_warm_up() -> None:
    plain, run = Run(), Run()
    recorded = run.recorded()
    for seed in range(8):
        torch.testing.assert_close(recorded(batch(seed)), plain.step(batch(seed)), rtol=0, atol=1e-6)
    assert run.calls == ["warm"] * 3 + ["record"] + ["launch"] * 4
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(run.model.state_dict()[name], value, rtol=0, atol=1e-6)


def test_a_short_batch_runs_as_it_is() -> None:
    run = Run()
    recorded = run.recorded()
    for seed in range(6):
        recorded(batch(seed))
    before = list(run.calls)
    recorded(batch(9, num_rows=3))
    assert run.calls == before


def test_another_learning_rate_is_recorded_anew() -> None:
    run = Run()
    recorded = run.recorded()
    for seed in range(6):
        recorded(batch(seed))
    run.optimizers.scale_lr(0.1)
    recorded(batch(6))
    recorded(batch(7))
    assert run.calls.count("record") == 2


def test_what_cannot_be_recorded_goes_on_as_it_is_and_says_why() -> None:
    run = Run()

    def refuse(step: Step, batch: Batch) -> Step:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    recorded = run.recorded(refuse)
    losses = [recorded(batch(0)).item() for _ in range(30)]
    assert losses[-1] < losses[0] and not recorded.is_recorded
    assert recorded.reason == "operation not permitted when stream is capturing"


def test_a_table_looked_up_twice_is_not_recorded() -> None:
    run = Run()
    twice = RecordedStep(
        lambda batch: run.step(batch) + run.model(batch).sum() * 0,
        run.model,
        run.optimizers,
        batch_size=ROWS,
        warm=run.warm,
        record=run.record,
    )
    for seed in range(6):
        twice(batch(seed))
    assert twice.reason == "a table is looked up twice in a step" and run.calls == []


def test_clips_and_lists_are_not_recorded() -> None:
    clipped = Run(clip_norm=1.0)
    assert "count a row" in clipped.recorded().reason
    schema = ModelSchema(dense=(), categorical=(Field("user", 12),), sequences=(Field("genres", 6, Kind.MULTI),))
    model = DeepFM(schema, DeepFMConfig(embedding_dim=4, deep=(8,)))
    optimizers = build_optimizers(model, OptimConfig())
    assert "another shape" in RecordedStep(clipped.step, model, optimizers, batch_size=ROWS).reason


@pytest.mark.parametrize("name", ["dense", "categorical", "labels"])
def test_a_copy_takes_over_values_without_being_the_same_memory(name: str) -> None:
    first, second = batch(0), batch(1)
    copy = first.copy()
    copy.fill(second)
    assert torch.equal(getattr(copy, name), getattr(second, name))
    assert torch.equal(getattr(first, name), getattr(batch(0), name))
