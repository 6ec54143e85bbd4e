"""Tables of published results: what each row runs, what it should give, and the verdict by rule on what it gave."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Self

from pydantic import Field

from crossfield.config import Config
from crossfield.errors import ConfigError, nearest
from crossfield.metrics import student_t
from crossfield.parts import with_public_options
from crossfield.recipe import Recipe, read_toml, recipe_path

SECTIONS = ("data", "encoder", "model", "train")
Line = Mapping[str, Any]


class Mean(Config):
    """The mean of several published runs."""

    value: float
    sd: float = Field(gt=0)
    n: int = Field(ge=2)


class RowSpec(Config):
    """One row of a table: a recipe, and what is published for it."""

    name: str
    """Its name in the table."""
    recipe: str | None = None
    """The recipe it starts from, instead of the table's base."""
    data: dict[str, Any] = Field(default_factory=dict)
    """Changes to the recipe's [data]."""
    encoder: dict[str, Any] = Field(default_factory=dict)
    """Changes to the recipe's [encoder]."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Changes to the recipe's [model]."""
    train: dict[str, Any] = Field(default_factory=dict)
    """Changes to the recipe's [train]."""
    expected: dict[str, float] = Field(default_factory=dict)
    """Published values by metric; none where nothing comparable is published."""
    mean: Mean | None = None
    """Published mean of the first metric over seeds, where there is one."""
    source: str | None = None
    """Where the values come from, if not from where the table's come from."""
    uncertain: str | None = None
    """Why the published value cannot be trusted."""
    protocol: str | None = None
    """Why ours is not comparable with it."""
    start_from: tuple[str, ...] = ()
    """Rows above it whose runs of the same seed it starts from."""
    seeds: int | None = Field(None, ge=1)
    """Runs, if other than the table's."""
    revision: int = Field(1, ge=1)
    """Raised when a mistake in the code was found: runs of an earlier revision stay in the results and do not count."""
    note: str | None = None
    """What else to know."""


class TableSpec(Config):
    """A table of published results on one data set under one protocol."""

    title: str
    about: str
    """What a reader must know before comparing."""
    data: str
    """The public data set."""
    metrics: tuple[str, ...] = Field(min_length=1)
    """Test metrics; the first decides."""
    margin: float = Field(gt=0)
    """A difference of the first metric inside which nothing is said."""
    published: str
    """Where expected values come from, unless a row says otherwise."""
    seeds: int = Field(ge=1)
    """Runs per row."""
    experiment: bool = False
    """Rows that look for causes, on the test part too: none counts as a result."""
    full_ranking: bool = False
    """Also rank the whole catalogue where the protocol ranks among a few negatives."""
    compare: str | None = None
    """A table whose rows of the same names these are, changed, and are compared with seed by seed."""
    change: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What is changed in these rows."""
    base: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """A recipe's sections, for rows that name no recipe."""
    row: tuple[RowSpec, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Row:
    """One row, its recipe made."""

    table: str
    spec: RowSpec
    values: Mapping[str, Any]
    """The recipe as it is written, without defaults."""
    revision: int = 1
    """Rises with its own and with that of the row that it is compared with and made of."""
    starts: tuple["Row", ...] = ()
    """The rows it starts from."""

    @property
    def name(self) -> str:
        """Its name in the table."""
        return self.spec.name

    @cached_property
    def sha256(self) -> str:
        """Checksum (hex) of what the row, and those that it is built on, say of its run.

        A new default changes nothing, another value or revision does.
        """
        said = {**self.values, "start_from": list(self.spec.start_from)}
        if self.revision > 1:
            said["revision"] = self.revision
        if self.starts:
            said["starts"] = [one.sha256 for one in self.starts]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def recipe_name(self) -> str | None:
        """The recipe that it runs unchanged."""
        changes = any(getattr(self.spec, section) for section in SECTIONS)
        return None if changes else self.spec.recipe

    def recipe(self, seed: int, **train: Any) -> Recipe:
        """The whole recipe of one seed; raises ConfigError on what cannot be."""
        settings = {f"train.{key}": value for key, value in train.items() if value is not None}
        return Recipe.of(with_public_options(self.values)).override({"train.seed": seed, **settings})


@dataclass(frozen=True)
class Table:
    """A table and its rows."""

    name: str
    spec: TableSpec
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, name: str) -> Self:
        """A table that the package ships; raises ConfigError on an unknown name or a file that cannot be."""
        if name not in table_names():
            raise ConfigError(f"no table {name!r}{nearest(name, table_names())}")
        return cls.of(name, read_toml(Path(str(files("crossfield") / "tables" / f"{name}.toml"))))

    @classmethod
    def of(cls, name: str, values: Mapping[str, Any]) -> Self:
        """A table from plain values."""
        spec = TableSpec.of(values, prefix=name)
        rows: dict[str, Row] = {}
        for one in spec.row:
            if one.name in rows:
                raise ConfigError(f"{name}: two rows are named {one.name!r}")
            if missing := [start for start in one.start_from if start not in rows]:
                raise ConfigError(f"{name}: {one.name} starts from {missing[0]!r}, which is no row above it")
            starts = tuple(rows[start] for start in one.start_from)
            if chained := [start.name for start in starts if start.starts]:
                raise ConfigError(f"{name}: {one.name} starts from {chained[0]!r}, which starts from others itself")
            rows[one.name] = Row(name, one, _merged(spec, one), _revision(spec, one), starts)
        return cls(name, spec, tuple(rows.values()))

    def pick(self, names: Sequence[str]) -> tuple[Row, ...]:
        """Rows by name, in the table's order; all where none is named. Raises ConfigError on an unknown one."""
        known = [one.name for one in self.rows]
        for name in names:
            if name not in known:
                raise ConfigError(f"the table {self.name} has no row {name!r}{nearest(name, known)}")
        return tuple(one for one in self.rows if not names or one.name in names)

    def row(self, name: str) -> Row:
        """The row of that name."""
        return self.pick([name])[0]

    def seeds(self, row: Row) -> int:
        """Runs of a row."""
        return row.spec.seeds or self.spec.seeds


