"""Loading a run, its checkpoints, its rows and what an update goes on from runs no code that is in them."""

import builtins
import marshal
import pickle
from pathlib import Path

import pytest
import torch

from crossfield.bundle import Bundle
from crossfield.errors import CrossfieldError

from .conftest import FIT, SMALL, Program, click_log

WORDS = (*FIT, *SMALL, "--set", "train.checkpoint_seconds=0", "--quiet")


def make(program: Program, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished run, and one that has checkpoints and no result."""

    def refuse(bundle: Bundle, folder: Path) -> None:
        raise CrossfieldError("stopped on purpose")

    program("fit", "clicks.csv", *WORDS, "--out", name)
    with monkeypatch.context() as patched:
        patched.setattr(Bundle, "save", refuse)
        program("fit", "clicks.csv", *WORDS, "--out", f"{name}-stopped", code=1)


def read(program: Program, name: str) -> None:
    """Every command that reads what another one wrote."""
    program("fit", "clicks.csv", *WORDS, "--out", f"{name}-stopped", "--resume")
    program("predict", name, "clicks.csv", "--out", f"{name}-scores.csv")
    program("evaluate", name, "clicks.csv")
    program("recommend", name, "--out", f"{name}-lists.csv")
    program("calibrate", name, "clicks.csv")
    program("update", name, "clicks.csv", "--out", f"{name}-updated", "--quiet")


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever makes code of data."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("data is run as code")

    for home, names in (
        (pickle, ("load", "loads", "Unpickler", "_Unpickler")),
        (torch, ("load",)),
        (marshal, ("load", "loads")),
        (builtins, ("eval", "exec")),
    ):
        for name in names:
            monkeypatch.setattr(home, name, refuse)


def test_no_way_of_loading_unpickles_or_evaluates(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSFIELD_CACHE", str(tmp_path / "cache"))
    click_log(600).write_csv(tmp_path / "clicks.csv")
    make(program, "first", monkeypatch)
    make(program, "second", monkeypatch)
    read(program, "first")  # imports what it needs, which does run code: the package's own
    with monkeypatch.context() as guarded:
        forbid(guarded)
        with pytest.raises(AssertionError, match="run as code"):
            torch.load("weights")
        read(program, "second")
    assert (tmp_path / "second-scores.csv").read_bytes() == (tmp_path / "first-scores.csv").read_bytes()
