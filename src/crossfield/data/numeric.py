"""Numbers: the transforms of dense features, exact quantiles, and moments that do not depend on the engine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import polars as pl

from crossfield.data.text import TEXT, to_floats
from crossfield.errors import RowError, SchemaError

Transform = Literal["standardize", "log1p", "squared_log", "quantile", "buckets", "none"]


def number(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column as float64; null where there is no value (null, NaN, empty text) or where text spells no number.

    Raises SchemaError where the column's type holds no numbers.
    """
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null) or dtype in TEXT):
        raise SchemaError(f"column {name!r} of type {dtype} holds no numbers; give it another kind, or ignore it")
    column = pl.col(name)
    return (to_floats(column) if dtype in TEXT else column.cast(pl.Float64)).fill_nan(None)


def refuse_text(frame: pl.DataFrame, names: list[str], first_row: int) -> None:
    """Raise RowError naming the row and the value where a column of numbers holds text that is no number."""
    dtypes = frame.schema
    for name, dtype in [(name, dtypes[name]) for name in names if dtypes[name] in TEXT]:
        column = frame[name]
        floats = frame.select(number(name, dtype)).to_series()
        text = column.cast(pl.String).str.strip_chars().str.to_lowercase()
        wrong = (floats.is_null() & column.is_not_null() & ~text.is_in(["", "nan"])).arg_true()
        if len(wrong):
            advice = "correct it, name it as missing, or make the column categorical"
            said = f" has the text {column[wrong[0]]!r}; {advice}"
            raise RowError(f"column {name!r} holds numbers, but", first_row + int(wrong[0]), said)


def refuse_infinite(values: np.ndarray, raw: pl.DataFrame, *, names: list[str], first_row: int) -> None:
    """Raise RowError naming column, row and raw value where a number [n, N] is infinite (or too large for float32)."""
    infinite = np.isinf(values)
    if infinite.any():
        row, column = np.argwhere(infinite)[0].tolist()
        said = f"column {names[column]!r} has {raw[names[column]][row]} in"
        raise RowError(said, first_row + row, "; a dense feature must be finite")


def squared_log(values: pl.Expr) -> pl.Expr:
    """Criteo's squared logarithm: floor((ln x)^2) for x > 2, else x without its fraction. Float64.

    Source: the winners of the 2014 challenge, as BARS uses it for Criteo_x4; -1, 0, 1 and 2 stay distinct.
    """
    # PAPER: BARS takes a missing number for 0 first; here it stays missing, with an id (or the mean) of its own.
    return pl.when(values > 2).then((values.log() ** 2).floor()).otherwise(values.truncate())


def signed_log1p(values: pl.Expr) -> pl.Expr:
    """sign(x) ln(1 + |x|): log1p for counts, and odd, so that negative numbers keep their order. Float64."""
    return values.sign() * values.abs().log1p()


def quantile_boundaries(counts: pl.DataFrame, num_quantiles: int) -> tuple[float, ...]:
    """The num_quantiles - 1 exact boundaries of numbers given with their counts (columns value, count).

    Boundary k is the smallest number v with P(X < v) >= k / num_quantiles, compared in integers: x lies above it if
    x >= v. Where one value fills the last quantiles, their boundary is the next float above it. Empty without values.
    """
    known = counts.filter(pl.col("value").is_not_null() & pl.col("value").is_finite()).sort("value")
    # Engines group -0 with 0 and keep either; adding 0 makes it 0.
    values, count = known["value"].to_numpy() + 0.0, known["count"].to_numpy()
    if not len(values):
        return ()
    below = (np.cumsum(count) - count) * num_quantiles
    places = np.searchsorted(below, np.arange(1, num_quantiles) * int(count.sum()), side="left")
    return tuple(np.append(values, np.nextafter(values[-1], np.inf))[places].tolist())


