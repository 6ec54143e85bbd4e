"""What the system says about memory, read from small copies of its files."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from crossfield.memory import available_memory, peak_memory

CPU = torch.device("cpu")


def system(root: Path, files: dict[str, str]) -> Path:
    """A root folder with some files of /proc and /sys."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal:   16000 kB\nMemFree:  1000 kB\nMemAvailable:   8000 kB\n"}
V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/memory"


def test_without_limits_it_is_what_the_kernel_calls_available(tmp_path: Path) -> None:
    assert available_memory(CPU, root=system(tmp_path, MEMINFO)) == 8000 * 1024


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # Version 2: a limit of 5000, 3000 used, of which 1000 are file pages that can be dropped.
        (
            {
                "proc/self/cgroup": "0::/job\n",
                f"{V2}/job/memory.max": "5000\n",
                f"{V2}/job/memory.current": "3000\n",
                f"{V2}/job/memory.stat": "anon 2000\ninactive_file 1000\nactive_file 0\n",
            },
            3000,
        ),
        # The group above is tighter; "max" is no limit.
        (
            {
                "proc/self/cgroup": "0::/slice/job\n",
                f"{V2}/slice/job/memory.max": "max\n",
                f"{V2}/slice/job/memory.current": "100\n",
                f"{V2}/slice/memory.max": "700\n",
                f"{V2}/slice/memory.current": "200\n",
            },
            500,
        ),
        # Version 1 in a container: the path is the host's, the files lie at the top.
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n",
                f"{V1}/memory.limit_in_bytes": "4000\n",
                f"{V1}/memory.usage_in_bytes": "1000\n",
                f"{V1}/memory.stat": "cache 9\ntotal_inactive_file 50\n",
            },
            3050,
        ),
        # More in use than allowed: nothing is left, not less than nothing.
        (
            {
                "proc/self/cgroup": "0::/\n",
                f"{V2}/memory.max": "10\n",
                f"{V2}/memory.current": "20\n",
            },
            0,
        ),
    ],
)
def test_a_control_group_can_leave_less(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert available_memory(CPU, root=system(tmp_path, {**MEMINFO, **files})) == expected


def test_a_wide_limit_leaves_what_the_machine_has(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/\n", f"{V2}/memory.max": str(2**62), f"{V2}/memory.current": "0"}
    assert available_memory(CPU, root=system(tmp_path, {**MEMINFO, **files})) == 8000 * 1024


def test_without_proc_the_pages_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"SC_PHYS_PAGES": 7, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf_names", pages)
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert available_memory(CPU, root=tmp_path) == 7 * 4096
    monkeypatch.setattr(os, "sysconf_names", {})
    assert available_memory(CPU, root=tmp_path) is None


def test_the_peak_is_this_process_own_and_only_grows(tmp_path: Path) -> None:
    assert peak_memory(root=system(tmp_path, {"proc/self/status": "VmPeak: 9 kB\nVmHWM:  12 kB\n"})) == 12 * 1024
    before = peak_memory(root=tmp_path / "nothing")
    block = np.ones(4_000_000)
    assert peak_memory(root=tmp_path / "nothing") >= max(before, block.nbytes)
