"""Run the rows of a table of published results: each seed in a process of its own, resumed where it stopped."""

import hashlib
import json
import multiprocessing
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from crossfield.data.public import RankingTest
from crossfield.data.public.record import data_folder
from crossfield.errors import DataError, InUseError
from crossfield.files import append_line, make_folder, read_lines
from crossfield.memory import peak_memory
from crossfield.models import CATALOGUE
from crossfield.models.base import Solved
from crossfield.parts import part
from crossfield.preparation import data_sha256
from crossfield.proof import Line, Row, Table, current
from crossfield.ranker import Ranker

Say = Callable[[str], None]
_ABOUT = ("lib", "model", "dataset", "parameters", "train_rows", "valid", "best_epoch", "threads", "versions")
_SHA256 = ("data_sha256", "valid_sha256", "recipe_sha256")
_BUSY = "busy"
"""The status of a run that another process is at: no line is written of it."""


@dataclass(frozen=True)
class Trial:
    """One seed of one row."""

    table: Table
    row: Row
    seed: int
    work: Path
    threads: int
    device: str

    def run(self) -> dict[str, Any]:
        """Train and measure; a result line, of a failed run too."""
        torch.set_num_threads(self.threads)
        commit = _commit()  # of the code that is about to train
        try:
            return self.line("ok", **self._measure(), commit=commit)
        except InUseError as error:
            return self.line(_BUSY, error=str(error))
        except Exception as error:  # torch has errors of its own for want of memory, for instance
            return self.line("failed", error=self._public(f"{type(error).__name__}: {error}"), commit=commit)

    def line(self, status: str, **found: Any) -> dict[str, Any]:
        """A result line."""
        head = {"table": self.table.name, "row": self.row.name, "recipe": self.row.recipe_name, "seed": self.seed}
        rest = {"device": _device_name(self.device), "row_sha256": self.row.sha256}
        return {**head, "status": status, **found, **rest}

    def _public(self, text: str) -> str:
        """Without where runs and data lie on this machine: result lines are published."""
        for folder in (self.work, data_folder()):
            text = text.replace(f"{folder}/", "")
        return text

    def _measure(self) -> dict[str, Any]:
        starts = [str(self._fitted(self.table.row(name)).folder) for name in self.row.spec.start_from]
        fitted = self._fitted(self.row, starts)
        about = fitted.ranker.about
        metrics = _plain(about["test"])
        if self.table.spec.full_ranking and isinstance(fitted.test, RankingTest):
            whole = fitted.ranker.evaluate(RankingTest(fitted.test.pairs), intervals=False, quiet=True)
            metrics |= {f"full {name}": value for name, value in _plain(whole).items()}
        return {
            "metrics": metrics,
            "best_on_test": _best_on_test(about["history"], self.table.spec.metrics),
            **{key: about.get(key) for key in _ABOUT},
            "seconds": about.get("train_seconds", about["seconds"]),
            "train_sps": about.get("train_sps"),
            "peak_mb": round(peak_memory() / 1e6),
            **{key: about.get(key) for key in _SHA256},
        }

    def _fitted(self, row: Row, starts: Sequence[str] = ()) -> "_Fitted":
        """A row's run of this seed, trained as far as it is not yet; solved models are not kept, they can be large."""
        recipe = row.recipe(self.seed, threads=self.threads, start_from=starts or None)
        parts = part(recipe)
        of_rows = json.dumps(data_sha256(parts.train), sort_keys=True)
        key = hashlib.sha256(f"{row.sha256} {of_rows}".encode()).hexdigest()[:8]
        folder = self.work / row.table / f"{row.name}-{key}" / f"seed-{self.seed}"
        is_solved = issubclass(CATALOGUE[recipe.name], Solved)
        out = None if is_solved else folder
        ranker = Ranker(recipe, device=self.device)
        ranker.fit(parts.train, parts.valid, test=parts.test, out=out, resume=not is_solved, quiet=True)
        return _Fitted(ranker, parts.test, folder)


@dataclass(frozen=True)
class _Fitted:
    ranker: Ranker
    test: Any
    folder: Path


