"""Files that can be trusted: atomic writes, checksummed manifests, run locks, paths that stay inside a folder."""

import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

from pydantic import TypeAdapter, ValidationError

from crossfield.errors import CorruptError, InUseError, RunError

MANIFEST = "manifest.json"
LOCK = ".lock"
FORMAT_VERSION = 1


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place, synced to disk, when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all, keys in the given order, a newline at the end."""
    write_bytes(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")  # and ``write_json`` writes none


def read_json(path: Path) -> Any:
    """Read JSON; raises CorruptError naming the file where it is not JSON or not there."""
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise CorruptError(f"{path} is missing") from None
    except ValueError as error:
        raise CorruptError(f"{path} is not JSON: {error}") from None


def typed(kind: Any, values: object) -> Any:
    """Stored plain values as ``kind``, a type or dataclass; raises CorruptError naming the first of another type."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise CorruptError(f"{where} of what was stored is {first['input']!r:.60}: {first['msg'].lower()}") from None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; raises CorruptError where it is missing, cut, or holds something else."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise CorruptError(f"{path} holds no JSON object")
    return content


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file has a checksum: SHA-256 in hex, ``md5:`` and MD5, or ``git:`` and the id git gives its content."""
    algorithm, _, expected = checksum.rpartition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: _new_hash(path, algorithm or "sha256")).hexdigest() == expected


def _new_hash(path: Path, algorithm: str) -> Any:
    if algorithm == "git":  # SHA-1 of a header with the size, then the content
        return hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    return hashlib.new(algorithm, usedforsecurity=False)


def confined(folder: Path, name: str) -> Path:
    """The path of ``name`` inside ``folder``; raises CorruptError where it would leave the folder."""
    path = folder / name
    if Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise CorruptError(f"{name!r} leads out of {folder}")
    return path


def write_manifest(folder: Path, kind: str, *, names: Sequence[str], about: Mapping[str, Any]) -> None:
    """Seal a folder: size and checksum of every named file, what the folder is, and a checksum of all that."""
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in names}
    content = {"kind": kind, "format_version": FORMAT_VERSION, "about": dict(about), "files": files}
    write_json(folder / MANIFEST, {**content, "sha256": _digest(content)})


def read_manifest(folder: Path, kind: str, *, checksums: bool = True) -> dict[str, Any]:
    """Check a sealed folder and return what it says about itself; ``checksums=False`` trusts the files' contents.

    Raises CorruptError naming the file that is missing, truncated or changed, or what the folder is instead.
    """
    content = _sealed(folder, kind)
    for name, expected in content["files"].items():
        path = confined(folder, name)
        if not path.is_file():
            raise CorruptError(f"{path} is missing")
        if path.stat().st_size != expected["bytes"]:
            raise CorruptError(f"{path} has {path.stat().st_size} bytes instead of {expected['bytes']}")
        if checksums and sha256_of(path) != expected["sha256"]:
            raise CorruptError(f"{path} was changed after it was written (its checksum differs)")
    about: dict[str, Any] = content["about"]
    return about


class _UnsealedError(CorruptError):
    """There is no manifest."""


@contextmanager
def one_state(folder: Path) -> Iterator[None]:
    """Around reading the files of a sealed folder: they must be of one writing.

    Writers take the manifest away first and put it back last. Raises RunError where that happened meanwhile.
    """
    before = _writing(folder)
    broken: CorruptError | None = None
    try:
        yield
    except CorruptError as error:
        broken = error
    # Where it had no manifest and yet there was something to read, it came meanwhile, and may be gone again.
    came = before is None and not isinstance(broken, _UnsealedError)
    if came or _writing(folder) != before:
        raise RunError(f"{folder} was written anew while it was read; read it again")
    if broken is not None:
        raise broken


def _writing(folder: Path) -> tuple[int, int] | None:
    """Which writing a folder is of: the same content written twice is two."""
    try:
        found = (folder / MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def rewrite_about(folder: Path, kind: str, about: Mapping[str, Any]) -> None:
    """Change what a sealed folder says about itself, all at once; its files stay sealed as they were."""
    content = {**_sealed(folder, kind), "about": dict(about)}
    write_json(folder / MANIFEST, {**content, "sha256": _digest(content)})


def _sealed(folder: Path, kind: str) -> dict[str, Any]:
    """What a manifest says, its own checksum taken off; raises CorruptError where it does not hold."""
    if not (folder / MANIFEST).is_file():
        raise _UnsealedError(f"{folder} is not a Crossfield {kind}: it has no {MANIFEST}")
    content = read_json(folder / MANIFEST)
    if not isinstance(content, dict) or content.pop("sha256", None) != _digest(content):
        raise CorruptError(f"{folder / MANIFEST} was changed or cut after it was written")
    if content.get("kind") != kind:
        raise CorruptError(f"{folder} is a Crossfield {content.get('kind')}, not a {kind}")
    if content.get("format_version", 0) > FORMAT_VERSION:
        raise CorruptError(f"{folder} was written by a newer Crossfield (format {content['format_version']}); upgrade")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON line that carries its own checksum (``crc``); it takes the place of an unfinished one."""
    text = json.dumps(record, ensure_ascii=False)
    with path.open("ab+") as file:
        _cut_unfinished(file)
        file.write((json.dumps({**record, "crc": zlib.crc32(text.encode())}, ensure_ascii=False) + "\n").encode())


