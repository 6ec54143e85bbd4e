"""Parts of a data set: by time, at random, by user, or each user's last rows; row order is kept inside each part."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossfield.data.source import reading
from crossfield.data.text import TEXT
from crossfield.errors import ConfigError, DataError, RowError, SchemaError, nearest
from crossfield.schema import FeatureSchema

KINDS = ("time", "random", "user", "leave_one_out")
_ROW = "crossfield row"
_TIME = "crossfield time"
_ISO_TIME = r"^\d{4}-\d{2}-\d{2}"
_OFFSET = _ISO_TIME + r"[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)? ?(?i:Z|[+-]\d{2}(?::?\d{2})?)$"
_MOMENTS = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")


def split_frame(
    frame: pl.LazyFrame, how: str | None, *, sizes: Sequence[float], seed: int, schema: FeatureSchema
) -> tuple[pl.LazyFrame, ...]:
    """Split rows lazily into one part per size; a pure function of the rows' order and the seed.

    ``time``: earlier rows first, rows of one time together. ``random``: exact sizes. ``user``: a share of the users
    with all their rows; rows without a user stay in the first part. ``leave_one_out``: each user's last row into the
    last part, the one before into the middle one (of three), users with fewer than two (three) rows give none; by the
    time column where there is one, else by row order. Without ``how``: time where the schema has one, else random.

    Memory: 8 bytes per row (random), per distinct time or user (time, user), 12 to 20 per row (leave_one_out) while
    splitting, nothing after it but one number per user.
    Raises ConfigError for impossible sizes, SchemaError where a role is missing, DataError for an empty part.
    """
    how = how or ("time" if schema.time else "random")
    _check_sizes(sizes)
    if how == "random":
        return _split_random(frame, sizes, seed)
    if how == "time":
        return _split_by_time(frame, _role(schema.time, "time", how), sizes)
    if how == "user":
        return _split_by_user(frame, _role(schema.user, "user", how), sizes, seed)
    if how == "leave_one_out":
        return _leave_one_out(frame, _role(schema.user, "user", how), schema.time, num_parts=len(sizes))
    raise ConfigError(f"cannot split by {how!r}{nearest(how, KINDS)}")


def sample_frame(frame: pl.LazyFrame, share: float, *, seed: int = 0) -> pl.LazyFrame:
    """A share of the rows, drawn at random by their numbers, in their order: every n-th would follow a file's own beat.

    Raises ConfigError where the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"cannot draw a share of {share} of the rows; it must be above 0 and at most 1")
    if share == 1:
        return frame
    highest = int(share * (1 << 53)) << 11  # as many bits as a float holds
    return frame.with_row_index(_ROW).filter(_within(_shuffle_key(pl.col(_ROW), seed), None, highest)).drop(_ROW)


def _check_sizes(sizes: Sequence[float]) -> None:
    if len(sizes) < 2 or min(sizes) < 0 or sizes[0] <= 0 or abs(sum(sizes) - 1) > 1e-6:
        raise ConfigError(f"sizes must be two or more shares that add up to 1, not {tuple(sizes)}")


def _role(column: str | None, role: str, how: str) -> str:
    if column is None:
        raise SchemaError(f"splitting by {how} needs a {role} column; name it with {role}=... or --{role} COLUMN")
    return column


def _collect(frame: pl.LazyFrame) -> pl.DataFrame:
    with reading("the data to split"):
        return frame.collect(engine="streaming")


def cut_points(num_units: int, sizes: Sequence[float], *, what: str = "rows") -> list[int]:
    """How many units the first part, the first two, ... hold: the nearest to the shares that leaves no part empty.

    Raises DataError where there are fewer units than parts that have a share.
    """
    _check_enough(num_units, sizes, what)
    cuts = [0]
    for number, size in enumerate(sizes, start=1):
        later = sum(one > 0 for one in sizes[number:])
        wanted = round(sum(sizes[:number]) * num_units)
        cuts.append(min(max(wanted, cuts[-1] + 1), num_units - later) if size > 0 else cuts[-1])
    return cuts[1:]


