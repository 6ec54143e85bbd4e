"""What this machine brings to a training: versions, cores, threads, memory, instructions; and what is amiss with it."""

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import polars as pl
import torch

from crossfield.acceleration import can_compile, has_fast_bf16, num_cores
from crossfield.checks.finding import Finding
from crossfield.fitting import versions
from crossfield.memory import available_memory

LITTLE = 2_000_000_000
"""Bytes of memory with which even a small training may end early."""
INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "neon", "sve", "bf16")
"""The instruction sets that decide how fast a CPU trains."""
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Machine:
    """What there is to train with."""

    versions: dict[str, str]
    too_old: tuple[str, ...]
    """Requirements of this package that what is installed does not meet, such as torch>=2.13."""
    processor: str
    cores: int
    """That this process may use."""
    threads: int
    """That torch trains with."""
    reading_threads: int
    memory: int | None
    """Bytes available; None where the system does not say."""
    instructions: tuple[str, ...]
    devices: tuple[str, ...]
    """CUDA devices by name."""
    compiler: bool
    """Whether models can be compiled for the CPU."""


def look_at_machine() -> Machine:
    """The machine as it is now."""
    capabilities = torch.cpu.get_capabilities()
    return Machine(
        versions=versions(),
        too_old=tuple(_too_old(requires("crossfield") or ())),
        processor=platform.machine(),
        cores=num_cores(),
        threads=torch.get_num_threads(),
        reading_threads=pl.thread_pool_size(),
        memory=available_memory(_CPU),
        instructions=tuple(one for one in INSTRUCTIONS if capabilities.get(one)),
        devices=tuple(torch.cuda.get_device_name(one) for one in range(torch.cuda.device_count())),
        compiler=can_compile(_CPU),
    )


def _too_old(requirements: list[str] | tuple[str, ...]) -> Iterator[str]:
    """The requirements of the form name>=version that do not hold; those of extras are not looked at."""
    for one in requirements:
        if found := re.fullmatch(r"([\w-]+)>=([\d.]+)", one):
            name, least = found.groups()
            try:
                is_met = _numbers(version(name)) >= _numbers(least)
            except PackageNotFoundError:
                is_met = False
            if not is_met:
                yield one


def _numbers(text: str) -> list[int]:
    """The numbers of a version, without what stands behind them: 2.13.0+cpu is 2, 13, 0."""
    return [int(one) for one in re.findall(r"\d+", re.split(r"[^\d.]", text)[0])]


def judge(machine: Machine) -> Iterator[Finding]:
    """What would make a training fail, or slower than it has to be."""
    where = "environment"
    for one in machine.too_old:
        name = one.partition(">=")[0]
        installed = machine.versions.get(name, "not what is installed")
        yield Finding("error", where, f"{one} is needed, and it is {installed}", installed, f"pip install '{one}'")
    if machine.memory is not None and machine.memory < LITTLE:
        what = f"only {machine.memory / 1e9:.2g} GB of memory are available"
        yield Finding(
            "warning", where, what, machine.memory, "end other programs; crossfield plan says what a fit takes"
        )
    if machine.threads > machine.cores:
        what = f"{machine.threads} threads on {machine.cores} cores wait for each other"
        yield Finding("warning", where, what, machine.threads, f"OMP_NUM_THREADS={machine.cores}")
    elif machine.threads < machine.cores:
        what = f"torch uses {machine.threads} of {machine.cores} cores"
        yield Finding("note", where, what, machine.threads, f"train.threads={machine.cores} uses all")
    if machine.processor in ("x86_64", "AMD64") and "avx2" not in machine.instructions:
        what = "the processor has no AVX2 instructions (or hides them), so arithmetic takes several times as long"
        yield Finding("warning", where, what, "avx2", "use another machine, or another setting of the virtual one")
    if machine.devices:
        yield Finding("note", where, f"{machine.devices[0]} is there", machine.devices[0], "--device cuda trains on it")
    if not machine.compiler:
        what = "no C++ compiler or no Python headers, so models are not compiled"
        yield Finding("note", where, what, None, "install them for long trainings; train.compile=off needs none")


def machine_text(machine: Machine) -> str:
    """The machine in two lines."""
    memory = "unknown memory" if machine.memory is None else f"{machine.memory / 1e9:.3g} GB of memory available"
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    threads = (
        f"{machine.threads} thread{'s' if machine.threads > 1 else ''} to train, {machine.reading_threads} to read"
    )
    fast = ", bf16 in hardware" if has_fast_bf16(_CPU) else ""
    devices = ", ".join(machine.devices) or "no CUDA device"
    return (
        ", ".join(f"{name} {number}" for name, number in machine.versions.items())
        + f"\n{machine.processor} ({' '.join(machine.instructions)}{fast}), {cores}, {threads}, {memory}, {devices}"
    )
