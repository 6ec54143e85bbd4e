"""Losses collected without waiting, named when they go wrong; reports that can be read back."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from crossfield.batch import Batch
from crossfield.errors import MissingExtraError, RunError
from crossfield.files import read_lines
from crossfield.progress import Meter, Report, RunLog

REPORT = Report("progress", 7, 0, 0.5, 2.0, 100.0, 2.0, 0.25, 1e-3)


def batch(rows: list[int]) -> Batch:
    return Batch(torch.zeros(len(rows), 0), torch.zeros(len(rows), 1, dtype=torch.int64), rows=torch.tensor(rows))


def test_the_loss_is_the_mean_over_rows_not_over_batches() -> None:
    meter = Meter()
    meter.add(1, torch.tensor(1.0), batch([0, 1, 2]), size=3)
    meter.add(2, torch.tensor(5.0), batch([3]), size=1)
    assert math.isnan(meter.train_loss)
    meter.flush()
    assert meter.train_loss == (3 * 1.0 + 1 * 5.0) / 4 and meter.rows == 4
    meter.restart()
    assert math.isnan(meter.train_loss) and meter.rows == 4


def test_the_mean_does_not_depend_on_when_one_looks() -> None:
    losses = torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    often, seldom = Meter(), Meter()
    for step, loss in enumerate(losses):
        often.add(step, loss, batch([0]), size=1)
        often.flush()
        seldom.add(step, loss, batch([0]), size=1)
    seldom.flush()
    assert often.state_dict() == seldom.state_dict()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_loss_that_is_not_finite_is_named_with_its_rows(bad: float) -> None:
    meter = Meter()
    meter.add(41, torch.tensor(0.5), batch([1, 2]), size=2)
    meter.add(42, torch.tensor(bad), batch([90, 17, 90]), size=3)
    meter.add(43, torch.tensor(math.nan), batch([5]), size=1)
    with pytest.raises(RunError, match=rf"the loss is {bad} at step 42, .* rows 17, 90 … 90 \(2 of them\)"):
        meter.flush()


def test_a_bad_loss_is_found_within_64_steps() -> None:
    meter = Meter()
    with pytest.raises(RunError, match="at step 0"):
        for step in range(64):
            meter.add(step, torch.tensor(math.nan), batch([step]), size=1)


def test_the_meter_goes_on_where_it_stood() -> None:
    first, second = Meter(), Meter()
    first.add(1, torch.tensor(0.3), batch([0, 1]), size=2)
    first.busy_seconds = 4.0
    first.flush()
    second.load_state_dict(first.state_dict())
    assert second.train_loss == first.train_loss and second.rows_per_second == 0.5


def test_reports_are_lines_that_can_be_read_back(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run")
    log.write(replace(REPORT, train_loss=math.nan, metrics={"auc": 0.75, "gauc": math.inf}))
    (record,) = read_lines(tmp_path / "run" / "log.jsonl")
    assert record["step"] == 7 and record["train_loss"] is None and record["metrics"] == {"auc": 0.75, "gauc": None}
    assert log.num_lines == 1


def test_a_resumed_log_forgets_what_will_be_written_again_and_half_a_line(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for step in range(4):
        log.write(replace(REPORT, step=step))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "epo')
    again = RunLog(tmp_path)
    again.rewind(2)
    again.write(replace(REPORT, step=99))
    assert [record["step"] for record in read_lines(tmp_path / "log.jsonl")] == [0, 1, 99]


def test_a_log_shorter_than_the_checkpoint_says_is_taken_as_it_is(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.write(REPORT)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"half')
    log.rewind(5)
    assert log.num_lines == 1 and len(read_lines(tmp_path / "log.jsonl")) == 1


def test_without_a_folder_nothing_is_written() -> None:
    log = RunLog(None, tensorboard=True)
    log.rewind(3)
    log.write(REPORT)
    log.close()


def test_tensorboard_gets_losses_and_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the tensorboard extra is not installed")
    log = RunLog(tmp_path, tensorboard=True)
    log.write(replace(REPORT, kind="evaluation", metrics={"auc": 0.75}))
    log.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    content = file.read_bytes()
    assert all(tag in content for tag in (b"train/loss", b"train/lr", b"train/rows_per_second", b"valid/auc"))


def test_missing_tensorboard_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"crossfield\[tensorboard\]"):
        RunLog(tmp_path, tensorboard=True)
