"""What a run says while it works: on standard error, so that standard output stays for results."""

import sys

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from crossfield.progress import Report

stderr = Console(stderr=True, highlight=False, emoji=False)


def say(text: str) -> None:
    """One plain line, not wrapped, markup left alone."""
    stderr.print(text, markup=False, soft_wrap=True)


def silence(_: object) -> None:
    """Say nothing."""


class TrainingProgress:
    """Shows training reports: a moving bar on a terminal, one line per evaluation anywhere."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.fields[speed]} rows/s, loss {task.fields[loss]}, {task.fields[left]} left"),
            TimeElapsedColumn(),
            console=stderr,
            transient=True,
        )
        self._task = self._bar.add_task("", total=1.0, epoch=1, speed="-", loss="-", left="-")

    def __call__(self, report: Report) -> None:
        """Take one report of the training loop."""
        if report.kind == "progress":
            self._move(report)
            return
        if self._bar.live.is_started:
            self._bar.stop()
        if line := describe(report):
            say(line)

    def _move(self, report: Report) -> None:
        if not sys.stderr.isatty():
            return
        self._bar.start()
        self._bar.update(
            self._task,
            completed=report.fraction,
            epoch=report.epoch + 1,
            speed=f"{report.rows_per_second:,.0f}",
            loss=f"{report.train_loss:.4f}",
            left=duration(report.eta_seconds),
        )


def describe(report: Report) -> str:
    """A report as one line of text."""
    if report.kind == "start":
        return report.note
    if report.kind == "end":
        return f"stopped after {duration(report.seconds)}: {report.note}" if report.note else ""
    numbers = "".join(f", {name} {value:.5f}" for name, value in (report.metrics or {}).items())
    note = f" ({report.note})" if report.note else ""
    speed = f"{report.rows_per_second:,.0f} rows/s"
    return f"epoch {report.epoch + 1}: loss {report.train_loss:.5f}{numbers}, lr {report.lr:g}, {speed}{note}"


def duration(seconds: float) -> str:
    """Seconds as a person reads them: 42 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
