"""Rows drawn from one part of a data set: what the cheap checks look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from crossfield.data.dataset import Dataset
from crossfield.data.guess import time_likes
from crossfield.data.labels import positive
from crossfield.data.split import sort_key
from crossfield.metrics import Mask, Vector
from crossfield.schema import Feature, Kind


@dataclass(frozen=True, eq=False)
class Sample:
    """Raw rows of a part beside the whole of it; rows whose label cannot be told are left out."""

    name: str
    """The part: training, validation, test."""
    data: Dataset
    rows: pl.DataFrame

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
