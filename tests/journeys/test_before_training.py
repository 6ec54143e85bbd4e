"""Planning a fit on the command line: the words of the fit, numbers that hold, and nothing left behind."""

import json
from pathlib import Path

import pytest

from .conftest import FIT, SMALL, Program, click_log
from .test_real_data import need


def everything_in(folder: Path) -> set[Path]:
    # torch makes a folder for compiled code when it computes sizes on the meta device.
    return {path for path in folder.rglob("*") if not path.name.startswith("torchinductor")}


def test_the_words_of_a_fit_plan_it(
    program: Program, clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    before = everything_in(tmp_path)
    words = (clicks, *FIT, *SMALL, "--out", "run")
    said = program("plan", *words, "--steps", "5", "--json", own_process=True)
    found = json.loads(said.stdout)
    assert everything_in(tmp_path) == before
    assert "user_id" in said.stderr  # what each column is taken for, as in a fit

    program("fit", *words, "--quiet")
    trained = json.loads((tmp_path / "run" / "run.json").read_text())
    assert found["train_rows"] == trained["train_rows"] and found["valid_rows"] == trained["valid_rows"]
    assert found["footprint"]["parameters"] == trained["parameters"]
    on_disk = (tmp_path / "run" / "model.safetensors").stat().st_size
    assert found["footprint"]["weights"] == pytest.approx(on_disk, abs=2000)  # a header with the names
    assert found["probe"]["timed"]["steps"] == 5 and found["fits"]
    assert found["total_seconds"] >= 3 * found["epoch_seconds"] > 0
    assert found["recipe"]["train"]["epochs"] == 3


def test_text_and_no_probe(program: Program, clicks: Path) -> None:
    said = program("plan", clicks, *FIT, *SMALL, "--no-probe", "--quiet")
    assert said.stdout.startswith("deepfm on ") and "not asked for" in said.stdout
    assert said.stderr == ""


def test_a_plan_of_a_recipe(program: Program, clicks: Path, tmp_path: Path) -> None:
    program("fit", clicks, *FIT, *SMALL, "--set", "train.epochs=1", "--out", "run", "--quiet")
    recipe = tmp_path / "run" / "recipe.toml"
    for words in ((recipe,), ("--recipe", recipe)):
        found = json.loads(program("plan", *words, "--no-probe", "--json", "--quiet").stdout)
        assert found["recipe"]["model"] == {**found["recipe"]["model"], "name": "deepfm", "deep": [32]}


def test_implicit_rows(program: Program, tmp_path: Path) -> None:
    click_log(2000).select("user_id", "item_id").write_csv(tmp_path / "plays.csv")
    words = ("plays.csv", "--user", "user_id", "--item", "item_id", "--split", "leave_one_out", "--model", "gmf")
    found = json.loads(program("plan", *words, *SMALL, "--steps", "3", "--json", "--quiet").stdout)
    assert found["valid_rows"] == 60 and found["probe"]["evaluation_seconds"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("missing.csv", *FIT), "there is no file"),
        (("clicks.parquet", *FIT, "--user", "user"), "no column 'user'; did you mean 'user_id'?"),
        (("clicks.parquet", *FIT, "--set", "train.epocs=1"), "unknown key 'train.epocs'; did you mean 'epochs'?"),
        (("clicks.parquet", "--label", "click"), "name a model with --model"),
        (("none.toml",), "none.toml"),
        ((), "name a model with --model"),
    ],
)
def test_mistakes_are_one_line(program: Program, clicks: Path, words: tuple[str, ...], said: str) -> None:
    error = program("plan", *words, "--quiet", code=1).stderr
    assert error.startswith("crossfield: ") and error.count("\n") == 1 and said in error


def test_wrong_usage(program: Program, clicks: Path) -> None:
    program("plan", clicks, *FIT, "--steps", "0", code=2)


def test_a_public_data_set(program: Program) -> None:
    need("frappe")
    found = json.loads(program("plan", "frappe/deepfm", "--no-probe", "--json", "--quiet").stdout)
    # Of the 5,382 published features training never meets 3; and each of 10 fields has a missing and an unseen row.
    assert (found["train_rows"], found["table_rows"]) == (202_009, 5382 - 3 + 2 * 10)
