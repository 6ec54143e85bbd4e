"""Anonymous memory and speed of fitting an encoder on a Criteo-shaped text file and storing its rows encoded.

python benchmarks/memory/encode.py all_criteo_raw.txt [--min-count 1] [--pandas] [--record]

The file: tab-separated, no header, label, 13 counts, 26 ids. Prints one JSON line; with --record it is also appended
to benchmarks/results/memory-encode.jsonl. Memory is the peak of RssAnon, sampled every 20 ms: pages of mapped files
can be dropped at any time and do not count. With --pandas, pandas does the same: ids by falling count, numbers as
standardised logarithms, arrays written to disk.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from crossfield.data.dataset import Dataset
from crossfield.data.encode import Encoder, EncoderConfig, on_disk
from crossfield.data.source import Layout, open_source
from crossfield.data.store import Reader, Store, write_store
from crossfield.files import append_line
from crossfield.schema import Feature, FeatureSchema, Kind, Label

RESULTS = Path(__file__).parents[1] / "results" / "memory-encode.jsonl"
COUNTS = tuple(f"I{i}" for i in range(1, 14))
IDS = tuple(f"C{i}" for i in range(1, 27))


class Peak(threading.Thread):
    """Samples this process's anonymous memory until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes, self._done = 0, threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        while not self._done.wait(0.02):
            self.bytes = max(self.bytes, anonymous_bytes())

    def stop(self) -> int:
        """The most bytes seen."""
        self._done.set()
        self.join()
        return self.bytes


def anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def criteo(path: Path) -> Dataset:
    source = open_source(path, Layout(columns=("label", *COUNTS, *IDS), header=False, separator="\t"))
    dense = [Feature(name, Kind.DENSE) for name in COUNTS]
    categorical = [Feature(name, Kind.CATEGORICAL) for name in IDS]
    schema = FeatureSchema((*dense, *categorical), label=Label("label"))
    return Dataset(source.frame, schema, source.name, source.files)


class Clock:
    """Seconds of the wall and of the processor since the last look."""

    def __init__(self) -> None:
        self._last = self._now()

    def _now(self) -> tuple[float, float]:
        times = os.times()
        return time.perf_counter(), times.user + times.system

    def lap(self) -> dict[str, float]:
        """Seconds since the last lap, of the wall and of the processor."""
        now, last = self._now(), self._last
        self._last = now
        return {"wall": round(now[0] - last[0], 1), "cpu": round(now[1] - last[1], 1)}


def read_epoch(store: Store) -> int:
    reader = Reader(store, batch_size=4096)
    return sum(batch.size for batch in reader.epoch())


def measure(path: Path, config: EncoderConfig) -> dict[str, object]:
    peak, clock, seconds = Peak(), Clock(), {}
    before = anonymous_bytes()
    peak.start()
    with tempfile.TemporaryDirectory(prefix="crossfield-bench-") as scratch:
        dataset = criteo(path)
        seconds["open"] = clock.lap()
        with on_disk(dataset, folder=Path(scratch)) as rows:
            seconds["to_parquet"] = clock.lap()
            encoder = Encoder.fit(rows, config)
            seconds["fit"] = clock.lap()
            store = write_store(
                encoder.stream(rows, labelled=True),
                Path(scratch) / "store",
                model_schema=encoder.model_schema,
                fingerprint=encoder.fingerprint,
            )
            seconds["encode"] = clock.lap()
        memory = peak.stop()
        num_read = read_epoch(store)
        seconds["read_epoch"] = clock.lap()
    cpu = sum(one["cpu"] for name, one in seconds.items() if name != "read_epoch")
    return {
        "lib": "crossfield",
        "what": "fit + encode",
        "rows": store.num_rows,
        "ids": int(np.sum([one.num_rows - 2 for one in encoder.model_schema.categorical])),
        "anonymous_mb": round(memory / 1e6),
        "anonymous_mb_before": round(before / 1e6),
        "rows_per_cpu_second": round(store.num_rows / cpu),
        "read_rows_per_cpu_second": round(num_read / max(seconds["read_epoch"]["cpu"], 0.1)),
        "seconds": seconds,
        "seconds_in_all": round(sum(one["wall"] for name, one in seconds.items() if name != "read_epoch"), 1),
        "config": config.model_dump(exclude_unset=True),
        "versions": {name: version(name) for name in ("crossfield", "polars", "numpy")},
        "load": round(os.getloadavg()[0], 1),
    }


def measure_pandas(path: Path, config: EncoderConfig) -> dict[str, object]:
    import pandas as pd

    peak, clock, before = Peak(), Clock(), anonymous_bytes()
    peak.start()
    with tempfile.TemporaryDirectory(prefix="crossfield-bench-") as scratch:
        names = ["label", *COUNTS, *IDS]
        rows = pd.read_csv(path, sep="\t", header=None, names=names, dtype=dict.fromkeys(IDS, str))
        dense = np.log1p(rows[list(COUNTS)].fillna(0).clip(lower=0).to_numpy(np.float32))
        np.save(Path(scratch) / "dense.npy", (dense - dense.mean(0)) / dense.std(0))
        ids, num_ids = np.empty((len(rows), len(IDS)), np.int32), 0
        for column, name in enumerate(IDS):
            counts = rows[name].value_counts()
            kept = counts[counts >= config.min_count].index
            found = rows[name].map(pd.Series(np.arange(2, len(kept) + 2), kept))
            ids[:, column] = found.fillna(1).where(rows[name].notna(), 0)
            num_ids += len(kept)
        np.save(Path(scratch) / "ids.npy", ids)
        np.save(Path(scratch) / "labels.npy", rows["label"].to_numpy(np.float32))
        memory, seconds = peak.stop(), clock.lap()
    return {
        "lib": "pandas",
        "what": "fit + encode",
        "rows": len(rows),
        "ids": num_ids,
        "anonymous_mb": round(memory / 1e6),
        "anonymous_mb_before": round(before / 1e6),
        "rows_per_cpu_second": round(len(rows) / seconds["cpu"]),
        "seconds": {"all": seconds},
        "seconds_in_all": seconds["wall"],
        "config": config.model_dump(exclude_unset=True),
        "versions": {name: version(name) for name in ("pandas", "numpy")},
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--min-count", type=int, default=1)
    parser.add_argument("--pandas", action="store_true", help="let pandas do it")
    parser.add_argument("--record", action="store_true", help=f"append to {RESULTS.name}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = measure_pandas if arguments.pandas else measure
    result = work(arguments.data, EncoderConfig(min_count=arguments.min_count))
    print(json.dumps(result))
    if arguments.record:
        append_line(RESULTS, result)


if __name__ == "__main__":
    main()
