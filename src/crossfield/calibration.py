"""Calibration: what a model's logits come to mean, fitted to labelled rows that it was not trained on."""

from collections.abc import Mapping
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from crossfield.config import Config
from crossfield.errors import ConfigError, DataError, nearest
from crossfield.metrics import Ids, Vector, probability

Method = Literal["platt", "isotonic"]
LEAST_OF_EACH_CLASS: dict[Method, int] = {"platt": 10, "isotonic": 100}
"""Rows that a method wants of either class; those of weight 0 do not count."""
_NEWTON_STEPS = 100
_RIDGE = 1e-12
"""Added to the curvature, as Lin, Lin and Weng do: it may vanish where every score is far out."""


class CalibrationConfig(Config):
    """The [calibration] section of a recipe."""

    method: Literal["none", "platt", "isotonic"] = "none"
    """What is fitted to the labels of the validation rows after training, so that scores are probabilities: platt
    stretches and shifts all logits alike (two numbers), isotonic bends them where it must (wants thousands of rows).
    Neither changes the order of scores. crossfield calibrate does it later, on other rows."""


class Platt(Config):
    """slope * logit + intercept (Platt, 1999)."""

    slope: float = Field(gt=0)
    intercept: float

    @classmethod
    def fit(cls, labels: Vector, logits: Vector, weights: Vector) -> Self:
        """The least log loss against smoothed labels, by Newton's method (Lin, Lin and Weng, 2007).

        A positive counts as (N+ + 1) / (N+ + 2) of one, a negative as 1 / (N- + 2), so that the slope stays finite
        where a score parts the classes. labels, logits, weights [n], these 1 on average. Raises DataError where no
        slope above 0 fits.
        """
        if logits.min() == logits.max():
            raise DataError(f"platt: all rows have the same score (logit {logits[0]:g}), so there is no slope to fit")
        positives, negatives = weights @ labels, weights @ (1 - labels)
        targets = np.where(labels > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
        start = np.array([0.0, np.log(positives + 1) - np.log(negatives + 1)])
        slope, intercept = _newton(np.column_stack([logits, np.ones_like(logits)]), targets, weights, start=start)
        if not slope > 0:
            raise DataError(
                f"platt: on these rows a higher score does not mean more positives (slope {slope:.3g}), so that "
                "calibrating would turn the order of scores around; is the label the one that was trained on?"
            )
        return cls(slope=slope, intercept=intercept)

    def __call__(self, logits: Vector) -> Vector:
        """Calibrated logits [n]."""
        return self.slope * logits + self.intercept

    def __str__(self) -> str:
        return f"slope {self.slope:.4g}, intercept {self.intercept:.4g}"


class Isotonic(Config):
    """The steps of isotonic regression joined by straight lines from logit to logit, so that no order is lost.

    As in centred isotonic regression (Oron and Flournoy, 2017) a step becomes one knot, at the mean logit of its rows.
    Beyond the first and the last knot their shifts go on.
    """

    knots: tuple[float, ...] = Field(min_length=1)
    values: tuple[float, ...] = Field(min_length=1)

    @classmethod
    def fit(cls, labels: Vector, logits: Vector, weights: Vector) -> Self:
        """Pool adjacent violators, then shift all values alike, so that as much is predicted as observed.

        A positive row joins at the lowest score and a negative one at the highest, so that no step is at 0 or 1.
        labels, logits, weights [n], these 1 on average.
        """
        scores, rows = np.unique(logits, return_inverse=True)
        mass, hits = (np.asarray(np.bincount(rows, one), np.float64) for one in (weights, weights * labels))
        mass[0], hits[0], mass[-1] = mass[0] + 1, hits[0] + 1, mass[-1] + 1
        steps = pool_violators(hits, mass)
        mass, hits, moments = (np.add.reduceat(one, steps) for one in (mass, hits, mass * scores))
        knots, values = moments / mass, np.log(hits) - np.log(mass - hits)
        joined = cls(knots=knots.tolist(), values=values.tolist())(logits)
        shift = _newton(np.ones((len(logits), 1)), labels, weights, start=np.zeros(1), offset=joined)
        return cls(knots=knots.tolist(), values=(values + shift).tolist())

    def __call__(self, logits: Vector) -> Vector:
        """Calibrated logits [n]."""
        beyond = logits - np.clip(logits, self.knots[0], self.knots[-1])
        calibrated: Vector = np.interp(logits, self.knots, self.values) + beyond
        return calibrated

    def __str__(self) -> str:
        return f"{len(self.knots):,} knots"


class Calibration(Config):
    """A fitted curve, and what it was fitted to."""

    method: Method
    curve: Platt | Isotonic
    num_rows: int
    files: dict[str, str]
    """File -> SHA-256 (hex) of the files of the rows; of frames, that of their rows."""

    @classmethod
    def fit(
        cls,
        method: Method,
        labels: ArrayLike,
        logits: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        files: Mapping[str, str] | None = None,
    ) -> Self:
        """Fit to labels [n] of 0 and 1 and logits [n] that are corrected for left-out negatives already.

        Raises DataError where there is nothing to fit to: too few rows, scores that are not finite, see ``Platt``.
        """
        check_rows(method, labels, weights)
        weight = np.ones(np.shape(labels)) if weights is None else np.asarray(weights, np.float64)
        kept = weight > 0
        label, logit, weight = np.asarray(labels, np.float64)[kept], np.asarray(logits, np.float64)[kept], weight[kept]
        if not np.isfinite(logit).all():
            raise DataError(f"{method}: {(~np.isfinite(logit)).sum():,} scores are not finite; the model has diverged")
        curve = Platt if method == "platt" else Isotonic
        fitted = curve.fit(label, logit, weight / weight.mean())
        return cls(method=method, curve=fitted, num_rows=len(label), files=dict(files or {}))

    def __call__(self, logits: Vector) -> Vector:
        """Calibrated logits [n] of corrected ones; the order of scores stays."""
        return self.curve(logits)

    def __str__(self) -> str:
        return f"{self.method} ({self.curve}), fitted to {self.num_rows:,} rows"


def check_rows(method: Method, labels: ArrayLike, weights: ArrayLike | None = None) -> None:
    """Raise DataError where labels [n] hold too few rows of either class for a method, ConfigError on no method."""
    if method not in LEAST_OF_EACH_CLASS:
        raise ConfigError(f"unknown calibration method {method!r}{nearest(method, LEAST_OF_EACH_CLASS)}")
    is_positive = np.asarray(labels) > 0
    counted = np.ones_like(is_positive) if weights is None else np.asarray(weights) > 0
    positives, negatives = int((is_positive & counted).sum()), int((~is_positive & counted).sum())
    least = LEAST_OF_EACH_CLASS[method]
    if min(positives, negatives) < least:
        other = "; platt wants 10" if method == "isotonic" else ""
        raise DataError(
            f"{method} is fitted to at least {least} positive and {least} negative rows, and there are {positives:,} "
            f"and {negatives:,}; give more validation rows, or leave the scores as they are{other}"
        )


def pool_violators(hits: Vector, mass: Vector) -> Ids:
    """Where the steps of the isotonic regression of hits / mass begin, by pooling adjacent violators: O(n).

    hits, mass [n], in the order of scores; a step has a higher rate than the one before it.
    """
    steps = np.arange(len(hits))
    while True:
        # PERF: neighbours that do not rise are pooled all at once while that leaves at most three quarters of them, so
        # that it stays O(n): 5 M rows take 0.7 s, one by one 7 s.
        first = np.flatnonzero(np.diff(hits / mass, prepend=-np.inf) > 0)
        if len(first) > 0.75 * len(steps):
            break
        hits, mass, steps = np.add.reduceat(hits, first), np.add.reduceat(mass, first), steps[first]
    pooled: list[tuple[int, float, float]] = []
    for step, hit, weight in zip(steps.tolist(), hits.tolist(), mass.tolist(), strict=True):
        while pooled and pooled[-1][1] * weight >= hit * pooled[-1][2]:
            step, hit, weight = pooled[-1][0], hit + pooled[-1][1], weight + pooled[-1][2]
            pooled.pop()
        pooled.append((step, hit, weight))
    return np.array([step for step, _, _ in pooled], np.int64)


def _newton(design: Vector, targets: Vector, weights: Vector, *, start: Vector, offset: Vector | float = 0.0) -> Vector:
    """Coefficients [k] for which offset + design @ coefficients has the least log loss against targets in 0..1.

    design [n, k]; targets, weights, offset [n]. A step that would raise the loss is halved.
    """

    def loss(coefficients: Vector) -> float:
        logits = offset + design @ coefficients
        return float(weights @ (np.logaddexp(0.0, logits) - targets * logits))

    found = start
    for _ in range(_NEWTON_STEPS):
        p = probability(offset + design @ found)
        gradient = design.T @ (weights * (p - targets))
        curvature = (design * (weights * p * (1 - p))[:, None]).T @ design
        step = np.linalg.solve(curvature + _RIDGE * np.eye(len(found)), gradient)
        promise = gradient @ step  # twice what the step would bring, in nats of all rows together
        while promise > 1e-6 and loss(found - step) > loss(found):
            step = step / 2
        found = found - step
        if promise < 1e-16:
            break
    return found
