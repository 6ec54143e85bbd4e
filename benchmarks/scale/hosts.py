"""Bytes that four processes on two "hosts" send inside and across them in a step: replication, FSDP, HSDP.

    python benchmarks/scale/hosts.py [--steps 20] [--record]        (as root: it makes network namespaces)

Two network namespaces stand for the hosts, a virtual cable lies between them, two gloo processes run in each. An
8-layer DHEN with hardly any embeddings trains for one step and for ``steps`` more; the difference of the interfaces'
counters is what the steps sent: over the loopback interfaces inside, over the cable across. Beside it stands what the
formula says for rings of fp32 numbers, P bytes of weights, N = 4. Replication sums all gradients, every hop of the ring
carrying 2 (N - 1) / N of P. FSDP keeps the weights that it gathered for the forward pass, (N - 1) / N of P, and
scatters gradients, which gloo does as a whole sum: 3 (N - 1) / N (NCCL scatters for half of that). HSDP does so between
the two of a host, 3 P / 2 a hop, and sums its half across, P / 2 a hop. With --record a line per
mesh goes to benchmarks/results/scale-hosts.jsonl.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crossfield.data.encode import Encoded
from crossfield.data.store import Reader, Store, write_store
from crossfield.distributed.team import join
from crossfield.files import append_line
from crossfield.models import CATALOGUE
from crossfield.schema import Field, ModelSchema
from crossfield.train import TrainConfig, Trainer

RESULTS = Path(__file__).parents[1] / "results" / "scale-hosts.jsonl"
HOSTS = ("crossfield-a", "crossfield-b")
ENDS = ("cable-a", "cable-b")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 29577
MESHES = {"4x1": "replication", "1x4": "FSDP", "2x2": "HSDP"}
NUM_FIELDS, BATCH = 16, 64
SCHEMA = ModelSchema(dense=(), categorical=tuple(Field(f"f{number}", 4) for number in range(NUM_FIELDS)))
CONFIG = {"embedding_dim": 16, "layers": [["dot", "linear"]] * 8, "top": [64]}


@contextmanager
def two_hosts() -> Iterator[None]:
    """Two network namespaces and a cable between them; taken away at the end."""
    try:
        for host in HOSTS:
            _run("ip", "netns", "add", host)
        _run(
            "ip", "link", "add", ENDS[0], "netns", HOSTS[0], "type", "veth", "peer", "name", ENDS[1], "netns", HOSTS[1]
        )
        for host, end, address in zip(HOSTS, ENDS, ADDRESSES, strict=True):
            _run("ip", "-n", host, "addr", "add", f"{address}/24", "dev", end)
            for link in (end, "lo"):
                _run("ip", "-n", host, "link", "set", link, "up")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], check=False)


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


def counters() -> tuple[int, int]:
    """Bytes sent so far: inside the hosts, across the cable."""
    return sum(_sent(host, "lo") for host in HOSTS), sum(map(_sent, HOSTS, ENDS))


def _sent(host: str, link: str) -> int:
    file = f"/sys/class/net/{link}/statistics/tx_bytes"
    return int(subprocess.run(["ip", "netns", "exec", host, "cat", file], check=True, capture_output=True).stdout)


def sent(mesh: str, steps: int, rows: Path) -> tuple[int, int]:
    """Bytes inside and across that so many steps of four processes send, start and end included."""
    before, processes = counters(), []
    for rank in range(4):
        host = rank // 2
        places = {"RANK": rank, "LOCAL_RANK": rank % 2, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": PORT}
        names = {"MASTER_ADDR": ADDRESSES[0], "GLOO_SOCKET_IFNAME": ENDS[host], "OMP_NUM_THREADS": "1"}
        words = ["ip", "netns", "exec", HOSTS[host], sys.executable, __file__, "--work", mesh, str(steps), str(rows)]
        environment = {**os.environ, **names, **{name: str(value) for name, value in places.items()}}
        processes.append(subprocess.Popen(words, env=environment))
    if any(process.wait(600) for process in processes):
        sys.exit("a process failed")
    after = counters()
    return after[0] - before[0], after[1] - before[1]


def work(mesh: str, steps: int, rows: Path) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    team = join("cpu", lost_seconds=300)
    model = build()
    settings = {"epochs": steps, "batch_size": BATCH, "precision": "fp32", "compile": "off", "mesh": mesh}
    reader = Reader(Store.open(rows, verify=False), batch_size=BATCH, rank=team.rank, world=team.size)
    Trainer(model, reader, TrainConfig.of({**settings, "optimizer": "adam"}), team=team).fit()


def build() -> torch.nn.Module:
    """The same model everywhere."""
    torch.manual_seed(0)
    kind = CATALOGUE["dhen"]
    return kind(SCHEMA, kind.config_type.of(CONFIG))


def write_rows(rows: Path) -> None:
    """One batch of rows: an epoch is a step."""
    random = np.random.default_rng(0)
    encoded = Encoded(
        dense=np.zeros((BATCH, 0), np.float32),
        categorical=random.integers(2, 4, (BATCH, NUM_FIELDS)).astype(np.int32),
        sequences={},
        labels=random.integers(0, 2, BATCH).astype(np.float32),
        weights=None,
        groups=np.zeros(BATCH, dtype=np.int64),
        rows=np.arange(BATCH),
    )
    write_store([encoded], rows, model_schema=SCHEMA, fingerprint="hosts")


def predicted(way: str, size: int) -> tuple[float, float]:
    """Bytes inside and across hosts in a step, all processes together; a ring through all crosses on 2 of 4 hops."""
    if way == "HSDP":
        return 3 * 4 * size / 2, 4 * size / 2
    hop = {"replication": 2, "FSDP": 3}[way] * 3 / 4 * size
    return 2 * hop, 2 * hop


def measure(steps: int) -> Iterator[dict[str, Any]]:
    """A line per mesh."""
    size = 4 * sum(one.numel() for one in build().parameters())
    with two_hosts(), tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows"
        write_rows(rows)
        for mesh, way in MESHES.items():
            few, many = sent(mesh, 1, rows), sent(mesh, 1 + steps, rows)
            inside, across = ((more - less) / steps for more, less in zip(many, few, strict=True))
            said = predicted(way, size)
            yield {
                "way": way,
                "mesh": mesh,
                "steps": steps,
                "weights_bytes": size,
                "inside": round(inside),
                "across": round(across),
                "predicted_inside": round(said[0]),
                "predicted_across": round(said[1]),
            }


def main() -> None:
    """Measure, or work as one of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work[0], int(given.work[1]), Path(given.work[2]))
        return
    for line in measure(given.steps):
        print(json.dumps(line), flush=True)
        if given.record:
            append_line(RESULTS, line)


if __name__ == "__main__":
    main()