def _check_enough(num_units: int, sizes: Sequence[float], what: str) -> None:
    num_parts = sum(size > 0 for size in sizes)
    if num_units < num_parts:
        raise DataError(
            f"cannot split into {num_parts} parts: there are only {num_units} {what}, so one would be empty"
        )


def _split_random(frame: pl.LazyFrame, sizes: Sequence[float], seed: int) -> tuple[pl.LazyFrame, ...]:
    num_rows = _collect(frame.select(pl.len())).item()
    keys = pl.select(_shuffle_key(pl.int_range(num_rows, dtype=pl.UInt64), seed)).to_series().to_numpy(writable=True)
    bounds = _kth_smallest(keys, cut_points(num_rows, sizes))
    key = _shuffle_key(pl.col(_ROW), seed)
    numbered = frame.with_row_index(_ROW)
    return tuple(
        numbered.filter(_within(key, low, high)).drop(_ROW) for low, high in zip([None, *bounds], bounds, strict=False)
    )


def _kth_smallest(keys: NDArray[np.uint64], ranks: Sequence[int]) -> list[int]:
    """The largest of the ``rank`` smallest keys, for each rank; keys are all different."""
    keys.partition([rank - 1 for rank in ranks])
    return [int(keys[rank - 1]) for rank in ranks]


def _within(key: pl.Expr, low: int | None, high: int) -> pl.Expr:
    below = key <= pl.lit(high, dtype=pl.UInt64)
    return below if low is None else below & (key > pl.lit(low, dtype=pl.UInt64))


