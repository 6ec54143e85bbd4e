"""Training on a GPU: examples per second of the whole loop, rows and tables there, no peers.

    python benchmarks/speed/gpu.py [--models deepfm dcn_v2 ...] [--depths 1 2 4 8] [--compile] [--record]

Random Criteo-shaped rows: 13 numbers, 26 id columns of equal tables, ids log-uniform as Zipf's law has them. Each line
is a training of 1,048,576 rows an epoch, the median epoch after the first; `launched`: "plain" kernel by kernel from
Python, "recorded" as one CUDA graph a step, "compiled" recorded after torch.compile. --depths adds DHEN by layers.
With --record lines go to benchmarks/results/speed-gpu.jsonl.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from crossfield.data.encode import Encoded
from crossfield.data.store import Reader, Store, write_store
from crossfield.files import append_line
from crossfield.models import CATALOGUE
from crossfield.recording import RecordedStep
from crossfield.schema import Field, ModelSchema
from crossfield.train import Report, TrainConfig, Trainer

RESULTS = Path(__file__).parents[1] / "results" / "speed-gpu.jsonl"
ROWS, EPOCHS = 1 << 20, 6
MODELS = ("deepfm", "wide_deep", "dcn", "dcn_v2", "dlrm", "xdeepfm", "finalmlp", "dhen")
SETTINGS: dict[str, dict[str, Any]] = {
    "dlrm": {"bottom": [400], "top": [400, 400, 400]},
}
Line = dict[str, Any]


def make_rows(folder: Path, table_rows: int) -> Store:
    """A store of random rows whose labels follow two id columns and a number."""
    random, size = np.random.default_rng(0), table_rows // 26
    ids = np.exp(random.uniform(0, np.log(size), (ROWS, 26))).astype(np.int32) % size
    dense = random.normal(size=(ROWS, 13)).astype(np.float32)
    labels = ((ids[:, 0] + ids[:, 1]) % 3 + dense[:, 0] > 1).astype(np.float32)
    schema = ModelSchema(
        dense=tuple(f"I{n}" for n in range(13)), categorical=tuple(Field(f"C{n}", size) for n in range(26))
    )
    groups = np.zeros(ROWS, np.int64)
    rows = Encoded(dense, ids, {}, labels=labels, weights=None, groups=groups, rows=np.arange(ROWS))
    return write_store([rows], folder, model_schema=schema, fingerprint="gpu")


def train(store: Store, name: str, *, launched: str, batch_size: int, precision: str, more: dict[str, Any]) -> Line:
    """One training; what it took."""
    kind = CATALOGUE[name]
    given = {"embedding_dim": 16, "deep": [400, 400, 400], **SETTINGS.get(name, {}), **more}
    known = kind.config_type.model_fields
    config = TrainConfig.of(
        {
            "batch_size": batch_size,
            "epochs": EPOCHS,
            "precision": precision,
            "cuda_graph": launched != "plain",
            "compile": "on" if launched == "compiled" else "off",
        }
    )
    torch.manual_seed(0)
    torch.cuda.reset_peak_memory_stats()
    model = kind(store.model_schema, kind.config_type.of({k: v for k, v in given.items() if k in known})).to("cuda")
    reports: list[Report] = []
    trainer = Trainer(model, Reader(store, batch_size=batch_size), config, on_report=reports.append)
    result = trainer.fit()
    ends = [one.seconds for one in reports if one.kind == "evaluation"]
    seconds = median(np.diff(ends).tolist())
    step = trainer._step
    return {
        "model": name,
        "more": more,
        "launched": launched,
        "batch_size": batch_size,
        "precision": precision,
        "examples_per_s": ROWS / seconds,
        "ms_per_step": 1000 * seconds * batch_size / ROWS,
        "first_epoch_s": ends[0],
        "gpu_mb": torch.cuda.max_memory_allocated() / 1e6,
        "table_rows": sum(one.num_rows for one in store.model_schema.categorical),
        "parameters": sum(one.numel() for one in model.parameters()),
        "losses": [round(one["train_loss"], 5) for one in result.history],
        "reason": step.reason if isinstance(step, RecordedStep) else "",
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }


def arms(given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """Models, their settings, and how their steps are launched."""
    ways = ["plain", "recorded", *(["compiled"] if given.compile else [])]
    for name in given.models:
        yield name, {}, ways
    for depth in given.depths:
        for saving in (False, True):
            more = {"layers": [["dot", "linear"]] * depth, "activation_checkpointing": saving}
            yield "dhen", more, ways


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--depths", nargs="*", type=int, default=[])
    parser.add_argument("--batches", nargs="+", type=int, default=[4096, 65536])
    parser.add_argument("--tables", type=int, default=1_000_000, help="rows of all tables together")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = make_rows(Path(folder) / "rows", given.tables)
        for name, more, ways in arms(given):
            for batch_size in given.batches:
                for launched in ways:
                    line = train(
                        store, name, launched=launched, batch_size=batch_size, precision=given.precision, more=more
                    )
                    print(json.dumps(line), flush=True)
                    if given.record:
                        append_line(given.out, line)
                    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
