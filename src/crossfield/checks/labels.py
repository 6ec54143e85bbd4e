"""The label: whether it can be told at all, both classes, and a rate that stays much the same by part and over time."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from crossfield.checks.finding import Finding
from crossfield.checks.sample import Sample
from crossfield.data.dataset import Dataset
from crossfield.data.labels import positive
from crossfield.data.source import reading
from crossfield.metrics import Vector

ERRORS = 5
"""Standard errors that two rates must be apart."""
OTHER, VERY_OTHER = 1.25, 2.0
"""Odds over odds from which a difference of rates is worth a note, and a warning."""
BINS = 10
"""Stretches of time with as many rows each."""


def find_untold(name: str, data: Dataset) -> Iterator[Finding]:
    """Labels that are neither 0 nor 1 (or cannot be compared), over all rows of a part."""
    label = data.schema.label
    dtypes = data.frame.collect_schema()
    if label is None or label.column not in dtypes:
        return
    is_untold = positive(label, dtypes[label.column]).is_null()
    with reading(data.name):
        wrong = data.frame.select(pl.col(label.column).filter(is_untold)).select(
            pl.len().alias("count"), pl.first().first().alias("value")
        )
        count, value = wrong.collect(engine="streaming").row(0)
    if count:
        shown = "missing" if value is None else repr(value)
        what = f"label {label.column} cannot be told in {count:,} rows of {name}; in the first it is {shown}"
        advice = "correct or drop the rows, or say which are positive: --label 'COLUMN>=VALUE' or --positive VALUE"
        yield Finding("error", label.column, what, count, advice)


def find_one_class(part: Sample) -> Iterator[Finding]:
    """A part with positives only, or with none, over all its rows: a rare class may be missing among those drawn."""
    if part.labels is None or not len(part.labels) or part.with_rare.has_both:
        return
    what = f"every label is {part.labels[0]:.0f}"
    if part.name == "training":
        advice = "there is nothing to learn: is the label written in another way (--positive)?"
        yield Finding("error", part.name, what, float(part.labels[0]), advice)
    else:
        yield Finding("warning", part.name, what, float(part.labels[0]), "AUC is undefined there: split in another way")


def find_rates(train: Sample, part: Sample) -> Iterator[Finding]:
    """A label rate that differs between training and another part by more than chance."""
    if train.labels is None or part.labels is None or not train.has_both or not part.has_both:
        return  # one class only is a finding of its own
    first, second = float(train.labels.mean()), float(part.labels.mean())
    ratio = _odds_ratio(first, second)
    if ratio > OTHER and abs(first - second) > ERRORS * _error(train.labels, part.labels):
        yield Finding(
            "warning" if ratio > VERY_OTHER else "note",
            part.name,
            f"the label rate is {second:.4f}, {first:.4f} in training",
            round(second, 6),
            "probabilities will be off by as much; find out whether rows were drawn, or labels came in, in another way",
        )


def find_rate_changes(train: Sample) -> Iterator[Finding]:
    """A stretch of time whose label rate is far from that of all training rows."""
    if train.labels is None or train.times is None or len(train.labels) < BINS:
        return
    order = train.times.arg_sort().to_numpy()
    stretches = [train.labels[some] for some in np.array_split(order, BINS)]
    rates = [float(one.mean()) for one in stretches]
    whole = float(train.labels.mean())
    far = [
        number
        for number, (rate, one) in enumerate(zip(rates, stretches, strict=True))
        if _odds_ratio(rate, whole) > VERY_OTHER and abs(rate - whole) > ERRORS * _error(one, train.labels)
    ]
    if not far:
        return
    told = ", ".join(f"{rate:.3g}" for rate in rates)
    late = BINS - 1 in far and rates[-1] < whole
    advice = "leave out the last rows if their labels have not all come in yet" if late else "find out what changed"
    what = f"the label rate is {whole:.3g}, but by tenths of the time {told}"
    yield Finding("warning" if late else "note", "training", what, round(rates[far[-1]], 6), advice)


def _odds_ratio(first: float, second: float) -> float:
    """The higher odds over the lower ones; infinite where one rate is 0 or 1 and the other is not."""
    low, high = sorted([first, second])
    below, above = low * (1 - high), high * (1 - low)
    return above / below if below else 1.0 if low == high else float("inf")


def _error(first: Vector, second: Vector) -> float:
    """Standard error of the difference of two rates, were they the same."""
    rate = (first.sum() + second.sum()) / (len(first) + len(second))
    return float(np.sqrt(rate * (1 - rate) * (1 / len(first) + 1 / len(second))))
