"""Vocabularies: which token has which id. 0 is missing, 1 unseen, then by falling count, ties by UTF-8 bytes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from crossfield.data.tokens import hash_tokens

MISSING, UNSEEN, FIRST = 0, 1, 2
"""The id of a missing value, of one that training did not see, and of the most frequent token."""
_SLICE = 1 << 18
"""Tokens written, read or hashed together: all of a large field would take several times its memory."""


Evict = Literal["last_use", "count"]


@dataclass(frozen=True, eq=False)
class Growth:
    """How the ids of a field changed."""

    rows: np.ndarray
    """For each id the one it had before, -1 for an admitted one; [num_rows] int64."""
    old_rows: int
    """Ids there were before."""
    new: int
    """Distinct tokens that the field did not know."""
    admitted: int
    """Those of them that got an id."""
    evicted: int
    """Tokens that lost theirs."""

    @classmethod
    def none(cls, num_rows: int) -> Self:
        """No change."""
        return cls(np.arange(num_rows), num_rows, 0, 0, 0)

    @property
    def renamed(self) -> np.ndarray:
        """For each id of before the one it has now, unseen where it was evicted; [old_rows] int64."""
        found = np.full(self.old_rows, UNSEEN, dtype=np.int64)
        known = self.rows >= 0
        found[self.rows[known]] = np.flatnonzero(known)
        return found


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The ids of one field: of the tokens it holds, or, with ``buckets``, of any token by its hash."""

    tokens: pl.Series
    """Text; the id of a token is its position + 2. Of hashed ones nothing, as often as there are buckets."""
    counts: pl.Series
    """How many training values had each id, from id 2 on (int64)."""
    buckets: int | None = None
    last_used: pl.Series | None = None
    """The update in which each token occurred last (int32, 0 the first training); None where there was none yet."""

    @classmethod
    def of(cls, counts: pl.DataFrame, *, min_count: int, max_size: int | None) -> Self:
        """The vocabulary of counted tokens (columns value, count): those that occur often enough, the first few."""
        kept = counts.filter(pl.col("value").is_not_null() & (pl.col("count") >= min_count))
        # Polars compares text by its UTF-8 bytes.
        ranked = kept.sort(["count", "value"], descending=[True, False]).head(
            len(kept) if max_size is None else max_size
        )
        return cls(ranked["value"].cast(pl.String).rechunk(), ranked["count"].rechunk())

    @classmethod
    def hashed(cls, counts: pl.DataFrame, buckets: int) -> Self:
        """The ids of hashed tokens, given with the counts of their ids (columns value, count)."""
        known = counts.filter(pl.col("value") >= FIRST)
        sums = np.zeros(buckets, dtype=np.int64)
        sums[known["value"].to_numpy() - FIRST] = known["count"].to_numpy()
        return cls(_no_tokens(buckets), pl.Series(sums), buckets)

    @property
    def num_rows(self) -> int:
        """Rows of an embedding table for these ids, missing and unseen included."""
        return FIRST + len(self.tokens)

    def ids(self, tokens: pl.Expr) -> pl.Expr:
        """The id of each token (int32); a null token is missing."""
        if self.buckets is not None:
            return hash_ids(tokens, self.buckets)
        # PERF: a cast to an Enum looks tokens up in a hash table that is built once: 60 ns each, and a single row
        # among a million ids in 0.1 ms; a join or replace_strict builds its table again for every chunk of rows.
        # Naming the type by an expression keeps the table: a Python Enum is copied and hashed anew by each cast.
        known = tokens.cast(pl.dtype_of(pl.lit(self._enum)), strict=False).to_physical().cast(pl.Int32)
        return pl.when(tokens.is_null()).then(MISSING).otherwise((known + FIRST).fill_null(UNSEEN)).cast(pl.Int32)

    @cached_property
    def _enum(self) -> pl.Series:
        return pl.Series([None], dtype=pl.Enum(self.tokens))

    def decode(self, ids: np.ndarray) -> pl.Series:
        """The tokens of ids [n]; null for missing, unseen and hashed ones."""
        places = np.asarray(ids, dtype=np.int64) - FIRST
        known = (places >= 0) & (places < len(self.tokens))
        if self.buckets is not None:
            return _no_tokens(len(places)).cast(pl.String)
        return self.tokens.gather(pl.Series(np.where(known, places, 0)).set(pl.Series(~known), None))

    def table(self) -> pl.DataFrame:
        """The tokens with their counts, in the order of their ids."""
        return pl.DataFrame({"token": self.tokens, "count": self.counts})

    @property
    def uses(self) -> pl.Series:
        """The update in which each token occurred last, [tokens] int32."""
        return pl.Series(np.zeros(len(self.tokens), np.int32)) if self.last_used is None else self.last_used

    def grown(
        self, counts: pl.DataFrame, *, min_count: int, budget: int | None, update: int, evict: Evict
    ) -> tuple["Vocabulary", "Growth"]:
        """With the tokens of new rows (columns value, count): ids stay in order, new ones follow, by falling count.

        A new token is admitted from ``min_count`` of its values on. Over the budget, tokens leave that were used
        longest ago (of these the rarest first), or, with evict = "count", the rarest. Hashed ids only count on.
        """
        if self.buckets is not None:
            more = Vocabulary.hashed(counts, self.buckets)
            return replace(self, counts=self.counts + more.counts), Growth.none(self.num_rows)
        old = self.table().with_columns(last_used=self.uses, place=pl.int_range(pl.len(), dtype=pl.Int64))
        met = counts.filter(pl.col("value").is_not_null()).select(token=pl.col("value").cast(pl.String), more="count")
        seen = old.join(met, on="token", how="left", maintain_order="left").select(
            "token",
            count=pl.col("count") + pl.col("more").fill_null(0),
            last_used=pl.when(pl.col("more").is_null()).then("last_used").otherwise(pl.lit(update, pl.Int32)),
            place="place",
        )
        new = met.join(old, on="token", how="anti")
        admitted = new.filter(pl.col("more") >= min_count).sort(["more", "token"], descending=[True, False])
        fresh = admitted.select("token", count="more", last_used=pl.lit(update, pl.Int32), place=pl.lit(None, pl.Int64))
        both = pl.concat([seen, fresh])
        over = max(len(both) - (len(both) if budget is None else budget), 0)
        order = ["last_used", "count"] if evict == "last_use" else ["count", "last_used"]
        gone = both.with_row_index("at").sort([*order, "at"], descending=[False, False, True])["at"].head(over)
        kept = both.with_row_index("at").filter(~pl.col("at").is_in(gone.implode()))
        places = kept["place"].fill_null(-1 - FIRST).to_numpy() + FIRST
        growth = Growth(
            rows=np.concatenate([np.arange(FIRST), places]),
            old_rows=self.num_rows,
            new=len(new),
            admitted=int((places < 0).sum()),
            evicted=int(len(old) - (places >= 0).sum()),
        )
        tokens, uses = kept["token"].rechunk(), kept["last_used"].rechunk()
        return Vocabulary(tokens, kept["count"].rechunk(), last_used=uses), growth

    def digest(self) -> str:
        """SHA-256 (hex) of everything it holds."""
        lengths, text, counts = (hashlib.sha256() for _ in range(3))
        for start in range(0, len(self.tokens), _SLICE):
            some = self.tokens.slice(start, _SLICE).cast(pl.String)
            lengths.update(some.str.len_bytes().fill_null(0).to_numpy().tobytes())
            text.update(b"" if self.buckets else "".join(some).encode())
            counts.update(self.counts.slice(start, _SLICE).to_numpy().tobytes())
        parts = (hashlib.sha256(str(self.buckets).encode()), lengths, text, counts)
        return hashlib.sha256(b"".join(part.digest() for part in parts)).hexdigest()


