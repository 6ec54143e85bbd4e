"""Published tables through the program: a slice is run again and must lie where the committed runs lie."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossfield.data.public import public_set
from crossfield.files import read_lines
from crossfield.proof import Spread, Table, current

from .conftest import Program

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
needs_frappe = pytest.mark.skipif(bool(public_set("frappe").missing()), reason="the Frappe files are not at hand")


@needs_frappe
def test_two_quick_rows_stay_in_their_committed_intervals(program: Program, tmp_path: Path) -> None:
    rows = ("logistic_regression", "fm")
    options = ["--seeds", "1", "--jobs", "2", "--results", str(tmp_path), "--work", str(tmp_path / "runs")]
    done = program("reproduce", "frappe", *rows, *options)
    table, lines = Table.read("frappe"), read_lines(tmp_path / "frappe.jsonl")
    for name in rows:
        committed = current(table.row(name), read_lines(RESULTS / "frappe.jsonl"))
        interval = Spread(tuple(line["metrics"]["auc"] for line in committed)).single_run
        assert interval is not None, f"{name} needs at least two committed runs"
        (again,) = current(table.row(name), lines)
        assert interval[0] <= again["metrics"]["auc"] <= interval[1], (name, again["metrics"]["auc"], interval)
    assert "| fm | 1 of 5 |" in done.stdout and "Spearman" not in done.stdout


@needs_frappe
@pytest.mark.slow
def test_a_stopped_table_saves_its_run(tmp_path: Path) -> None:
    options = ["--seeds", "1", "--results", str(tmp_path), "--work", str(tmp_path / "runs")]
    command = [sys.executable, "-m", "crossfield", "reproduce", "frappe", "dualmlp", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        started = time.monotonic()
        while not (logs := list(tmp_path.glob("runs/frappe/dualmlp-*/seed-0/work/checkpoints/log.jsonl"))):
            assert time.monotonic() - started < 120, "no step was made"
            time.sleep(0.2)
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 143
    assert [one for one in logs[0].parent.iterdir() if one.is_dir()], "no checkpoint was saved"
    assert not (tmp_path / "frappe.jsonl").exists() or not read_lines(tmp_path / "frappe.jsonl")


def test_the_tables_are_listed_and_drawn(program: Program, tmp_path: Path) -> None:
    listed = program("reproduce").stdout
    assert "frappe " in listed and "ncf " in listed and "criteo_x4" in listed
    page = tmp_path / "page.md"
    program("reproduce", "--table", "--results", RESULTS, "--out", page)
    assert page.read_text() == (RESULTS.parents[1] / "docs" / "benchmarks.md").read_text()
    empty = program("reproduce", "--table", "--results", tmp_path).stdout
    assert "## Not run here" in empty and "### Frappe_x1 as BARS runs it" in empty


@pytest.mark.parametrize(
    ("words", "message"),
    [(["frape"], "no table 'frape'; did you mean 'frappe'"), (["frappe", "deepfn"], "no row 'deepfn'; did you mean")],
)
def test_unknown_names_are_one_clear_line(program: Program, words: list[str], message: str) -> None:
    said = program("reproduce", *words, code=1)
    assert message in said.stderr and said.stderr.count("\n") == 1
