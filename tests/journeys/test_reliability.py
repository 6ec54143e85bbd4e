"""The long measurements of docs/reliability.md, in short: real kills, damaged files, full disks, a week of updates."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "reliability"


def lines_of(script: str, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_killed_runs_damaged_files_and_full_disks_lose_nothing() -> None:
    kills, damage, full = lines_of("faults.py", "kills", "flips", "full", "--models", "deepfm", "--count", "3")
    assert kills["count"] >= 3 and kills["equal"] == kills["runs"]
    assert damage["bit"] > 10 and damage["missed"] == []
    assert full["refused"] >= 1 and full["equal"] == 3


def test_a_daily_update_is_better_than_none() -> None:
    lines = lines_of("daily.py", "--seeds", "1", "--rows", "4000")
    last = {line["way"]: line["auc"] for line in lines if line["day"] == 7}
    assert last["update_3"] > last["none"] + 0.02 and last["scratch"] > last["none"] + 0.02
    admitted = [line["films"]["admitted"] for line in lines if line["way"] == "update"]
    assert len(admitted) == 7 and min(admitted) > 0
