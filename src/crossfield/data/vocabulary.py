"""Vocabularies: which token has which id. 0 is missing, 1 unseen, then by falling count, ties by UTF-8 bytes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import polars as pl

from crossfield.data.tokens import hash_tokens

MISSING, UNSEEN, FIRST = 0, 1, 2
"""The id of a missing value, of one that training did not see, and of the most frequent token."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The ids of one field: of the tokens it holds, or, with ``buckets``, of any token by its hash."""

    tokens: pl.Series
    """Text; the id of a token is its position + 2. Null for each bucket of hashed tokens."""
    counts: pl.Series
    """How many training values had each id, from id 2 on (int64)."""
    buckets: int | None = None

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
        return cls(pl.Series([None], dtype=pl.String).new_from_index(0, buckets), pl.Series(sums), buckets)

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
        return self.tokens.gather(pl.Series(np.where(known, places, 0)).set(pl.Series(~known), None))

    def table(self) -> pl.DataFrame:
        """The tokens with their counts, in the order of their ids."""
        return pl.DataFrame({"token": self.tokens, "count": self.counts})

    def digest(self) -> str:
        """SHA-256 (hex) of everything it holds."""
        lengths = self.tokens.str.len_bytes().fill_null(0).to_numpy()
        text = "" if self.buckets else "".join(self.tokens)
        parts: Sequence[bytes] = (
            str(self.buckets).encode(),
            lengths.tobytes(),
            text.encode(),
            self.counts.to_numpy().tobytes(),
        )
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def hash_ids(tokens: pl.Expr, buckets: int) -> pl.Expr:
    """The id of each token by its hash (int32): blake2b(token) mod buckets + 2; a null token is missing."""

    def ids_of(some: pl.Series) -> pl.Series:
        places = hash_tokens(some).view(np.uint64) % np.uint64(buckets)
        return pl.Series(some.name, np.where(some.is_null(), MISSING, places.astype(np.int64) + FIRST), dtype=pl.Int32)

    return tokens.map_batches(ids_of, return_dtype=pl.Int32, is_elementwise=True)
