"""Click and ranking metrics on logits, in float64: pure functions of arrays, exact under ties.

What is undefined (one class only, nobody, no rows, a NaN score) is NaN; nothing here raises or warns over data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import lgamma
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossfield.errors import ConfigError

Vector = NDArray[np.float64]
Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]
Statistic = Callable[[Vector], float]
"""What row weights [n] make of fixed rows: one number."""
Ties = Literal["expected", "best"]
"""What a rank among equal scores is: the mean over all their orders, or the best of them (old papers)."""
MAX_COMPARED = 1 << 17
"""Scores that are compared with a target's at a time.

PERF: half the time of 1 << 22, whose intermediate arrays leave the cache: 5.5 and 10.5 us a target of 3,706 candidates.
"""


def _vector(values: ArrayLike) -> Vector:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _starts(*sorted_columns: NDArray[Any]) -> Ids:
    """Where a new run of equal values begins."""
    is_new = np.zeros(len(sorted_columns[0]), dtype=bool)
    is_new[:1] = True
    for column in sorted_columns:
        is_new[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(is_new)


def _sums(values: NDArray[Any], starts: Ids) -> Vector:
    """Sum of each run."""
    sums: Vector = values if len(starts) == len(values) else np.add.reduceat(values, starts)
    return sums


def weighted_mean(values: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean of values [n] under weights [n]; NaN where there is no weight."""
    values = _vector(values)
    if weights is None:
        return float(values.mean()) if len(values) else np.nan
    weights = _vector(weights)
    total = weights.sum()
    with np.errstate(invalid="ignore"):  # an infinite loss of weight 0: NaN, quietly
        return float((values * weights).sum() / total) if total > 0 else np.nan


def _softplus(values: Vector) -> Vector:
    """ln(1 + exp(value)), without overflow."""
    with np.errstate(invalid="ignore"):  # NaN stays NaN, quietly
        return np.logaddexp(0.0, values)


def probability(logits: ArrayLike) -> Vector:
    """1 / (1 + exp(-logit)), without overflow."""
    return np.exp(-_softplus(-_vector(logits)))


# Order: AUC and GAUC


class ScoreOrder:
    """Rows sorted once by score (inside their group), so that AUC under any row weights takes no further sort.

    labels [n] of 0 and 1, logits [n], groups [n] integers.
    """

    def __init__(self, labels: ArrayLike, logits: ArrayLike, groups: ArrayLike | None = None) -> None:
        scores = _vector(logits)
        owners = np.zeros(len(scores), np.int64) if groups is None else np.asarray(groups)
        self.rows = np.argsort(scores) if groups is None else np.lexsort((scores, owners))
        self.has_nan = bool(np.isnan(scores).any())
        owners = owners[self.rows]
        self.runs, owner_starts = _starts(owners, scores[self.rows]), _starts(owners)
        self.first_runs = np.searchsorted(self.runs, owner_starts)
        self.labels = _vector(labels)[self.rows]

    def auc(self, weights: ArrayLike | None = None) -> float:
        """Mean of the groups' AUCs, each weighted by its rows, over the groups with both classes."""
        if self.has_nan:
            return np.nan
        weight = np.ones(len(self.rows)) if weights is None else _vector(weights)[self.rows]
        hits = weight * self.labels
        positives, negatives = _sums(hits, self.runs), _sums(weight - hits, self.runs)
        below = np.cumsum(negatives) - negatives
        runs_per_group = np.diff(self.first_runs, append=len(self.runs))
        below -= np.repeat(below[self.first_runs], runs_per_group)
        wins = _sums(positives * (below + negatives / 2), self.first_runs)
        num_positives, num_negatives = _sums(positives, self.first_runs), _sums(negatives, self.first_runs)
        both = (num_positives > 0) & (num_negatives > 0)
        pairs = (num_positives * num_negatives)[both]
        return weighted_mean(wins[both] / pairs, (num_positives + num_negatives)[both])


def auc(labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None) -> float:
    """P(a positive scores above a negative) + P(they score the same) / 2: the Mann-Whitney U with mid-ranks."""
    if weights is not None:
        return ScoreOrder(labels, logits).auc(weights)
    # PERF: two plain sorts instead of an order take 1.1 s for 10 M rows on one core, ScoreOrder 4.5 s.
    scores, is_positive = _vector(logits), _vector(labels) > 0
    positives, negatives = np.sort(scores[is_positive]), np.sort(scores[~is_positive])
    num_pairs = len(positives) * len(negatives)
    if not num_pairs or np.isnan([positives[-1], negatives[-1]]).any():
        return np.nan
    below, not_above = (np.searchsorted(negatives, positives, side).sum() for side in ("left", "right"))
    return float((below + not_above) / 2 / num_pairs)


