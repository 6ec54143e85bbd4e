"""What DHEN costs against its depth, with and without activation checkpointing.

python benchmarks/dhen_depth.py [--depths 1 2 4 8] [--interactions dot linear] [--rows 4096] [--record]

Rows are random and Criteo-shaped: 13 dense features, 26 fields. Every measurement has a process of its own; rounds go
through all of them, so that a busy machine slows each alike, and the fastest step counts. Prints one JSON line each;
with --record they are also appended to benchmarks/results/dhen-depth.jsonl. Memory is the peak of a process during two
training steps above what model and batch need: activations, gradients and optimiser states.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from crossfield.batch import Batch
from crossfield.files import append_line
from crossfield.losses import bce
from crossfield.models.dhen import DHEN, DHENConfig
from crossfield.optim import OptimConfig, build_optimizers
from crossfield.schema import Field, ModelSchema

RESULTS = Path(__file__).parent / "results" / "dhen-depth.jsonl"
SCHEMA = ModelSchema(
    dense=tuple(f"I{i}" for i in range(1, 14)), categorical=tuple(Field(f"C{i}", 1_000) for i in range(1, 27))
)
PER = 100_000
"""Examples that seconds are given for."""


@dataclass(frozen=True)
class Case:
    """What is measured: a depth, on so many rows."""

    num_layers: int
    activation_checkpointing: bool
    interactions: tuple[str, ...]
    embedding_dim: int
    rows: int
    steps: int

    def model(self) -> DHEN:
        """DHEN with the default widths of its layers and head."""
        torch.manual_seed(0)
        settings = {
            "layers": (self.interactions,) * self.num_layers,
            "embedding_dim": self.embedding_dim,
            "activation_checkpointing": self.activation_checkpointing,
        }
        return DHEN(SCHEMA, DHENConfig.of(settings))

    def batch(self) -> Batch:
        """Random rows."""
        generator = torch.Generator().manual_seed(0)
        num_rows = SCHEMA.categorical[0].num_rows
        return Batch(
            torch.randn(self.rows, len(SCHEMA.dense), generator=generator),
            torch.randint(num_rows, (self.rows, len(SCHEMA.categorical)), generator=generator),
            labels=torch.randint(2, (self.rows, 1), generator=generator).float(),
        )


def trainer(model: DHEN, batch: Batch) -> Callable[[], None]:
    """One training step."""
    optimizers = build_optimizers(model, OptimConfig())

    def train() -> None:
        assert batch.labels is not None
        optimizers.zero_grad()
        bce(model(batch), batch.labels).backward()  # type: ignore[no-untyped-call]  # torch does not type it
        optimizers.step()

    return train


def measure_memory(case: Case) -> dict[str, Any]:
    """Peak of the memory of the process that calls it, in MB."""
    torch.set_num_threads(1)
    model, batch = case.model(), case.batch()
    train = trainer(model, batch)
    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    for _ in range(2):
        train()
    return {"peak_mb": (kilobytes("VmHWM") - before) / 1e3}


def measure(case: Case) -> dict[str, Any]:
    """Numbers of one case, in the process that calls it."""
    torch.set_num_threads(1)
    model, batch = case.model(), case.batch()
    train = trainer(model, batch)

    @torch.inference_mode()
    def predict() -> None:
        model(batch)

    train_seconds, step_flops = fastest(train, case.steps), flops(train)
    model.eval()
    return {
        "parameters": sum(one.numel() for one in model.parameters()),
        "layer_parameters": sum(one.numel() for one in model.layers.parameters()),
        "forward_flops_per_example": flops(predict) // case.rows,
        "step_flops_per_example": step_flops // case.rows,
        "train_seconds_per_100k": train_seconds * PER / case.rows,
        "predict_seconds_per_100k": fastest(predict, case.steps) * PER / case.rows,
    }


def kilobytes(entry: str) -> int:
    """An entry of this process's memory status."""
    return int(Path("/proc/self/status").read_text().split(f"{entry}:")[1].split()[0])


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions of one call; 2 per multiplication."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def fastest(call: Callable[[], object], times: int) -> float:
    """CPU-seconds of the fastest call: one thread's, so that other processes do not count."""
    found = []
    for _ in range(times):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def alone(task: Callable[[Case], dict[str, Any]], case: Case) -> dict[str, Any]:
    """What a task finds in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(task, case).result()


def run(cases: list[Case], rounds: int) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Every case, round after round; times are the best of all rounds."""
    found: dict[Case, list[dict[str, Any]]] = {one: [] for one in cases}
    for _, case in product(range(rounds), cases):
        found[case].append(alone(measure, case))
    # Tensors get pages of their own, which go back when they die; else the heap's holes hide what is in use.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    for case, timed in found.items():
        yield case, {key: min(one[key] for one in timed) for key in timed[0]} | alone(measure_memory, case)


def line_of(case: Case, found: dict[str, Any]) -> dict[str, Any]:
    """A result line."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "lib": "crossfield",
        "model": "dhen",
        "what": "cost against depth",
        **asdict(case),
        **{key: round(value, 2) for key, value in found.items()},
        "threads": 1,
        "load": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in ("crossfield", "torch")},
        "commit": commit,
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--interactions", nargs="+", default=["dot", "linear"])
    parser.add_argument("--embedding-dim", type=int, default=16)
    parser.add_argument("--rows", type=int, default=4096, help="rows of a batch")
    parser.add_argument("--steps", type=int, default=5, help="steps per round, of which the fastest counts")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--record", action="store_true", help=f"append to {RESULTS.name}")
    given = parser.parse_args()
    cases = [
        Case(depth, kept, tuple(given.interactions), given.embedding_dim, given.rows, given.steps)
        for depth, kept in product(given.depths, (False, True))
    ]
    for case, found in run(cases, given.rounds):
        line = line_of(case, found)
        print(json.dumps(line))
        if given.record:
            append_line(RESULTS, line)


if __name__ == "__main__":
    main()
