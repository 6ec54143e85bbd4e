"""Checkpoints: the whole position of a run as sealed folders of safetensors and JSON, never a pickle."""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from crossfield.distributed.spread import Piece, Rows, pick
from crossfield.distributed.team import ALONE, Team
from crossfield.errors import CorruptError, RunError
from crossfield.files import (
    MANIFEST,
    atomic_path,
    read_json,
    read_manifest,
    sync_folder,
    typed,
    write_json,
    write_manifest,
)
from crossfield.mapped import in_order

Value = TypeVar("Value")

KIND = "checkpoint"
_TENSORS, _SCALARS = "tensors.safetensors", "scalars.json"
_PREFIX = "checkpoint-"
_PIECES = "pieces-{}.safetensors"


@dataclass(frozen=True)
class StoredPieces:
    """A tensor [R, *] that several processes wrote, each some of its rows."""

    name: str
    paths: tuple[Path, ...]

    def pick(self, rows: Rows | None) -> Tensor:
        """Some rows of it, or all, read file by file; raises CorruptError where they cannot be."""
        try:
            with ExitStack() as stack:
                files = [stack.enter_context(safe_open(path, "pt")) for path in self.paths]
                spans = [[int(part) for part in file.metadata()[self.name].split()] for file in files]
                pieces = (
                    (file.get_tensor(self.name), tuple(map(range, span[1::3], span[2::3], span[3::3])))
                    for file, span in zip(files, spans, strict=True)
                )
                return pick(pieces, (range(spans[0][0]),) if rows is None else rows)
        except (CorruptError, SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"the pieces of {self.name} in {self.paths[0].parent} do not fit: {error}") from None


@dataclass(frozen=True)
class Checkpoint:
    """What a sealed folder held, and why newer ones were passed over."""

    tensors: dict[str, Tensor | StoredPieces]
    scalars: dict[str, Any]
    path: Path
    skipped: tuple[str, ...] = ()
    """One sentence per damaged checkpoint newer than this one."""


def save_checkpoint(
    folder: Path,
    *,
    tensors: Mapping[str, Tensor | Piece],
    scalars: Mapping[str, Any],
    previous: Path | None = None,
    team: Team = ALONE,
) -> Path:
    """Write and seal the next checkpoint of a run, then remove all others but ``previous``; returns its path.

    Written beside its final place and renamed when durable: a kill or a full disk at any moment leaves the ones
    before it untouched. Without ``previous`` the newest other one stays. Raises RunError where it cannot be written.

    All processes of a team write at once, into one folder that they all see: each its pieces, the first the rest.
    Raises RunError naming a process that does not see it.
    """
    # The first says the name: what another lists may be older, on a file system of several machines.
    target = folder / team.hear(lambda: _or_refuse(lambda: _begin(folder), folder))
    part = _unfinished(target)

    def finish() -> None:
        plain = {name: one for name, one in tensors.items() if isinstance(one, Tensor)}
        _write(part, plain, scalars, pieces=_written_pieces(part, team) if len(plain) < len(tensors) else ())
        older = _checkpoints(folder)
        part.replace(target)
        sync_folder(folder)
        keep = previous if previous is not None else next(iter(older), None)
        _remove([path for path in older if path != keep])

    try:
        with team.together():
            _or_refuse(lambda: _write_pieces(part, tensors, team), folder)
        team.lead(lambda: _or_refuse(finish, folder))
    finally:
        if team.is_first:
            shutil.rmtree(part, ignore_errors=True)
    return target


def _begin(folder: Path) -> str:
    """Make an empty folder for the next checkpoint; returns the name it will have."""
    number = 1 + max((_number(path) for path in _checkpoints(folder)), default=0)
    target = folder / f"{_PREFIX}{number:06d}"
    shutil.rmtree(_unfinished(target), ignore_errors=True)
    _unfinished(target).mkdir(parents=True)
    return target.name


