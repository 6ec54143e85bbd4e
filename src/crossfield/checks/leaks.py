"""Label leaks in single columns: one that tells the label alone, by being filled, or in some of the time only."""

from collections.abc import Iterator

from crossfield.checks.alone import Evidence, Sides, auc_alone, change, evidence_of
from crossfield.checks.finding import Finding
from crossfield.checks.sample import Sample, later_half
from crossfield.data.text import reading
from crossfield.errors import SchemaError
from crossfield.metrics import Vector
from crossfield.schema import Feature

TOO_GOOD = 0.99
"""AUC of one column alone above which the label, or its consequence, stands in it."""
MIN_ROWS = 20
"""Positives and negatives that an AUC needs at least."""
PURE = 0.995
"""Share of one label among rows with a value (or without) from which the column is filled because of the label."""
EXPECTED = 14
"""Rows of the other label that chance would have put there at least: none is then one in a million."""
SHARP = 0.2
"""Difference of AUC between earlier and later rows that no drift of tastes explains."""
ERRORS = 5
"""Standard errors that such a difference must be away from none."""


def find_leaks(train: Sample) -> Iterator[Finding]:
    """Features that alone, or by being filled at all, tell the label."""
    if train.labels is None or not train.has_both:
        return
    for feature, evidence in _evidence(train):
        found = _by_value(feature, evidence, train.labels) or _by_being_filled(feature, evidence, train)
        if found is not None:
            yield found


def find_changes(train: Sample) -> Iterator[Finding]:
    """Features that tell the label in the earlier rows and not in the later ones, or the other way round."""
    if train.labels is None or train.times is None or not train.has_both:
        return
    is_late = later_half(train.times)
    for feature, evidence in _evidence(train):
        found = change(evidence, train.labels, is_late)
        if found.size > SHARP and found.size > ERRORS * found.error:
            yield Finding(
                "warning",
                feature.name,
                f"its relation to the label changes sharply with time: AUC {found.early:.3f} in the earlier rows, "
                f"{found.late:.3f} in the later ones",
                round(found.size, 4),
                f"it may be filled in afterwards: give it as it was known at each row's time, or {_leave_out(feature)}",
            )


def _evidence(train: Sample) -> Iterator[tuple[Feature, Evidence]]:
    for feature in train.features:
        try:
            with reading(train.data.name):
                evidence = evidence_of(train.rows, feature)
        except SchemaError:
            continue  # a column of another family is another check's finding
        yield feature, evidence


def _leave_out(feature: Feature) -> str:
    return f"leave it out (--ignore {feature.name})"


def _by_value(feature: Feature, evidence: Evidence, labels: Vector) -> Finding | None:
    used = labels[evidence.is_filled]
    if min(used.sum(), (1 - used).sum()) < MIN_ROWS or not (found := auc_alone(evidence, labels)) > TOO_GOOD:
        return None
    return Finding(
        "error",
        feature.name,
        f"tells the label alone: AUC {found:.4f} in {len(used):,} rows",
        round(found, 6),
        f"unless it is known before the label is, {_leave_out(feature)}",
    )


def _by_being_filled(feature: Feature, evidence: Evidence, train: Sample) -> Finding | None:
    assert train.labels is not None  # whoever looks for leaks has labels
    sides = Sides.of(evidence.is_filled, train.labels)
    if not sides.filled or not sides.missing:
        return None
    counts = ((sides.filled, sides.filled_positives), (sides.missing, sides.missing_positives))
    shares = [_share(*one, weights=train.weights) for one in counts]
    rate = float(train.labels.mean())
    filled, missing = (_pure_label(*one, rate=rate, share=share) for one, share in zip(counts, shares, strict=True))
    if filled is None and missing is None and not sides.auc > TOO_GOOD:
        return None
    said = f"filled only where the label is {filled}" if filled is not None else None
    said = said or (
        f"missing only where the label is {missing}" if missing is not None else "filled as the label has it"
    )
    return Finding(
        "error" if sides.auc > TOO_GOOD else "warning",
        feature.name,
        f"{said}: {shares[0]:.1%} of the {sides.filled:,} rows with a value are positives, {shares[1]:.1%} of the "
        f"{sides.missing:,} without",
        round(sides.auc, 6),
        f"it is most likely written after the label is known: {_leave_out(feature)}",
    )


def _share(num_rows: int, positives: int, *, weights: tuple[float, float]) -> float:
    """Share of positives, as many as there were before rows of a rare class were drawn apart."""
    of_negatives, of_positives = (num_rows - positives) * weights[0], positives * weights[1]
    return of_positives / (of_negatives + of_positives)


def _pure_label(num_rows: int, positives: int, *, rate: float, share: float) -> int | None:
    """The label that nearly all of these rows have, although chance would have given many of them the other one.

    ``rate`` is the share of positives among all rows drawn, ``share`` that of these rows before any were drawn apart.
    """
    of_others = ((1, num_rows - positives, 1 - rate, 1 - share), (0, positives, rate, share))
    for label, others, chance, other_share in of_others:
        expected = num_rows * chance
        if expected > EXPECTED and other_share <= 1 - PURE and others <= expected / 10:
            return label
    return None
