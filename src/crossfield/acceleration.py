"""What a run computes with on this machine: threads, bf16, compilation, and whether these are worth it here."""

import ctypes
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import nn

from crossfield.errors import ConfigError
from crossfield.models.base import Model

Switch = Literal["off", "on", "auto"]
Precision = Literal["fp32", "bf16", "auto"]

_COMPILE_SECONDS = 30.0
"""What compiling is taken to cost before the first step, on the safe side of the 12 to 22 s measured (decision 006)."""
_WORTH = 10.0
"""A run is worth compiling when it takes this many times as long."""
_SPEED = {"cpu": 4e10, "cuda": 1e13}
"""Floating-point operations per second a training step reaches, per CPU thread or GPU."""


@dataclass(frozen=True)
class Means:
    """What a run computes with; a resumed run keeps it, because other means give other bits."""

    threads: Annotated[int, Field(ge=1, le=4096)]
    bf16: bool
    compiled: bool


def choose_means(
    model: Model, device: torch.device, *, threads: int | None, precision: Precision, compile: Switch, num_rows: int
) -> tuple[Means, list[str]]:
    """The means that suit this machine, for ``num_rows`` examples to train, and one phrase per choice."""
    threads = threads or torch.get_num_threads()
    bf16, why_bf16 = choose_bf16(precision, device)
    seconds = expected_seconds(model, device, num_rows=num_rows, threads=threads)
    compiled, why_compiled = choose_compile(compile, device, seconds=seconds, is_jagged=bool(model.schema.sequences))
    return Means(threads, bf16, compiled), [why_bf16, why_compiled]


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware: AVX-512 BF16 or AMX on a CPU, Ampere or later on a GPU."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def choose_bf16(precision: Precision, device: torch.device) -> tuple[bool, str]:
    """Whether to train under bf16 autocast, and one phrase that says so and why."""
    if precision != "auto":
        return precision == "bf16", f"{precision} as asked"
    if has_fast_bf16(device):
        return True, "bf16: this device has instructions for it"
    return False, "fp32: this device has no bf16 instructions"


def choose_compile(switch: Switch, device: torch.device, *, seconds: float, is_jagged: bool) -> tuple[bool, str]:
    """Whether to compile for a training of so many seconds, and one phrase that says so and why."""
    if switch == "off":
        return False, "not compiled, as asked"
    if is_jagged:
        return False, "not compiled: multi-valued fields give every batch another shape"
    if switch == "on":
        return True, "compiled as asked"
    if not can_compile(device):
        return False, "not compiled: no C++ compiler or Python headers here"
    is_worth = seconds > _WORTH * _COMPILE_SECONDS
    return is_worth, f"{'compiled' if is_worth else 'not compiled'}: about {seconds:,.0f} s of training expected"


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def expected_seconds(model: nn.Module, device: torch.device, *, num_rows: int, threads: int) -> float:
    """A rough guess of the training time: 6 operations per example and weight of the linear layers.

    Counted, not measured: two runs of one recipe must decide alike.
    """
    weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    return 6.0 * weights * num_rows / (_SPEED.get(device.type, 1e13) * (threads if device.type == "cpu" else 1))


def can_compile(device: torch.device) -> bool:
    """Whether there is what compiling for a device needs: on a CPU a C++ compiler and Python's headers."""
    if device.type == "cuda":
        return True
    compilers = (os.environ.get("CXX"), "g++", "clang++")
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return headers.is_file() and any(name and shutil.which(name) for name in compilers)


def check_device(name: str) -> str:
    """The name of a device that is there; raises ConfigError where it is none, or not on this machine."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"there is no device {name!r}; name cpu, cuda or cuda:NUMBER")
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        here = f"cuda:0 to cuda:{count - 1} are" if count else "no CUDA device is"
        raise ConfigError(
            f"the device {name!r} is not there: {here} on this machine, as this torch sees it; or use cpu"
        )
    return name


def compiled(module: nn.Module) -> nn.Module:
    """A module compiled for one shape of its input, as deterministic as torch is told to be."""
    found = cast(nn.Module, torch.compile(module, dynamic=False))
    torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled())
    return found


@contextmanager
def settled(device: torch.device) -> Iterator[None]:
    """Only repeatable algorithms where they cost nothing, on a CPU; afterwards torch's settings are as before."""
    threads, is_deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # torch does not type it
    _be_deterministic(is_deterministic or device.type == "cpu")
    # PERF: else every new tensor is written once more, 2 % of a step; nothing here reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # untyped
    try:
        with _kept_memory():
            yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]  # untyped
        _be_deterministic(is_deterministic)
        torch.set_num_threads(threads)


def _be_deterministic(wanted: bool) -> None:
    # PERF: the usual call imports torch's compiler to tell it too, 1.2 seconds; this one does not.
    if "torch._inductor" in sys.modules:
        torch.use_deterministic_algorithms(wanted)
    else:
        torch.set_deterministic_debug_mode("error" if wanted else "default")


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 25
"""Allocations up to this size are kept; glibc takes no higher threshold."""


@contextmanager
def _kept_memory() -> Iterator[None]:
    """Let glibc keep what a step frees for the next step, and give all of it back to the system afterwards.

    PERF: else every step's activations are fresh pages, which the kernel has to clear: DeepFM on 39 features, batches
    of 4096, one core: 140 ms a step, with this 120.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        libc.malloc_trim(0)
