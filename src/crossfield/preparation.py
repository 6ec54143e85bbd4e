"""Rows made ready to train on: encoder and stores, written once, sealed, and found again by later fits."""

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
import polars as pl

from crossfield.checks.finding import Finding
from crossfield.data.cache import code_digest, filling, kept_rows, mark_used, trouble_with
from crossfield.data.dataset import Dataset
from crossfield.data.encode import CHUNK_ROWS, Encoded, Encoder, on_disk
from crossfield.data.engines import Engine
from crossfield.data.engines.polars import PolarsEngine
from crossfield.data.entities import Entities
from crossfield.data.negatives import keep_mask
from crossfield.data.source import find_files, reading
from crossfield.data.store import Store, write_store
from crossfield.data.text import TEXT
from crossfield.doctor import look_quickly
from crossfield.errors import ConfigError, CorruptError, DataError, RunError, SchemaError
from crossfield.files import MANIFEST, RunLock, read_manifest, sha256_of, typed, write_manifest
from crossfield.recipe import Recipe
from crossfield.schema import FeatureSchema

KIND = "preparation"
IN_MEMORY = "rows in memory"
"""Stands for the file in the checksums of rows that come from none."""


@dataclass(frozen=True)
class Origin:
    """Where encoded rows come from, as the runs that are trained on them record it."""

    name: str
    """Of the training rows."""
    train_sha256: dict[str, str]
    """``data_sha256`` of the training rows."""
    valid_sha256: dict[str, str]
    integer_ids: list[str]
    """The user and item columns that hold integers, so that recommendations can hold integers too."""

    @classmethod
    def of(cls, train: Dataset, valid: Dataset | None) -> Self:
        """Of raw rows; reads their files for the checksums."""
        types = train.frame.collect_schema()
        named = (train.schema.user, train.schema.item)
        integer_ids = [name for name in named if name is not None and types[name].is_integer()]
        return cls(train.name, data_sha256(train), {} if valid is None else data_sha256(valid), integer_ids)


@dataclass(frozen=True)
class Words:
    """What a preparation was told: with other words its rows would be others."""

    data: dict[str, Any]
    """The [data] section of the recipe."""
    encoder: dict[str, Any]
    """The [encoder] section."""
    split: str
    """How the rows were parted."""
    seed: int | None
    """The ``train.seed`` by which negatives were left out; None where none were."""

    def sections(self) -> dict[str, dict[str, Any]]:
        """The sections of a recipe that these words fill."""
        train = {} if self.seed is None else {"train": {"seed": self.seed}}
        return {"data": self.data, "encoder": self.encoder, **train}


@dataclass(frozen=True)
class Prepared:
    """Encoded data, ready to train on."""

    encoder: Encoder
    train: Store
    valid: Store | None
    entities: Entities | None
    rows_kept_out: int
    """Training rows left out by ``data.negative_rate``."""
    origin: Origin
    test: Store | None = None
    """Test rows, where they were encoded with the others."""
    words: Words | None = None
    """What ``crossfield prepare`` was told; None for what a fit prepared for itself."""
    place: Path | None = None
    """Folder of the stores, where it has a key."""
    key: str | None = None
    """``fingerprint`` of the rows and of what was done to them; None for what ``crossfield prepare`` wrote."""
    reused: bool = False
    """Whether an earlier run encoded them."""
    cache_note: str = ""
    """Why they are not kept for other runs, where they should be."""
    findings: tuple[Finding, ...] = ()
    """What the quick checks of the raw rows found, worst first, notes left out."""

    @property
    def schema(self) -> FeatureSchema:
        """What the raw columns mean."""
        return self.encoder.schema

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """What ``write_prepared`` wrote into a folder, every file checked.

        Raises CorruptError where a file is missing, cut or changed, or the folder is something else.
        """
        folder = Path(folder)
        found = cls._open(folder, read_manifest(folder, KIND), verify=True)
        if found.words is None:
            raise CorruptError(f"{folder} holds the rows of one fit, without the words of a preparation")
        return found

    @classmethod
    def _open(cls, folder: Path, about: Mapping[str, Any], *, verify: bool) -> Self:
        encoder = Encoder.load(folder / "encoder")

        def store(name: str) -> Store | None:
            there = name in _strings(about.get("stores"))
            return Store.open(folder / name, fingerprint=encoder.fingerprint, verify=verify) if there else None

        if (train := store("train")) is None:
            raise CorruptError(f"{folder} holds no training rows")
        findings = typed(list[Finding], about.get("findings"))
        return cls(
            encoder,
            train,
            store("valid"),
            _entities(train, encoder),
            rows_kept_out=typed(int, about.get("rows_kept_out")),
            origin=typed(Origin, about.get("origin")),
            test=store("test"),
            words=typed(Words | None, about.get("words")),
            place=folder,
            key=typed(str | None, about.get("key")),
            findings=tuple(one for one in findings if one.severity != "note"),
        )


