"""Predict over batches, report click metrics by slice, rank candidates or the whole catalogue, recommend."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from crossfield import metrics
from crossfield.batch import Batch
from crossfield.data.vocabulary import FIRST, MISSING
from crossfield.errors import ConfigError, DataError
from crossfield.metrics import Ids, Mask, Ranks, Statistic, Ties, Vector, weighted_mean
from crossfield.models.base import Model
from crossfield.scoring import PairSource, device_of, evaluation_mode, logits_of, scorer_of

RARE_BELOW = 10
"""An id with fewer training rows than this is rare."""


@dataclass(frozen=True)
class Predictions:
    """Scores of rows and what belongs to them: all [n], in the order of the batches; None where batches had none."""

    logits: Vector
    labels: Vector | None = None
    weights: Vector | None = None
    groups: Ids | None = None
    rows: Ids | None = None


def predict(model: Model, batches: Iterable[Batch], *, device: torch.device | str | None = None) -> Predictions:
    """Score batches in fp32 without gradients, on the model's own device unless one is named.

    The model is in evaluation mode meanwhile; each of its modules gets its mode back, after an error too. Of a
    model with several tasks it is the first.
    """
    names = ("logits", "labels", "weights", "groups", "rows")
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    target = torch.device(device) if device is not None else device_of(model)
    with evaluation_mode(model):
        for batch in batches:
            parts["logits"].append(logits_of(model, batch.to(target)))
            for name, value in _row_values(batch).items():
                parts[name].append(value)
    joined = {name: torch.cat(some).numpy(force=True) for name, some in parts.items() if some}
    floats = {name: joined[name].astype(np.float64) for name in names[:3] if name in joined}
    whole = {name: joined[name] for name in names[3:] if name in joined}
    return Predictions(**{"logits": np.empty(0), **floats, **whole})


def _row_values(batch: Batch) -> dict[str, Tensor]:
    labels = None if batch.labels is None else batch.labels[:, 0]
    values = {"labels": labels, "weights": batch.weights, "groups": batch.groups, "rows": batch.rows}
    return {name: value for name, value in values.items() if value is not None}


# Clicks


def click_report(
    predictions: Predictions,
    *,
    slices: Mapping[str, Mask] | None = None,
    train_rate: float | None = None,
    intervals: bool = True,
) -> dict[str, Any]:
    """Click metrics of labelled predictions, and of every slice of them, ready for JSON (undefined is None).

    ``gauc`` is there where rows have users. NE divides by the entropy of ``ne_base_rate``, the positives' rate of the
    very rows it is about; ``train_rate`` stands beside it for comparison. ``calibration`` is predicted over observed
    positives; ``ece`` is the mean gap of the bins under ``reliability``. ``intervals`` holds 95% bootstrap intervals,
    over users where there are users; ECE has none, since drawing rows again raises it.

    Raises DataError where the predictions have no labels.
    """
    report = _click_metrics(predictions, intervals)
    report["train_rate"] = train_rate
    if slices:
        report["slices"] = {
            name: _click_metrics(_select(predictions, mask), intervals) for name, mask in slices.items()
        }
    return report


def _select(predictions: Predictions, mask: Mask) -> Predictions:
    return Predictions(**{name: value[mask] for name, value in vars(predictions).items() if value is not None})


def _labels(predictions: Predictions) -> Vector:
    if predictions.labels is None:
        raise DataError("these rows have no labels, so there is nothing to compare with; name the label column")
    return predictions.labels


def _click_metrics(predictions: Predictions, intervals: bool) -> dict[str, Any]:
    labels, weights = _labels(predictions), predictions.weights
    full = np.ones(len(labels)) if weights is None else weights
    rate = _plain(weighted_mean(labels, full))
    statistics = _click_statistics(predictions)
    report: dict[str, Any] = {"n": len(labels), "positives": int((labels > 0).sum()), "rate": rate}
    report.update({name: _plain(statistic(full)) for name, statistic in statistics.items()})
    report["ne_base_rate"] = rate
    bins = metrics.reliability(labels, predictions.logits, full)
    report["ece"] = _plain(bins.error)
    rates = {name: [_plain(one) for one in getattr(bins, name)] for name in ("predicted", "observed", "low", "high")}
    report["reliability"] = {"num_rows": bins.num_rows.tolist(), **rates}
    if intervals:
        groups = np.zeros(len(labels), np.int64) if predictions.groups is None else predictions.groups
        report["intervals"] = _intervals(statistics, _owners(groups, groups == 0), weights)
    return report


def _click_statistics(predictions: Predictions) -> dict[str, Statistic]:
    """Metrics as functions of row weights: sorting, losses and probabilities are done once for all draws."""
    labels, logits, groups = _labels(predictions), predictions.logits, predictions.groups
    rows = metrics.ScoredRows(labels, logits)
    of_users: dict[str, Statistic] = {}
    if groups is not None and groups.any():
        order, has_user = metrics.ScoreOrder(labels, logits, groups), groups != 0
        of_users["gauc"] = lambda weights: order.auc(weights * has_user)
    return {
        "auc": metrics.ScoreOrder(labels, logits).auc,
        **of_users,
        "log_loss": rows.log_loss,
        "ne": rows.normalized_entropy,
        "calibration": rows.calibration_ratio,
    }


def _owners(groups: Ids, is_nobody: Mask) -> Ids:
    """Who is drawn again as a whole: the user, or the row itself where it has none or nobody in particular."""
    owners = np.unique(groups, return_inverse=True)[1] + len(groups)
    return np.where(is_nobody, np.arange(len(groups)), owners)


def _intervals(
    statistics: Mapping[str, Statistic], owners: Ids, weights: Vector | None = None
) -> dict[str, list[float | None]]:
    drawn = {
        name: metrics.bootstrap(statistic, len(owners), groups=owners, weights=weights)
        for name, statistic in statistics.items()
    }
    return {name: [_plain(low), _plain(high)] for name, (low, high) in drawn.items()}


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def id_slices(role: str, ids: ArrayLike, train_counts: ArrayLike) -> dict[str, Mask]:
    """Masks [n] of rows by how well their user or item is known: ``role:seen``, ``role:rare`` and ``role:new``.

    ids [n] encoded; train_counts [table rows] training rows of each id. New is an unseen id, also by having too few
    training rows for ``encoder.min_count``; rare is one of fewer than 10. Every row is in exactly one; rows without an
    id, where there are any, are ``role:missing``.
    """
    ids, counts = np.asarray(ids), np.asarray(train_counts)
    is_missing = ids == MISSING
    is_new = ~is_missing & ((ids < FIRST) | (counts[ids] == 0))
    is_rare = ~is_missing & ~is_new & (counts[ids] < RARE_BELOW)
    masks = {"seen": ~(is_missing | is_new | is_rare), "rare": is_rare, "new": is_new}
    if is_missing.any():
        masks["missing"] = is_missing
    return {f"{role}:{name}": mask for name, mask in masks.items()}


# Ranked lists


def rank_candidates(
    model: Model,
    entities: PairSource,
    users: ArrayLike,
    positives: ArrayLike,
    negatives: ArrayLike,
    *,
    ks: Sequence[int] = (10,),
    ties: Ties = "expected",
    merge_duplicates: bool = False,
    counts: Mapping[str, ArrayLike] | None = None,
    intervals: bool = True,
) -> dict[str, Any]:
    """Rank each held-out item among its negatives: HR@K, NDCG@K, MRR with intervals over users, ready for JSON.

    users [n], positives [n], negatives [n, m], encoded ids; counts: role -> training rows of each id, for slices as in
    ``id_slices``. A negative that is the held-out item itself does not compete with itself: it is left out and counted
    in ``self_negatives``. A negative that was drawn twice counts twice, unless ``merge_duplicates``. ``ties="best"``
    gives the target the best rank among equal scores, as old papers did; a constant scorer then has HR@K = 1.
    """
    users, positives, negatives = (np.asarray(one, np.int64) for one in (users, positives, negatives))
    _check_cutoffs(ks)
    # Different items may share the unseen id: they tie, but they are not the same.
    is_self = (negatives == positives[:, None]) & (negatives >= FIRST)
    counted = ~is_self & (_is_first(negatives) | (negatives < FIRST)) if merge_duplicates else ~is_self
    items = np.column_stack([positives, negatives])
    scores = _orderly(scorer_of(model, entities).lists(users, items))
    ranks = metrics.rank_among_negatives(scores[:, 0], scores[:, 1:], counted=counted, ties=ties)
    return {
        "n": len(users),
        "candidates": _plain(weighted_mean(counted.sum(1) + 1)),
        "ties": ties,
        "merge_duplicates": merge_duplicates,
        "self_negatives": int(is_self.sum()),
        **_rank_metrics(ranks, users, ks, single=True, intervals=intervals),
        **_rank_slices(ranks, users, positives, ks, counts=counts, single=True, intervals=intervals),
    }


def _is_first(items: Ids) -> Mask:
    """Whether an entry [n, m] is the first of its value in its row."""
    order = np.argsort(items, axis=1, kind="stable")
    ordered = np.take_along_axis(items, order, axis=1)
    is_new = np.ones(items.shape, dtype=bool)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    is_first = np.empty(items.shape, dtype=bool)
    np.put_along_axis(is_first, order, is_new, axis=1)
    return is_first


def _check_cutoffs(ks: Sequence[int]) -> None:
    if not ks or min(ks) < 1:
        raise ConfigError(f"cut-offs are {list(ks)}; give at least one, each 1 or more, such as 10")


def _rank_metrics(ranks: Ranks, users: Ids, ks: Sequence[int], *, single: bool, intervals: bool) -> dict[str, Any]:
    """Means over lists, and their intervals; with one target per list recall is the hit rate and left out."""
    families = {"hr": metrics.hit_rate, "ndcg": metrics.ndcg} | ({} if single else {"recall": metrics.recall})
    values = {f"{name}@{k}": family(ranks, k) for name, family in families.items() for k in ks}
    values["mrr"] = metrics.reciprocal_rank(ranks)
    means = {name: _mean_of(one) for name, one in values.items()}
    report: dict[str, Any] = {name: _plain(mean(np.ones(len(users)))) for name, mean in means.items()}
    if intervals:
        report["intervals"] = _intervals(means, _owners(users, users < FIRST))
    return report


def _rank_slices(
    ranks: Ranks,
    users: Ids,
    items: Ids,
    ks: Sequence[int],
    *,
    counts: Mapping[str, ArrayLike] | None,
    single: bool,
    intervals: bool,
) -> dict[str, Any]:
    """The metrics by how well the user [lists] and the item [targets] are known, of those targets alone."""
    if counts is None:
        return {}
    slices = {}
    for role, ids in (("user", users[ranks.lists]), ("item", items)):
        for name, mask in id_slices(role, ids, counts[role]).items():
            kept, lists = np.unique(ranks.lists[mask], return_inverse=True)
            some = Ranks(ranks.better[mask], ranks.tied[mask], lists)
            sizes = {"n": len(kept)} if single else {"n": len(kept), "targets": int(mask.sum())}
            slices[name] = {**sizes, **_rank_metrics(some, users[kept], ks, single=single, intervals=intervals)}
    return {"slices": slices}


def _mean_of(values: Vector) -> Statistic:
    return lambda weights: weighted_mean(values, weights)


def rank_catalogue(
    model: Model,
    entities: PairSource,
    targets: Mapping[int, ArrayLike],
    *,
    ks: Sequence[int] = (10,),
    block: int = 1 << 20,
    counts: Mapping[str, ArrayLike] | None = None,
    intervals: bool = True,
) -> dict[str, Any]:
    """Rank every item a user has not met in training: HR@K, Recall@K, NDCG@K, MRR, intervals, ready for JSON.

    targets: user id -> held-out item ids, encoded; counts: as for ``rank_candidates``. Users that training did not see
    share one id and cannot be told apart: their targets are left out and counted in ``new_user_targets``, as often as
    they are named. A target that its user met in training is no candidate: it is left out too and counted, once, in
    ``seen_targets``. A target that training did not see cannot be found: it counts as missed, and in ``new_targets``.
    ``n`` users are left; ``block`` scores are held at a time.
    """
    _check_cutoffs(ks)
    all_users, all_lists, all_items = _flatten(targets)
    is_unmet = ~entities.has_seen(all_users[all_lists], all_items)
    kept, lists = np.unique(all_lists[is_unmet], return_inverse=True)
    users, items = all_users[kept], all_items[is_unmet]
    ranks, num_candidates = _rank_in_catalogue(model, entities, users, lists, items, block=block)
    return {
        "n": len(users),
        "targets": len(items),
        "candidates": _plain(weighted_mean(num_candidates)),
        "ties": "expected",
        "seen_targets": len(all_items) - len(items),
        "new_targets": int(np.isinf(ranks.better).sum()),
        "new_user_targets": sum(np.size(items) for user, items in targets.items() if user < FIRST),
        **_rank_metrics(ranks, users, ks, single=False, intervals=intervals),
        **_rank_slices(ranks, users, items, ks, counts=counts, single=False, intervals=intervals),
    }


def by_user(users: ArrayLike, items: ArrayLike) -> dict[int, Ids]:
    """Targets for ``rank_catalogue`` from pairs, users [n] and items [n]: user -> items, in the order they come in."""
    pairs = pl.DataFrame({"user": np.asarray(users, np.int64), "item": np.asarray(items, np.int64)})
    grouped = pairs.group_by("user", maintain_order=True).agg("item")
    return {user: some.to_numpy() for user, some in zip(grouped["user"], grouped["item"], strict=True)}


def _flatten(targets: Mapping[int, ArrayLike]) -> tuple[Ids, Ids, Ids]:
    """Known users [n] and their targets as lists [t] (places in users, rising) and items [t] (rising in a list).

    A user's item is there once, but items that share the unseen id are several.
    """
    wanted = {user: np.asarray(items, np.int64).reshape(-1) for user, items in targets.items() if user >= FIRST}
    users = np.fromiter(wanted, np.int64, len(wanted))
    lists = np.repeat(np.arange(len(users)), [len(items) for items in wanted.values()])
    items = np.concatenate([np.empty(0, np.int64), *wanted.values()])
    order = np.lexsort((items, lists))
    lists, items = lists[order], items[order]
    is_again = np.zeros(len(items), dtype=bool)
    is_again[1:] = (lists[1:] == lists[:-1]) & (items[1:] == items[:-1]) & (items[1:] >= FIRST)
    return users, lists[~is_again], items[~is_again]


def _rank_in_catalogue(
    model: Model, entities: PairSource, users: Ids, lists: Ids, items: Ids, *, block: int
) -> tuple[Ranks, Vector]:
    """Ranks of the targets (user ``lists[t]``, item ``items[t]``), infinite for new items; candidates of each user."""
    columns, is_known = _columns(entities.items, items)
    better, tied, num_candidates = np.full(len(items), np.inf), np.zeros(len(items)), np.zeros(len(users))
    for part, block_scores in _catalogue_blocks(model, entities, users, block=block):
        scores = _orderly(block_scores)
        candidates = scores != -np.inf
        num_candidates[part] = np.count_nonzero(candidates, axis=1)
        mine = np.flatnonzero((lists >= part.start) & (lists < part.stop) & is_known)
        ranks = metrics.rank_targets(scores, candidates, lists[mine] - part.start, columns[mine])
        better[mine], tied[mine] = ranks.better, ranks.tied
    return Ranks(better, tied, lists), num_candidates


def _orderly(scores: Tensor) -> NDArray[Any]:
    """Scores on the host, NaN where they overflow: whether a sum of such terms is NaN or infinite is up to the CPU."""
    found: NDArray[Any] = scores.cpu().numpy()
    return np.where(found == np.inf, np.nan, found)


def _columns(catalogue: NDArray[Any], items: NDArray[Any]) -> tuple[Ids, Mask]:
    """Places of items in the catalogue, and whether they stand there at all."""
    places = np.searchsorted(catalogue, items)
    return places, np.append(catalogue, -1)[places] == items


def _catalogue_blocks(
    model: Model, entities: PairSource, users: Ids, *, block: int, filter_seen: bool = True
) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of users: which, and their logits of all items [users, items], -inf where the user met the item."""
    catalogue, scorer = entities.items, scorer_of(model, entities)
    step = max(1, block // max(len(catalogue), 1))
    for start in range(0, len(users), step):
        part = slice(start, min(start + step, len(users)))
        scores = scorer.catalogue(users[part])
        if filter_seen:
            rows, items = entities.seen_pairs(users[part])
            columns, is_known = _columns(catalogue, items)
            met = torch.from_numpy(rows[is_known] * len(catalogue) + columns[is_known])
            scores.view(-1).index_fill_(0, met.to(scores.device), -torch.inf)
        yield part, scores


def recommend(
    model: Model,
    entities: PairSource,
    user_ids: ArrayLike,
    k: int,
    *,
    filter_seen: bool = True,
    block: int = 1 << 20,
) -> tuple[Ids, NDArray[np.float32]]:
    """The best k items of each user, best first: item ids [n, k] and their logits [n, k].

    Items met in training are left out unless told otherwise; equal scores stand in the order of their ids, more
    frequent items first. Where fewer than k items are left, the rest is id 0 with a score of -inf.
    """
    _check_cutoffs([k])
    users = np.asarray(user_ids, np.int64).reshape(-1)
    items, best = np.zeros((len(users), k), np.int64), np.full((len(users), k), -np.inf, np.float32)
    for part, scores in _catalogue_blocks(model, entities, users, block=block, filter_seen=filter_seen):
        columns, values = _top_of_each(scores, k)
        is_item = values > -np.inf
        items[part, : columns.shape[1]][is_item] = entities.items[columns[is_item]]
        best[part, : columns.shape[1]][is_item] = values[is_item]
    return items, best


def _top_of_each(scores: Tensor, k: int) -> tuple[Ids, NDArray[np.float32]]:
    """Columns and scores of the k highest of each row, best first, equal scores by column; -inf is no candidate."""
    found = scores.topk(min(k + 1, scores.shape[1]))
    best, columns = found.values.cpu().numpy(), found.indices.cpu().numpy()
    # Where the k + 1 best fall strictly there is one order of them; among equal scores topk's depends on luck.
    for row in np.flatnonzero(~(best[:, :-1] > best[:, 1:]).all(1)):
        one = scores[row].cpu().numpy()
        mine = _top(one, k)
        best[row], columns[row] = -np.inf, 0
        best[row, : len(mine)], columns[row, : len(mine)] = one[mine], mine
    return columns[:, :k], best[:, :k]


def _top(scores: NDArray[np.float32], k: int) -> Ids:
    """Columns of the k highest candidates, best first, equal scores by column."""
    columns = np.flatnonzero(scores != -np.inf)
    values = scores[columns]
    if len(columns) > k:
        # Everything that may tie with the k-th stays in, so that the order of equal scores never depends on luck.
        near = values >= np.partition(values, len(values) - k)[len(values) - k]
        columns, values = columns[near], values[near]
    return columns[np.argsort(-values, kind="stable")[:k]]
