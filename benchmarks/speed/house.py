"""What Crossfield reaches against this machine's own limits: no peers, each figure beside its measure in the same run.

    python benchmarks/speed/house.py --data DIR [--only dense tables waiting ...] [--threads 2] [--record]

dense: FLOP/s of the dense part of DCN-V2, forward and backward, beside those of one product of matrices.
tables: a training step with tables of 10 M rows beside one with 1 M, in turn.
waiting: a step of Adam over 5 M rows, all moved at once, then with rows that wait, and one of lazy Adam, in turn; then
    steps with as many ids as rows still wait for, over tables from the smallest of that kind on.
auc: AUC of 10 M scores, beside scikit-learn's.
again: seconds to the first training step where the files' rows are kept from an earlier run, imports included.
compile: start to end with an empty and with a filled cache of compiled code, beside not compiled.
profile: where a training step's time goes, beside the least that its products of matrices can take.

--data is a folder that ctr_data.py filled. With --record lines go to benchmarks/results/speed-house.jsonl.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from crossfield.batch import Batch
from crossfield.files import append_line
from crossfield.late import EXACT_AFTER
from crossfield.layers.cross_deep import CrossDeep
from crossfield.layers.cross_v2 import CrossNetV2
from crossfield.layers.embedding import EmbeddingArena
from crossfield.layers.mlp import MLP
from crossfield.metrics import auc
from crossfield.models import CATALOGUE
from crossfield.optim import OptimConfig, Optimizers, build_optimizers
from crossfield.schema import Field, ModelSchema

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "speed-house.jsonl"
BATCH_ROWS, WIDTH, HIDDEN = 4096, 429, (400, 400, 400)
Line = dict[str, Any]


def seconds_of(work: Callable[[], object], times: int) -> float:
    """Median seconds of a call, after some that do not count."""
    for _ in range(5):
        work()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return median(taken)


def dense(given: argparse.Namespace) -> Iterator[Line]:
    """The rate of products inside the model and alone, in turn."""
    deep = MLP(WIDTH, HIDDEN)
    body = CrossDeep(CrossNetV2(WIDTH, 3), deep, dim=WIDTH, structure="parallel")
    x = torch.randn(BATCH_ROWS, WIDTH, requires_grad=True)
    weights = sum(one.weight.numel() for one in body.modules() if isinstance(one, nn.Linear))

    def whole() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            body(x).float().sum().backward()
        body.zero_grad()

    left, right = torch.randn(BATCH_ROWS, 400).bfloat16(), torch.randn(400, 400).bfloat16()
    rates = []
    for _ in range(5):
        alone = 2 * BATCH_ROWS * 400 * 400 / seconds_of(lambda: left @ right, 50)
        rates.append((6 * BATCH_ROWS * weights / seconds_of(whole, 10), alone))
    inside, alone = (median(column) for column in zip(*rates, strict=True))
    yield {"what": "dense", "gflops": inside / 1e9, "matmul_gflops": alone / 1e9, "share": inside / alone}


def tables(given: argparse.Namespace) -> Iterator[Line]:
    """Steps of two models that differ in their tables' sizes alone, in turn."""
    small, large = _in_turn([_steps(num_rows) for num_rows in (1_000_000, 10_000_000)])
    yield {"what": "tables", "ms_1m": small, "ms_10m": large, "ratio": large / small}


def waiting(given: argparse.Namespace) -> Iterator[Line]:
    """Steps that differ in the optimiser of the tables alone, in turn."""
    kinds = (("adam", False), ("adam", True), ("lazy_adam", False))
    steps = [_steps(5_000_000, optimizer=name, defers=defers) for name, defers in kinds]
    whole, waits, lazy = _in_turn(steps)
    yield {"what": "waiting", "rows": 5_000_000, "whole_ms": whole, "waiting_ms": waits, "lazy_ms": lazy}
    for dim, num_rows, num_ids in MOST_IDS:
        whole, waits = _in_turn([_lookups(dim, num_rows, num_ids, defers=defers) for defers in (False, True)])
        yield {
            "what": "waiting, most ids",
            "table": f"{num_rows:,} x {dim}",
            "ids": num_ids,
            "whole_ms": whole,
            "waiting_ms": waits,
        }