def gauc(labels: ArrayLike, logits: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None) -> float:
    """AUC inside each group (user), averaged with the group's impressions as weight (Zhou et al., KDD 2018).

    Groups with one class only count neither above nor below the line.
    """
    return ScoreOrder(labels, logits, groups).auc(weights)


# Probabilities: log loss, NE, calibration


def entropy(rate: float) -> float:
    """Log loss, in nats, of the best constant where ``rate`` of the rows are positives."""
    if not 0 < rate < 1:
        return np.nan
    return float(-rate * np.log(rate) - (1 - rate) * np.log1p(-rate))


class ScoredRows:
    """Rows whose losses and probabilities are computed once, for log loss, NE and calibration under any row weights.

    labels [n] of 0 and 1, logits [n].
    """

    def __init__(self, labels: ArrayLike, logits: ArrayLike) -> None:
        self.labels, self.logits = _vector(labels), _vector(logits)

    @cached_property
    def losses(self) -> Vector:
        """Log loss of each row in nats, [n], from the logit: no probability is ever clipped."""
        return _softplus((1 - 2 * self.labels) * self.logits)

    @cached_property
    def probabilities(self) -> Vector:
        """Probability of each row, [n]."""
        return probability(self.logits)

    def log_loss(self, weights: ArrayLike | None = None) -> float:
        """Mean loss."""
        return weighted_mean(self.losses, weights)

    def normalized_entropy(self, weights: ArrayLike | None = None, *, base_rate: float | None = None) -> float:
        """Mean loss over the entropy of the base rate, the weighted rows' own unless given."""
        rate = weighted_mean(self.labels, weights) if base_rate is None else base_rate
        return self.log_loss(weights) / entropy(rate)

    def calibration_ratio(self, weights: ArrayLike | None = None) -> float:
        """Predicted over observed positives."""
        observed = weighted_mean(self.labels, weights)
        return weighted_mean(self.probabilities, weights) / observed if observed > 0 else np.nan


def log_loss(labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean of -y ln p - (1 - y) ln(1 - p), in nats."""
    return ScoredRows(labels, logits).log_loss(weights)


def normalized_entropy(
    labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None, *, base_rate: float | None = None
) -> float:
    """Log loss over the entropy of the base rate (He et al., ADKDD 2014); 1 is what the rate alone achieves.

    The base rate is the evaluated rows' own, weighted, unless another is given. Say which: it moves NE by percents.
    """
    return ScoredRows(labels, logits).normalized_entropy(weights, base_rate=base_rate)


def calibration_ratio(labels: ArrayLike, logits: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Predicted over observed positives; 1 is right, above 1 promises too much."""
    return ScoredRows(labels, logits).calibration_ratio(weights)


@dataclass(frozen=True)
class Reliability:
    """Bins of rows by predicted probability, lowest first; a bin without weight is left out.

    num_rows [bins] int64, weight [bins], predicted [bins] mean probability, observed [bins] rate of positives, low and
    high [bins] the ends of its 95% interval (``wilson_interval``; of rows with weights, as many as weigh the same).
    """

    num_rows: Ids
    weight: Vector
    predicted: Vector
    observed: Vector
    low: Vector
    high: Vector

    @property
    def error(self) -> float:
        """Mean distance between predicted and observed rate, bins weighted by their rows."""
        return weighted_mean(np.abs(self.predicted - self.observed), self.weight)


def reliability(
    labels: ArrayLike,
    logits: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    bins: int = 15,
    binning: Literal["mass", "width"] = "mass",
) -> Reliability:
    """What was predicted and what happened, in bins of equal mass (rows of equal score stay together) or width."""
    labels, predicted = _vector(labels), probability(logits)
    weight = np.ones(len(labels)) if weights is None else _vector(weights)
    if binning == "mass":
        bin_ids = _equal_mass_bins(_vector(logits), weight, bins)
    else:
        bin_ids = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], predicted)
    num_rows = np.bincount(bin_ids, minlength=bins)
    kept = np.bincount(bin_ids, weight, minlength=bins) > 0
    mass, hits, sums, squares = (
        _vector(np.bincount(bin_ids, one, minlength=bins)[kept])
        for one in (weight, weight * labels, weight * predicted, weight**2)
    )
    low, high = wilson_interval(hits / mass, mass**2 / squares)
    return Reliability(num_rows[kept], mass, sums / mass, hits / mass, low, high)


