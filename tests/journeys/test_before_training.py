"""Before a fit on the command line: its plan, and what the doctor says of its rows; nothing is left behind."""

import json
from pathlib import Path

import polars as pl
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


def test_of_what_is_solved_no_rows_are_split_off(program: Program, clicks: Path) -> None:
    said = program("plan", clicks, "--label", "click", "--item", "item_id", "--model", "popularity", "--quiet").stdout
    assert "0 for validation" in said and "no checkpoints" in said and "best weights" not in said


def test_text_and_no_probe(program: Program, clicks: Path) -> None:
    said = program("plan", clicks, *FIT, *SMALL, "--no-probe", "--quiet")
    assert said.stdout.startswith("deepfm on ") and "not asked for" in said.stdout
    assert said.stderr == ""


def test_a_plan_for_several_processes_starts_none(program: Program, clicks: Path) -> None:
    words = ("plan", clicks, *FIT, *SMALL, "--no-probe", "--quiet", "--ranks", "8")
    found = json.loads(program(*words, "--json").stdout)["ranks"]
    assert found["ranks"] == 8 and found["dense"]["replicas"] == 8
    assert [one["by_rows"] for one in found["tables"]] == [False, False]  # under 1 MB each
    assert "replicated" in program(*words).stdout


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
        (("clicks.parquet", *FIT, "--ranks", "8", "--set", "train.mesh=2x2"), "is for 4 processes and there are 8"),
        (("none.toml",), "none.toml"),
        ((), "name a model with --model"),
    ],
)
def test_mistakes_are_one_line(program: Program, clicks: Path, words: tuple[str, ...], said: str) -> None:
    error = program("plan", *words, "--quiet", code=1).stderr
    assert error.startswith("crossfield: ") and error.count("\n") == 1 and said in error


def test_wrong_usage(program: Program, clicks: Path) -> None:
    program("plan", clicks, *FIT, "--steps", "0", code=2)
    program("plan", clicks, *FIT, "--ranks", "0", code=2)


def test_a_public_data_set(program: Program) -> None:
    need("frappe")
    found = json.loads(program("plan", "frappe/deepfm", "--no-probe", "--json", "--quiet").stdout)
    # Of the 5,382 published features training never meets 3; and each of 10 fields has a missing and an unseen row.
    assert (found["train_rows"], found["table_rows"]) == (202_009, 5382 - 3 + 2 * 10)


ROLES = FIT[: FIT.index("--model")]


@pytest.fixture
def sick(tmp_path: Path) -> Path:
    """The click log with a column that is written after the click, and rows that were written twice."""
    log = click_log().with_columns(paid=pl.when(pl.col("click") == 1).then(pl.col("age") / 2))
    pl.concat([log, log.head(400)]).write_csv(tmp_path / "sick.csv")
    return tmp_path / "sick.csv"


def test_the_doctor_finds_what_is_wrong_and_says_what_to_do(program: Program, sick: Path, tmp_path: Path) -> None:
    before = everything_in(tmp_path)
    words = (sick, *ROLES, "--split", "random")
    said = program("doctor", *words, own_process=True).stdout
    assert everything_in(tmp_path) == before
    findings = [line for line in said.splitlines() if line.startswith(("error", "warning"))]
    assert findings[0].startswith("error    paid: filled only where the label is 1")
    assert "3,520 training rows, 440 validation rows, 440 test rows (random split)" in said
    told = "\n".join(findings)
    for part in ("training: ", "validation: ", "test: "):
        assert f"warning  {part}" in told
    assert "drop the copies" in told and "--split time" in told

    found = json.loads(program("doctor", *words, "--json").stdout)
    assert (found["findings"][0]["severity"], found["findings"][0]["where"]) == ("error", "paid")
    assert {one["severity"] for one in found["findings"]} <= {"error", "warning", "note"}
    assert found["data"]["rows"] == {"training": 3520, "validation": 440, "test": 440}