MOST_IDS = (
    (16, 131_072, 4_096),
    (16, 1_000_000, 31_250),
    (64, 32_768, 1_638),
    (64, 500_000, 25_000),
    (256, 8_192, 481),
    (256, 100_000, 5_882),
)
"""Width and rows of a table, and the ids of a step up to which its rows wait."""


def _lookups(dim: int, num_rows: int, num_ids: int, *, defers: bool) -> Iterator[None]:
    """Training steps of one table and nothing else, any row as likely as any other."""
    torch.manual_seed(0)
    arena = EmbeddingArena([num_rows], dim)
    optimizers = build_optimizers(arena, OptimConfig.of({"optimizer": "adam"}))
    if defers:
        optimizers.defer(arena)
    while True:
        loss = arena(torch.randint(num_rows, (num_ids, 1))).square().mean()
        _update(optimizers, loss)
        yield


def _update(optimizers: Optimizers, loss: Tensor) -> None:
    optimizers.zero_grad()
    loss.backward()
    optimizers.step()
    for state in optimizers.parts["embedding"].optimizer.state.values():
        if "step" in state:  # Adam's: rows wait only after many steps, and these are like later ones
            state["step"].clamp_(min=EXACT_AFTER)


def _in_turn(makers: Sequence[Iterator[None]]) -> list[float]:
    """Median milliseconds of each maker's step."""
    taken: list[list[float]] = [[] for _ in makers]
    for _ in range(60):
        for step, times in zip(makers, taken, strict=True):
            start = time.perf_counter()
            next(step)
            times.append(time.perf_counter() - start)
    return [1000 * median(times[10:]) for times in taken]


def _steps(
    num_rows: int, name: str = "deepfm", *, optimizer: str = "lazy_adam", defers: bool = False, **settings: Any
) -> Iterator[None]:
    """Training steps on 26 tables of equal size, ids log-uniform as Zipf's law has them."""
    size = num_rows // 26
    schema = ModelSchema(
        dense=tuple(f"I{n}" for n in range(13)), categorical=tuple(Field(f"C{n}", size) for n in range(26))
    )
    torch.manual_seed(0)
    kind = CATALOGUE[name]
    model = kind(schema, kind.config_type.of({"embedding_dim": 16, **settings}))
    optimizers = build_optimizers(model, OptimConfig.of({"optimizer": optimizer}))
    if defers:
        optimizers.defer(model)
    random = np.random.default_rng(0)
    ids = np.exp(random.uniform(0, np.log(size), (20, BATCH_ROWS, 26))).astype(np.int64) % size
    for one in cycle(ids):
        batch = Batch(torch.randn(BATCH_ROWS, 13), torch.from_numpy(one))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(batch).square().mean()
        _update(optimizers, loss)
        yield


PROFILED: dict[str, dict[str, Any]] = {
    "deepfm": {},
    "wide_deep": {},
    "dcn": {"num_cross_layers": 3},
    "dcn_v2": {"num_cross_layers": 3},
    "dlrm": {"bottom": [400], "top": [400, 400, 400]},
}
KINDS = {
    "products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::mkldnn", "aten::linear", "mkldnn"),
    "tables": ("aten::index", "aten::embedding", "aten::_embedding", "aten::scatter", "aten::gather"),
    "sorting ids": ("aten::sort", "aten::nonzero", "aten::ne"),
    "optimisers": ("aten::lerp", "aten::addcmul", "aten::sqrt", "aten::_fused_adam"),
    "copies and casts": ("aten::copy_", "aten::cat", "aten::fill_", "aten::zero_"),
}
"""Kinds of work by the beginnings of their operators' names."""


