"""Probabilities that hold what they say, through the command line: fitted with the run, and again on later rows."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from .conftest import FIT, SMALL, Program, click_log

CALIBRATED = ("--set", "calibration.method=platt")


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """Later rows, in which a third of the clicks are gone."""
    rows = click_log(3000, seed=3).with_columns(click=pl.col("click") * (pl.int_range(pl.len()) % 3 > 0))
    rows.head(1500).write_csv(tmp_path / "later.csv")
    rows.tail(1500).write_csv(tmp_path / "fresh.csv")
    return tmp_path / "fresh.csv"


def scores(folder: Path) -> np.ndarray:
    return pl.read_parquet(folder / "scores.parquet")["score"].to_numpy()


def test_fit_calibrate_predict_evaluate(program: Program, clicks: Path, fresh: Path, tmp_path: Path) -> None:
    said = program("fit", clicks, *FIT, *SMALL, *CALIBRATED, "--out", "run")
    assert "Scores are calibrated: platt (slope " in said.stdout and "fitted to 400 rows" in said.stdout
    assert '[calibration]\nmethod = "platt"' in (tmp_path / "run" / "recipe.toml").read_text()
    before = json.loads(program("evaluate", "run", fresh, "--json").stdout)
    assert before["calibration"] > 1.2

    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    for method in ("isotonic", "platt"):
        said = program("calibrate", "run", "later.csv", "--method", method, "--json", own_process=method == "platt")
        found = json.loads(said.stdout)
        assert (found["calibration"]["method"], found["calibration"]["num_rows"]) == (method, 1500)
        assert list(found["calibration"]["files"]) == ["later.csv"] and said.stderr == ""
        after = json.loads(program("evaluate", "run", fresh, "--json").stdout)
        assert after["auc"] == before["auc"] and after["log_loss"] < before["log_loss"]
        assert after["calibration"] == pytest.approx(1, abs=0.1)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights

    program("predict", "run", fresh, "--out", "scores.parquet")
    assert scores(tmp_path).mean() == pytest.approx(pl.read_csv(fresh)["click"].mean(), rel=0.1)


def test_a_page_of_the_calibration(program: Program, clicks: Path, tmp_path: Path) -> None:
    program("fit", clicks, *FIT, *SMALL, "--out", "run", "--quiet")
    said = program("evaluate", "run", clicks, "--no-intervals", "--report", "calibration.html")
    assert "was trained on rows of clicks.parquet" in said.stderr
    assert said.stdout.splitlines()[-1] == "calibration drawn into calibration.html"
    page = (tmp_path / "calibration.html").read_text()
    assert "Scores are not calibrated." in page and "user:seen" in page and page.count("<svg") == 2
    refused = program("evaluate", "run", clicks, "--report", "calibration.pdf", code=1)
    assert "name an .html file" in refused.stderr


def test_the_default_changes_nothing_and_says_nothing(program: Program, clicks: Path, tmp_path: Path) -> None:
    said = program("fit", clicks, *FIT, *SMALL, "--out", "run", "--json").stdout
    assert json.loads(said)["calibration"] is None
    assert "calibration" not in json.loads((tmp_path / "run" / "manifest.json").read_text())["about"]


def test_mistakes(program: Program, clicks: Path, fresh: Path, tmp_path: Path) -> None:
    program("fit", clicks, *FIT, *SMALL, "--out", "run", "--quiet")
    sealed = (tmp_path / "run" / "manifest.json").read_bytes()
    pl.read_csv(fresh).head(15).write_csv(tmp_path / "few.csv")
    said = program("calibrate", "run", "few.csv", code=1).stderr
    assert "platt is fitted to at least 10 positive and 10 negative rows" in said and said.count("\n") == 1
    assert (tmp_path / "run" / "manifest.json").read_bytes() == sealed
    assert "there is no run at nothing" in program("calibrate", "nothing", fresh, code=1).stderr
    assert not (tmp_path / "nothing").exists()
    assert "was trained on rows of clicks.parquet" in program("calibrate", "run", clicks).stderr
    few = program("fit", "few.csv", *FIT, *SMALL, *CALIBRATED, "--out", "new", "--quiet", code=1)
    assert "platt is fitted to at least" in few.stderr and not (tmp_path / "new").exists()


def test_a_model_that_only_ranks(program: Program, clicks: Path, tmp_path: Path) -> None:
    pairs = click_log(2000).select("user_id", "item_id").unique(maintain_order=True)
    pairs.write_csv(tmp_path / "plays.csv")
    words = ("plays.csv", "--user", "user_id", "--item", "item_id", "--split", "leave_one_out", "--model", "gmf")
    refused = program("fit", *words, *SMALL, *CALIBRATED, "--out", "run", "--quiet", code=1)
    assert "wants labels" in refused.stderr
    program("fit", *words, *SMALL, "--out", "run", "--quiet")
    for command in (("calibrate", "run", clicks), ("evaluate", "run", "plays.csv", "--report", "page.html")):
        assert "only ranks" in program(*command, code=1).stderr
    assert not (tmp_path / "page.html").exists()