def test_the_doctor_has_no_complaint_of_a_clean_log(program: Program, clicks: Path) -> None:
    said = program("doctor", clicks, *ROLES).stdout
    assert "error " not in said and "warning " not in said and "(time split)" in said
    found = json.loads(program("doctor", clicks, *ROLES, "--json").stdout)
    assert {one["where"] for one in found["findings"]} <= {"environment"}


def test_the_doctor_of_the_machine_alone_and_of_a_recipe(program: Program, clicks: Path) -> None:
    found = json.loads(program("doctor", "--json").stdout)
    assert set(found) == {"environment", "findings"} and found["environment"]["versions"]["torch"]
    program("fit", clicks, *FIT, *SMALL, "--set", "train.epochs=1", "--out", "run", "--quiet")
    assert "training rows" in program("doctor", "run/recipe.toml").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [(("missing.csv",), "there is no file"), (("clicks.parquet", "--label", "clicked"), "did you mean 'click'?")],
)
def test_the_doctor_needs_rows_that_can_be_read(
    program: Program, clicks: Path, words: tuple[str, ...], said: str
) -> None:
    error = program("doctor", *words, code=1).stderr
    assert error.startswith("crossfield: ") and error.count("\n") == 1 and said in error


def test_labels_that_cannot_be_told_are_a_finding(program: Program, tmp_path: Path) -> None:
    click_log(500).with_columns(pl.col("click") + 1).write_csv(tmp_path / "odd.csv")
    found = json.loads(program("doctor", "odd.csv", "--label", "click", "--json").stdout)["findings"]
    told = [one["what"] for one in found if one["severity"] == "error"]
    assert any("cannot be told" in one for one in told), told


def test_a_fit_says_what_its_quick_checks_find_and_goes_on(program: Program, sick: Path, tmp_path: Path) -> None:
    words = (sick, *FIT, *SMALL, "--set", "train.epochs=1", "--split", "random")
    said = program("fit", *words, "--out", "run").stderr
    assert "error: paid: filled only where the label is 1" in said and "warning: validation: " in said
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())["findings"]
    assert recorded[0]["where"] == "paid" and all(one["severity"] != "note" for one in recorded)
    quiet = program("fit", *words, "--out", "again", "--quiet").stderr
    assert all(one.startswith(("error: ", "warning: ")) for one in quiet.splitlines())
    assert "error: paid: filled only where the label is 1" in quiet


def test_a_fit_on_rows_whose_time_nobody_named(program: Program, tmp_path: Path) -> None:
    log = click_log()
    (time,) = {*log.columns} & {"ts", "time", "timestamp"}
    log.write_csv(tmp_path / "clicks.csv")
    words = [one for one in FIT if one not in ("--time", time)]
    said = program("fit", "clicks.csv", *words, *SMALL, "--set", "train.epochs=1", "--out", "run").stderr
    assert f"if {time} says when a row happened; --time {time} splits by it" in said


def test_a_fit_on_one_class_stops(program: Program, tmp_path: Path) -> None:
    click_log(500).with_columns(click=pl.lit(0)).write_csv(tmp_path / "none.csv")
    said = program("fit", "none.csv", *FIT, *SMALL, "--out", "run", code=1).stderr
    assert "click is false in every row of none.csv (train), so there is nothing to learn" in said
    assert not (tmp_path / "run" / "work").exists()


@pytest.mark.parametrize("value", ["2024-01-01", "nan", "inf", "[1]"])
def test_a_positive_label_may_look_like_another_thing(program: Program, tmp_path: Path, value: str) -> None:
    click_log(200).with_columns(
        kind=pl.when(pl.col("click") == 1).then(pl.lit(value)).otherwise(pl.lit("x"))
    ).write_csv(tmp_path / "rows.csv")
    found = json.loads(program("schema", "rows.csv", "--label", "kind", "--positive", value, "--json").stdout)
    assert found["label"] == {"column": "kind", "operator": "==", "value": value}


def test_names_are_said_as_they_are(program: Program, tmp_path: Path) -> None:
    click_log(200).rename({"age": "ctx:id:age[b]"}).write_csv(tmp_path / "rows.csv")
    assert "ctx:id:age[b]" in program("plan", "rows.csv", *FIT, *SMALL, "--no-probe").stderr
