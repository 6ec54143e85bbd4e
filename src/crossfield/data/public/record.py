"""What is said about a public data set, and what its loader gives back."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
from numpy.typing import NDArray

from crossfield.data.dataset import Dataset, load
from crossfield.data.options import DataConfig
from crossfield.data.source import Layout, Tabular, open_source
from crossfield.errors import DataError
from crossfield.files import has_checksum


@dataclass(frozen=True)
class RankingTest:
    """Held-out pairs to rank: one row per user and item, raw ids, in the columns the schema calls user and item."""

    pairs: pl.DataFrame
    negatives: NDArray[Any] | None = None
    """Raw item ids [n, K] to rank each pair's item against; None means the whole catalogue."""


@dataclass(frozen=True)
class PublicData:
    """The parts of a public data set. Where valid and test are None, the set has no official split of its own."""

    train: Dataset
    valid: Dataset | None = None
    test: Dataset | None = None
    ranking: RankingTest | None = None
    notes: tuple[str, ...] = ()
    """What to say beside every number made from these files."""


@dataclass(frozen=True)
class Archive:
    """The one zip file that a data set's official address serves."""

    url: str
    members: Mapping[str, str]
    """File name in the data folder -> its path inside the zip."""
    sha256: str | None = None
    """Checksum of the zip, where it is known."""
    clean: Callable[[bytes], bytes] = bytes
    """Applied to every member before its checksum is taken and it is written."""


@dataclass(frozen=True)
class PublicSet:
    """A public data set: what it is, its terms, its files, and how they are read."""

    name: str
    about: str
    terms: str
    address: str
    """The data set's own page."""
    files: Mapping[str, str]
    """File name -> checksum of the copy this loader was written for, as ``has_checksum`` takes it; "" where none is
    known."""
    options: DataConfig
    """What flags would say to read the training file by its path."""
    read: Callable[[Path], PublicData]
    """Read the files of a folder, where none is missing."""
    archive: Archive | None = None
    instead: Mapping[str, str] = field(default_factory=dict)
    """Files that serve where those are not all there, and their checksums."""
    extra_files: Mapping[str, str] = field(default_factory=dict)
    """Files that are read where they are there, and their checksums."""
    home: str | None = None
    """The data set whose files these are, where it is another one."""
    options_of: Callable[[Path], DataConfig] | None = None
    """What flags would say in a folder where the files decide that."""

    def options_here(self) -> DataConfig:
        """What flags would say of the files that are there."""
        return self.options if self.options_of is None else self.options_of(self.folder())

    def folder(self) -> Path:
        """Where the files belong."""
        return data_folder() / (self.home or self.name)

    def missing(self, folder: Path | None = None) -> tuple[str, ...]:
        """Names of the files that are not there; none where others serve instead."""
        home = folder or self.folder()
        serves = bool(self.instead) and all((home / name).is_file() for name in self.instead)
        return () if serves else tuple(name for name in self.files if not (home / name).is_file())

    def is_published(self, folder: Path) -> bool:
        """Whether the files are all there themselves, so that none serve instead."""
        return all((folder / name).is_file() for name in self.files)

    def load(self, folder: Path | None = None) -> PublicData:
        """Read the data set from its folder; a file that differs from the known copy is named in the notes.

        Raises DataError naming the missing files, where they belong, where to get them, and the terms.
        """
        home = folder or self.folder()
        if missing := self.missing(home):
            raise self.missing_error(missing, home)
        data = self.read(home)
        return replace(data, notes=(*data.notes, *self._changed(home)))

    def missing_error(self, names: Iterable[str], folder: Path) -> DataError:
        """The error that says which files are missing and how to get them."""
        fetch = f"; or let Crossfield fetch them: crossfield data {self.name} --download --accept-terms"
        return DataError(
            f"{self.name}: {', '.join(names)} missing in {folder}; get the files from {self.address} and put them "
            f"there (CROSSFIELD_DATA names the folder above){fetch if self.archive else ''}. Terms: {self.terms}"
        )

    def _changed(self, folder: Path) -> list[str]:
        known = {**self.files, **self.instead, **self.extra_files}
        return [
            f"{name} is not the copy this loader was written for (its checksum differs)"
            for name, checksum in known.items()
            if checksum and (folder / name).is_file() and not has_checksum(folder / name, checksum)
        ]


def data_folder() -> Path:
    """The folder with one folder per public data set: CROSSFIELD_DATA, else the user's cache."""
    if named := os.environ.get("CROSSFIELD_DATA"):
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "crossfield" / "data"


def load_with(options: DataConfig, data: Tabular) -> Dataset:
    """``load`` with exactly the arguments that flags of the same names would give it."""
    return load(data, **options.columns_of(), layout=_layout_of(options))


def load_prepared(options: DataConfig, path: Path, prepare: Callable[[pl.LazyFrame], pl.LazyFrame]) -> Dataset:
    """``load_with`` on a file whose rows, still lazy, are changed first."""
    source = open_source(path, _layout_of(options))
    return replace(load_with(options, prepare(source.frame)), name=source.name, files=source.files)


def _layout_of(options: DataConfig) -> Layout:
    return Layout(columns=options.columns, header=options.header, separator=options.separator, missing=options.missing)