def _shuffle_key(number: pl.Expr, seed: int) -> pl.Expr:
    """A pseudo-random uint64 for each number, all different: SplitMix64 (Steele et al., 2014), started by the seed."""

    def constant(value: int) -> pl.Expr:
        return pl.lit(value, dtype=pl.UInt64)

    start = int.from_bytes(blake2b(str(seed).encode(), digest_size=8).digest(), "little")
    key = number.cast(pl.UInt64) * constant(0x9E3779B97F4A7C15) + constant(start)
    key = (key ^ (key // constant(1 << 30))) * constant(0xBF58476D1CE4E5B9)
    key = (key ^ (key // constant(1 << 27))) * constant(0x94D049BB133111EB)
    return key ^ (key // constant(1 << 31))


def sort_key(frame: pl.LazyFrame, time: str) -> pl.Expr:
    """What orders rows by their time column: itself, or the moments in UTC where its text has offsets from it.

    Text sorts as text, also in a column of categories; in ISO 8601 that is by time, but not across offsets. Null
    where the time is missing, and where moments are wanted and the text is none. Looks at all rows of a text column.
    """
    if frame.collect_schema()[time] not in TEXT:
        return pl.col(time)
    text = pl.col(time).cast(pl.String)
    has_offsets = _collect(frame.select(text.str.contains(_OFFSET).any())).item()
    return _moments(text) if has_offsets else text


def _moments(text: pl.Expr) -> pl.Expr:
    plain = text.str.to_uppercase().str.replace(r"^(\S{10}) ", "${1}T").str.replace(" ", "", literal=True)
    return pl.coalesce(plain.str.to_datetime(form, time_zone="UTC", strict=False) for form in _MOMENTS)


def _split_by_time(frame: pl.LazyFrame, time: str, sizes: Sequence[float]) -> tuple[pl.LazyFrame, ...]:
    key = _checked_key(frame, time)
    counts = _collect(
        frame.group_by(key.alias(_TIME)).agg(pl.len().cast(pl.Int64).alias("crossfield rows")).sort(_TIME)
    )
    rows = counts["crossfield rows"].cum_sum().to_numpy()
    cuts = _time_cuts(rows, sizes, time)
    times = [counts[_TIME].slice(cut - 1, 1) for cut in cuts]
    lows = [None, *times[:-1]]
    return tuple(frame.filter(_between(key, low, high)) for low, high in zip(lows, times, strict=True))


def _between(time: pl.Expr, low: pl.Series | None, high: pl.Series) -> pl.Expr:
    until = time <= pl.lit(high).first()
    return until if low is None else until & (time > pl.lit(low).first())


def _time_cuts(rows: NDArray[np.int64], sizes: Sequence[float], time: str) -> list[int]:
    """How many distinct times the first parts hold; ``rows`` [n] counts the rows up to each time."""
    _check_enough(len(rows), sizes, f"different times in column {time!r}")
    cuts = [0]
    for number, size in enumerate(sizes, start=1):
        later = sum(one > 0 for one in sizes[number:])
        distances = np.abs(rows - sum(sizes[:number]) * rows[-1])
        low, high = cuts[-1], len(rows) - later
        cuts.append(low + 1 + int(np.argmin(distances[low:high])) if size > 0 else low)
    return cuts[1:]


def _checked_key(frame: pl.LazyFrame, time: str) -> pl.Expr:
    """``sort_key``; raises RowError naming the first row whose time is missing or does not sort by time."""
    key, column = sort_key(frame, time), pl.col(time)
    dtype = frame.collect_schema()[time]
    wrong = key.is_null()
    if dtype.is_float():
        wrong |= column.is_nan()
    if dtype in TEXT:
        wrong |= ~column.cast(pl.String).str.contains(_ISO_TIME)
    found = _collect(frame.select(time).with_row_index(_ROW).filter(wrong).head(1))
    for row, value in found.iter_rows():
        raise RowError(f"the time {time!r} {_why_wrong(value)} in", row, "; correct it, or split at random or by user")
    return key


def _why_wrong(time: str | float | None) -> str:
    if time is None:
        return "is missing"
    if not isinstance(time, str) or not re.match(_ISO_TIME, time):
        return f"is {time!r}, which does not sort by time (2024-12-31 does)"
    if re.match(_OFFSET, time):
        return f"is {time!r}, a time that there is not"
    return f"is {time!r}, without the offset from UTC that other rows have (2024-12-31T10:00:00Z has one)"


def _split_by_user(frame: pl.LazyFrame, user: str, sizes: Sequence[float], seed: int) -> tuple[pl.LazyFrame, ...]:
    seen = frame.select(user).with_row_index(_ROW).drop_nulls().group_by(user).agg(pl.col(_ROW).min())
    # Users are numbered as they first appear: group_by alone has no order to rely on.
    users = _collect(seen.sort(_ROW)).select(user).with_row_index(_ROW)
    users = users.sort(_shuffle_key(pl.col(_ROW), seed)).select(user)
    cuts = cut_points(len(users), sizes, what=f"users in column {user!r}")
    return _first_and_rest(frame, user, [users[low:high] for low, high in pairwise(cuts)])


def _leave_one_out(frame: pl.LazyFrame, user: str, time: str | None, *, num_parts: int) -> tuple[pl.LazyFrame, ...]:
    if num_parts > 3:
        raise ConfigError(f"leave_one_out makes two parts or three, not {num_parts}")
    keys = [_checked_key(frame, time).alias(_TIME)] if time is not None else []
    order = [_TIME, _ROW] if keys else [_ROW]
    rows = frame.select(user, *keys).with_row_index(_ROW).filter(pl.col(user).is_not_null())
    last = _collect(rows.group_by(user).agg(pl.col(_ROW).sort_by(order).tail(num_parts)))[_ROW]
    # A user keeps at least one row to be trained on.
    held = [
        last.filter(last.list.len() > back).list.get(-back).sort().to_frame() for back in range(num_parts - 1, 0, -1)
    ]
    if any(part.is_empty() for part in held):
        raise DataError(f"no user in column {user!r} has {num_parts} rows; leave_one_out would leave a part empty")
    parts = _first_and_rest(frame.with_row_index(_ROW), _ROW, held)
    return tuple(part.drop(_ROW) for part in parts)


def _first_and_rest(frame: pl.LazyFrame, column: str, rest: Sequence[pl.DataFrame]) -> tuple[pl.LazyFrame, ...]:
    """Rows whose key stands in none of the tables, then those of each table; joins must be told to keep the order."""
    first = frame.join(pl.concat(rest).lazy(), on=column, how="anti", maintain_order="left")
    others = [frame.join(one.lazy(), on=column, how="semi", maintain_order="left") for one in rest]
    return first, *others