def _cut_unfinished(file: BinaryIO) -> None:
    """Leave whole lines only, the position at their end."""
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read what ``append_line`` wrote; an unfinished last line, left by a kill, is dropped.

    Raises CorruptError naming the line whose checksum differs.
    """
    records = []
    lines = path.read_text().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and not line.endswith("\n"):
            break
        try:
            record = json.loads(line)
            crc = record.pop("crc")
        except (ValueError, KeyError, AttributeError):
            raise CorruptError(f"{path}, line {number}: not a record") from None
        if crc != zlib.crc32(json.dumps(record, ensure_ascii=False).encode()):
            raise CorruptError(f"{path}, line {number}: was changed after it was written")
        records.append(record)
    return records


def make_folder(folder: Path) -> bool:
    """Make a folder where there is none; says whether it did. Raises RunError where there cannot be one."""
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "a file has that name" if folder.is_file() else error.strerror
        raise RunError(f"cannot make the folder {folder}: {reason}; name another one") from None
    return is_new


def mark(folder: Path, kind: str) -> None:
    """Note in the lock file of a folder, before it is written, what it will hold; "" when that is sealed.

    What a kill leaves in between can so be told from the files of somebody else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:  # in place: the lock is on this very file
        file.write(kind)
        file.flush()
        os.fsync(file.fileno())


def is_ours(folder: Path, kind: str) -> bool:
    """Whether the files of a folder are of this kind, whole, damaged or half written.

    Its manifest tells, of which the first keys are enough, or its mark.
    """
    manifest, lock = (one.read_bytes() if one.is_file() else b"" for one in (folder / MANIFEST, folder / LOCK))
    opening = f'{{"kind":{json.dumps(kind)},"format_version":'.encode()
    return lock == kind.encode() or b"".join(manifest.split()).startswith(opening)


class RunLock:
    """Keeps a second process out of a run directory; the lock dies with the process that holds it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK

    def __enter__(self) -> Self:
        self._is_new = make_folder(self._path.parent)
        try:
            self._file = self._path.open("a+")
        except OSError as error:
            raise RunError(f"cannot write to {self._path.parent}: {error.strerror}; name another folder") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise InUseError(
                f"{self._path.parent} is in use by another process; wait for it or choose another"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        folder = self._path.parent
        with suppress(OSError):
            if self._is_new and list(folder.iterdir()) == [self._path]:  # nothing came of the run
                self._path.unlink()
                folder.rmdir()
        self._file.close()