def profiles(given: argparse.Namespace) -> Iterator[Line]:
    """Milliseconds of a step by kind of work, and what its products alone need at the rate of one product."""
    left, right = torch.randn(BATCH_ROWS, 400).bfloat16(), torch.randn(400, 400).bfloat16()
    for name, settings in PROFILED.items():
        step = _steps(1_000_000, name, **settings)
        rate = 2 * BATCH_ROWS * 400 * 400 / seconds_of(lambda: left @ right, 50)
        whole = seconds_of(lambda step=step: next(step), 30)  # type: ignore[misc]  # bound at once, called at once
        with FlopCounterMode(display=False) as counter:
            next(step)
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            for _ in range(20):
                next(step)
        taken = dict.fromkeys([*KINDS, "rest"], 0.0)
        for one in seen.key_averages():
            kind = next((kind for kind, names in KINDS.items() if one.key.startswith(names)), "rest")
            taken[kind] += one.self_cpu_time_total / 20_000
        least = 1000 * counter.get_total_flops() / rate
        yield {"what": "profile", "model": name, "ms": 1000 * whole, "least_ms": least, "parts_ms": taken}


def areas(given: argparse.Namespace) -> Iterator[Line]:
    """AUC of many scores, ours and scikit-learn's, which agree."""
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    labels = (random.random(10_000_000) < 0.25).astype(np.float64)
    logits = (random.normal(size=len(labels)) + labels).astype(np.float32)
    times: dict[str, list[float]] = {"ours": [], "scikit-learn": []}
    for _ in range(3):
        start = time.perf_counter()
        ours = auc(labels, logits)
        middle = time.perf_counter()
        theirs = roc_auc_score(labels, logits)
        times["ours"].append(middle - start)
        times["scikit-learn"].append(time.perf_counter() - middle)
    assert abs(ours - theirs) < 1e-9
    yield {
        "what": "auc",
        "rows": len(labels),
        "seconds": median(times["ours"]),
        "sklearn_seconds": median(times["scikit-learn"]),
    }


def again(given: argparse.Namespace) -> Iterator[Line]:
    """What comes before the first step, where rows are kept."""
    with tempfile.TemporaryDirectory() as cache:
        runs = [contestant(given, CROSSFIELD_CACHE=cache) for _ in range(4)]
    assert [one["reused"] for one in runs] == [False, True, True, True]
    before = [sum(one["parts"][part]["wall"] for part in ("import", "prepare", "build")) for one in runs]
    yield {"what": "again", "first_seconds": before[0], "again_seconds": median(before[1:]), "rows": 600_000}


def compiled(given: argparse.Namespace) -> Iterator[Line]:
    """Start to end, uncompiled and compiled."""
    with tempfile.TemporaryDirectory() as code:
        common = {"CROSSFIELD_CACHE": "off", "TORCHINDUCTOR_CACHE_DIR": code}
        runs = {
            name: contestant(given, CONTEST_COMPILE=switch, **common)
            for name, switch in (("off", "off"), ("cold", "on"), ("warm", "on"))
        }
    for name, run in runs.items():
        parts = {part: one["wall"] for part, one in run["parts"].items()}
        yield {"what": "compile", "cache": name, "seconds": run["seconds"], "parts": parts, "auc": run["auc"]}


def contestant(given: argparse.Namespace, **environment: str) -> Line:
    """The result line of ours.py in a fresh process."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS"), str(given.threads))
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, str(HERE / "ours.py"), "--model", "DeepFM", "--data", str(given.data)]
        done = subprocess.run(
            [*command, "--work", work, "--threads", str(given.threads)],
            env={**os.environ, **threads, **environment},
            cwd=work,
            capture_output=True,
            text=True,
            check=True,
        )
    found: Line = json.loads(done.stdout.split("RESULT ")[-1])
    return found


PARTS = {
    "dense": dense,
    "tables": tables,
    "waiting": waiting,
    "auc": areas,
    "again": again,
    "compile": compiled,
    "profile": profiles,
}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--record", action="store_true", help=f"append to {RESULTS.name}")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for name in given.only:
        for line in PARTS[name](given):
            line |= {"threads": given.threads, "load": os.getloadavg()[0]}
            print(json.dumps(line), flush=True)
            if given.record:
                append_line(RESULTS, line)


if __name__ == "__main__":
    main()