def reproduce(
    table: Table,
    rows: Sequence[str],
    *,
    seeds: int | None,
    results: Path,
    work: Path,
    jobs: int,
    threads: int,
    device: str,
    say: Say,
) -> int:
    """Run what is missing of a table and append a line per run to ``results``/TABLE.jsonl; the number that failed.

    Rows that others start from come first. A finished run is skipped unless it had other training rows than those here,
    a failed one is tried again. Raises ConfigError on an unknown row, DataError where there are runs to do and no data.
    """
    make_folder(results)
    path = results / f"{table.name}.jsonl"
    picked = table.pick(rows)
    lines: list[Line] = list(read_lines(path)) if path.is_file() else []
    try:
        lines = _of_rows_here(picked, lines)
    except DataError:
        if any(missing(table, picked, lines, seeds=seeds)):
            raise
    wanted = missing(table, picked, lines, seeds=seeds)
    trials = [Trial(table, row, seed, work, threads, device) for row, seed in wanted]
    say(f"{table.name}: {len(trials)} runs to do")
    failed = 0
    waves = [[one for one in trials if bool(one.row.spec.start_from) == late] for late in (False, True)]
    for done, line in enumerate((line for wave in waves for line in run_all(wave, jobs)), start=1):
        if line["status"] != _BUSY:
            append_line(path, line)
        failed += line["status"] == "failed"
        say(f"{done:>3} of {len(trials)}  {line['row']}, seed {line['seed']}: {_told(line, table.spec.metrics)}")
    return failed


def _of_rows_here(rows: Sequence[Row], lines: Sequence[Line]) -> list[Line]:
    """The lines of runs on the training rows that are here; raises DataError where there are none."""
    here: dict[str, dict[str, str]] = {}
    for row in rows:
        if _section(row) not in here:
            here[_section(row)] = data_sha256(part(row.recipe(0)).train)
    names = {row.name: here[_section(row)] for row in rows}
    return [line for line in lines if names.get(line["row"]) == line.get("data_sha256")]


def _section(row: Row) -> str:
    return json.dumps(row.values["data"], sort_keys=True)


def missing(
    table: Table, rows: Sequence[Row], lines: Sequence[Mapping[str, Any]], *, seeds: int | None
) -> Iterator[tuple[Row, int]]:
    """Rows and seeds without a finished run, seed by seed, so that every row has one before any has two."""
    done = {(row.name, line["seed"]) for row in rows for line in current(row, lines)}
    wanted = {row.name: seeds or table.seeds(row) for row in rows}
    for seed in range(max(wanted.values(), default=0)):
        yield from ((row, seed) for row in rows if seed < wanted[row.name] and (row.name, seed) not in done)


def _run_here(trial: Trial) -> dict[str, Any]:
    """``trial.run`` in a process of its own: the first signal ends it, which saves where it is, and others wait."""

    def stop(_: int, __: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return trial.run()


def _run_apart(trial: Trial) -> dict[str, Any]:
    """The result line of a fresh process: its peak memory is its own."""
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_run_here, trial).result()
    except BrokenProcessPool:
        return trial.line("failed", error="its process was killed; memory may have been short", commit=_commit())


def run_all(trials: Sequence[Trial], jobs: int) -> Iterator[dict[str, Any]]:
    """Result lines as they come, so many at once, each from a process of its own."""
    with ThreadPoolExecutor(jobs) as threads:
        futures = [threads.submit(_run_apart, one) for one in trials]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:  # an interrupt, mostly: runs save where they are, and end
            threads.shutdown(wait=False, cancel_futures=True)
            while left := [one for one in futures if not one.done()]:
                for worker in multiprocessing.active_children():
                    worker.terminate()
                wait(left, timeout=1)
            raise


def _told(line: Mapping[str, Any], metrics: Sequence[str]) -> str:
    if line["status"] != "ok":
        return f"{line['status']}: {line['error']}"
    return ", ".join(f"{name} {line['metrics'][name]:.5f}" for name in metrics) + f" in {line['seconds']:.0f} s"


def _plain(report: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in report.items() if isinstance(value, int | float)}


def _best_on_test(history: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> dict[str, float] | None:
    """Metrics of the epoch that was the best on the test part, where training watched it."""
    watched = [one for one in history if f"test {metrics[0]}" in one]
    if not watched:
        return None
    best = max(watched, key=lambda one: float(one[f"test {metrics[0]}"]))
    return {"epoch": best["epoch"], **{name: best[f"test {name}"] for name in metrics}}


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def _commit() -> str | None:
    """The commit of a checkout this runs from; None for an installed package, and where there is no git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=True)
        done = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
