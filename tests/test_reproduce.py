"""Rows are run, skipped where they are there, resumed, and kept where they fail."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from crossfield.errors import DataError, RunError
from crossfield.files import RunLock, append_line, read_lines
from crossfield.proof import Table, current
from crossfield.proof_page import proof_page
from crossfield.reproduce import Trial, missing, reproduce, run_all


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    users, items = random.integers(0, 12, 400), random.integers(0, 9, 400)
    frame = pl.DataFrame({"user": users, "item": items, "click": (users + items) % 2})
    frame.write_csv(tmp_path / "clicks.csv")
    return tmp_path / "clicks.csv"


def table(path: Path, **changes: Any) -> Table:
    kinds = {"user": "categorical", "item": "categorical"}
    base = {
        "data": {"path": str(path), "label": "click", "user": "user", "item": "item", "kinds": kinds},
        "model": {"name": "fm", "embedding_dim": 2},
        "train": {"epochs": 2, "batch_size": 64, "precision": "fp32", "compile": "off", "watch_test": True},
    }
    rows = [{"name": "fm", "expected": {"auc": 0.5}}, {"name": "again", "start_from": ["fm"]}]
    values = {
        "title": "Clicks",
        "about": "Made up.",
        "data": "frappe",
        "metrics": ["auc", "log_loss"],
        "margin": 0.01,
        "published": "nobody",
        "seeds": 2,
        "base": base,
        "row": rows,
        **changes,
    }
    return Table.of("clicks", values)


def run(found: Table, tmp_path: Path, *rows: str, seeds: int | None = None) -> tuple[int, list[str]]:
    told: list[str] = []
    failed = reproduce(
        found,
        rows,
        seeds=seeds,
        results=tmp_path / "results",
        work=tmp_path / "runs",
        jobs=1,
        threads=1,
        device="cpu",
        say=told.append,
    )
    return failed, told


def trial(found: Table, name: str, seed: int, tmp_path: Path) -> Trial:
    return Trial(found, found.row(name), seed, tmp_path / "runs", 1, "cpu")


def test_a_table_is_run_once_and_its_page_drawn(clicks: Path, tmp_path: Path) -> None:
    found = table(clicks)
    failed, told = run(found, tmp_path, seeds=1)
    assert failed == 0 and told[0] == "clicks: 2 runs to do" and told[1].startswith("  1 of 2  fm, seed 0: auc 0.")
    lines = read_lines(tmp_path / "results" / "clicks.jsonl")
    assert [line["row"] for line in lines] == ["fm", "again"]  # what starts from another comes after it
    first = lines[0]
    assert first["status"] == "ok" and first["threads"] == 1 and first["peak_mb"] > 50 and first["device"] == "cpu"
    assert set(first["data_sha256"]) == {"clicks.csv"} and len(first["recipe_sha256"]) == 64
    assert first["best_on_test"].keys() == {"epoch", "auc", "log_loss"}
    assert first["parameters"] == lines[1]["parameters"]
    assert run(found, tmp_path, seeds=1) == (0, ["clicks: 0 runs to do"])
    page = proof_page([found], {"clicks": lines})
    assert "| fm | 1 of 2 |" in page and "0 of 1 comparable rows" in page and "best **on the test part**" in page
    assert page == proof_page([found], {"clicks": list(lines)})


def test_a_trial_gives_the_same_numbers_again_and_after_its_run_is_done(clicks: Path, tmp_path: Path) -> None:
    found = table(clicks)
    first = trial(found, "fm", 1, tmp_path).run()
    finished = trial(found, "fm", 1, tmp_path).run()  # its run lies there, only the line was lost
    fresh = trial(found, "fm", 1, tmp_path / "elsewhere").run()
    assert first["metrics"] == finished["metrics"] == fresh["metrics"]
    assert trial(found, "fm", 0, tmp_path).run()["metrics"] != first["metrics"]


def test_the_line_of_a_failed_run_does_not_say_where_it_lay(
    clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trial(table(clicks), "fm", 0, tmp_path)

    def broken(_: Trial) -> dict[str, Any]:
        raise RunError(f"{one.work / 'clicks' / 'fm'} is not a run")

    monkeypatch.setattr(Trial, "_measure", broken)
    line = one.run()
    assert (line["status"], line["error"]) == ("failed", "RunError: clicks/fm is not a run")


def test_a_failed_run_is_kept_and_tried_again(clicks: Path, tmp_path: Path) -> None:
    broken = table(clicks, row=[{"name": "fm", "data": {"label": "clik"}}])
    line = trial(broken, "fm", 0, tmp_path).run()
    assert line["status"] == "failed" and "clik" in line["error"]
    assert list(missing(broken, broken.rows, [line], seeds=1)) == [(broken.rows[0], 0)]
    page = proof_page([table(clicks)], {"clicks": [line, trial(table(clicks), "fm", 0, tmp_path / "b").run()]})
    assert "Failed runs, kept in the results: fm (seed 0: " in page and "clik" in page


def test_an_error_of_torch_is_a_failed_run_too(clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(_: Trial) -> dict[str, Any]:
        raise RuntimeError("you tried to allocate 6716 bytes")

    monkeypatch.setattr(Trial, "_measure", allocate)
    line = trial(table(clicks), "fm", 0, tmp_path).run()
    assert (line["status"], line["error"]) == ("failed", "RuntimeError: you tried to allocate 6716 bytes")


class Killed(Trial):
    """A run that the system kills, as it does for want of memory."""

    def run(self) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


def test_a_process_that_is_killed_fails_alone(clicks: Path, tmp_path: Path) -> None:
    found = table(clicks)
    killed = Killed(found, found.row("fm"), 1, tmp_path / "runs", 1, "cpu")
    lines = list(run_all([killed, trial(found, "fm", 0, tmp_path)], jobs=1))
    assert [(line["seed"], line["status"]) for line in lines] == [(1, "failed"), (0, "ok")]
    assert "process was killed" in lines[0]["error"]


def test_a_run_that_another_process_is_at_is_left_to_it(clicks: Path, tmp_path: Path) -> None:
    found = table(clicks)
    one = trial(found, "fm", 0, tmp_path)
    one.run()
    (folder,) = (one.work / "clicks").glob("fm-*/seed-0")
    shutil.rmtree(folder)
    with RunLock(folder):
        failed, told = run(found, tmp_path, "fm", seeds=1)
    assert failed == 0 and "fm, seed 0: busy: " in told[1] and "in use by another process" in told[1]
    assert not (tmp_path / "results" / "clicks.jsonl").exists()


def test_other_training_rows_are_other_runs(clicks: Path, tmp_path: Path) -> None:
    found = table(clicks)
    run(found, tmp_path, "fm", seeds=1)
    assert run(found, tmp_path, "fm", seeds=1)[1] == ["clicks: 0 runs to do"]
    clicks.write_text(clicks.read_text() + "1,1,0\n")
    failed, told = run(found, tmp_path, "fm", seeds=1)
    assert failed == 0 and told[0] == "clicks: 1 runs to do"
    lines = read_lines(tmp_path / "results" / "clicks.jsonl")
    assert current(found.row("fm"), lines) == lines[1:]
    assert run(found, tmp_path, "fm", seeds=1)[1] == ["clicks: 0 runs to do"]


def test_without_its_rows_a_table_is_refused_before_anything_runs(clicks: Path, tmp_path: Path) -> None:
    found = table(clicks)
    run(found, tmp_path, "fm", seeds=1)
    clicks.unlink()
    assert run(found, tmp_path, "fm", seeds=1) == (0, ["clicks: 0 runs to do"])
    with pytest.raises(DataError, match=r"clicks\.csv"):
        run(found, tmp_path, seeds=2)
    assert len(read_lines(tmp_path / "results" / "clicks.jsonl")) == 1


def test_without_git_a_run_is_kept(clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = trial(table(clicks), "fm", 0, tmp_path).run()
    assert line["status"] == "ok" and line["commit"] is None


def test_every_row_has_one_run_before_any_has_two(clicks: Path) -> None:
    found = table(clicks, row=[{"name": "a"}, {"name": "b", "seeds": 1}, {"name": "c"}])
    order = [(row.name, seed) for row, seed in missing(found, found.rows, [], seeds=None)]
    assert order == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1)]
    done = {"table": "clicks", "row": "c", "row_sha256": found.row("c").sha256, "seed": 0, "status": "ok"}
    left = [(row.name, seed) for row, seed in missing(found, found.rows, [done], seeds=3)]
    assert left[:2] == [("a", 0), ("b", 0)] and ("c", 0) not in left and ("b", 2) in left


def test_an_unfinished_line_is_no_obstacle(clicks: Path, tmp_path: Path) -> None:
    found = table(clicks)
    path = tmp_path / "results" / "clicks.jsonl"
    path.parent.mkdir()
    path.write_text('{"table": "clicks", "row": "fm", "ro')
    append_line(path, {"table": "clicks", "row": "fm", "row_sha256": found.row("fm").sha256, "seed": 0, "status": "ok"})
    assert [one.name for one, _ in missing(found, found.rows, read_lines(path), seeds=1)] == ["again"]
