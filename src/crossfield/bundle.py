"""What a finished run leaves behind: everything a prediction needs, sealed, and nothing that can run code."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from crossfield.calibration import Calibration
from crossfield.checkpoint import read_state, write_state
from crossfield.data.encode import Encoder
from crossfield.data.entities import Entities
from crossfield.errors import CorruptError, RunError
from crossfield.files import (
    LOCK,
    MANIFEST,
    atomic_path,
    is_ours,
    mark,
    one_state,
    read_manifest,
    read_object,
    rewrite_about,
    write_bytes,
    write_json,
    write_manifest,
)
from crossfield.layers.embedding import EmbeddingArena
from crossfield.losses import undo_downsampling
from crossfield.mapped import at_random, in_order, nowhere
from crossfield.metrics import Vector
from crossfield.models import CATALOGUE
from crossfield.models.base import Model
from crossfield.recipe import Recipe

KIND = "run"
LARGE_TABLE = 1 << 26
"""Bytes from which a finished run's table is read where it is; a smaller one is in memory at once (64 MB)."""
TRAINING = "training"
"""Folder and kind of what an update goes on from, sealed by itself: a prediction does not read it."""
WORK = "work"
"""Folder of an unfinished run, inside that of the run."""
RECIPE = "recipe.json"
"""Whose work it is: the first file there."""
RECORDS = ("log.jsonl", "tensorboard")
"""What training recorded, in the folder of a finished run."""
_PARTS = ("encoder", "entities", TRAINING)
_FILES = ("recipe.toml", "run.json", "model.safetensors")


