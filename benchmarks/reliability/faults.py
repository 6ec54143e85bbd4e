"""Real processes stopped, and their files damaged, at random points: what comes out must be what would have come.

    python benchmarks/reliability/faults.py [kills signals full flips] [--models deepfm ...] [--count 100] [--record]

kills: kill -9 at random moments of training, checkpoint writes included; resumed until done, the weights' file must be
the undisturbed run's to the byte. signals: Ctrl-C and SIGTERM through the program, exit codes 130 and 143, then the
same. full: a disk that takes no more, at random sizes of file; one clear line, exit code 1, then the same. flips: in
every file that loading reads one random bit turned over, the file cut, the file gone; a run must refuse to load, a
checkpoint must be passed over or refused. Everything on the CPU, one thread, data made by the package. With --record a
line per model and kind goes to benchmarks/results/reliability.jsonl. Exit code 1 where anything went wrong.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import polars as pl

from crossfield.bundle import Bundle, load_training
from crossfield.checkpoint import load_checkpoint
from crossfield.data.cinema import make_cinema
from crossfield.data.store import Store
from crossfield.errors import CorruptError, CrossfieldError
from crossfield.files import append_line
from crossfield.ranker import Ranker
from crossfield.recipe import Recipe

RESULTS = Path(__file__).parents[1] / "results" / "reliability.jsonl"
ROWS = 6000
EVERY = (0.0, 0.02, 0.2)
"""Seconds between checkpoints, drawn for each process: 0 writes one after every step."""
MODELS: dict[str, dict[str, Any]] = {
    "deepfm": {"embedding_dim": 8, "deep": [32, 16], "dropout": 0.2, "batch_norm": True},
    "wide_deep": {"embedding_dim": 8, "deep": [32, 16], "dropout": 0.2},
    "neumf": {"embedding_dim": 8, "mlp_embedding_dim": 16, "hidden": [16, 8]},
}
Line = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One model on one file, and where its undisturbed run came out."""

    model: str
    data: Path
    seconds: float = 0.0
    weights: str = ""

    def recipe(self, every: float) -> Recipe:
        """Three epochs with everything that makes resuming hard."""
        columns = {"user": "user", "item": "film"}
        labelled = {} if self.model == "neumf" else {"label": "click"}
        train = {"epochs": 3, "batch_size": 128, "threads": 1, "precision": "fp32", "compile": "off", "patience": 9}
        return Recipe.of(
            {
                "data": {"path": str(self.data), **columns, **labelled},
                "encoder": {"unseen_rate": 0.05},
                "model": {"name": self.model, **MODELS[self.model]},
                "train": {**train, "checkpoint_seconds": every},
            }
        )

    def command(self, out: Path) -> list[str]:
        """The same through the program."""
        recipe = out.parent / f"{out.name}.toml"
        recipe.write_text(self.recipe(0.02).to_toml())
        return [sys.executable, "-m", "crossfield", "fit", "--recipe", str(recipe), "--out", str(out), "--resume", "-q"]


def fit(case: Case, out: Path, every: float, most_bytes: int | None = None) -> None:
    """What a process does: start or go on; ends with exit code 1 on a clear error."""
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        recipe = case.recipe(every)
        Ranker(recipe).fit(str(case.data), out=out, resume=True, quiet=True)
    except (CrossfieldError, OSError):
        sys.exit(1)


def launch(case: Case, out: Path, every: float, most_bytes: int | None = None) -> BaseProcess:
    """A process of its own; modules are loaded once, by a server that forks it."""
    process = multiprocessing.get_context("forkserver").Process(target=fit, args=(case, out, every, most_bytes))
    process.start()
    return process


def weights_of(out: Path) -> str:
    """Checksum of the finished weights."""
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()


def undisturbed(model: str, folder: Path) -> Case:
    """Make the data and train once."""
    data = folder / f"{model}.parquet"
    log = pl.DataFrame(make_cinema(ROWS).columns)
    (log.filter(log["click"] == 1).select("user", "film") if model == "neumf" else log).write_parquet(data)
    case, out = Case(model, data), folder / f"{model}-straight"
    for _ in range(2):  # the first one encodes the rows and keeps them
        shutil.rmtree(out, ignore_errors=True)
        started = time.monotonic()
        process = launch(case, out, 0.2)
        process.join()
        assert process.exitcode == 0, f"{model} does not train"
        case = Case(model, data, time.monotonic() - started, weights_of(out))
    return case


def kills(case: Case, folder: Path, count: int, dice: random.Random) -> Line:
    """Kill and go on until so many were killed in the act and the last run has come out."""
    killed, runs, equal, inside = 0, 0, 0, 0
    while killed < count:
        out, runs = folder / f"kill-{runs}", runs + 1
        while True:
            process = launch(case, out, dice.choice(EVERY))
            process.join(dice.uniform(0.0, case.seconds) if killed < count else None)
            if process.exitcode is not None:
                assert process.exitcode == 0, f"{case.model}: going on failed with exit code {process.exitcode}"
                break
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            killed += 1
            inside += any((out / "work" / "checkpoints").glob(".*.part"))
        equal += weights_of(out) == case.weights
        shutil.rmtree(out)
    return {
        "what": "kills",
        "count": killed,
        "while_writing": inside,
        "runs": runs,
        "equal": equal,
        "wrong": runs - equal,
    }


