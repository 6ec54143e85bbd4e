"""Rows are encoded once, and many fits train on them without the raw rows."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from crossfield.recipe import Recipe
from tests.spark import files_of, spark_or_skip

from .conftest import Program, click_log

ROLES = ("--label", "click", "--user", "user_id", "--item", "item_id", "--time", "ts")
MODEL = ("--model", "fm", "--set", "train.epochs=1", "--quiet", "--json")


@pytest.fixture
def prepared(program: Program, tmp_path: Path) -> Program:
    click_log(2000).write_parquet(tmp_path / "clicks.parquet")
    said = program("prepare", "clicks.parquet", *ROLES, "--out", "rows")
    assert "1,600 training rows, 200 validation rows, 200 test rows (time split)" in said.stdout
    assert "user_id" in said.stderr, "the schema is shown"
    return program


def test_a_fit_on_prepared_rows_is_the_fit_on_raw_ones(prepared: Program, tmp_path: Path) -> None:
    raw = json.loads(prepared("fit", "clicks.parquet", *ROLES, *MODEL, "--out", "raw").stdout)
    (tmp_path / "clicks.parquet").rename(tmp_path / "elsewhere.parquet")
    now = json.loads(prepared("fit", "--prepared", "rows", *MODEL, "--out", "run").stdout)
    for key in ("test", "valid", "train_rows", "data_sha256", "split", "parameters", "recipe_sha256", "integer_ids"):
        assert now[key] == raw[key], key
    for name in ("recipe.toml", "model.safetensors", "encoder/encoder.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "raw" / name).read_bytes(), name
    prepared("predict", "run", "elsewhere.parquet", "--out", "scores.parquet")
    assert len(pl.read_parquet(tmp_path / "scores.parquet")) == 2000
    again = json.loads(prepared("fit", "--prepared", "rows", *MODEL, "--out", "run", "--resume").stdout)
    assert again["valid"] == now["valid"], "a finished run is found again"


def test_other_models_and_seeds_train_on_the_same_rows(prepared: Program) -> None:
    for model in ("deepfm", "popularity"):
        prepared("fit", "--prepared", "rows", "--model", model, "--set", "train.epochs=1", "--out", model, "--quiet")
    prepared("fit", "--prepared", "rows", *MODEL, "--set", "train.seed=5", "--out", "other")
    watched = (
        "--set",
        "train.watch_test=true",
        "--set",
        "train.epochs=9",
        "--set",
        "train.lr=0.03",
        "--set",
        "calibration.method=platt",
    )
    assert "test" in json.loads(prepared("fit", "--prepared", "rows", *MODEL, *watched, "--out", "watched").stdout)


def test_other_rows_or_words_are_refused(prepared: Program, tmp_path: Path) -> None:
    fit = ("fit", "--prepared", "rows", *MODEL, "--out", "run")
    said = prepared(*fit, "--set", "encoder.min_count=3", code=1).stderr
    assert "encoder.min_count was 1 when these rows were prepared and is 3 now" in said
    assert "data.user was 'user_id'" in prepared(*fit, "--user", "item_id", code=1).stderr
    assert "data.path was 'clicks.parquet'" in prepared("fit", "other.csv", *fit[1:], code=1).stderr
    prepared("schema", "clicks.parquet", "--out", "schema.json")
    assert "leave out --schema" in prepared(*fit, "--schema", "schema.json", code=1).stderr
    click_log(500).write_parquet(tmp_path / "clicks.parquet")
    assert "was changed since" in prepared("fit", "clicks.parquet", *fit[1:], code=1).stderr
    assert "not a Crossfield preparation" in prepared("fit", "--prepared", ".", *MODEL, "--out", "run", code=1).stderr
    assert not (tmp_path / "run").exists()


def test_a_seed_that_drew_the_rows_stays_theirs(program: Program, tmp_path: Path) -> None:
    click_log(2000).write_parquet(tmp_path / "clicks.parquet")
    drawn = (*ROLES, "--split", "random", "--set", "data.split_seed=4", "--quiet")
    program("prepare", "clicks.parquet", *drawn, "--out", "rows")
    said = program("fit", "--prepared", "rows", *MODEL, "--out", "run", "--set", "data.split_seed=5", code=1).stderr
    assert "data.split_seed was 4" in said
    program("fit", "--prepared", "rows", *MODEL, "--set", "train.seed=5", "--out", "run")
    assert Recipe.read(tmp_path / "run" / "recipe.toml").data.split_seed == 4
    thinned = (*drawn, "--set", "data.negative_rate=0.5", "--set", "train.seed=3")
    program("prepare", "clicks.parquet", *thinned, "--out", "fewer")
    assert json.loads(program("fit", "--prepared", "fewer", *MODEL, "--out", "less").stdout)["seed"] == 3


def test_rows_without_labels(program: Program, tmp_path: Path) -> None:
    click_log(2000).filter(pl.col("click") == 1).drop("click").write_csv(tmp_path / "pairs.csv")
    words = ("--user", "user_id", "--item", "item_id", "--time", "ts", "--split", "leave_one_out")
    program("prepare", "pairs.csv", *words, "--out", "rows", "--quiet")
    raw = json.loads(program("fit", "pairs.csv", *words, *MODEL, "--out", "raw").stdout)
    now = json.loads(program("fit", "--prepared", "rows", *MODEL, "--out", "run").stdout)
    assert now["test"] == raw["test"] and now["valid"] == raw["valid"]


def test_spark_prepares_what_polars_does(program: Program, tmp_path: Path) -> None:
    spark_or_skip()
    click_log(2000).write_csv(tmp_path / "clicks.csv")
    words = ("clicks.csv", *ROLES, "--set", "encoder.min_count=2", "--cross", "user_id,item_id", "--quiet")
    program("prepare", *words, "--out", "here")
    said = program("prepare", *words, "--engine", "spark", "--out", "there")
    assert "by spark" in said.stdout
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")
    program("fit", "--prepared", "there", *MODEL, "--out", "run")


def test_without_spark_it_says_what_to_install(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    click_log(100).write_csv("clicks.csv")
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    said = program("prepare", "clicks.csv", *ROLES, "--engine", "spark", "--out", "rows", "--quiet", code=1)
    assert "pip install 'crossfield[spark]'" in said.stderr
    assert not Path("rows").exists()