def _unfinished(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _or_refuse(write: Callable[[], Value], folder: Path) -> Value:
    try:
        return write()
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write a checkpoint to {folder}: {error}; the one before is kept") from None


def _write_pieces(folder: Path, tensors: Mapping[str, Tensor | Piece], team: Team) -> None:
    pieces = {name: one for name, one in tensors.items() if isinstance(one, Piece)}
    if pieces:
        if not folder.is_dir():  # to make it would hide that the first made it elsewhere
            raise _unseen(team.rank, folder)
        spans = {
            name: [one.num_rows, *(edge for run in one.rows for edge in (run.start, run.stop, run.step))]
            for name, one in pieces.items()
        }
        about = {name: " ".join(map(str, span)) for name, span in spans.items()}
        with atomic_path(folder / _PIECES.format(team.name)) as path:
            save_file({name: one.tensor.detach().cpu().contiguous() for name, one in pieces.items()}, path, about)


def _written_pieces(folder: Path, team: Team) -> list[str]:
    """The files of everybody's pieces; raises RunError where one is not there."""
    names = _piece_names(team.size)
    for rank, name in enumerate(names):
        if not (folder / name).is_file():
            raise _unseen(rank, folder)
    return names


def _piece_names(size: int) -> list[str]:
    return [_PIECES.format(f"{rank}-of-{size}") for rank in range(size)]


def _unseen(rank: int, folder: Path) -> RunError:
    return RunError(
        f"process {rank} does not see the folder {folder.parent} that the first process writes to; start all of them "
        f"with an --out on a disk that they share; the checkpoint before is kept"
    )


def write_state(folder: Path, state: Mapping[str, Any], *, kind: str) -> None:
    """Write and seal a nested state of tensors and plain values, as ``flatten`` has it, into a folder."""
    tensors, scalars = flatten(state)
    _write(folder, {name: one for name, one in tensors.items() if isinstance(one, Tensor)}, scalars, kind=kind)


def read_state(folder: Path, *, kind: str) -> dict[str, Any]:
    """What ``write_state`` wrote; raises CorruptError where it is not that, or was changed."""
    read_manifest(folder, kind)
    try:
        state: dict[str, Any] = unflatten(load_file(folder / _TENSORS), read_json(folder / _SCALARS))
    except (SafetensorError, OSError) as error:
        raise CorruptError(f"{folder} cannot be read: {error}") from None
    return state


def _write(
    folder: Path,
    tensors: Mapping[str, Tensor],
    scalars: Mapping[str, Any],
    *,
    kind: str = KIND,
    pieces: Sequence[str] = (),
) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(folder / _TENSORS) as path, in_order(plain.values()):
        save_file(plain, path)
    write_json(folder / _SCALARS, dict(scalars))
    write_manifest(folder, kind, names=[_TENSORS, _SCALARS, *pieces], about={})


def load_checkpoint(folder: Path, team: Team = ALONE) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None where there is none yet.

    Tensors are maps of the file, which may be larger than memory: whoever computes with one copies it, for a map is not
    aligned as torch wants it. Pieces stay where they are until they are picked. Of a team the first process searches.
    Raises CorruptError where there are checkpoints and all are damaged, RunError where another process cannot read
    what the first found.
    """
    found: list[Checkpoint | None] = []

    def search() -> list[str] | None:
        newest = _newest(folder)
        found.append(newest)
        return None if newest is None else [newest.path.name, *newest.skipped]

    told = team.hear(search)
    if told is None:
        return None
    with team.together():
        return found[0] if found else _read_too(folder / told[0], told[1:], team)


def _read_too(path: Path, skipped: Sequence[str], team: Team) -> Checkpoint:
    try:
        return _read(path, skipped)
    except (CorruptError, SafetensorError, OSError) as error:
        said = f"process {team.rank} cannot read {path} as the first does: {error}"
        raise RunError(f"{said}; start all of them with an --out on a disk that they share") from None


def _read(path: Path, skipped: Sequence[str]) -> Checkpoint:
    tensors: dict[str, Tensor | StoredPieces] = {**load_file(path / _TENSORS)}
    there = {file.name for file in path.glob(_PIECES.format("*"))}
    paths = tuple(path / name for name in _piece_names(len(there)))
    if paths:
        if there != {one.name for one in paths}:
            raise CorruptError(f"{path} holds {', '.join(sorted(there))}, not the pieces of all processes")
        with safe_open(paths[0], "pt") as file:
            tensors |= {name: StoredPieces(name, paths) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    return Checkpoint(tensors, read_json(path / _SCALARS), path, tuple(skipped))


def _newest(folder: Path) -> Checkpoint | None:
    skipped: list[str] = []
    for path in _checkpoints(folder):
        try:
            read_manifest(path, KIND)
            return _read(path, skipped)
        except (CorruptError, SafetensorError, OSError) as error:
            skipped.append(f"checkpoint {path.name} is damaged ({error})")
    if skipped:
        raise CorruptError(f"no checkpoint of {folder} can be used: {'; '.join(skipped)}; train again with --overwrite")
    return None


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a checkpoint to go on from, whole or not."""
    return bool(_checkpoints(folder))


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first; what a kill left half-written does not count."""
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal()]
    return sorted(found, key=_number, reverse=True)


def _number(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX))


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        # The seal goes first: what a kill in between leaves says that it is damaged, and does not look whole.
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


class Checkpoints:
    """The checkpoints of one run: found, checked against the run, written; without a folder, none."""

    def __init__(self, folder: Path | None, identity: Mapping[str, Any], team: Team = ALONE) -> None:
        self._folder, self._identity, self._team = folder, dict(identity), team
        self._previous: Path | None = None
        self.skipped: tuple[str, ...] = ()
        """What ``find`` passed over because it was damaged."""

    def find(self, *, resume: bool) -> dict[str, Any] | None:
        """The state in the newest whole checkpoint, or None where there is none yet.

        Raises RunError where there is one and it is not to be resumed, or where it belongs to another run than this:
        a plain value of the identity differs.
        """
        found = load_checkpoint(self._folder, self._team) if self._folder is not None else None
        if found is None:
            return None
        if not resume:
            raise RunError(f"{self._folder} holds checkpoints of an earlier run; resume it or choose another folder")
        state: dict[str, Any] = typed(dict[str, Any], unflatten(found.tensors, found.scalars))
        self._check(typed(dict[str, Any], state.get("identity")), found.path)
        self._previous, self.skipped = found.path, found.skipped
        return state

    def _check(self, before: Mapping[str, Any], path: Path) -> None:
        for name, now in self._identity.items():
            if before.get(name) != now:
                shown = [json.dumps(value) for value in (before.get(name), now)]
                what = f"{name} = {shown[0]}, not {shown[1]}" if max(map(len, shown)) < 80 else f"other {name}"
                raise RunError(f"{path} was written with {what}; use the same settings and data, or train anew")

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a nested state; raises RunError where that fails, the one before being kept."""
        if self._folder is not None:
            tensors, scalars = flatten({**state, "identity": self._identity})
            self._previous = save_checkpoint(
                self._folder, tensors=tensors, scalars=scalars, previous=self._previous, team=self._team
            )


def check_same_shapes(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise CorruptError naming the first tensor that is missing, not known, or of another shape."""
    for name in [*expected, *found]:
        shapes = [tuple(some[name].shape) if name in some else "none" for some in (found, expected)]
        if shapes[0] != shapes[1]:
            raise CorruptError(f"{name} of a checkpoint is {shapes[0]}, not {shapes[1]}")


def flatten(state: Any) -> tuple[dict[str, Tensor | Piece], Any]:
    """Split a nested state into its tensors, by path, and a JSON value of everything else that says where they go.

    Dicts (keys of any scalar type), lists, tuples, strings, numbers (inf and NaN too), booleans, None, tensors and
    pieces of tensors survive exactly. Raises TypeError naming the path of anything else.
    """
    tensors: dict[str, Tensor | Piece] = {}
    return tensors, _flatten(state, "", tensors)


def _flatten(value: Any, path: str, tensors: dict[str, Tensor | Piece]) -> Any:
    if isinstance(value, Tensor | Piece):
        name = path if path not in tensors else f"{path}#{len(tensors)}"  # {"a/b": ..., "a": {"b": ...}}
        tensors[name] = value
        return {"$tensor": name}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _flatten(item, _join(path, key), tensors) for key, item in value.items()}
        return {"$items": [[key, _flatten(item, _join(path, key), tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_flatten(item, _join(path, index), tensors) for index, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{path or 'the state'} is a {type(value).__name__}, which no checkpoint can hold")


def _join(path: str, key: object) -> str:
    return f"{path}/{key}" if path else str(key)


def unflatten(tensors: Mapping[str, Any], scalars: Any) -> Any:
    """The nested state that ``flatten`` split; raises CorruptError where it is not that."""
    try:
        return _unflatten(tensors, scalars)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"the plain values of a state do not fit its tensors: {error}") from None


def _unflatten(tensors: Mapping[str, Any], scalars: Any) -> Any:
    if isinstance(scalars, list):
        return [_unflatten(tensors, item) for item in scalars]
    if not isinstance(scalars, Mapping):
        return scalars
    if "$tensor" in scalars:
        return tensors[scalars["$tensor"]]
    if "$tuple" in scalars:
        return tuple(_unflatten(tensors, scalars["$tuple"]))
    if "$items" in scalars:
        return {key: _unflatten(tensors, item) for key, item in scalars["$items"]}
    if "$float" in scalars:
        return float(scalars["$float"])
    return {key: _unflatten(tensors, item) for key, item in scalars.items()}


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's random generators, [bytes] uint8: the CPU's, and the device's where it has its own."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_rng_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the generators back to where ``rng_state`` found them."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