def signals(case: Case, folder: Path, count: int, dice: random.Random) -> Line:
    """Ctrl-C and SIGTERM in turn, each followed by a run to the end."""
    straight = folder / f"{case.model}-program"  # the program keeps rows for a test, so it trains on fewer
    subprocess.run(case.command(straight), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    right = 0
    for number in range(count):
        out, asked = folder / f"signal-{number}", (signal.SIGINT, signal.SIGTERM)[number % 2]
        with subprocess.Popen(case.command(out), stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not (out / "work" / "checkpoints" / "log.jsonl").is_file():
                time.sleep(0.01)
            time.sleep(dice.uniform(0.0, 0.3))
            process.send_signal(asked)
            code = process.wait(60)
        again = subprocess.run(case.command(out), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
        # A signal that comes after the last step finds a run that is done.
        right += code in (128 + asked, 0) and again.returncode == 0 and weights_of(out) == weights_of(straight)
        shutil.rmtree(out)
    return {"what": "signals", "count": count, "equal": right, "wrong": count - right}


def full(case: Case, folder: Path, count: int, dice: random.Random) -> Line:
    """A disk that is full at a random size of file, then one that is not."""
    refused, right = 0, 0
    for number in range(count):
        out = folder / f"full-{number}"
        process = launch(case, out, dice.choice(EVERY), int(2 ** dice.uniform(6, 18)))
        process.join()
        refused += process.exitcode == 1
        process = launch(case, out, 0.2)
        process.join()
        right += process.exitcode == 0 and weights_of(out) == case.weights
        shutil.rmtree(out, ignore_errors=True)
    return {"what": "full disk", "count": count, "refused": refused, "equal": right, "wrong": count - right}


def damages(path: Path, dice: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    """Ways to damage a file."""
    content = path.read_bytes()

    def flip() -> object:
        place = dice.randrange(len(content))
        changed = bytearray(content)
        changed[place] ^= 1 << dice.randrange(8)
        return path.write_bytes(changed)

    if content:
        yield "bit", flip
        yield "cut", lambda: path.write_bytes(content[: dice.randrange(len(content))])
    yield "gone", path.unlink


def flips(case: Case, folder: Path, count: int, dice: random.Random) -> Line:
    """Damage of every kind in every file of a run and of its newest checkpoint, in turn."""
    straight = folder / f"{case.model}-straight"
    stopped = folder / f"{case.model}-stopped"
    process = launch(case, stopped, 0.0)
    while len(list((stopped / "work" / "checkpoints").glob("*/manifest.json"))) < 2:
        time.sleep(0.005)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    rows = next(Path(os.environ["CROSSFIELD_CACHE"]).rglob("encoder.json")).parents[1] / "train"
    homes = {
        "run": (straight, Bundle.load),
        "training": (straight, load_training),
        "rows": (rows, Store.open),
        "checkpoint": (stopped, _newest_whole),
    }
    done, missed = dict.fromkeys(("bit", "cut", "gone"), 0), []
    while sum(done.values()) < count:
        for name, (home, load) in homes.items():
            for path in _read_by_loading(home, name):
                for kind, damage in damages(path, dice):
                    before = path.read_bytes()
                    damage()
                    done[kind] += 1
                    if not _is_refused(load, home):
                        missed.append(f"{name} {path.relative_to(home)} {kind}")
                    path.write_bytes(before)
    return {"what": "damage", "count": sum(done.values()), **done, "wrong": len(missed), "missed": missed[:20]}


def _read_by_loading(home: Path, name: str) -> list[Path]:
    """Files that decide what is loaded; the log is for people, and an update alone reads what training left."""
    if name == "checkpoint":
        home = max((home / "work" / "checkpoints").glob("*/manifest.json")).parent
    found = [path for path in home.rglob("*") if path.is_file() and path.name not in (".lock", "log.jsonl")]
    return sorted(path for path in found if (path.parent.name == "training") == (name == "training"))


def _newest_whole(home: Path) -> None:
    """Load a checkpoint; raises where the newest one is passed over."""
    found = load_checkpoint(home / "work" / "checkpoints")
    if found is None or found.skipped:
        raise CorruptError("passed over")


def _is_refused(load: Callable[[Path], object], home: Path) -> bool:
    try:
        load(home)
    except CrossfieldError:
        return True
    return False


KINDS = {"kills": kills, "signals": signals, "full": full, "flips": flips}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help="kills signals full flips")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    multiprocessing.get_context("forkserver").set_forkserver_preload(["crossfield.ranker"])
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["CROSSFIELD_CACHE"] = str(Path(scratch) / "cache")
        for model in given.models:
            case = undisturbed(model, Path(scratch))
            for kind in given.kinds:
                started = time.monotonic()
                line = KINDS[kind](case, Path(scratch), given.count, random.Random(given.seed))
                line = {"model": model, **line, "seconds": round(time.monotonic() - started, 1)}
                print(json.dumps(line), flush=True)
                wrong += line["wrong"]
                if given.record:
                    append_line(RESULTS, line)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
