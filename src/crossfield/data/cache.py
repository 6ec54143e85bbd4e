"""Encoded rows kept between runs: files that did not change are not encoded a second time."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

LIMIT_BYTES = 10 << 30
"""What the cache may hold; what was not used for longest goes first."""


def kept_rows(key: str) -> Path | None:
    """The folder for the encoded rows of a key, there or not: under CROSSFIELD_CACHE, else in the user's cache.

    None where CROSSFIELD_CACHE is "off".
    """
    named = os.environ.get("CROSSFIELD_CACHE")
    if named == "off":
        return None
    cache_home = os.environ.get("XDG_CACHE_HOME")
    default = (Path(cache_home) if cache_home else Path.home() / ".cache") / "crossfield"
    return (Path(named).expanduser() if named else default) / "rows" / key


def trouble_with(folder: Path) -> str:
    """Why nothing can be kept in a folder, which is made if need be; empty where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        return str(error.strerror)
    return "" if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else os.strerror(errno.EACCES)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of ``folder`` when the block ends without an error.

    What is there before goes at once: rows that are of use are not written anew; who has them open can read on. The
    cache is trimmed at the end. Where several processes fill the same folder, the first one's stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _discard(folder)
    fresh = Path(mkdtemp(prefix=".", dir=folder.parent))
    try:
        yield fresh
        _put(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    with suppress(FileNotFoundError):  # other processes trim it too
        _trim(folder.parent, spare=folder)


def _discard(folder: Path) -> None:
    """Take a folder away: first its name, so that nobody finds a part of it."""
    gone = Path(mkdtemp(prefix=".", dir=folder.parent))
    with suppress(FileNotFoundError):
        folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _put(fresh: Path, folder: Path) -> None:
    """Give a folder its name, unless another process was sooner: theirs holds the same rows and is read instead."""
    try:
        fresh.replace(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def mark_used(folder: Path) -> None:
    """Note that the rows were of use now."""
    os.utime(folder)


def _trim(cache_folder: Path, *, spare: Path) -> None:
    entries = [path for path in cache_folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    total = 0
    for path in sorted(entries, key=lambda one: (one == spare, one.stat().st_mtime), reverse=True):
        total += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        if total > LIMIT_BYTES and path != spare:
            shutil.rmtree(path, ignore_errors=True)


@cache
def code_digest() -> str:
    """SHA-256 (hex) of the code that encodes: rows encoded by other code are encoded again."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
