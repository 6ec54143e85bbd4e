"""Two processes at one run: never half of one state and half of another."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from crossfield import Ranker
from crossfield.errors import CorruptError, CrossfieldError, RunError
from crossfield.files import RunLock

from .conftest import FIT, SMALL, Program, click_log

WRITER = """
import sys, time
from crossfield import Ranker
rankers = [Ranker.load(name) for name in sys.argv[1:3]]
for number in range(int(sys.argv[4])):
    rankers[number % 2].save(sys.argv[3], overwrite=True)
    time.sleep(0.05)
"""


@pytest.fixture
def two_runs(program: Program, tmp_path: Path) -> list[Path]:
    """Equal but for the seed, so that files of one fit the other."""
    click_log(400).write_csv(tmp_path / "clicks.csv")
    for seed in (0, 1):
        program("fit", "clicks.csv", *FIT, *SMALL, "--set", f"train.seed={seed}", "--out", f"run-{seed}", "--quiet")
    return [tmp_path / "run-0", tmp_path / "run-1"]


def state_of(ranker: Ranker) -> str:
    weights = b"".join(value.numpy().tobytes() for value in ranker.bundle.model.state_dict().values())
    return f"{ranker.recipe.train.seed} {hashlib.sha256(weights).hexdigest()}"


def test_a_reader_beside_a_writer_gets_one_whole_state_or_a_clear_line(two_runs: list[Path], tmp_path: Path) -> None:
    states = {state_of(Ranker.load(run)) for run in two_runs}
    target = tmp_path / "target"
    Ranker.load(two_runs[0]).save(target)
    whole, refused = 0, 0
    command = [sys.executable, "-c", WRITER, *map(str, two_runs), str(target), "30"]
    with subprocess.Popen(command, cwd=tmp_path) as writer:
        while writer.poll() is None:
            try:
                assert state_of(Ranker.load(target)) in states
                whole += 1
            except RunError as error:
                assert "written anew" in str(error) or "is being written" in str(error), error
                refused += 1
    assert writer.returncode == 0 and whole > 1 and refused > 0, (whole, refused)
    assert state_of(Ranker.load(target)) in states


def test_damage_is_still_called_damage(two_runs: list[Path]) -> None:
    weights = two_runs[0] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CorruptError, match="bytes instead of"):
        Ranker.load(two_runs[0])


def test_a_second_writer_is_told_to_wait(program: Program, two_runs: list[Path], tmp_path: Path) -> None:
    with RunLock(tmp_path / "run-0"):
        said = program("fit", "clicks.csv", *FIT, *SMALL, "--out", "run-0", "--overwrite", "--quiet", code=1).stderr
        assert "run-0 is in use by another process; wait for it or choose another" in said
        with pytest.raises(CrossfieldError, match="in use by another process"):
            Ranker.load(two_runs[1]).save(tmp_path / "run-0", overwrite=True)
        assert "in use" in program("calibrate", "run-0", "clicks.csv", code=1).stderr
        Ranker.load(two_runs[0])  # reading needs no lock
    program("fit", "clicks.csv", *FIT, *SMALL, "--out", "run-0", "--overwrite", "--quiet")


def test_two_fits_at_once_leave_one_run_and_one_clear_line(tmp_path: Path) -> None:
    click_log(4000).write_csv(tmp_path / "clicks.csv")
    command = [sys.executable, "-m", "crossfield", "fit", "clicks.csv", *FIT, *SMALL, "--out", "run", "--quiet"]
    both = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(one.communicate(timeout=240)[1], one.returncode) for one in both]
    assert sorted(code for _, code in ended) == [0, 1], ended
    refusal = next(said for said, code in ended if code == 1)
    assert refusal.count("\n") == 1 and ("in use by another process" in refusal or "holds a finished run" in refusal)
    Ranker.load(tmp_path / "run")
