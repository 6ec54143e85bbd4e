"""Training on a GPU: rows that lie there, steps that are recorded. Skipped where there is none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crossfield.data.encode import Encoded
from crossfield.data.resident import ResidentRows, keep_on
from crossfield.data.store import Reader, Store, write_store
from crossfield.evaluate import predict
from crossfield.models import CATALOGUE
from crossfield.models.base import Model
from crossfield.recording import RecordedStep
from crossfield.schema import Field, ModelSchema
from crossfield.train import TrainConfig, Trainer
from tests.distributed.test_torchrec_tables import needs_torchrec

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

NUM_ROWS, BATCH = 1000, 64
SCHEMA = ModelSchema(dense=("price",), categorical=(Field("user", 50), Field("item", 30), Field("shop", 7)))
GPU = torch.device("cuda")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    random = np.random.default_rng(0)
    ids = np.stack([random.integers(2, one.num_rows, NUM_ROWS) for one in SCHEMA.categorical], 1)
    rows = Encoded(
        dense=random.normal(size=(NUM_ROWS, 1)).astype(np.float32),
        categorical=ids.astype(np.int32),
        sequences={},
        labels=((ids[:, 0] + ids[:, 1]) % 2).astype(np.float32),
        weights=None,
        groups=np.zeros(NUM_ROWS, dtype=np.int64),
        rows=np.arange(NUM_ROWS),
    )
    return write_store([rows], tmp_path_factory.mktemp("store"), model_schema=SCHEMA, fingerprint="f")


def fit(name: str, store: Store, device: torch.device, **settings: Any) -> tuple[Model, Trainer]:
    config = TrainConfig.of(
        {"batch_size": BATCH, "epochs": 3, "lr": 0.01, "precision": "fp32", "cuda_graph": True, **settings}
    )
    torch.manual_seed(0)
    kind = CATALOGUE[name]
    model = kind(store.model_schema, kind.config_type()).to(device)
    trainer = Trainer(model, Reader(store, batch_size=BATCH, seed=0), config)
    trainer.fit()
    return model, trainer


def test_rows_on_the_gpu_are_the_rows(store: Store) -> None:
    places = np.array([5, 999, 5, 0])
    theirs, ours = ResidentRows(store, GPU).batch(places), store.batch(places)
    for name in ("dense", "categorical", "labels", "groups", "rows"):
        assert torch.equal(getattr(theirs, name).cpu(), getattr(ours, name)), name
        assert getattr(theirs, name).dtype == getattr(ours, name).dtype


def test_rows_that_do_not_fit_stay_where_they_are(store: Store) -> None:
    reader = Reader(store, batch_size=BATCH)
    assert not keep_on(reader, GPU, share=0.0) and reader.source is store
    assert not keep_on(reader, torch.device("cpu"))


@pytest.mark.parametrize("optimizer", ["lazy_adam", "rowwise_adagrad", "adam"])
@pytest.mark.parametrize("name", ["deepfm", "wide_deep", "dcn_v2", "dlrm", "dhen", "xdeepfm", "finalmlp"])
def test_recorded_steps_learn_what_plain_ones_on_a_cpu_do(name: str, optimizer: str, store: Store) -> None:
    on_gpu, trainer = fit(name, store, GPU, optimizer=optimizer)
    assert isinstance(trainer._step, RecordedStep)
    assert trainer._step.reason == "" and trainer._step.is_recorded
    on_cpu, _ = fit(name, store, torch.device("cpu"), optimizer=optimizer)
    rows = list(Reader(store, batch_size=NUM_ROWS, shuffle=False).epoch())
    ours, theirs = predict(on_gpu, rows).logits, predict(on_cpu, rows).logits
    assert np.abs(ours - theirs).mean() < 0.02 * np.abs(theirs).mean() + 1e-3


def test_a_falling_rate_is_recorded_anew(store: Store) -> None:
    torch.manual_seed(0)
    kind = CATALOGUE["dcn_v2"]
    model = kind(SCHEMA, kind.config_type()).to(GPU)
    config = TrainConfig.of({"batch_size": BATCH, "epochs": 4, "patience": 9, "precision": "fp32", "cuda_graph": True})
    values = iter([0.5, 0.4, 0.4, 0.4])
    trainer = Trainer(model, Reader(store, batch_size=BATCH), config, evaluate=lambda model: {"auc": next(values)})
    trainer.fit()
    step = trainer._step
    assert isinstance(step, RecordedStep) and step.is_recorded
    assert step._rates[0] == pytest.approx(1e-5)


def test_a_clip_that_would_count_rows_twice_is_not_recorded(store: Store) -> None:
    _, trainer = fit("deepfm", store, GPU, clip_norm=1.0)
    assert any("no CUDA graph: " in note for note in trainer._notes)


def test_bf16_and_checkpoints_on_a_gpu(store: Store, tmp_path: Path) -> None:
    torch.manual_seed(0)
    kind = CATALOGUE["deepfm"]
    config = TrainConfig.of({"batch_size": BATCH, "epochs": 2, "precision": "bf16"})
    model = kind(SCHEMA, kind.config_type()).to(GPU)
    Trainer(model, Reader(store, batch_size=BATCH), config, folder=tmp_path).fit()
    more = TrainConfig.of({"batch_size": BATCH, "epochs": 3, "precision": "bf16"})
    result = Trainer(model, Reader(store, batch_size=BATCH), more, folder=tmp_path).fit(resume=True)
    assert len(result.history) == 3
    assert all(np.isfinite(one["train_loss"]) for one in result.history)


@needs_torchrec
@pytest.mark.filterwarnings("ignore")  # of others' packages
@pytest.mark.parametrize("cache", [None, 0.5])
@pytest.mark.parametrize("optimizer", ["lazy_adam", "rowwise_adagrad", "adagrad", "sgd"])
def test_tables_that_torchrec_holds_learn_what_those_in_memory_do(
    optimizer: str, cache: float | None, store: Store
) -> None:
    settings = {"optimizer": optimizer, "cuda_graph": False}
    held, _ = fit("dcn_v2", store, GPU, tables="torchrec", table_cache=cache, **settings)
    assert next(held.parameters()).device.type == "cpu", "whole tables need not fit a GPU"
    on_cpu, _ = fit("dcn_v2", store, torch.device("cpu"), **settings)
    rows = list(Reader(store, batch_size=NUM_ROWS, shuffle=False).epoch())
    ours, theirs = predict(held, rows).logits, predict(on_cpu, rows).logits
    assert np.abs(ours - theirs).mean() < 0.02 * np.abs(theirs).mean() + 1e-3
