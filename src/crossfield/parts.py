"""The rows of a recipe, parted for training, validation and test: as published, as given, or as it says."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from crossfield.data.dataset import Dataset
from crossfield.data.public import PUBLIC, RankingTest, load_public, public_set
from crossfield.errors import ConfigError, DataError
from crossfield.ranker import load_as
from crossfield.recipe import Recipe
from crossfield.schema import FeatureSchema


@dataclass(frozen=True)
class Parts:
    """The rows of a fit, and how they were parted."""

    train: Dataset
    valid: Dataset | None
    test: Dataset | RankingTest | None
    split: str
    notes: tuple[str, ...] = ()


def is_public(name: str | None) -> bool:
    """Whether this names a public data set rather than a file that is there."""
    return name in PUBLIC and not Path(str(name)).exists()


def with_public_options(values: Mapping[str, Any], path: str | None = None) -> dict[str, Any]:
    """A recipe's values, behind them what its public data set says of its own columns; ``path`` is other rows."""
    rows = path or values.get("data", {}).get("path")
    if not is_public(rows):
        return dict(values)
    options = public_set(rows).options_here().model_dump(mode="json", exclude_unset=True)
    return {**values, "data": {**options, **values.get("data", {}), "path": rows}}


def part(recipe: Recipe, schema: Path | None = None) -> Parts:
    """Read a recipe's rows and part them: as published, as given, or as ``data.split`` says.

    A schema file says what their columns are; what the recipe says of them changes it.
    """
    data = recipe.data
    if data.path is None:
        raise ConfigError("name the rows to train on: a file, a folder, a glob or a public data set")
    if is_public(data.path):
        return _part_public(recipe, data.path, schema)
    if close := get_close_matches(data.path, [] if Path(data.path).exists() else list(PUBLIC), n=1):
        raise DataError(f"there is no file or folder {data.path}; did you mean the public data set {close[0]!r}?")
    whole = load_as(recipe, data.path, schema)
    if data.valid is not None:
        return Parts(whole, load_as(recipe, data.valid, whole.schema), None, "given")
    return _split(recipe, whole)


def _part_public(recipe: Recipe, name: str, schema: Path | None) -> Parts:
    found = load_public(name)
    train = read_again(recipe, found.train, schema, name=name)
    test: Dataset | RankingTest | None = found.ranking
    if found.test is not None:
        test = read_again(recipe, found.test, train.schema, name=name)
    if recipe.data.valid is not None:
        valid = load_as(recipe, recipe.data.valid, train.schema)
        return Parts(train, valid, test, "given", found.notes)
    if found.valid is not None:
        valid = read_again(recipe, found.valid, train.schema, name=name)
        return Parts(train, valid, test, "published", found.notes)
    if test is not None:
        return Parts(train, None, test, "published", found.notes)
    return _split(recipe, train, found.notes)


def _split(recipe: Recipe, whole: Dataset, notes: tuple[str, ...] = ()) -> Parts:
    """Parts of the sizes that are not 0, by ``data.split``."""
    data = recipe.data
    wanted = [number for number, size in enumerate(data.sizes) if size]
    if wanted == [0]:
        return Parts(whole, None, None, "none", notes)
    cut = whole.split(data.split, sizes=[data.sizes[number] for number in wanted], seed=data.split_seed)
    parts = dict(zip(wanted, cut, strict=True))
    how = data.split or ("time" if whole.schema.time else "random")
    return Parts(parts[0], parts.get(1), parts.get(2), how, notes)


def read_again(recipe: Recipe, rows: Dataset, schema: FeatureSchema | Path | None, *, name: str) -> Dataset:
    """Rows of a public data set as a recipe says, whose words may differ from the set's own."""
    return load_as(recipe, rows.frame, schema, name=name, files=rows.files)
