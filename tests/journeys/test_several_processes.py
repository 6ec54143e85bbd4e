"""Under torchrun a fit is the same fit: rows, run, metrics and files as of one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from crossfield import Ranker, fitting, load
from crossfield.distributed import spread
from crossfield.distributed.team import Team
from crossfield.errors import ConfigError, RunError
from tests.distributed.launch import all_well, launch

NUM_ROWS = 6001
SETTINGS = {"train.epochs": 2, "train.batch_size": 512, "train.precision": "fp32", "encoder.unseen_rate": 0}
SIZES = {"model.deep": "[16]", "model.embedding_dim": 64}  # 1.5 MB of users: by rows
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def clicks() -> pl.DataFrame:
    random = np.random.default_rng(0)
    users, items = random.permutation(NUM_ROWS), random.integers(0, 90, NUM_ROWS)
    price = random.normal(size=NUM_ROWS).round(3)
    score = (items % 3 == 0) * 1.2 + (users % 2) * 0.8 + price * 0.5 + random.normal(size=NUM_ROWS)
    return pl.DataFrame(
        {"user": users, "item": items, "price": price, "click": (score > 1.2).astype(int), "ts": np.arange(NUM_ROWS)}
    )


def run(*command: Any, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CROSSFIELD_CACHE": "off"}
    return subprocess.run(
        [str(one) for one in command], env=environment, capture_output=True, text=True, timeout=timeout
    )


def fit_command(data: Path, out: Path, *more: str) -> list[str]:
    settings = [f"--set={key}={value}" for key, value in {**SETTINGS, **SIZES}.items()]
    roles = ["--label", "click", "--user", "user", "--item", "item", "--time", "ts"]
    return ["-m", "crossfield", "fit", str(data), *roles, "--model", "deepfm", *settings, "--out", str(out), *more]


def test_torchrun_fits_what_one_process_fits(tmp_path: Path) -> None:
    data = tmp_path / "data.parquet"
    clicks().write_parquet(data)
    one = run(sys.executable, *fit_command(data, tmp_path / "one", "--json"))
    two = run(*TORCHRUN, *fit_command(data, tmp_path / "two", "--json"))
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    told = [json.loads(done.stdout) for done in (one, two)]  # one document: the other process prints nothing
    assert two.stderr.count("epoch 1:") == 1 and "2 processes" in two.stderr
    assert told[1]["processes"] == 2
    for part in ("valid", "test"):
        for name in ("auc", "log_loss"):
            assert told[1][part][name] == pytest.approx(told[0][part][name], rel=1e-5)
    files = [
        sorted(str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*"))
        for name in ("one", "two")
    ]
    assert files[0] == files[1]
    for file in ("model.safetensors", "training/tensors.safetensors"):
        weights = [load_file(tmp_path / name / file) for name in ("one", "two")]
        for name, expected in weights[0].items():
            np.testing.assert_allclose(weights[1][name], expected, atol=2e-5, err_msg=name)


def fit_pairs(team: Team, model: str) -> dict[str, Any]:
    spread.SMALL_TABLE = 0
    pairs = (
        clicks().select(user=pl.col("user") % 200, item="item", ts="ts").unique(["user", "item"], maintain_order=True)
    )
    train, valid = load(pairs, user="user", item="item", time="ts", quiet=True).split("time", sizes=(0.9, 0.1))
    train_settings = {"epochs": 2, "batch_size": 256, "precision": "fp32"}
    ranker = Ranker(model, train=train_settings, encoder={"unseen_rate": 0}, embedding_dim=8)
    ranker.fit(train, valid, quiet=True)
    return {"history": ranker.about["history"], "scores": ranker.predict(pairs.head(50), quiet=True)}


@pytest.mark.parametrize("model", ["mf", pytest.param("neumf", marks=pytest.mark.slow)])
def test_negatives_and_rankings_are_those_of_one_process(model: str) -> None:
    one = fit_pairs(Team(), model)
    for several in all_well(launch(fit_pairs, 2, model)):
        # Adam divides what is nearly no gradient by itself, so that single scores may differ by more than weights do.
        np.testing.assert_allclose(several["scores"], one["scores"], rtol=1e-4)
        for record, expected in zip(several["history"], one["history"], strict=True):
            assert record["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)
            assert record["hr@10"] == pytest.approx(expected["hr@10"], abs=0.01)


def fit_apart(team: Team, folder: Path, shared: bool) -> str:
    """A fit of two processes that are on machines of their own, with a cache each; what it says."""
    os.environ["CROSSFIELD_CACHE"] = str(folder / f"cache {team.rank}")
    team.local_size = 1
    ranker = Ranker("logistic_regression", train={"epochs": 1, "precision": "fp32"})
    if not shared and not team.is_first:
        fitting.find = lambda *_, **__: None  # the same path on another disk
    try:
        ranker.fit(load(folder / "data.parquet", label="click", quiet=True), out=folder / f"run {shared}", quiet=True)
    except RunError as error:
        return str(error)
    return "trained"


def test_processes_on_several_machines_read_the_rows_from_the_runs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks().write_parquet(tmp_path / "data.parquet")
    assert all_well(launch(fit_apart, 2, tmp_path, True)) == ["trained", "trained"]
    assert (tmp_path / "run True").is_dir() and not list(tmp_path.glob("cache*"))
    first, second = all_well(launch(fit_apart, 2, tmp_path, False))
    assert first.startswith("another process of this run stopped")
    assert second.startswith("process 1 does not see the rows that the first process prepared in")
    assert "an --out on a disk that they share" in second
    monkeypatch.setattr("crossfield.ranker.join", lambda *_, **__: Team(0, 2))
    with pytest.raises(ConfigError, match="need a folder that all of them see; name it as out"):
        Ranker("fm").fit(clicks(), quiet=True)


def test_what_one_process_does_is_refused_under_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**os.environ, "RANK": "0", "WORLD_SIZE": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "crossfield", "models"], env=environment, capture_output=True, text=True
    )
    assert (
        done.returncode == 1
        and done.stderr == "crossfield: crossfield models is one process; start it without torchrun\n"
    )
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="an update is done by one process; start it without torchrun"):
        Ranker("mf").update(pl.DataFrame())


def test_solved_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfield.ranker.join", lambda *_, **__: Team(0, 2, local_size=2))
    monkeypatch.setattr(Team, "agree", lambda self, *votes: list(votes))
    rows = load(clicks().select("user", "item"), user="user", item="item", quiet=True)
    with pytest.raises(
        ConfigError, match="popularity is solved, not trained, which one process does; start it without"
    ):
        Ranker("popularity").fit(rows, quiet=True)


def workers_of(torchrun: int) -> list[int]:
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    names = {int(one): Path(f"/proc/{one}/cmdline").read_bytes() for one in children}
    return [one for one, name in names.items() if b"crossfield" in name]


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_killed_process_costs_no_more_than_the_steps_since_the_last_checkpoint(restarts: int, tmp_path: Path) -> None:
    data = tmp_path / "data.parquet"
    clicks().write_parquet(data)
    more = ["--set=train.epochs=8", "--set=model.dropout=0.2", "--set=train.checkpoint_seconds=0", "--resume", "--json"]
    straight = run(*TORCHRUN, *fit_command(data, tmp_path / "straight", *more))
    assert straight.returncode == 0, straight.stderr
    command = [*TORCHRUN, "--max-restarts", str(restarts), *fit_command(data, tmp_path / "broken", *more)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CROSSFIELD_CACHE": "off"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as broken:
        until = time.monotonic() + 120
        while not list((tmp_path / "broken" / "work" / "checkpoints").glob("checkpoint-00001*")):
            assert time.monotonic() < until and broken.poll() is None, "no checkpoint was written"
            time.sleep(0.02)
        os.kill(workers_of(broken.pid)[-1], signal.SIGKILL)
        killed = time.monotonic()
        output, said = broken.communicate(timeout=240)
    assert "lost another process of this run" in said and "with the same command and --resume" in said
    if not restarts:
        assert broken.returncode != 0 and time.monotonic() - killed < 60
        output = run(*TORCHRUN, *fit_command(data, tmp_path / "broken", *more)).stdout
    assert output, said
    assert json.loads(output)["history"] == json.loads(straight.stdout)["history"]
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "broken")]
    assert files[0] == files[1], "the same bits"


@pytest.mark.slow
def test_an_interrupted_run_is_saved_by_all_of_them_at_the_same_step(tmp_path: Path) -> None:
    data, out = tmp_path / "data.parquet", tmp_path / "run"
    clicks().write_parquet(data)
    more = ["--set=train.epochs=40", "--resume", "--json"]
    command = [*TORCHRUN, *fit_command(data, out, *more)]
    log = out / "work" / "checkpoints" / "log.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as interrupted:
        until = time.monotonic() + 120
        while not (log.is_file() and "evaluation" in log.read_text()):
            assert time.monotonic() < until and interrupted.poll() is None, "no epoch came to its end"
            time.sleep(0.02)
        interrupted.send_signal(signal.SIGTERM)
        _, said = interrupted.communicate(timeout=60)
    assert said.count("keeps what was done: the same command with --resume goes on from there") == 1
    assert "lost another process" not in said
    [checkpoint] = (out / "work" / "checkpoints").glob("checkpoint-*")
    assert len(list(checkpoint.glob("pieces-*"))) == 2