def write_vocabularies(path: Path, vocabularies: Mapping[str, Vocabulary]) -> None:
    """Write the tokens of all fields to an Arrow file, some at a time: field, token, count, last_used."""
    types = pl.Schema({"field": pl.String, "token": pl.String, "count": pl.Int64, "last_used": pl.Int32})
    schema = types.to_frame().to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for name, vocabulary in vocabularies.items():
            for start in range(0, len(vocabulary.tokens), _SLICE):
                columns = (vocabulary.tokens, vocabulary.counts, vocabulary.uses)
                token, count, last_used = (one.slice(start, _SLICE) for one in columns)
                rows = pl.DataFrame({"token": token, "count": count, "last_used": last_used})
                rows = rows.select(pl.lit(name).alias("field"), pl.all()).cast(types)
                writer.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))


def read_vocabularies(path: Path, buckets: Mapping[str, int | None]) -> dict[str, Vocabulary]:
    """What ``write_vocabularies`` wrote, in the order of ``buckets``, the hashed fields' numbers of ids."""
    parts: dict[str, list[pl.DataFrame]] = {name: [] for name in buckets}
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        none = pl.DataFrame(reader.schema.empty_table())
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            batch.validate(full=True)  # what is no Arrow array would end in a panic of Polars
            rows = pl.DataFrame(batch)
            for name in rows["field"].unique(maintain_order=True):  # one, but in runs of the first version
                parts[name].append(_compact(rows.filter(pl.col("field") == name), hashed=buckets[name] is not None))
        return {
            name: _vocabulary(pl.concat([_compact(none, hashed=buckets[name] is not None), *some]), buckets[name])
            for name, some in parts.items()
        }


def _compact(rows: pl.DataFrame, *, hashed: bool) -> pl.DataFrame:
    return rows.drop("field").with_columns(token=pl.lit(None)) if hashed else rows.drop("field")


def _vocabulary(rows: pl.DataFrame, buckets: int | None) -> Vocabulary:
    # Runs from before there were updates say nothing of the last use.
    uses = rows["last_used"].rechunk() if "last_used" in rows.columns else None
    return Vocabulary(rows["token"].rechunk(), rows["count"].rechunk(), buckets, uses)


def _no_tokens(length: int) -> pl.Series:
    """So many nulls, which take no memory."""
    return pl.Series([None], dtype=pl.Null).new_from_index(0, length)


def hash_ids(tokens: pl.Expr, buckets: int) -> pl.Expr:
    """The id of each token by its hash (int32): blake2b(token) mod buckets + 2; a null token is missing."""

    def ids_of(some: pl.Series) -> pl.Series:
        places = hash_tokens(some).view(np.uint64) % np.uint64(buckets)
        return pl.Series(some.name, np.where(some.is_null(), MISSING, places.astype(np.int64) + FIRST), dtype=pl.Int32)

    return tokens.map_batches(ids_of, return_dtype=pl.Int32, is_elementwise=True)
