"""Tables that memory cannot hold: training and serving with them in files, in as little memory as is allowed.

python benchmarks/memory/tables.py [--table-rows 20000000] [--train 400000] [--gigabytes 1] [--record]

An FM with one large table of so many rows: users by hash, drawn as Zipf's law has it. Each line
is a process of its own in a memory control group, with a limit or without: training with ``train.tables`` memory or
disk, and predictions of the finished run. Needs root, and control groups of version 1 or 2. Prints JSON lines; with
--record they are also appended to benchmarks/results/memory-tables.jsonl. ``anonymous_mb`` is the peak of memory that
belongs to no file, ``group_mb`` that of the whole group, pages of files included; ``read_mb`` came from the disk.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from encode import Peak

import crossfield as cf
from crossfield.files import append_line

RESULTS = Path(__file__).parents[1] / "results" / "memory-tables.jsonl"
GROUPS = Path("/sys/fs/cgroup")
ROLES = {"label": "click", "user": "user", "item": "item", "kinds": {"price": "dense"}}
VALID, SERVED = 20_000, 20_000
Line = dict[str, Any]


def make_rows(path: Path, num_rows: int) -> None:
    """Clicks that follow the item and a number; user ids are what makes tables large."""
    random = np.random.default_rng(0)
    users, items = random.zipf(1.2, num_rows) % 10**9, random.zipf(1.3, num_rows) % 10_000
    price = random.normal(size=num_rows)
    clicks = random.random(num_rows) < 1 / (1 + np.exp(-(price + (items % 3) - 1)))
    pl.DataFrame({"click": clicks.astype(int), "user": users, "item": items, "price": price}).write_parquet(path)


def train(folder: Path, table_rows: int, place: str) -> Line:
    """Two epochs; how fast the rows went through."""
    rows = pl.read_parquet(folder / "rows.parquet")
    ranker = cf.Ranker(
        "fm",
        embedding_dim=16,
        data=ROLES,
        encoder={"features": {"user": {"hash_buckets": table_rows}}},
        train={"epochs": 2, "tables": place, "precision": "fp32", "compile": "off", "threads": 1, "patience": 9},
    )
    ranker.fit(rows.head(len(rows) - VALID), rows.tail(VALID), out=folder / f"run-{place}", overwrite=True, quiet=True)
    about = ranker.about
    return {"train_sps": about["train_sps"], "seconds": about["seconds"], "valid_auc": about["history"][-1]["auc"]}


def serve(folder: Path, place: str) -> Line:
    """Load the run, score many rows at once, and one after another."""
    rows = pl.read_parquet(folder / "rows.parquet").tail(SERVED).drop("click")
    started = time.perf_counter()
    ranker = cf.Ranker.load(folder / f"run-{place}")
    loaded = time.perf_counter()
    ranker.predict(rows)
    scored = time.perf_counter()
    for row in rows.head(100).to_dicts():
        ranker.predict(row)
    single = (time.perf_counter() - scored) / 100
    return {
        "load_seconds": loaded - started,
        "predict_sps": len(rows) / (scored - loaded),
        "one_row_ms": 1000 * single,
    }


def child(args: argparse.Namespace) -> None:
    """What a process in its group does: one line on standard output."""
    peak = Peak()
    peak.start()
    done = train(args.folder, args.table_rows, args.place) if args.job == "train" else serve(args.folder, args.place)
    counted = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    print(json.dumps({**done, "anonymous_mb": peak.stop() / 1e6, "read_mb": int(counted["read_bytes"]) / 1e6}))


class Group:
    """A memory control group for one process."""

    def __init__(self, limit: int | None) -> None:
        self._is_old = (GROUPS / "memory").is_dir()
        self._folder = (GROUPS / "memory" if self._is_old else GROUPS) / "crossfield-tables"
        self._limit = limit

    def __enter__(self) -> "Group":
        self._folder.mkdir()
        if self._limit is not None:
            (self._folder / ("memory.limit_in_bytes" if self._is_old else "memory.max")).write_text(str(self._limit))
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.rmdir()

    @property
    def peak(self) -> int:
        """The most bytes it held."""
        return int((self._folder / ("memory.max_usage_in_bytes" if self._is_old else "memory.peak")).read_text())

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """A command in the group; it joins before it begins."""
        joined = f'echo $$ > "{self._folder}/cgroup.procs" && exec "$@"'
        return subprocess.run(["sh", "-c", joined, "sh", *command], stdout=subprocess.PIPE, text=True)


def measure(args: argparse.Namespace, folder: Path, job: str, place: str, gigabytes: float | None) -> Line:
    """One line, also of a process that was killed."""
    command = [sys.executable, __file__, "--job", job, "--place", place, "--folder", str(folder)]
    with Group(None if gigabytes is None else int(gigabytes * 1e9)) as group:
        done = group.run([*command, "--table-rows", str(args.table_rows)])
        peak = group.peak
    found = json.loads(done.stdout) if done.returncode == 0 else {"killed": done.returncode}
    versions = {name: version(name) for name in ("crossfield", "torch")}
    about = {"lib": "crossfield", "model": "fm", "table_rows": args.table_rows, "train_rows": args.train}
    return {**about, "job": job, "tables": place, "limit_gb": gigabytes, **found, "group_mb": peak / 1e6, **versions}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--table-rows", type=int, default=20_000_000)
    parser.add_argument("--train", type=int, default=400_000)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--job", choices=("train", "serve"), help=argparse.SUPPRESS)
    parser.add_argument("--place", choices=("memory", "disk"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        child(args)
        return
    with tempfile.TemporaryDirectory(dir=".") as scratch:  # not in /tmp, which may lie in memory
        folder = Path(scratch)
        make_rows(folder / "rows.parquet", args.train + VALID)
        for job, place, gigabytes in (
            ("train", "memory", None),
            ("train", "memory", args.gigabytes),
            ("train", "disk", None),
            ("train", "disk", args.gigabytes),
            ("serve", "disk", None),
            ("serve", "disk", args.gigabytes),
        ):
            line = measure(args, folder, job, place, gigabytes)
            print(json.dumps(line), flush=True)
            if args.record:
                append_line(RESULTS, line)


if __name__ == "__main__":
    main()
