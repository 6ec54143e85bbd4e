from hashlib import blake2b

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from crossfield.data.vocabulary import Vocabulary, hash_ids


def counts_of(tokens: list[str | None]) -> pl.DataFrame:
    return pl.Series("value", tokens, dtype=pl.String).value_counts(name="count").cast({"count": pl.Int64})


def ids_of(vocabulary: Vocabulary, tokens: list[str | None]) -> list[int]:
    frame = pl.DataFrame({"t": tokens}, schema={"t": pl.String})
    return frame.select(vocabulary.ids(pl.col("t"))).to_series().to_list()


TOKENS = ["b", "a", "b", None, "c", "a", "b", "Z", "ü"]


def test_ids_fall_with_counts_and_ties_by_bytes() -> None:
    vocabulary = Vocabulary.of(counts_of(TOKENS), min_count=1, max_size=None)
    assert vocabulary.tokens.to_list() == ["b", "a", "Z", "c", "ü"]
    assert vocabulary.counts.to_list() == [3, 2, 1, 1, 1]
    assert ids_of(vocabulary, ["b", "ü", None, "new", "a"]) == [2, 6, 0, 1, 3]
    assert vocabulary.num_rows == 7


def test_min_count_and_max_size_cut_the_rare_end() -> None:
    rare_cut = Vocabulary.of(counts_of(TOKENS), min_count=2, max_size=None)
    assert rare_cut.tokens.to_list() == ["b", "a"]
    assert ids_of(rare_cut, ["c"]) == [1]
    assert Vocabulary.of(counts_of(TOKENS), min_count=1, max_size=3).tokens.to_list() == ["b", "a", "Z"]


def test_nothing_but_missing_values() -> None:
    vocabulary = Vocabulary.of(counts_of([None, None]), min_count=1, max_size=None)
    assert (vocabulary.num_rows, ids_of(vocabulary, ["a", None])) == (2, [1, 0])


@given(st.lists(st.text(alphabet="aäZ\U0001f600￿", max_size=2), max_size=12))
def test_every_token_is_found_again(tokens: list[str]) -> None:
    vocabulary = Vocabulary.of(counts_of(list(tokens)), min_count=1, max_size=None)
    distinct = sorted(set(tokens), key=lambda one: (-tokens.count(one), one.encode()))
    assert ids_of(vocabulary, list(distinct)) == list(range(2, 2 + len(distinct)))
    assert vocabulary.decode(np.arange(2, 2 + len(distinct))).to_list() == distinct


def test_decode_knows_no_missing_and_unseen() -> None:
    vocabulary = Vocabulary.of(counts_of(TOKENS), min_count=1, max_size=2)
    assert vocabulary.decode(np.array([3, 0, 1, 2, 99])).to_list() == ["a", None, None, "b", None]
    assert vocabulary.decode(np.array([], dtype=np.int64)).to_list() == []


def test_hashed_ids_are_blake2b_modulo_buckets() -> None:
    place = int.from_bytes(blake2b(b"cat", digest_size=8).digest(), "little") % 10
    frame = pl.DataFrame({"t": ["cat", None, "cat"]})
    assert frame.select(hash_ids(pl.col("t"), 10)).to_series().to_list() == [place + 2, 0, place + 2]


def test_hashed_vocabularies_count_their_buckets() -> None:
    counts = pl.DataFrame({"value": [0, 4, 2], "count": [9, 3, 5]})
    vocabulary = Vocabulary.hashed(counts, 4)
    assert vocabulary.counts.to_list() == [5, 0, 3, 0]
    assert vocabulary.num_rows == 6
    assert vocabulary.decode(np.array([4])).to_list() == [None]


def test_the_digest_is_of_tokens_and_counts() -> None:
    digests = {
        Vocabulary.of(counts_of(list(tokens)), min_count=1, max_size=None).digest()
        for tokens in (["ab", "c"], ["a", "bc"], ["ab", "c", "c"], ["ab", "c"])
    }
    assert len(digests) == 3
