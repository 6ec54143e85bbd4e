"""Fetch a public data set from its official address, once its terms are accepted, and check what came."""

import time
import zlib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from urllib.request import Request, urlopen
from zipfile import BadZipFile, ZipFile

from crossfield.data.public.record import Archive, PublicSet
from crossfield.errors import DataError
from crossfield.files import confined, sha256_of, write_bytes

SILENCE_SECONDS = 30.0
"""How long the server may say nothing."""
TOTAL_SECONDS = 900.0
"""How long a whole download may take."""
MAX_BYTES = 1 << 28
"""The largest archive, and the largest file in one, that is accepted."""
_CHUNK = 1 << 16


def fetch(one: PublicSet, *, accept_terms: bool, folder: Path | None = None) -> tuple[Path, ...]:
    """Fetch a data set's archive and put its files into the folder, all of them or none.

    Raises DataError where the terms are not accepted, no single archive is served, the network or the disk
    fails, or a checksum differs.
    """
    archive, home = one.archive, folder or one.folder()
    if archive is None:
        raise DataError(f"{one.name} cannot be fetched automatically; get it from {one.address}. Terms: {one.terms}")
    if not accept_terms:
        raise DataError(
            f"{one.name} comes with terms: {one.terms} To accept them and fetch {archive.url}: "
            f"crossfield data {one.name} --download --accept-terms (accept_terms=True)"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=home, prefix=".download-") as scratch:
            path = Path(scratch) / "archive.zip"
            _fetch(archive.url, path, by_hand=f"get it from {one.address} by hand and put its files in {home}")
            contents = _contents(archive, path, one.files)
        return tuple(_placed(home, contents))
    except OSError as error:
        raise DataError(
            f"cannot write to {home}: {error.strerror or error}; set CROSSFIELD_DATA to another folder"
        ) from None


def _fetch(url: str, path: Path, *, by_hand: str) -> None:
    request = Request(url, headers={"User-Agent": "crossfield"})
    try:
        with path.open("wb") as file, urlopen(request, timeout=SILENCE_SECONDS) as response:
            _copy(response, file, url)
    except (OSError, HTTPException) as error:
        raise DataError(f"could not fetch {url}: {error}; {by_hand}") from None


def _copy(response: IO[bytes], file: IO[bytes], url: str) -> None:
    deadline, num_bytes = time.monotonic() + TOTAL_SECONDS, 0
    while chunk := response.read(_CHUNK):
        num_bytes += len(chunk)
        if num_bytes > MAX_BYTES:
            raise DataError(f"{url} sends more than {MAX_BYTES:,} bytes; nothing was kept")
        if time.monotonic() > deadline:
            raise DataError(f"{url} took longer than {TOTAL_SECONDS:g} seconds; nothing was kept")
        file.write(chunk)


def _contents(archive: Archive, path: Path, checksums: Mapping[str, str]) -> dict[str, bytes]:
    if archive.sha256 is not None:
        _check(archive.url, sha256_of(path), archive.sha256)
    contents = {}
    try:
        with ZipFile(path) as zipped:
            for name, member in archive.members.items():
                contents[name] = archive.clean(_member(zipped, member, archive.url))
    except (BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{archive.url} did not send a whole zip file: {error}; nothing was kept") from None
    for name, content in contents.items():
        if checksums.get(name):
            _check(f"{name} in {archive.url}", sha256(content).hexdigest(), checksums[name])
    return contents


def _member(zipped: ZipFile, member: str, url: str) -> bytes:
    # Members are read by their known names and written under ours: no path of the archive's own reaches the disk.
    if member not in zipped.namelist():
        raise DataError(f"{url} holds no {member}; nothing was kept")
    if zipped.getinfo(member).file_size > MAX_BYTES:
        raise DataError(f"{member} in {url} unpacks to more than {MAX_BYTES:,} bytes; nothing was kept")
    return zipped.read(member)


def _check(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise DataError(f"{what} has SHA-256 {found}, expected {expected}; nothing was kept")


def _placed(folder: Path, contents: Mapping[str, bytes]) -> Iterator[Path]:
    for name, content in contents.items():
        path = confined(folder, name)
        write_bytes(path, content)
        yield path