def _equal_mass_bins(scores: Vector, weight: Vector, bins: int) -> Ids:
    order = np.argsort(scores)
    starts = _starts(scores[order])
    run_mass = _sums(weight[order], starts)
    middles = np.cumsum(run_mass) - run_mass / 2
    total = run_mass.sum()
    run_bins = np.minimum(middles / total * bins if total > 0 else middles, bins - 1).astype(np.int64)
    bin_ids = np.empty(len(scores), np.int64)
    bin_ids[order] = np.repeat(run_bins, np.diff(starts, append=len(scores)))
    return bin_ids


def expected_calibration_error(
    labels: ArrayLike,
    logits: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    bins: int = 15,
    binning: Literal["mass", "width"] = "mass",
) -> float:
    """Mean distance between predicted and observed rate over the bins of ``reliability``, weighted by their rows.

    Noise alone makes it positive, the more so the fewer rows a bin has.
    """
    return reliability(labels, logits, weights, bins=bins, binning=binning).error


# Ranked lists: hit rate, recall, NDCG, MRR


@dataclass(frozen=True)
class Ranks:
    """Where the targets stand in their lists of candidates.

    better [n]: candidates with a higher score; tied [n]: other candidates with the same score; both float64, NaN
    where the list holds a NaN score, ``better`` infinite for a target that is no candidate. lists [n] int64:
    which list a target belongs to; every list 0, 1, … has at least one.

    Metrics over it give one value per list: the exact expectation over all orders of the tied candidates.
    """

    better: Vector
    tied: Vector
    lists: Ids

    @property
    def num_targets(self) -> Ids:
        """Targets of each list, [lists] int64."""
        return np.bincount(self.lists)

    @property
    def _first(self) -> tuple[Vector, Vector, Ids]:
        """Of each list's first tied run with a target in it: (better, candidates in the run, targets in the run)."""
        better = np.full(len(self.num_targets), np.inf)
        with np.errstate(invalid="ignore"):  # NaN stays NaN, quietly
            np.minimum.at(better, self.lists, self.better)
        is_first = ~((self.better > better[self.lists]) | np.isinf(self.better))
        size = np.ones(len(better))
        size[self.lists[is_first]] = self.tied[is_first] + 1
        return better, size, np.bincount(self.lists[is_first], minlength=len(better))


