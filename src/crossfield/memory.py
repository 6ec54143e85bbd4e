"""Memory of this machine: how much a run may still take, and the most that this process has taken."""

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

_CGROUP_FILES = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By controller ("" is version 2): where groups lie, their limit, their use, and the part of it that can be dropped."""


def available_memory(device: torch.device, *, root: Path = Path("/")) -> int | None:
    """Bytes a run on a device can still have; None where the system does not say.

    Of a CPU it is what the kernel calls available, or what a control group above this process leaves, whichever is
    less. ``root`` is where /proc and /sys are.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    offered = _kilobytes(root / "proc/meminfo", "MemAvailable")
    system = _sysconf() if offered is None else offered
    return min([*([] if system is None else [system]), *_left_by_groups(root)], default=None)


def _kilobytes(path: Path, name: str) -> int | None:
    """A line such as ``MemAvailable: 123 kB``, in bytes."""
    for line in _lines(path):
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def _sysconf() -> int | None:
    """Free pages, or all pages where a system does not tell the free ones."""
    for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
        if name in os.sysconf_names:
            return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    return None


def _left_by_groups(root: Path) -> Iterator[int]:
    """What each control group of this process leaves of its limit: its own group and all above it."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        for controller in {"", "memory"} & set(controllers.split(",")):
            mount, limit, use, droppable = _CGROUP_FILES[controller]
            top, group = root / mount, root / mount / path.lstrip("/")
            # Inside a container the path may be the host's, and only the top is there to be seen.
            for folder in (group, *(one for one in group.parents if one.is_relative_to(top))):
                if (most := _number(folder / limit)) is not None and (used := _number(folder / use)) is not None:
                    yield max(most - used + _counted(folder / "memory.stat", droppable), 0)


def _number(path: Path) -> int | None:
    words = "".join(_lines(path)[:1]).split()
    return int(words[0]) if words and words[0].isdecimal() else None  # "max" is no limit


def _counted(path: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in _lines(path) if line.startswith(f"{name} ")), 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def peak_memory(*, root: Path = Path("/")) -> int:
    """The most bytes this process has had in memory so far, files it has mapped included."""
    # getrusage remembers the parent's peak across the start of a process, so the kernel's own word goes first.
    peak = _kilobytes(root / "proc/self/status", "VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit if peak is None else peak
