"""What one column alone tells of the label: by its size, by its values out of fold, and by being filled at all."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossfield.data.numeric import number
from crossfield.data.tokens import canonical, canonical_lists
from crossfield.metrics import Mask, Vector, auc
from crossfield.schema import Feature, Kind

FOLDS = 5
SMOOTHING = 5.0
"""Rows at the mean rate that are added to each value's own."""
KNOWN = 10
"""A value of fewer rows says too little of its rate to be compared with later."""
STRETCHES = 100
"""Of the numbers of a column, where what they tell rises and falls."""
MAX_VALUES = 20
"""Values of a multi-valued row that are looked at, the last ones."""


class Evidence(Protocol):
    """The values of one column in sampled rows, as scores of a positive label."""

    @property
    def is_filled(self) -> Mask:
        """[n] whether a row has a value at all."""
        ...

    def scores(self, labels: Vector, learns: Mask, *, min_count: int = 0) -> Vector:
        """Scores [n] learnt from the rows in ``learns`` [n]; NaN where a row has no value, or none of ``min_count``."""
        ...


@dataclass(frozen=True, eq=False)
class Numbers:
    """A dense column: its numbers [n], NaN where there is none, are scores as they are."""

    values: Vector

    @cached_property
    def is_filled(self) -> Mask:
        """[n] whether a row has a number."""
        return ~np.isnan(self.values)

    @property
    def stretches(self) -> "Names":
        """The numbers as ids of stretches with about as many rows each: what they tell may rise and fall."""
        rows = np.flatnonzero(self.is_filled)
        values = self.values[rows]
        edges = np.unique(np.sort(values)[:: max(len(values) // STRETCHES, 1)])
        return Names(np.searchsorted(edges, values, side="right"), rows, len(self.values))

    def scores(self, labels: Vector, learns: Mask, *, min_count: int = 0) -> Vector:
        """The numbers: there is nothing to learn."""
        return self.values


@dataclass(frozen=True, eq=False)
class Names:
    """A column of ids, one or several per row: codes [values] count the different ones, rows [values] say whose."""

    codes: NDArray[np.int64]
    rows: NDArray[np.int64]
    num_rows: int

    @cached_property
    def is_filled(self) -> Mask:
        """[n] whether a row has a value."""
        return np.bincount(self.rows, minlength=self.num_rows) > 0

    @cached_property
    def _folds(self) -> NDArray[np.int64]:
        return np.random.default_rng(0).integers(FOLDS, size=self.num_rows)

    def scores(self, labels: Vector, learns: Mask, *, min_count: int = 0) -> Vector:
        """Sums of the values' log odds; no row adds to the rates that score it, nor do the others of its fold.

        So an id of one row tells nothing, as it would tell a model nothing of tomorrow's rows.
        """
        prior = float(labels[learns].mean()) if learns.any() else 0.0
        if not 0 < prior < 1:
            return np.full(self.num_rows, np.nan)
        folds = np.where(learns, self._folds, FOLDS)  # the rows that are only scored share one of their own
        keys = self.codes * (FOLDS + 1) + folds[self.rows]
        positives, counts = (self._of_others(keys, one[self.rows]) for one in (labels * learns, learns.astype(float)))
        rates = (positives + SMOOTHING * prior) / (counts + SMOOTHING)
        odds = np.log(rates / (1 - rates)) - np.log(prior / (1 - prior))
        is_known = np.bincount(self.rows, counts >= min_count, minlength=self.num_rows) > 0
        return np.where(is_known, np.bincount(self.rows, odds, minlength=self.num_rows), np.nan)

    def _of_others(self, keys: NDArray[np.int64], amounts: Vector) -> Vector:
        """For each value, the sum over all rows with it, those of its own fold left out."""
        found: list[Vector] = [np.bincount(one, amounts).astype(np.float64)[one] for one in (self.codes, keys)]
        return found[0] - found[1]


def evidence_of(frame: pl.DataFrame, feature: Feature) -> Evidence:
    """A feature's values in sampled rows; raises SchemaError where its column's type has none of its kind."""
    name, dtype = feature.name, frame.schema[feature.name]
    if feature.kind is Kind.DENSE:
        return Numbers(frame.select(number(name, dtype).fill_null(np.nan)).to_series().to_numpy())
    if feature.kind is Kind.CATEGORICAL:
        lists = frame.select(canonical(pl.col(name), dtype).alias("value"))
    else:
        several = canonical_lists(pl.col(name), dtype, feature.separator).list.tail(MAX_VALUES)
        lists = frame.select(several.alias("value"))
    long = lists.with_row_index("row")
    long = (long if feature.kind is Kind.CATEGORICAL else long.explode("value")).drop_nulls()
    codes = long["value"].rank("dense").cast(pl.Int64).to_numpy() - 1
    return Names(codes, long["row"].cast(pl.Int64).to_numpy(), len(frame))


def auc_alone(evidence: Evidence, labels: Vector) -> float:
    """AUC of the column as the only score, among the rows with a value, whichever way it points; NaN if undefined."""
    found = _auc_alone(evidence, labels)
    return max(found, _auc_alone(evidence.stretches, labels)) if isinstance(evidence, Numbers) else found


def _auc_alone(evidence: Evidence, labels: Vector) -> float:
    scores = evidence.scores(labels, np.ones(len(labels), dtype=bool))
    found = auc(labels[evidence.is_filled], scores[evidence.is_filled])
    return _of_itself(found) if isinstance(evidence, Names) else max(found, 1 - found)


def _of_itself(found: float) -> float:
    """AUC in the rows that taught the scores: out of fold, worse than chance is nothing told.

    Where each id has a set number of positives (one click a request), a positive row leaves fewer to the others, so
    that their rate points away from it.
    """
    return found if found > 0.5 or np.isnan(found) else 0.5


@dataclass(frozen=True)
class Change:
    """AUC of a column in the earlier and the later rows, by what one of the halves teaches."""

    early: float
    late: float
    error: float
    """Standard error of their difference, were there none."""

    @property
    def size(self) -> float:
        """How far the two are apart."""
        return abs(self.early - self.late)


def change(evidence: Evidence, labels: Vector, is_late: Mask) -> Change:
    """The half that teaches more of itself than of the other one, among the rows with values that it knows well."""
    found = []
    for teacher, learns in enumerate((~is_late, is_late)):
        scores = evidence.scores(labels, learns, min_count=KNOWN)
        halves = [half & ~np.isnan(scores) for half in (~is_late, is_late)]
        aucs = [auc(labels[half], scores[half]) for half in halves]
        if isinstance(evidence, Names):
            aucs[teacher] = _of_itself(aucs[teacher])
        errors = [_error(labels[half]) for half in halves]
        found.append(Change(aucs[0], aucs[1], float(np.hypot(errors[0], errors[1]))))
    return max(found, key=lambda one: -1.0 if np.isnan(one.size) else one.size)


def _error(labels: Vector) -> float:
    """Standard error of the AUC of a score that tells nothing."""
    positives, negatives = float(labels.sum()), float((1 - labels).sum())
    return float(np.sqrt((len(labels) + 1) / (12 * positives * negatives))) if positives and negatives else np.nan


@dataclass(frozen=True)
class Sides:
    """Rows and positives where a column is filled, and where it is not."""

    filled: int
    filled_positives: int
    missing: int
    missing_positives: int

    @classmethod
    def of(cls, is_filled: Mask, labels: Vector) -> "Sides":
        """Count both sides."""
        filled, positives = int(is_filled.sum()), int(labels[is_filled].sum())
        return cls(filled, positives, len(labels) - filled, int(labels.sum()) - positives)

    @property
    def auc(self) -> float:
        """AUC of "is filled" as the only score, whichever way it points; NaN if undefined."""
        positives = self.filled_positives + self.missing_positives
        negatives = self.filled + self.missing - positives
        if not positives or not negatives:
            return np.nan
        apart = self.filled_positives / positives - (self.filled - self.filled_positives) / negatives
        return 0.5 + abs(apart) / 2
