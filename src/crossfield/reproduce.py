"""Run the rows of a table of published results: each seed in a process of its own, resumed where it stopped."""

import multiprocessing
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from crossfield.data.public import RankingTest
from crossfield.errors import CrossfieldError
from crossfield.files import append_line, make_folder, read_lines
from crossfield.memory import peak_memory
from crossfield.models import CATALOGUE
from crossfield.models.base import Solved
from crossfield.parts import part
from crossfield.proof import Row, Table, current
from crossfield.ranker import Ranker

Say = Callable[[str], None]
_ABOUT = ("lib", "model", "dataset", "parameters", "train_rows", "valid", "best_epoch", "threads", "versions")


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
        head = {"table": self.table.name, "row": self.row.name, "recipe": self.row.recipe_name, "seed": self.seed}
        try:
            found = self._measure()
            status = {"status": "ok"}
        except CrossfieldError as error:
            # Result lines are published: where the runs lie on this machine is nobody's business.
            found, status = {}, {"status": "failed", "error": str(error).replace(f"{self.work}/", "")}
        rest = {"device": _device_name(self.device), "row_sha256": self.row.sha256, "commit": _commit()}
        return {**head, **status, **found, **rest}

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
            "data_sha256": about["data_sha256"],
            "recipe_sha256": about["recipe_sha256"],
        }

    def _fitted(self, row: Row, starts: Sequence[str] = ()) -> "_Fitted":
        """A row's run of this seed, trained as far as it is not yet; solved models are not kept, they can be large."""
        recipe = row.recipe(self.seed, threads=self.threads, start_from=starts or None)
        folder = self.work / row.table / f"{row.name}-{row.sha256[:8]}" / f"seed-{self.seed}"
        parts = part(recipe)
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

    Rows that others start from come first. A finished run is skipped, a failed one tried again. Raises ConfigError on
    an unknown row.
    """
    make_folder(results)
    path = results / f"{table.name}.jsonl"
    lines = read_lines(path) if path.is_file() else []
    trials = [
        Trial(table, row, seed, work, threads, device)
        for row, seed in missing(table, table.pick(rows), lines, seeds=seeds)
    ]
    say(f"{table.name}: {len(trials)} runs to do")
    failed = 0
    waves = [[one for one in trials if bool(one.row.spec.start_from) == late] for late in (False, True)]
    for done, line in enumerate((line for wave in waves for line in _run_all(wave, jobs)), start=1):
        append_line(path, line)
        failed += line["status"] != "ok"
        say(f"{done:>3} of {len(trials)}  {line['row']}, seed {line['seed']}: {_told(line, table.spec.metrics)}")
    return failed


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


def _run_all(trials: Sequence[Trial], jobs: int) -> Iterator[dict[str, Any]]:
    """Result lines as they come, each from a fresh process: its peak memory is its own."""
    if not trials:
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(trials)), mp_context=context, max_tasks_per_child=1)
    try:
        futures: list[Future[dict[str, Any]]] = [pool.submit(_run_here, one) for one in trials]
        for future in as_completed(futures):
            yield future.result()
    except BaseException:  # an interrupt, mostly: runs save where they are, and end
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _told(line: Mapping[str, Any], metrics: Sequence[str]) -> str:
    if line["status"] != "ok":
        return f"failed: {line['error']}"
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
    """The commit of a checkout this runs from; None for an installed package."""
    call = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(call, capture_output=True, text=True)
    return done.stdout.strip() or None