def rank_targets(scores: NDArray[Any], candidates: Mask, lists: Ids, columns: Ids) -> Ranks:
    """Rank targets among the candidates of their lists, other targets of the list included.

    scores [lists, columns]; candidates [lists, columns] says which entries take part; target t is the entry
    (lists[t], columns[t]) and must be a candidate.
    """
    better, tied = np.empty(len(lists)), np.empty(len(lists))
    step = max(1, MAX_COMPARED // max(scores.shape[1], 1))
    for start in range(0, len(lists), step):
        part = slice(start, start + step)
        own = scores[lists[part], columns[part], None]
        others, taking_part = scores[lists[part]], candidates[lists[part]]
        better[part] = ((others > own) & taking_part).sum(1)
        tied[part] = ((others == own) & taking_part).sum(1) - 1
    unknown = (np.isnan(scores) & candidates).any(1)[lists]
    better[unknown] = tied[unknown] = np.nan
    return Ranks(better, tied, np.asarray(lists, np.int64))


def rank_among_negatives(
    targets: ArrayLike, negatives: ArrayLike, *, counted: Mask | None = None, ties: Ties = "expected"
) -> Ranks:
    """Rank targets [n], each against its own negatives [n, m]; ``counted`` [n, m] leaves some of those out."""
    scores = np.column_stack([np.asarray(targets), np.asarray(negatives)])
    candidates = np.ones(scores.shape, dtype=bool)
    if counted is not None:
        candidates[:, 1:] = counted
    ranks = rank_targets(scores, candidates, np.arange(len(scores)), np.zeros(len(scores), np.int64))
    return ranks if ties == "expected" else Ranks(ranks.better, np.minimum(ranks.tied, 0.0), ranks.lists)


def hit_rate(ranks: Ranks, k: int) -> Vector:
    """HR@K of each list: the probability that at least one target is among the first K."""
    better, size, num_targets = ranks._first
    inside = np.clip(k - better, 0, size)
    miss = np.ones(len(better))
    for drawn in range(num_targets.max(initial=0)):
        factor = np.clip(size - inside - drawn, 0, None) / np.maximum(size - drawn, 1)
        miss = np.where(drawn < num_targets, miss * factor, miss)
    return 1 - miss


def recall(ranks: Ranks, k: int) -> Vector:
    """Recall@K of each list: the share of its targets among the first K."""
    size = ranks.tied + 1
    inside = np.clip(k - ranks.better, 0, size) / size
    return np.bincount(ranks.lists, inside) / ranks.num_targets


def ndcg(ranks: Ranks, k: int) -> Vector:
    """NDCG@K of each list: sum of 1 / log2(rank + 1) over its targets, over that of the best order."""
    totals = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    size = ranks.tied + 1
    first, last = (np.fmin(k, one).astype(np.int64) for one in (ranks.better, ranks.better + size))
    gains = np.where(np.isnan(ranks.better), np.nan, (totals[last] - totals[first]) / size)
    ideal: Vector = totals[np.minimum(ranks.num_targets, k)]
    return np.bincount(ranks.lists, gains) / ideal


def reciprocal_rank(ranks: Ranks) -> Vector:
    """1 / rank of the first target of each list; its mean is MRR."""
    better, size, num_targets = ranks._first
    values = 1 / (better + 1)
    tied = np.flatnonzero(size > 1)
    cases, which = np.unique(np.column_stack([better, size, num_targets])[tied], axis=0, return_inverse=True)
    expected = [_expected_reciprocal(*(int(one) for one in case)) for case in cases]
    values[tied] = np.array(expected, dtype=np.float64)[which.reshape(-1)]
    return values


def _expected_reciprocal(better: int, size: int, num_targets: int) -> float:
    """E[1 / (better + X)], X the first of ``num_targets`` places drawn from ``size``.

    P(X = 1) = num_targets / size, and P(X = x + 1) = P(X = x) (size - x - num_targets + 1) / (size - x).
    """
    x = np.arange(1, size - num_targets + 1)
    chances = np.cumprod(np.concatenate([[num_targets / size], (size - x - num_targets + 1) / (size - x)]))
    return float((chances / (better + 1 + np.arange(len(chances)))).sum())


# Intervals


def wilson_interval(rates: ArrayLike, num_rows: ArrayLike) -> tuple[Vector, Vector]:
    """95% intervals of rates [n] of independent rows, so many each [n]: Wilson's, good at 0 and 1 too."""
    rates, n, z = _vector(rates), _vector(num_rows), 1.959964
    middle = (rates + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rates * (1 - rates) / n + (z / (2 * n)) ** 2)
    return np.clip(middle - half, 0.0, rates), np.clip(middle + half, rates, 1.0)  # it holds its rate, rounded or not


def student_t(level: float, degrees: float) -> float:
    """What Student's t of so many degrees of freedom, 1 or more and whole or not, exceeds on neither side at ``level``.

    With t = sqrt(degrees) tan a, the share inside is the integral of cos(a) ** (degrees - 1), which rises with a.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    whole = np.sqrt(np.pi) * np.exp(lgamma(degrees / 2) - lgamma((degrees + 1) / 2)) / 2
    low, high = 0.0, min(np.pi / 2, 40 / np.sqrt(degrees))  # of many degrees all lies near 0, where nodes must be
    for _ in range(60):
        angle = (low + high) / 2
        inside = angle / 2 * (weights * np.cos(angle * (nodes + 1) / 2) ** (degrees - 1)).sum()
        low, high = (angle, high) if inside < level * whole else (low, angle)
    return float(np.sqrt(degrees) * np.tan(low))


def bootstrap(
    statistic: Statistic,
    num_rows: int,
    *,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    samples: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a statistic of row weights [num_rows], over rows, or whole groups, drawn again.

    A drawn row keeps its own weight times the number of its draws, so nothing is copied or sorted again
    (``ScoreOrder.auc`` is such a statistic). The draws depend on the seed and the groups alone: two statistics of the
    same rows get the same ones, so their difference may be taken inside one statistic for a paired interval. Draws on
    which the statistic is NaN are left out; fewer than two groups say nothing: (NaN, NaN).

    Raises ConfigError where ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ConfigError(f"the level of an interval is {level}; it must be between 0 and 1, such as 0.95")
    owners = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    num_groups = num_rows if owners is None else int(owners.max(initial=-1)) + 1
    if num_groups < 2:
        return np.nan, np.nan
    random = np.random.default_rng(seed)
    base = np.ones(num_rows) if weights is None else _vector(weights)
    values = np.empty(samples)
    for sample in range(samples):
        drawn = np.bincount(random.integers(num_groups, size=num_groups), minlength=num_groups)
        values[sample] = statistic(base * (drawn if owners is None else drawn[owners]))
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
