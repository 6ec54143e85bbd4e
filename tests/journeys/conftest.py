"""A small click log with a planted effect, and the program as a user runs it."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crossfield.cli import main

Program = Callable[..., "Said"]


@dataclass(frozen=True)
class Said:
    """What a command printed."""

    stdout: str
    stderr: str


def run_process(folder: Path, arguments: Sequence[object]) -> tuple[int, Said]:
    """Run ``python -m crossfield`` as a user does: a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "crossfield", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
    )
    return done.returncode, Said(done.stdout, done.stderr)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """Run the program in a fresh folder: ``main`` in this process, which has torch loaded, or a process of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0, own_process: bool = False) -> Said:
        if own_process:
            returned, said = run_process(tmp_path, arguments)
        else:
            monkeypatch.setattr(sys, "argv", ["crossfield", *map(str, arguments)])
            capsys.readouterr()
            with pytest.raises(SystemExit) as stop:
                main()
            returned, said = int(stop.value.code or 0), Said(*capsys.readouterr())
        assert returned == code, f"{arguments}: exit {returned}\n{said.stdout}\n{said.stderr}"
        assert "Traceback" not in said.stderr, said.stderr
        return said

    return run


def click_log(num_rows: int = 4000, seed: int = 0) -> pl.DataFrame:
    """Clicks that depend on whether the user's group likes the film's genre (second order), and a little on age."""
    rng = np.random.default_rng(seed)
    user, film = rng.integers(0, 60, num_rows), rng.integers(0, 40, num_rows)
    age = rng.integers(18, 70, num_rows)
    logit = 2.5 * np.where(user % 2 == film % 2, 1.0, -1.0) + 0.02 * (age - 44)
    genres = np.array(["Action|Comedy", "Drama", "Comedy", "Drama|Action"])[film % 4]
    return pl.DataFrame(
        {
            "click": (rng.random(num_rows) < 1 / (1 + np.exp(-logit))).astype(np.int64),
            "user_id": [f"u{one}" for one in user],
            "item_id": film + 100,
            "genres": genres,
            "age": age.astype(np.float64),
            "ts": np.sort(rng.integers(1_700_000_000, 1_700_900_000, num_rows)),
        }
    )


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    """The click log as Parquet."""
    path = tmp_path / "clicks.parquet"
    click_log().write_parquet(path)
    return path


FIT = (
    "--label",
    "click",
    "--user",
    "user_id",
    "--item",
    "item_id",
    "--time",
    "ts",
    "--model",
    "deepfm",
    "--set",
    "model.deep=[32]",
)
SMALL = ("--set", "train.epochs=3", "--set", "train.batch_size=256", "--set", "train.lr=0.01")