def _strings(values: Any) -> list[str]:
    return typed(list[str], values)  # type: ignore[no-any-return]  # it is a list of texts or an error


def prepare(
    recipe: Recipe,
    train: Dataset,
    valid: Dataset | None,
    *,
    work: Path,
    resume: bool = False,
    origin: Origin | None = None,
    in_cache: bool = True,
) -> Prepared:
    """Fit the encoder on the training rows and write the stores, or open those that are there already.

    Rows of files are kept in the user's cache, where a later run on unchanged files finds them, unless ``in_cache`` is
    False; of frames, in ``work``. ``origin`` is that of the rows, where it is known already: it takes a pass over them.
    """
    origin = origin or Origin.of(train, valid)
    key = fingerprint(recipe, train, valid, origin=origin)
    has_files = all(one.files for one in (train, valid) if one is not None)
    kept = kept_rows(key) if in_cache and has_files else None
    note = ""
    if kept and (trouble := trouble_with(kept.parent)):
        note = f"encoded rows cannot be kept in {kept.parent}: {trouble}; CROSSFIELD_CACHE names another folder, or off"
        kept = None
    place = kept or work
    if (kept or resume) and (found := find(place, key)):
        if kept:
            mark_used(kept)
        return replace(found, reused=True)
    with nullcontext(work) if kept is None else filling(kept) as folder:
        _encode(recipe, train, {"valid": valid}, folder=folder, about={"key": key, "origin": asdict(origin)})
    return replace(find(place, key, verify=False) or _vanished(place), cache_note=note)


def write_prepared(
    recipe: Recipe,
    train: Dataset,
    valid: Dataset | None,
    test: Dataset | None,
    *,
    folder: Path,
    split: str,
    overwrite: bool = False,
    engine: Engine | None = None,
) -> Prepared:
    """Prepare rows for fits to come, in a folder of their own; of the recipe only data, encoder and seed are minded.

    ``split`` says how the rows were parted; which engine encodes them cannot be seen in what is written. Raises
    RunError where the folder holds something already that is not to be replaced, else as a fit does.
    """
    words, seed = recipe.plain(), recipe.train.seed if recipe.data.negative_rate < 1 else None
    told = Words(words["data"], words["encoder"], split, seed)
    with RunLock(folder):
        if (folder / MANIFEST).exists() and not overwrite:
            raise RunError(f"{folder} holds something already; name another folder, or --overwrite to replace it")
        about = {"words": asdict(told), "origin": asdict(Origin.of(train, valid))}
        _encode(recipe, train, {"valid": valid, "test": test}, folder=folder, about=about, engine=engine)
        return Prepared._open(folder, read_manifest(folder, KIND, checksums=False), verify=False)