def bucket_boundaries(counts: pl.DataFrame, num_buckets: int) -> tuple[float, ...]:
    """The boundaries of at most ``num_buckets`` buckets that hold equally many rows, none of them empty."""
    highest = counts["value"].drop_nulls().max()
    return tuple(sorted({one for one in quantile_boundaries(counts, num_buckets) if one <= highest}))  # type: ignore[operator]  # floats


@dataclass(frozen=True)
class Buckets:
    """Half-open intervals [boundary, next boundary) that turn a number into a category."""

    boundaries: tuple[float, ...]

    def index(self, values: pl.Expr) -> pl.Expr:
        """The bucket of each value, 0 to the number of boundaries; null stays null."""
        found = pl.lit(pl.Series(self.boundaries, dtype=pl.Float64)).search_sorted(values, side="right")
        return pl.when(values.is_not_null()).then(found)

    def labels(self, values: pl.Expr) -> pl.Expr:
        """The bucket of each value as a token such as ``[18, 25)``."""
        return self.index(values).replace_strict(
            list(range(len(self.boundaries) + 1)), self.names, default=None, return_dtype=pl.String
        )

    @property
    def names(self) -> list[str]:
        """The tokens of all buckets, from low to high."""
        ends = ["-inf", *(_short(one) for one in self.boundaries), "inf"]
        return [f"{'(' if i == 0 else '['}{ends[i]}, {ends[i + 1]})" for i in range(len(ends) - 1)]


def _short(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of several columns, each [N] float64."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """The moments of values [n, N] float64; NaN is missing."""
        known = ~np.isnan(values)
        count = known.sum(0).astype(np.float64)
        mean = np.where(known, values, 0.0).sum(0) / np.maximum(count, 1)
        squares = (np.where(known, values - mean, 0.0) ** 2).sum(0)
        return cls(count, mean, squares)

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both together (Chan, Golub & LeVeque 1983)."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        delta = other.mean - self.mean
        squares = self.squares + other.squares + delta**2 * self.count * share
        return Moments(count, self.mean + delta * share, squares)

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation [N]; exactly 0 for a constant, whose mean is rounded."""
        deviation = np.sqrt(self.squares / np.maximum(self.count, 1))
        return np.where(deviation <= 1e-14 * np.abs(self.mean), 0.0, deviation)


@dataclass(frozen=True)
class Scale:
    """One fitted dense feature: how a number becomes what the model sees."""

    name: str
    transform: Transform
    boundaries: tuple[float, ...] = ()
    mean: float = 0.0
    std: float = 0.0
    """Of the transformed numbers of the training rows; 0 for a constant."""

    @property
    def is_scaled(self) -> bool:
        """Whether the result has mean 0 and standard deviation 1 over the training rows."""
        return self.transform in ("standardize", "log1p")

    @property
    def missing(self) -> float:
        """What a missing number becomes: the training mean."""
        return 0.0 if self.is_scaled else self.mean

    def shape(self, values: pl.Expr) -> pl.Expr:
        """The transform without the scaling. Float64."""
        if self.transform == "log1p":
            return signed_log1p(values)
        if self.transform == "squared_log":
            return squared_log(values)
        if self.transform == "quantile":
            # Wide & Deep, section 4.2: (i - 1) / (n_q - 1) for a value of the i-th of n_q quantiles.
            # PAPER: a value that fills several quantiles goes to its lowest, else it would swallow all below it.
            return Buckets(self.boundaries).index(values).cast(pl.Float64) / max(len(self.boundaries), 1)
        return values

    def apply(self, values: pl.Expr) -> pl.Expr:
        """What the model sees, missing numbers filled. Float32."""
        shaped = self.shape(values)
        if self.is_scaled:
            shaped = (shaped - self.mean) / (self.std or math.inf)
        return shaped.fill_null(self.missing).cast(pl.Float32)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The scale whose fields were written as JSON."""
        return cls(**{**values, "boundaries": tuple(values["boundaries"])})
