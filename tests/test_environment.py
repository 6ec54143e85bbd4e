from dataclasses import replace

import pytest

from crossfield.checks.finding import Finding
from crossfield.environment import Machine, _too_old, judge, look_at_machine, machine_text

MACHINE = Machine(
    versions={"python": "3.11.7", "torch": "2.13.0+cpu"},
    too_old=(),
    processor="x86_64",
    cores=2,
    threads=2,
    reading_threads=2,
    memory=8_000_000_000,
    instructions=("avx2", "avx512_f"),
    devices=(),
    compiler=True,
)


def test_nothing_amiss() -> None:
    assert list(judge(MACHINE)) == []
    assert list(judge(replace(MACHINE, memory=None, processor="aarch64", instructions=()))) == []


@pytest.mark.parametrize(
    ("change", "severity", "words"),
    [
        ({"too_old": ("torch>=9.1",)}, "error", "torch>=9.1 is needed, and it is 2.13.0+cpu; pip install 'torch>=9.1'"),
        ({"memory": 500_000_000}, "warning", "only 0.5 GB of memory"),
        ({"threads": 8}, "warning", "8 threads on 2 cores wait for each other; OMP_NUM_THREADS=2"),
        ({"threads": 1}, "note", "torch uses 1 of 2 cores; train.threads=2"),
        ({"instructions": ("neon",)}, "warning", "no AVX2"),
        ({"devices": ("H200", "H200")}, "note", "H200 is there; --device cuda"),
        ({"compiler": False}, "note", "no C++ compiler"),
    ],
)
def test_each_thing_amiss(change: dict[str, object], severity: str, words: str) -> None:
    (found,) = judge(replace(MACHINE, **change))
    assert isinstance(found, Finding)
    assert (found.severity, found.where) == (severity, "environment") and words in str(found)


def test_requirements() -> None:
    kept = ["numpy>=1.0", "nothing-such>=2", "numpy>=999", "rich; extra == 'dev'", "pytest>=999; extra == 'dev'"]
    assert list(_too_old(kept)) == ["nothing-such>=2", "numpy>=999"]


def test_this_machine() -> None:
    found = look_at_machine()
    assert found.too_old == () and found.cores >= 1 and set(found.versions) >= {"python", "torch", "polars"}
    assert len(machine_text(found).splitlines()) == 2


def test_text() -> None:
    text = machine_text(MACHINE)
    assert text.startswith("python 3.11.7, torch 2.13.0+cpu\nx86_64 (avx2 avx512_f")
    assert "2 cores, 2 threads to train, 2 to read, 8 GB of memory available, no CUDA device" in text
    assert "1 core, 2 threads" in machine_text(replace(MACHINE, cores=1, memory=None, devices=("H200",)))
