"""Every mistake gets its own clear line, exit code 1, and loses nothing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from .conftest import FIT, SMALL, Program, click_log, run_process


def broken(kind: str, folder: Path) -> Path:
    """A file with one thing wrong."""
    log, path = click_log(300), folder / f"{kind}.csv"
    changes = {
        "label_two": log.with_columns(pl.Series("click", [0, 1, 2, *log["click"][3:]])),
        "label_gap": log.with_columns(pl.Series("click", [None, *log["click"][1:]])),
        "label_text": log.with_columns(pl.Series("click", ["yes", *["1"] * 299])),
        "no_label": log.drop("click"),
        "text_in_number": log.with_columns(pl.Series("age", ["12"] * 298 + ["old", "13"])),
        "header_only": log.head(0),
        "score_column": log.with_columns(pl.lit(1.0).alias("score")),
    }
    if kind == "empty":
        path.write_text("")
    elif kind != "missing":
        changes[kind].write_csv(path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ["there is no file", "missing.csv"]),
        ("empty", ["empty.csv", "empty"]),
        ("header_only", ["header_only.csv", "no rows"]),
        ("no_label", ["no column 'click'"]),
        ("label_two", ["click", "row 2", "2"]),
        ("label_gap", ["click", "row 0", "missing"]),
        ("label_text", ["click", "row 0", "yes"]),
    ],
)
def test_fit(program: Program, tmp_path: Path, kind: str, words: list[str]) -> None:
    said = program("fit", broken(kind, tmp_path), *FIT, *SMALL, "--out", "run", "--quiet", code=1).stderr
    assert said.startswith("crossfield: ") and said.count("\n") == 1
    for word in words:
        assert word.lower() in said.lower(), said


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    click_log(600).write_csv(folder / "clicks.csv")
    code, said = run_process(folder, ["fit", "clicks.csv", *FIT, *SMALL, "--out", "run", "--quiet"])
    assert code == 0, said.stderr
    return folder / "run"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ["there is no file"]),
        ("header_only", ["no rows"]),
        ("text_in_number", ["age", "row 298", "old"]),
        ("score_column", ["score"]),
    ],
)
def test_predict(program: Program, run: Path, tmp_path: Path, kind: str, words: list[str]) -> None:
    said = program("predict", run, broken(kind, tmp_path), "--out", "scores.csv", code=1).stderr
    for word in words:
        assert word in said, said
    assert not (tmp_path / "scores.csv").exists()


def test_a_column_gone_is_named_and_one_added_is_welcome(program: Program, run: Path, tmp_path: Path) -> None:
    log = click_log(30).drop("click")
    log.rename({"genres": "genre"}).write_csv(tmp_path / "gone.csv")
    said = program("predict", run, "gone.csv", "--out", "scores.csv", code=1).stderr
    assert "no column 'genres'" in said and "did you mean 'genre'?" in said
    log.with_columns(pl.lit("x").alias("more")).write_csv(tmp_path / "more.csv")
    program("predict", run, "more.csv", "--out", "scores.csv")
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 31


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "train.learning_rat=1"), ["unknown key 'train.learning_rat'"]),
        (("--set", "train.epocs=1"), ["unknown key 'train.epocs'; did you mean 'epochs'?"]),
        (("--set", "train.lr=fast"), ["train.lr", "fast"]),
        (("--model", "deepfn"), ["unknown model 'deepfn'; did you mean 'deepfm'?"]),
        (("--user", "user"), ["no column 'user'; did you mean 'user_id'?"]),
        (("--kind", "age=number"), ["age", "number"]),
        (("--split", "half"), ["split", "half"]),
        (("--recipe", "none.toml"), ["none.toml"]),
        (("--set", "data.label=age"), ["data.label is 'click' by a flag and 'age' by --set"]),
        (("--set", "model.name=fm"), ["model.name is 'deepfm' by --model and 'fm' by --set"]),
        (("--kind", "age=dense", "--set", "data.kinds.age=multi"), ["data.kinds.age is 'dense' by a flag"]),
    ],
)
def test_wrong_words_get_the_nearest_right_one(
    program: Program, clicks: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    said = program("fit", clicks, *FIT, *SMALL, *arguments, "--out", "run", "--quiet", code=1).stderr
    for word in words:
        assert word in said, said


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("data", "--download"), "name the data set to download: crossfield data NAME --download"),
        (("reproduce", "frappe", "fm", "--out", "page.md"), "--out page.md is the page that --table draws"),
    ],
)
def test_a_flag_that_would_do_nothing_is_refused(program: Program, command: tuple[str, ...], words: str) -> None:
    assert words in program(*command, code=1).stderr


def test_no_run_and_a_damaged_run(program: Program, run: Path, clicks: Path, tmp_path: Path) -> None:
    assert "no run at" in program("predict", "nowhere", clicks, "--out", "s.csv", code=1).stderr
    damaged = tmp_path / "damaged"
    subprocess.run(["cp", "-r", run, damaged], check=True)
    weights = damaged / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "changed after it was written" in program("predict", damaged, clicks, "--out", "s.csv", code=1).stderr


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interrupted_run_can_be_continued(program: Program, tmp_path: Path, name: str, code: int) -> None:
    click_log(20_000).write_parquet(tmp_path / "clicks.parquet")
    arguments = ["fit", "clicks.parquet", *FIT, "--set", "train.batch_size=64", "--set", "train.epochs=50"]
    arguments += ["--set", "train.patience=50", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "crossfield", *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.time() + 60
    while time.time() < deadline and "epoch 1" not in (process.stderr.readline() if process.stderr else ""):
        pass
    process.send_signal(getattr(signal, name))
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert "--resume" in said and "Traceback" not in said
    checkpoints = list((tmp_path / "run" / "work").rglob("checkpoint*"))
    assert checkpoints, "nothing was saved"
    said = program(*arguments, "--set", "train.lr=0.5", "--resume", code=1).stderr
    assert "train.lr was 0.001 when this run began and is 0.5 now" in said
    arguments[arguments.index("train.epochs=50")] = "train.epochs=2"
    program(*arguments, "--resume", "--quiet")


def test_wrong_usage_is_exit_code_two(program: Program) -> None:
    assert "--out" in program("fit", "x.csv", "--model", "fm", code=2).stderr
    assert "No such command" in program("trian", code=2).stderr


def test_a_fit_on_bad_rows_can_be_tried_again(program: Program, tmp_path: Path) -> None:
    arguments = (*FIT, *SMALL, "--out", "run", "--quiet")
    program("fit", broken("label_two", tmp_path), *arguments, code=1)
    assert not (tmp_path / "run").exists()
    click_log(300).write_csv(tmp_path / "good.csv")
    program("fit", "good.csv", *arguments)


def test_a_finished_run_of_other_settings_is_not_returned(program: Program, clicks: Path) -> None:
    words = ("--label", "click", "--user", "user_id", "--item", "item_id", "--out", "run", "--quiet")
    program("fit", clicks, *words, "--model", "popularity")
    said = program("fit", clicks, *words, "--model", "fm", "--resume", code=1).stderr
    assert "model.name was 'popularity' when this run began and is 'fm' now" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [("cuda:99", "device 'cuda:99' is not there"), ("tpu", "there is no device 'tpu'; name cpu, cuda or cuda:NUMBER")],
)
def test_a_device_that_is_not_there(
    program: Program, run: Path, clicks: Path, tmp_path: Path, name: str, said: str
) -> None:
    commands = (
        ("fit", clicks, *FIT, "--out", "new"),
        ("plan", clicks, *FIT),
        ("predict", run, clicks, "--out", "scores.csv"),
        ("evaluate", run, clicks),
        ("recommend", run),
    )
    for command in commands:
        error = program(*command, "--device", name, code=1).stderr
        assert error.count("\n") == 1 and said in error, error
    assert {one.name for one in tmp_path.iterdir()} == {"clicks.parquet"}


def test_places_where_nothing_can_be_written(program: Program, run: Path, clicks: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/run"):
        said = program("fit", clicks, *FIT, *SMALL, "--out", place, "--quiet", code=1).stderr
        assert f"cannot make the folder {place}" in said and said.count("\n") == 1
    said = program("predict", run, clicks, "--out", "file/scores.csv", code=1).stderr
    assert said == "crossfield: file: File exists\n" or "Not a directory" in said


def test_predictions_do_not_replace_the_rows(program: Program, run: Path, clicks: Path) -> None:
    before = clicks.read_bytes()
    said = program("predict", run, clicks, "--out", clicks, code=1).stderr
    assert "would be lost" in said and clicks.read_bytes() == before
