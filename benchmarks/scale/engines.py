"""Whether Spark's encoder is that of Polars, and what each takes, on Criteo-shaped rows and on MovieLens-1M.

python benchmarks/scale/engines.py DATA [DATA ...] [--record]

DATA is the name of a public data set (movielens-1m) or a file that benchmarks/speed/ctr_data.py wrote, of which every
kind of number is encoded: standardised logarithms, quantiles, buckets, squared logarithms. Each engine fits an encoder
and encodes all rows into a store; files are compared byte by byte, numbers by their largest difference. Spark runs as
its own settings say: PYSPARK_SUBMIT_ARGS="--master local[2] --driver-memory 4g pyspark-shell". Prints one JSON line for
each, appended to benchmarks/results/scale-engines.jsonl with --record.
"""

import argparse
import json
import os
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl

from crossfield.data.dataset import Dataset, load
from crossfield.data.encode import Encoder, EncoderConfig, on_disk
from crossfield.data.engines import Engine
from crossfield.data.engines.polars import PolarsEngine
from crossfield.data.engines.spark import SparkEngine
from crossfield.data.public import PUBLIC, load_public
from crossfield.data.store import Store, write_store
from crossfield.files import append_line, sha256_of

RESULTS = Path(__file__).parents[1] / "results" / "scale-engines.jsonl"
KINDS_OF_NUMBERS = {
    "dense": "log1p",
    "min_count": 2,
    "missing_indicator": True,
    "features": {
        "I1": {"transform": "quantile"},
        "I2": {"transform": "buckets"},
        "I3": {"transform": "squared_log"},
        "I4": {"transform": "standardize"},
        "C3": {"hash_buckets": 100_000},
    },
}


def rows_of(name: str) -> tuple[Dataset, EncoderConfig]:
    """Rows, and how to encode them."""
    if name in PUBLIC:
        return load_public(name).train, EncoderConfig()
    return load(name, label="label"), EncoderConfig.of(KINDS_OF_NUMBERS)


def encode(
    rows: Dataset, config: EncoderConfig, engine: Engine, folder: Path
) -> tuple[Encoder, Store, dict[str, float]]:
    """Encoder and store of an engine, written into a folder, and the seconds of each step."""
    folder.mkdir()
    started = time.perf_counter()
    with on_disk(rows, folder=folder, engine=engine) as readable:
        copied = time.perf_counter()
        encoder = Encoder.fit(readable, config, engine=engine)
        fitted = time.perf_counter()
        blocks = encoder.stream(readable, labelled=True, engine=engine)
        schema, fingerprint = encoder.model_schema, encoder.fingerprint
        store = write_store(blocks, folder / "store", model_schema=schema, fingerprint=fingerprint)
    encoder.save(folder / "encoder")
    steps = {"to_parquet": copied - started, "fit": fitted - copied, "encode": time.perf_counter() - fitted}
    return encoder, store, {name: round(seconds, 1) for name, seconds in steps.items()}


def same_vocabularies(one: Encoder, other: Encoder) -> bool:
    """Whether all fields have the same tokens and counts in the same order."""
    first, second = one.fitted.vocabularies, other.fitted.vocabularies
    return list(first) == list(second) and all(first[name].digest() == second[name].digest() for name in first)


def compare(name: str, spark: SparkEngine) -> dict[str, object]:
    """One result line: what is equal, and what each engine took."""
    rows, config = rows_of(name)
    with tempfile.TemporaryDirectory(prefix="crossfield-bench-") as scratch:
        here, there = Path(scratch) / "polars", Path(scratch) / "spark"
        one, first, polars_seconds = encode(rows, config, PolarsEngine(), here)
        other, second, spark_seconds = encode(rows, config, spark, there)
        names = [path.relative_to(here) for path in sorted(here.rglob("*")) if path.is_file()]
        different = [str(path) for path in names if sha256_of(here / path) != sha256_of(there / path)]
        scales = [(a.mean - b.mean, a.std - b.std) for a, b in zip(one.fitted.scales, other.fitted.scales, strict=True)]
        dense = [first.encoded.dense, second.encoded.dense]
        return {
            "what": "engines",
            "data": name if name in PUBLIC else f"Criteo-shaped ({Path(name).name})",
            "rows": first.num_rows,
            "fields": len(one.fitted.vocabularies),
            "ids": sum(field.num_rows - 2 for field in one.model_schema.fields),
            "list_values": sum(len(values) for values, _ in first.encoded.sequences.values()),
            "same_vocabularies": same_vocabularies(one, other),
            "same_ids": bool(np.array_equal(first.categorical, second.categorical))
            and all(
                np.array_equal(a, b)
                for key in first.encoded.sequences
                for a, b in zip(first.encoded.sequences[key], second.encoded.sequences[key], strict=True)
            ),
            "max_difference_of_numbers": float(np.abs(dense[0] - dense[1]).max(initial=0)),
            "max_difference_of_scales": float(np.abs(np.array(scales)).max(initial=0)),
            "files": len(names),
            "files_that_differ": different,
            "seconds": {"polars": polars_seconds, "spark": spark_seconds},
            "spark_tasks": spark.cores,
            "versions": {one: version(one) for one in ("crossfield", "polars", "pyspark", "numpy")},
            "load": round(os.getloadavg()[0], 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--record", action="store_true")
    chosen = parser.parse_args()
    spark = SparkEngine()
    spark.counts(pl.DataFrame({"warm": ["up"]}).lazy(), lambda rows: rows)
    for name in chosen.data:
        line = compare(name, spark)
        print(json.dumps(line), flush=True)
        if chosen.record:
            append_line(RESULTS, line)


if __name__ == "__main__":
    main()