@dataclass(frozen=True)
class Bundle:
    """A trained model with the encoder, the recipe and, for user-item data, what users saw and items are."""

    recipe: Recipe
    encoder: Encoder
    model: Model
    entities: Entities | None = None
    about: dict[str, Any] = field(default_factory=dict)
    """Metrics, training history, versions, checksums of the data: JSON values."""
    training: dict[str, Any] | None = None
    """What an update goes on from (``Trainer.training``); not read by ``load``, which needs it for nothing."""
    calibration: Calibration | None = None

    def corrected(self, logits: Vector) -> Vector:
        """Logits [n] for all rows, of the model's, which may have been trained with a share of the negatives."""
        return undo_downsampling(logits, self.recipe.data.negative_rate)

    def calibrated(self, logits: Vector) -> Vector:
        """The logits [n] that predictions are made of: the model's, corrected, then calibrated."""
        corrected = self.corrected(logits)
        return corrected if self.calibration is None else self.calibration(corrected)

    def save(self, folder: Path) -> None:
        """Write and seal the run; the manifest goes last, so a run cut short in between is not taken for whole."""
        mark(folder, KIND)
        (folder / MANIFEST).unlink(missing_ok=True)
        for part in _PARTS:
            shutil.rmtree(folder / part, ignore_errors=True)
        write_bytes(folder / "recipe.toml", self.recipe.to_toml().encode())
        write_json(folder / "run.json", self.about)
        self.encoder.save(folder / "encoder")
        if self.entities is not None:
            self.entities.save(folder / "entities")
        weights = {name: value.contiguous() for name, value in self.model.state_dict().items()}
        with atomic_path(folder / "model.safetensors") as path, in_order(weights.values()):
            save_file(weights, path)
        parts = [p for part in ("encoder", "entities") for p in sorted((folder / part).rglob("*")) if p.is_file()]
        names = [*_FILES, *(str(p.relative_to(folder)) for p in parts)]
        if self.training is not None:
            (folder / TRAINING).mkdir()
            write_state(folder / TRAINING, self.training, kind=TRAINING)
        write_manifest(folder, KIND, names=names, about=self._identity)
        mark(folder, "")

    def save_calibration(self, folder: Path) -> None:
        """Replace the calibration of this very run in its folder: all at once, nothing else is written."""
        rewrite_about(folder, KIND, self._identity)

    @property
    def _identity(self) -> dict[str, Any]:
        """What the manifest says of the run, its calibration too: so that it is replaced in one step."""
        curve = {} if self.calibration is None else {"calibration": self.calibration.model_dump(mode="json")}
        return {"model": self.recipe.name, **curve}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a run that ``save`` wrote, every file checked first.

        Raises RunError where there is no finished run or another process is writing it anew, CorruptError where a file
        was changed or does not fit.
        """
        with one_state(folder):
            check_finished(folder)
            return cls._read(folder)

    @classmethod
    def _read(cls, folder: Path) -> Self:
        said = read_manifest(folder, KIND)
        recipe = Recipe.read(folder / "recipe.toml")
        encoder = Encoder.load(folder / "encoder")
        with nowhere():
            model = CATALOGUE[recipe.name](encoder.model_schema, recipe.model)
        try:
            _fill(model, load_file(folder / "model.safetensors"))
        except (SafetensorError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise CorruptError(f"the weights in {folder} do not fit its recipe and encoder: {first}") from None
        entities = Entities.load(folder / "entities", encoder) if (folder / "entities").is_dir() else None
        calibration = Calibration.of(said["calibration"]) if "calibration" in said else None
        return cls(recipe, encoder, model.eval(), entities, read_about(folder), calibration=calibration)


def _fill(model: Model, weights: Mapping[str, Tensor]) -> None:
    """Large tables stay maps of their file: read as they are needed, shared by all processes that serve them."""
    tables = {f"{name}.weight" for name, one in model.named_modules() if isinstance(one, EmbeddingArena)}
    large = {name for name in tables & weights.keys() if weights[name].nbytes >= LARGE_TABLE}
    # What is computed with is copied: arithmetic on numbers that torch has not aligned may end in other last bits.
    own = {name: at_random(value) if name in large else value.clone() for name, value in weights.items()}
    model.load_state_dict(own, assign=True)


def load_training(folder: Path) -> dict[str, Any] | None:
    """What an update of a run goes on from, None where nothing was kept; raises CorruptError where it was changed."""
    with one_state(folder):
        check_finished(folder)
        return read_state(folder / TRAINING, kind=TRAINING) if (folder / TRAINING).is_dir() else None


def check_finished(folder: Path) -> None:
    """Raise RunError saying what the folder is instead of a finished run."""
    if not folder.is_dir():
        raise RunError(f"there is no run at {folder}; train one with: crossfield fit DATA --model NAME --out {folder}")
    if not (folder / MANIFEST).is_file():
        if (folder / WORK).is_dir():
            raise RunError(f"{folder} is an unfinished run; finish it with --resume")
        if (folder / LOCK).is_file():
            raise RunError(f"{folder} is being written, or writing it was cut short; try again, or write it anew")
        raise RunError(f"{folder} is not a Crossfield run")


def refuse_foreign(folder: Path) -> None:
    """Raise RunError where a run would take the place of something in its folder that no run wrote."""
    names = () if is_ours(folder, KIND) else (MANIFEST, *_FILES, *_PARTS, *RECORDS)
    found = [name for name in names if (folder / name).exists()] + ([] if _is_own(folder / WORK) else [WORK])
    if found:
        what = f"{', '.join(found)}, which no run wrote and a run would replace"
        raise RunError(f"{folder} holds {what}; name another folder, or move that elsewhere")


def _is_own(work: Path) -> bool:
    """Whether a scratch folder is a run's, or nothing is in it yet but what a kill left of the first file."""
    if (work / RECIPE).is_file() or not work.exists():
        return True
    return work.is_dir() and all(one.match(f".{RECIPE}.*.part") for one in work.iterdir())


def read_about(folder: Path) -> dict[str, Any]:
    """What a run says about itself: metrics, history, versions, data."""
    about: dict[str, Any] = read_object(folder / "run.json")
    return about
