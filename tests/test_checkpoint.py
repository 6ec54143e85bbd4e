"""Checkpoints: exact round trips, sealed folders, what is left when a write or a file goes wrong."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import crossfield.checkpoint as checkpoint
from crossfield.checkpoint import (
    check_same_shapes,
    flatten,
    has_checkpoint,
    load_checkpoint,
    rng_state,
    save_checkpoint,
    set_rng_state,
    unflatten,
)
from crossfield.distributed.spread import Piece
from crossfield.distributed.team import Team
from crossfield.errors import CorruptError, RunError
from crossfield.files import write_manifest
from tests.distributed.launch import all_well, launch

ROWS = torch.arange(10.0).view(5, 2)


def save(folder: Path, step: int, **rest: Any) -> Path:
    return save_checkpoint(folder, tensors={"w": torch.full((3,), float(step))}, scalars={"step": step}, **rest)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "missing") is None


def test_round_trip_keeps_every_bit_and_dtype(tmp_path: Path) -> None:
    tensors: dict[str, Tensor] = {
        "float": torch.tensor([1e-45, -0.0, math.inf]),
        "double": torch.randn(3, 2, dtype=torch.float64),
        "half": torch.randn(4).bfloat16(),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "flags": torch.tensor([True, False]),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 4),
        "turned": torch.arange(6.0).view(2, 3).t(),
    }
    save_checkpoint(tmp_path, tensors=tensors, scalars={"lr": 0.1})
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.scalars == {"lr": 0.1} and loaded.skipped == ()
    assert loaded.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype and torch.equal(loaded.tensors[name], tensor)


def test_what_was_loaded_stays_when_later_checkpoints_take_its_place(tmp_path: Path) -> None:
    save(tmp_path, 1)
    loaded = load_checkpoint(tmp_path)
    for step in range(2, 5):
        save(tmp_path, step)
    assert loaded is not None and torch.equal(loaded.tensors["w"], torch.ones(3))


def test_the_newest_and_the_one_before_are_kept(tmp_path: Path) -> None:
    for step in range(1, 5):
        save(tmp_path, step)
    assert names(tmp_path) == ["checkpoint-000003", "checkpoint-000004"]
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.scalars == {"step": 4}


@pytest.mark.parametrize("file", ["tensors.safetensors", "scalars.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_a_damaged_newest_falls_back_to_the_one_before_and_says_why(tmp_path: Path, file: str, damage: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:-1])
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.scalars == {"step": 1}
    (reason,) = loaded.skipped
    assert "checkpoint-000002" in reason and file in reason


def test_after_a_fall_back_the_good_one_outlives_the_damaged(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 2) / "scalars.json").write_text("{}")
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    save(tmp_path, 3, previous=loaded.path)
    assert names(tmp_path) == ["checkpoint-000001", "checkpoint-000003"]


def test_all_damaged_is_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    for step in (1, 2):
        (save(tmp_path, step) / "scalars.json").unlink()
    with pytest.raises(CorruptError, match=r"checkpoint-000002.*checkpoint-000001.*--overwrite"):
        load_checkpoint(tmp_path)


def test_a_write_cut_short_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_json", full_disk)
        with pytest.raises(RunError, match="No space left on device; the one before is kept"):
            save(tmp_path, 2)
    assert names(tmp_path) == ["checkpoint-000001"]


def test_what_a_kill_left_half_written_is_ignored_and_cleared(tmp_path: Path) -> None:
    save(tmp_path, 1)
    part = tmp_path / ".checkpoint-000002.part"
    part.mkdir()
    (part / "tensors.safetensors").write_bytes(b"half")
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.scalars == {"step": 1} and loaded.skipped == ()
    save(tmp_path, 2)
    assert names(tmp_path) == ["checkpoint-000001", "checkpoint-000002"]


def save_pieces(team: Team, folder: Path) -> Path:
    piece = Piece(ROWS[team.rank :: team.size].clone(), (range(team.rank, len(ROWS), team.size),), len(ROWS))
    return save_checkpoint(folder, tensors={"t": piece}, scalars={}, team=team)


def save_twice(team: Team, folder: Path) -> list[str]:
    """What is saved where the second process still lists what was there before the first checkpoint."""
    if not team.is_first:
        checkpoint._checkpoints = lambda _: []
    return [save_pieces(team, folder).name for _ in range(2)]


def save_apart(team: Team, folder: Path, mine: str) -> list[str]:
    """What each says where the second sees another folder: without, and with one of the name of the first's."""
    folder = folder if team.is_first else folder / mine
    answers = []
    for is_there in (False, True):
        if is_there and not team.is_first:
            (folder / ".checkpoint-000001.part").mkdir(parents=True)
        try:
            save_pieces(team, folder)
        except RunError as error:
            answers.append(str(error))
    return answers


