"""The main job from end to end, through the command line, as a newcomer does it."""

import json
from pathlib import Path

import polars as pl
from safetensors.numpy import load_file

from .conftest import FIT, SMALL, Program, click_log


def test_fit_evaluate_predict_recommend(program: Program, clicks: Path, tmp_path: Path) -> None:
    said = program("fit", clicks, *FIT, *SMALL, "--out", "run", "--json", own_process=True)
    fitted = json.loads(said.stdout)
    assert fitted["test"]["auc"] > 0.8
    assert fitted["split"] == "time"
    assert "epoch 1" in said.stderr

    measured = json.loads(program("evaluate", "run", clicks, "--json", own_process=True).stdout)
    assert measured["auc"] > 0.8
    assert measured["slices"]["user:seen"]["n"] + measured["slices"]["user:rare"]["n"] <= measured["n"] == 4000

    new = click_log(50, seed=1).drop("click").with_columns(pl.lit("never seen").alias("user_id"))
    new = pl.concat([new, click_log(50, seed=2).drop("click")]).with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("age")).alias("age")
    )
    new.write_csv(tmp_path / "tomorrow.csv")
    program("predict", "run", "tomorrow.csv", "--out", "scores.parquet", own_process=True)
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    assert scores.columns == ["user_id", "item_id", "ts", "score"]
    assert scores["item_id"].to_list() == new["item_id"].to_list()
    assert scores["score"].is_between(0, 1).all()

    top = json.loads(program("recommend", "run", "--user", "u1", "--user", "nobody", "-k", "3", "--json").stdout)
    assert [(one["user_id"], one["known"]) for one in top] == [("u1", True)] * 3 + [("nobody", False)] * 3


def test_same_seed_same_weights_and_the_resolved_recipe_repeats_the_run(
    program: Program, clicks: Path, tmp_path: Path
) -> None:
    program("fit", clicks, *FIT, *SMALL, "--out", "first", "--quiet")
    program("fit", "--recipe", "first/recipe.toml", "--out", "second", "--quiet", own_process=True)
    first, second = (load_file(tmp_path / run / "model.safetensors") for run in ("first", "second"))
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    assert (tmp_path / "first" / "recipe.toml").read_text() == (tmp_path / "second" / "recipe.toml").read_text()


def test_implicit_data(program: Program, tmp_path: Path) -> None:
    log = click_log(6000).filter(pl.col("click") == 1).select("user_id", "item_id", "ts").unique(maintain_order=True)
    log.write_csv(tmp_path / "plays.csv")
    flags = ("--user", "user_id", "--item", "item_id", "--time", "ts", "--split", "leave_one_out", "--model", "gmf")
    said = json.loads(program("fit", "plays.csv", *flags, *SMALL, "--out", "run", "--json").stdout)
    assert said["test"]["hr@10"] > 10 / 40
    assert said["split"] == "leave_one_out"


def test_resume_of_a_finished_run_is_no_work_and_overwrite_is_asked_for(program: Program, clicks: Path) -> None:
    program("fit", clicks, *FIT, *SMALL, "--out", "run", "--quiet")
    program("fit", clicks, *FIT, *SMALL, "--out", "run", "--resume", "--quiet")
    refused = program("fit", clicks, *FIT, *SMALL, "--out", "run", code=1)
    assert "--resume" in refused.stderr and "--overwrite" in refused.stderr
    program("fit", clicks, *FIT, *SMALL, "--set", "train.epochs=1", "--out", "run", "--overwrite", "--quiet")


def test_schema_can_be_edited_as_a_file(program: Program, clicks: Path, tmp_path: Path) -> None:
    shown = program("schema", clicks, "--set", "data.label=click", "--out", "schema.json").stdout
    assert "genres" in shown and "multi" in shown
    values = json.loads((tmp_path / "schema.json").read_text())
    assert "fingerprint" not in values, "the file is there to be edited"
    values["features"] = [one for one in values["features"] if one["name"] != "age"]
    (tmp_path / "schema.json").write_text(json.dumps(values))
    program("fit", clicks, "--schema", "schema.json", "--model", "fm", *SMALL, "--out", "run", "--quiet")
    used = json.loads((tmp_path / "run" / "encoder" / "encoder.json").read_text())
    assert "age" not in json.dumps(used["schema"]["features"])
    (tmp_path / "schema.json").unlink()
    program("fit", "--recipe", "run/recipe.toml", "--out", "again", "--quiet")  # the run knows what the file said
    again = json.loads((tmp_path / "again" / "encoder" / "encoder.json").read_text())
    assert again["fingerprint"] == used["fingerprint"]


def test_the_schema_takes_the_flags_of_a_fit_and_a_fit_changes_the_schema(
    program: Program, clicks: Path, tmp_path: Path
) -> None:
    roles = ("--label", "click", "--user", "user_id", "--item", "item_id", "--time", "ts")
    words = ("--kind", "age=categorical", "--ignore", "genres", "--cross", "user_id,item_id")
    said = json.loads(program("schema", clicks, *roles, *words, "--out", "schema.json", "--json").stdout)
    assert (said["label"]["column"], said["user"], said["item"], said["time"]) == ("click", "user_id", "item_id", "ts")
    kinds = {one["name"]: one["kind"] for one in said["features"]}
    assert kinds["age"] == "categorical" and kinds["user_id x item_id"] == "cross" and "genres" in said["ignored"]
    program("schema", clicks, "--label", "age>=40", "--out", "bare.json")
    program("fit", clicks, "--schema", "bare.json", *roles, *words, "--model", "fm", *SMALL, "--out", "run", "--quiet")
    used = json.loads((tmp_path / "run" / "encoder" / "encoder.json").read_text())["schema"]
    for key in ("label", "user", "item", "time"):
        assert used[key] == said[key], key
    assert {one["name"]: one["kind"] for one in used["features"]} == kinds


def test_a_semicolon_file_shows_its_schema(program: Program, tmp_path: Path) -> None:
    click_log(200).write_csv(tmp_path / "clicks.txt", separator="~", include_header=False)
    flags = ("--separator", "~", "--columns", "click,user_id,item_id,genres,age,ts", "--no-header")
    shown = program("schema", "clicks.txt", *flags, "--label", "click", "--missing", "Drama").stdout
    assert "label  click" in shown and "genres" in shown


def test_booleans_mean_the_same_in_every_file(program: Program, tmp_path: Path) -> None:
    log = click_log(600).with_columns(premium=pl.col("click").eq(1) ^ (pl.int_range(pl.len()) % 5 == 0))
    log.write_parquet(tmp_path / "real.parquet")
    log.with_columns(pl.col("premium").cast(pl.String).str.to_titlecase()).write_csv(tmp_path / "pandas.csv")
    assert "True" in (tmp_path / "pandas.csv").read_text()
    scores = {}
    for trained in ("real.parquet", "pandas.csv"):
        run = trained.partition(".")[0]
        program("fit", trained, *FIT, *SMALL, "--out", run, "--quiet")
        for file in ("real.parquet", "pandas.csv"):
            said = program("predict", run, file, "--out", "scores.parquet")
            assert "premium" not in said.stderr
            scores[trained, file] = pl.read_parquet(tmp_path / "scores.parquet")["score"].to_list()
        assert scores[trained, "real.parquet"] == scores[trained, "pandas.csv"]
    assert scores["real.parquet", "real.parquet"] == scores["pandas.csv", "pandas.csv"]


def test_the_version(program: Program) -> None:
    assert program("--version").stdout.startswith("crossfield 0.")