def _encode(
    recipe: Recipe,
    train: Dataset,
    others: Mapping[str, Dataset | None],
    *,
    folder: Path,
    about: Mapping[str, Any],
    engine: Engine | None = None,
) -> None:
    """Write encoder and stores; the manifest comes last and says that all of it is there."""
    (folder / MANIFEST).unlink(missing_ok=True)
    given = {name: rows for name, rows in others.items() if rows is not None}
    with on_disk(train, folder=folder, engine=engine) as rows:
        encoder = Encoder.fit(rows, recipe.encoder, engine=engine)
        store = write(thinned(encoder.stream(rows, labelled=True, engine=engine), recipe), encoder, folder / "train")
        _check_classes(store, train)
        written = {
            name: write(encoder.stream(one, labelled=True, engine=engine), encoder, folder / name)
            for name, one in given.items()
        }
        valid = given.get("valid")
        valid_rows = None if valid is None else written["valid"].num_rows
        findings = look_quickly(rows, valid, valid_rows=valid_rows, split=recipe.data.split)
    encoder.save(folder / "encoder")
    stores = ["train", *given]
    content = {
        **about,
        "stores": stores,
        "rows_kept_out": encoder.fitted.num_rows - store.num_rows,
        "findings": [one.to_json() for one in findings],
    }
    names = ["encoder/encoder.json", "encoder/vocabularies.arrow", *(f"{name}/{MANIFEST}" for name in stores)]
    write_manifest(folder, KIND, names=names, about=content)


def _check_classes(store: Store, train: Dataset) -> None:
    """Raise DataError where all training rows have the same label: then there is nothing to learn."""
    if train.schema.label is not None and store.positives in (0, store.num_rows):
        said = f"{train.schema.label} is {'true' if store.positives else 'false'} in every row of {train.name}"
        implicit = "; or, where every row is a positive, name no label but user and item" if store.positives else ""
        raise DataError(f"{said}, so there is nothing to learn; see how the label is written{implicit}")


def _vanished(folder: Path) -> NoReturn:
    """Raise RunError: what was there is no longer."""
    raise RunError(f"{folder} was changed by another process while it was written; start again")


def find(folder: Path, key: str, *, verify: bool = True) -> Prepared | None:
    """What was prepared under a key; an interrupted or damaged preparation is simply made again."""
    try:
        about = read_manifest(folder, KIND, checksums=verify)
        return Prepared._open(folder, about, verify=verify) if about.get("key") == key else None
    except CorruptError:
        return None


def fingerprint(recipe: Recipe, train: Dataset, valid: Dataset | None, *, origin: Origin | None = None) -> str:
    """SHA-256 (hex) of all that decides the encoded rows: rows, what is done to files', schema, settings, code."""
    origin = origin or Origin.of(train, valid)
    parts = [recipe.plain()["data"], recipe.plain()["encoder"], code_digest()]
    if recipe.data.negative_rate < 1:
        parts.append(recipe.train.seed)
    for data, checksums in ((train, origin.train_sha256), (valid, origin.valid_sha256)):
        parts.append([] if data is None else [data.schema.fingerprint, [*checksums.items()], _plan_sha256(data)])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _plan_sha256(data: Dataset) -> str:
    """SHA-256 (hex) of what is done to the files' rows, tables that are joined with them included.

    Of rows in memory it would hold the rows, which ``data_sha256`` knows after all that was done to them.
    """
    return hashlib.sha256(data.frame.serialize(format="binary") if data.files else b"").hexdigest()


def data_sha256(data: Dataset) -> dict[str, str]:
    """File -> SHA-256 (hex) of the files a data set was read from, in their order; of a frame, that of its rows."""
    return _sha256_by_name(data.files) if data.files else {IN_MEMORY: _rows_sha256(data)}


def _rows_sha256(data: Dataset) -> str:
    """SHA-256 (hex) of rows in their order, by the columns that have a meaning: a pass over them, text not copied.

    It is made of hashes of Polars, which are the same for one version of it: after an upgrade the rows count as others.
    """
    wanted = dict.fromkeys([*data.schema.columns, *data.schema.role_columns.values()])
    digest = hashlib.sha256(json.dumps([*wanted]).encode())
    with reading(data.name):
        known = data.frame.collect_schema()
        # The hash of a category is that of its number, which depends on what else the process has read.
        values = [pl.col(one).cast(pl.String) if known[one] in TEXT else pl.col(one) for one in wanted if one in known]
        for rows in PolarsEngine().batches(data.frame.select(values), CHUNK_ROWS):
            digest.update(rows.hash_rows(seed=0).to_numpy().tobytes())
    return digest.hexdigest()


