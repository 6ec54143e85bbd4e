"""Rows drawn from one part of a data set: what the cheap checks look at."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import polars as pl

from crossfield.data.dataset import Dataset
from crossfield.data.guess import time_likes
from crossfield.data.labels import positive
from crossfield.data.source import reading
from crossfield.data.split import sort_key
from crossfield.metrics import Mask, Vector
from crossfield.schema import Feature, Kind

FEW = 200
"""Rows of a class that checks of single columns would like; where fewer were drawn, more are drawn of that class."""
MANY = 5_000
"""Rows of such a class that are drawn, where there are as many."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Raw rows of a part beside the whole of it; rows whose label cannot be told are left out."""

    name: str
    """The part: training, validation, test."""
    data: Dataset
    rows: pl.DataFrame
    weights: tuple[float, float] = (1.0, 1.0)
    """What a negative and a positive count in shares of rows: less where they were drawn apart, as a rare class."""

    @classmethod
    def draw(cls, name: str, data: Dataset, share: float, *, features: bool = True) -> "Sample":
        """A share of the rows, at random: columns with a role, what looks like a time, the features where asked for."""
        dtypes = data.frame.collect_schema()
        roles = [*data.schema.role_columns.values(), *time_likes(data.schema)]
        wanted = [*roles, *(data.schema.columns if features else ())]
        rows = data.sample(share, [one for one in dict.fromkeys(wanted) if one in dtypes])
        return cls(name, data, rows if (known := _label(data, rows)) is None else rows.filter(known.is_not_null()))

    @cached_property
    def labels(self) -> Vector | None:
        """Labels [n], 0 or 1; None where the part has none."""
        label = _label(self.data, self.rows)
        return None if label is None else label.cast(pl.Float64).to_numpy()

    @property
    def has_both(self) -> bool:
        """Whether there are positives and negatives."""
        return self.labels is not None and 0 < self.labels.sum() < len(self.labels)

    @cached_property
    def with_rare(self) -> "Sample":
        """With up to about ``MANY`` rows of a class of which few were drawn; itself where there are no more of it.

        Costs a pass or two over the whole part where a class is rare, else none. Only with ``weights`` is its label
        rate the part's.
        """
        label = self.data.schema.label
        if label is None or self.labels is None or not len(self.labels):
            return self
        rare = float(self.labels.mean() < 0.5)
        num_drawn = int((self.labels == rare).sum())
        is_rare = positive(label, self.rows.schema[label.column]).cast(pl.Float64) == rare
        if num_drawn >= FEW:
            return self
        with reading(self.data.name):
            counts = self.data.frame.select(pl.len(), is_rare.sum().alias("rare")).collect(engine="streaming")
        num_rows, num_rare = counts.row(0)
        if num_rare <= num_drawn:
            return self
        others = replace(self.data, frame=self.data.frame.filter(is_rare))
        drawn = others.sample(min(1.0, MANY / num_rare), self.rows.columns)
        weight = len(self.rows) / num_rows * num_rare / max(len(drawn), 1)
        rows = pl.concat([self.rows.filter(~is_rare), drawn])
        return replace(self, rows=rows, weights=(1.0, weight) if rare else (weight, 1.0))

    @property
    def features(self) -> Sequence[Feature]:
        """The features that are columns here."""
        return [
            one for one in self.data.schema.features if one.kind is not Kind.CROSS and one.name in self.rows.columns
        ]

    @property
    def times(self) -> pl.Series | None:
        """The time of each row; None where there is no such column."""
        time = self.data.schema.time
        return times_of(self.rows, time) if time is not None and time in self.rows.columns else None


def _label(data: Dataset, rows: pl.DataFrame) -> pl.Series | None:
    label = data.schema.label
    if label is None or label.column not in rows.columns:
        return None
    return rows.select(positive(label, rows.schema[label.column])).to_series()


def times_of(rows: pl.DataFrame, time: str) -> pl.Series:
    """A column of times as rows sort by it."""
    return rows.select(sort_key(rows.lazy(), time)).to_series()


def later_half(times: pl.Series) -> Mask:
    """Which rows [n] are later than the middle one; those of its very time go to the half that is smaller."""
    middle = times.sort()[len(times) // 2]
    after, before = times > middle, times < middle
    late = after if after.sum() >= before.sum() else ~before
    found: Mask = late.fill_null(False).to_numpy()
    return found