def test_processes_write_into_the_folder_that_the_first_names(tmp_path: Path) -> None:
    assert all_well(launch(save_twice, 2, tmp_path)) == [["checkpoint-000001", "checkpoint-000002"]] * 2
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.path.name == "checkpoint-000002" and not loaded.skipped
    assert not isinstance(loaded.tensors["t"], Tensor) and torch.equal(loaded.tensors["t"].pick(None), ROWS)


def test_a_process_that_does_not_see_the_folder_is_named_and_nothing_is_sealed(tmp_path: Path) -> None:
    first, second = all_well(launch(save_apart, 2, tmp_path, "elsewhere"))
    unseen = "process 1 does not see the folder {} that the first process writes to"
    assert first[0].startswith("another process") and second[0].startswith(unseen.format(tmp_path / "elsewhere"))
    assert first[1].startswith(unseen.format(tmp_path)) and unseen.format(tmp_path) in second[1]
    assert not has_checkpoint(tmp_path)


def test_without_a_processs_pieces_a_checkpoint_is_damaged(tmp_path: Path) -> None:
    all_well(launch(save_twice, 2, tmp_path))
    newest = tmp_path / "checkpoint-000002"
    (newest / "pieces-1-of-2.safetensors").unlink()
    left = [name for name in names(newest) if name != "manifest.json"]
    write_manifest(newest, checkpoint.KIND, names=left, about={})  # as versions before sealed it
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.path.name == "checkpoint-000001"
    assert "holds pieces-0-of-2.safetensors, not the pieces of all processes" in loaded.skipped[0]


def test_no_file_is_a_pickle(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    assert names(path) == ["manifest.json", "scalars.json", "tensors.safetensors"]
    assert not any(file.read_bytes().startswith((b"\x80", b"PK")) for file in path.iterdir())


def test_nested_states_survive_flattening_through_json() -> None:
    state = {
        "model": {"net.0.weight": torch.randn(2, 2), "a/b": torch.ones(1), "a": {"b": torch.zeros(1)}},
        "optimizer": {"state": {0: {"step": 3, "m": torch.ones(2)}}, "param_groups": [{"betas": (0.9, 0.999)}]},
        "plateau": {"best": -math.inf, "value": math.nan, "tiny": 5e-324, "flag": True, "none": None},
        "$odd": "text",
    }
    tensors, scalars = flatten(state)
    back = unflatten(tensors, json.loads(json.dumps(scalars, allow_nan=False)))
    assert torch.equal(back["model"]["a/b"], torch.ones(1)) and torch.equal(back["model"]["a"]["b"], torch.zeros(1))
    assert torch.equal(back["model"]["net.0.weight"], state["model"]["net.0.weight"])  # type: ignore[index]
    assert back["optimizer"]["state"][0]["step"] == 3
    assert back["optimizer"]["param_groups"] == [{"betas": (0.9, 0.999)}]
    assert math.isnan(back["plateau"].pop("value"))
    assert back["plateau"] == {"best": -math.inf, "tiny": 5e-324, "flag": True, "none": None}
    assert back["$odd"] == "text"


def test_flattening_refuses_what_json_cannot_hold_and_names_it() -> None:
    with pytest.raises(TypeError, match="a/1 is a set"):
        flatten({"a": [1, {2}]})


def test_random_states_go_back_exactly() -> None:
    device = torch.device("cpu")
    state = rng_state(device)
    first = torch.rand(5)
    set_rng_state(state, device)
    assert torch.equal(torch.rand(5), first)


def test_there_is_a_checkpoint_once_one_is_written(tmp_path: Path) -> None:
    assert not has_checkpoint(tmp_path / "none")
    (tmp_path / ".checkpoint-000001.part").mkdir()
    assert not has_checkpoint(tmp_path)
    save(tmp_path, 1)
    assert has_checkpoint(tmp_path)


def test_tensors_of_another_model_are_named() -> None:
    here = {"a": torch.zeros(2, 3), "b": torch.zeros(1)}
    check_same_shapes(here, dict(here))
    for found, message in (
        ({"a": torch.zeros(2, 3)}, "b of a checkpoint is none, not \\(1,\\)"),
        ({**here, "a": torch.zeros(3, 2)}, "a of a checkpoint is \\(3, 2\\), not \\(2, 3\\)"),
        ({**here, "c": torch.zeros(1)}, "c of a checkpoint is \\(1,\\), not none"),
    ):
        with pytest.raises(CorruptError, match=message):
            check_same_shapes(found, here)
