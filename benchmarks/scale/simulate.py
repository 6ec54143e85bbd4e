"""Step time of DHEN on 8 to 1,024 GPUs for DDP, FSDP and HSDP: a small model, no measurement.

    python benchmarks/scale/simulate.py [--layers 2 4 8 16 22 32] [--gpus 8 16 ... 1024] [--record]
        [--parameters 1.13e8] [--flops 7.7e8] [--examples 512] [--teraflops 125] [--inside 250] [--across 25]
        [--latency 10] [--memory 40]

What it assumes. A layer has ``parameters`` and takes ``flops`` for one example forward and twice that backward, at
``teraflops``; the paper gives neither widths nor batch, so the defaults are what its numbers imply: 2, 4 and 6 layers
cost 1.44, 3 and 4.6 GFLOPs, and data parallelism ran out of a 40 GB GPU beyond 22 layers (16 bytes a weight: value,
gradient and Adam's two numbers in fp32). Weights and gradients travel in bf16, in rings: a ring through r ranks moves
(r - 1) / r of what it gathers or scatters past each rank, and waits ``latency`` microseconds r - 1 times. A host has 8
GPUs, links inside it of ``inside`` GB/s per GPU and across hosts of ``across`` GB/s per GPU. A layer's gather runs
while the layer before it computes; gradients leave while earlier layers go backward; each kind of link carries one
message at a time. Left out: embeddings (their all-to-all is the same for all three), the optimiser's own time,
stragglers, links shared with others.

With --record a line per case goes to benchmarks/results/scale-simulation.jsonl.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from crossfield.files import append_line

RESULTS = Path(__file__).parents[1] / "results" / "scale-simulation.jsonl"
PER_HOST = 8
Way = Literal["ddp", "fsdp", "hsdp"]
WAYS: tuple[Way, ...] = ("ddp", "fsdp", "hsdp")
STATE_BYTES = 16
"""Per weight: value, gradient and Adam's two numbers in fp32."""


@dataclass(frozen=True)
class World:
    """The model's layers, all alike, and the machines."""

    parameters: float
    flops: float
    examples: int
    teraflops: float
    inside: float
    across: float
    latency: float
    memory: float

    @property
    def forward(self) -> float:
        """Seconds of one layer forward."""
        return self.examples * self.flops / (self.teraflops * 1e12)


@dataclass(frozen=True)
class Message:
    """A collective: seconds that it takes inside a host and across hosts, bytes that pass one GPU's links."""

    inside_s: float = 0.0
    across_s: float = 0.0
    inside_bytes: float = 0.0
    across_bytes: float = 0.0


def ring(size: float, ranks: int, *, across: bool, world: World) -> Message:
    """Gather or scatter ``size`` bytes in a ring through ``ranks`` ranks on one kind of link."""
    if ranks == 1:
        return Message()
    passed, waited = size * (ranks - 1) / ranks, (ranks - 1) * world.latency * 1e-6
    if across:
        return Message(across_s=passed / (world.across * 1e9) + waited, across_bytes=passed)
    return Message(inside_s=passed / (world.inside * 1e9) + waited, inside_bytes=passed)


def everywhere(size: float, gpus: int, world: World) -> Message:
    """Gather or scatter through all GPUs: 8 rings side by side, each on its own links across hosts."""
    hosts = max(gpus // PER_HOST, 1)
    inside = ring(size, min(gpus, PER_HOST), across=False, world=world)
    across = ring(size / PER_HOST, hosts, across=True, world=world)
    # A ring through all of them waits once per hop, whichever link the hop is.
    waits = (gpus - 1) * world.latency * 1e-6 if hosts > 1 else 0.0
    return Message(inside.inside_s, max(across.across_s, waits), inside.inside_bytes, across.across_bytes)


def plus(first: Message, second: Message) -> Message:
    """One after the other."""
    return Message(*(one + other for one, other in zip(asdict(first).values(), asdict(second).values(), strict=True)))


def messages(way: Way, gpus: int, world: World) -> tuple[Message, Message, Message]:
    """What a layer waits for before it computes, what leaves after its backward pass, and what follows across hosts."""
    size, hosts, within = 2 * world.parameters, max(gpus // PER_HOST, 1), min(gpus, PER_HOST)
    if way == "ddp":
        halves = everywhere(size, gpus, world)
        return Message(), plus(halves, halves), Message()
    if way == "fsdp":
        return everywhere(size, gpus, world), everywhere(size, gpus, world), Message()
    inside = ring(size, within, across=False, world=world)
    shard = ring(size / within, hosts, across=True, world=world)
    return inside, inside, plus(shard, shard)


def step(way: Way, *, layers: int, gpus: int, world: World) -> dict[str, Any]:
    """Seconds of one step, bytes past one GPU's links, memory of weights, gradients and optimiser."""
    gather, scatter, after = messages(way, gpus, world)
    links = {"inside": 0.0, "across": 0.0}

    def send(message: Message, ready: float) -> float:
        """When a message is through that may leave at ``ready``."""
        start = max(ready, links["inside"] if message.inside_s else 0.0, links["across"] if message.across_s else 0.0)
        if message.inside_s:
            links["inside"] = start + message.inside_s
        if message.across_s:
            links["across"] = start + message.across_s
        return start + max(message.inside_s, message.across_s)

    now, there = 0.0, send(gather, 0.0)
    passes = [(world.forward, False)] * layers + [(2 * world.forward, True)] * layers
    for number, (seconds, leaves) in enumerate(passes, start=1):
        start = max(now, there)
        if number < len(passes):
            there = send(gather, start)  # for the layer after this one: two layers are in memory at most
        now = start + seconds
        if leaves:
            send(after, send(scatter, now))
    computing = 3 * layers * world.forward
    total = max(now, *links.values())
    copies = {"ddp": 1, "fsdp": gpus, "hsdp": min(gpus, PER_HOST)}[way]
    held = STATE_BYTES * world.parameters * layers / copies / 1e9
    sent = [layers * (2 * getattr(gather, one) + getattr(scatter, one) + getattr(after, one)) for one in _BYTES]
    return {
        "way": way,
        "layers": layers,
        "gpus": gpus,
        "step_ms": round(1e3 * total, 3),
        "computing_ms": round(1e3 * computing, 3),
        "inside_gb": round(sent[0] / 1e9, 4),
        "across_gb": round(sent[1] / 1e9, 4),
        "held_gb": round(held, 3),
        "fits": held <= world.memory,
    }


_BYTES = ("inside_bytes", "across_bytes")


def cases(layers: list[int], gpus: list[int], world: World) -> Iterator[dict[str, Any]]:
    """All of them."""
    for depth in layers:
        for number in gpus:
            for way in WAYS:
                yield step(way, layers=depth, gpus=number, world=world)


def main() -> None:
    """Print, and with --record keep, what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", type=int, default=[2, 4, 8, 16, 22, 32])
    parser.add_argument("--gpus", nargs="+", type=int, default=[8, 16, 32, 64, 128, 256, 512, 1024])
    defaults = {"parameters": 1.13e8, "flops": 7.7e8, "examples": 512, "teraflops": 125.0}
    defaults |= {"inside": 250.0, "across": 25.0, "latency": 10.0, "memory": 40.0}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--record", action="store_true")
    given = vars(parser.parse_args())
    world = World(**{name: given[name] for name in defaults})
    for line in cases(given["layers"], given["gpus"], world):
        print(json.dumps(line))
        if given["record"]:
            append_line(RESULTS, {**line, **asdict(world)})


if __name__ == "__main__":
    main()