def _sha256_by_name(files: Sequence[Path]) -> dict[str, str]:
    """Checksums by the files' paths from the folder they share: day=1/part-0.parquet, of one file its name alone."""
    shared = os.path.commonpath([path.parent for path in files]) if files else ""
    return {path.relative_to(shared).as_posix(): sha256_of(path) for path in files}


def write(blocks: Iterator[Encoded], encoder: Encoder, folder: Path) -> Store:
    """Write encoded rows as a store of their encoder."""
    return write_store(blocks, folder, model_schema=encoder.model_schema, fingerprint=encoder.fingerprint)


def thinned(blocks: Iterator[Encoded], recipe: Recipe) -> Iterator[Encoded]:
    """The blocks without the negative rows that ``data.negative_rate`` leaves out."""
    rate = recipe.data.negative_rate
    for block in blocks:
        yield (
            block
            if rate == 1 or block.labels is None
            else block.select(np.flatnonzero(keep_mask(block.labels, block.rows, rate=rate, seed=recipe.train.seed)))
        )


def _entities(store: Store, encoder: Encoder) -> Entities | None:
    schema = store.model_schema
    return Entities.fit(store, encoder) if schema.user is not None and schema.item is not None else None


# Whether rows fit a recipe


def check_trainable(recipe: Recipe, schema: FeatureSchema) -> None:
    """Raise SchemaError where rows have neither a label nor a user and an item, or the model needs these."""
    implicit = schema.label is None
    if implicit and (schema.user is None or schema.item is None):
        raise SchemaError("no label: name the label column, or for rows that are all positives the user and the item")
    if recipe.data.negative_rate < 1 and implicit:
        raise ConfigError("data.negative_rate leaves out negative rows, but without a label every row is a positive")
    if recipe.calibration.method != "none" and implicit:
        raise ConfigError(f'calibration.method = "{recipe.calibration.method}" wants labels: without, scores only rank')
    if recipe.train.objective == "bpr" and not implicit:
        raise ConfigError('train.objective = "bpr" compares chosen items with drawn ones: leave the label out')


def first_difference(
    before: Mapping[str, Any], now: Mapping[str, Any], *, free: Collection[str] = ()
) -> tuple[str, Any, Any] | None:
    """The first setting in which two recipes (plain values) differ, ``free`` ones apart, with both its values."""
    before, now = _flat(before), _flat(now)
    # Another model has other settings; its name says so best.
    for key in sorted({*before, *now} - set(free), key=lambda key: (key != "model.name", key)):
        if before.get(key) != now.get(key):
            return key, before.get(key), now.get(key)
    return None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        nested = _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        found.update(nested)
    return found


def with_words(words: Words, recipe: Recipe) -> Recipe:
    """A recipe whose data, encoder and seed are, where it leaves them at their defaults, those of prepared rows."""
    said, default = recipe.plain(), Recipe.of({"model": {"name": recipe.name}}).plain()
    sections = {name: words.sections()[name] for name in ("data", "encoder") if said[name] == default[name]}
    if words.seed is not None and recipe.train.seed == default["train"]["seed"]:
        sections["train"] = {**said["train"], "seed": words.seed}
    return Recipe.of({**said, **sections})


def check_words(words: Words, recipe: Recipe) -> None:
    """Raise ConfigError naming a setting in which a recipe differs from what its rows were prepared with."""
    asked, prepared = recipe.plain(), words.sections()
    sections = {name: asked[name] for name in ("data", "encoder")}
    if words.seed is not None:
        sections["train"] = {"seed": recipe.train.seed}
    if (found := first_difference(prepared, sections)) is not None:
        key, before, now = found
        said = f"{key} was {before!r:.80} when these rows were prepared and is {now!r:.80} now"
        raise ConfigError(f"{said}; leave it out to train on them, or prepare the rows again")


def check_unchanged(prepared: Prepared, path: str) -> None:
    """Raise ConfigError where the files under a path are not those whose rows were prepared."""
    if _sha256_by_name(find_files(path)) != prepared.origin.train_sha256:
        raise ConfigError(f"{path} was changed since its rows were prepared; prepare them again, or leave it out")