def table_names() -> list[str]:
    """The tables that the package ships."""
    folder = files("crossfield") / "tables"
    return sorted(one.name.removesuffix(".toml") for one in folder.iterdir() if one.name.endswith(".toml"))


def _revision(spec: TableSpec, row: RowSpec) -> int:
    below = _compared(spec, row)
    return row.revision + (below.revision - 1 if below is not None else 0)


def _compared(spec: TableSpec, row: RowSpec) -> Row | None:
    """The row of another table that this one is made of and compared with."""
    return None if row.recipe or not spec.compare else Table.read(spec.compare).row(row.name)


def _merged(spec: TableSpec, row: RowSpec) -> dict[str, Any]:
    base, changes = _base_of(spec, row), spec.change
    merged = {
        section: {**base.get(section, {}), **changes.get(section, {}), **getattr(row, section)} for section in SECTIONS
    }
    merged["train"].pop("seed", None)
    merged["data"].setdefault("path", spec.data)
    return {section: values for section, values in {**base, **merged}.items() if values}


def _base_of(spec: TableSpec, row: RowSpec) -> Mapping[str, Any]:
    """What a row starts from: its recipe, the row that it is compared with, or the table's base."""
    if row.recipe:
        return read_toml(recipe_path(Path(row.recipe)))
    below = _compared(spec, row)
    return spec.base if below is None else below.values


# Verdicts


@dataclass(frozen=True)
class Spread:
    """Values of several seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return mean(self.values)

    @property
    def sd(self) -> float | None:
        """Their standard deviation; None for one value."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def _t(self) -> float:
        return student_t(0.95, len(self.values) - 1)

    @property
    def single_run(self) -> tuple[float, float] | None:
        """95 % interval for one more run: mean ± t s √(1 + 1/n); None for one value."""
        if self.sd is None:
            return None
        half = self._t * self.sd * (1 + 1 / len(self.values)) ** 0.5
        return self.mean - half, self.mean + half

    @property
    def of_mean(self) -> tuple[float, float] | None:
        """95 % interval of the mean: mean ± t s / √n; None for one value."""
        if self.sd is None:
            return None
        half = self._t * self.sd / len(self.values) ** 0.5
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Gap:
    """A difference of two means and its 95 % interval."""

    mean: float
    low: float
    high: float


def gap_of_means(spread: Spread, published: Mean) -> Gap:
    """Our mean less a published one, by Welch's t; for two seeds or more on either side."""
    assert spread.sd is not None  # callers have several seeds
    ours, theirs = spread.sd**2 / len(spread.values), published.sd**2 / published.n
    degrees = (ours + theirs) ** 2 / (ours**2 / (len(spread.values) - 1) + theirs**2 / (published.n - 1))
    gap, half = spread.mean - published.value, student_t(0.95, degrees) * (ours + theirs) ** 0.5
    return Gap(gap, gap - half, gap + half)


def verdict(spread: Spread, expected: float, *, margin: float) -> str:
    """By rule: *matches* inside the interval of a single run or the margin, else *above* or *below*."""
    interval = spread.single_run
    inside = interval is not None and interval[0] <= expected <= interval[1]
    if inside or abs(spread.mean - expected) <= margin:
        return "matches"
    return "above" if spread.mean > expected else "below"


def judge(row: Row, spread: Spread, *, metric: str, margin: float) -> str:
    """The verdict on a row, with what stands against comparing it; a dash where nothing is published."""
    if metric not in row.spec.expected:
        return "-"
    said = verdict(spread, row.spec.expected[metric], margin=margin)
    if row.spec.protocol:
        return f"different protocol ({said})"
    return f"published value uncertain ({said})" if row.spec.uncertain else said


def is_comparable(row: Row, metric: str) -> bool:
    """Whether its verdict counts."""
    return metric in row.spec.expected and not row.spec.protocol


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's: Pearson's correlation of the ranks, equal values sharing theirs; NaN without a spread."""
    left, right = _ranks(first), _ranks(second)
    middle = mean(left)
    above = sum((x - middle) * (y - middle) for x, y in zip(left, right, strict=True))
    below = (sum((x - middle) ** 2 for x in left) * sum((y - middle) ** 2 for y in right)) ** 0.5
    return above / below if below else float("nan")


def _ranks(values: Sequence[float]) -> list[float]:
    return [sum(other < one for other in values) + (sum(other == one for other in values) + 1) / 2 for one in values]


def is_of(row: Row, line: Line) -> bool:
    """Whether a line tells of a run of a row as it is now, finished or not."""
    return bool((line["table"], line["row"], line["row_sha256"]) == (row.table, row.name, row.sha256))


def current(row: Row, lines: Sequence[Line]) -> list[Line]:
    """The finished runs of a row as it is now, by seed; of runs that were made twice, the first.

    Where some had other training rows than the newest one, they do not count.
    """
    finished = [line for line in lines if is_of(row, line) and line["status"] == "ok"]
    found: dict[int, Line] = {}
    for line in finished:
        if line.get("data_sha256") == finished[-1].get("data_sha256"):
            found.setdefault(line["seed"], line)
    return [found[seed] for seed in sorted(found)]
