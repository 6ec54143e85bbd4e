"""Criteo-shaped click rows with planted effects: 13 dense features, 26 id columns with Zipf frequencies.

    python benchmarks/speed/ctr_data.py --out DIR [--train 500000] [--valid 100000] [--vocabulary-scale 1] [--criteo]

Writes train.csv and valid.csv (label, I1 to I13, C1 to C26; ids are hexadecimal text, an empty cell is missing) and
info.json with the click rate and what the true probabilities would reach on the validation rows. With --criteo the
files are tab-separated and have no header, as Criteo's own. The vocabularies add up to 1.02 M ids; a scale of 10
multiplies those above 100,000, to 9 M. Chunk by chunk: memory does not grow with the rows. The same seed draws the
same world and the same rows.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossfield.metrics import auc, log_loss

VOCABULARIES = (1460, 583, 250_000, 120_000, 305, 24, 12_517, 633, 3, 30_000, 5683, 210_000, 3194)
VOCABULARIES += (27, 14_992, 135_000, 10, 5652, 2173, 4, 170_000, 18, 15, 36_000, 105, 22_000)
NUM_DENSE, LARGE, CHUNK_ROWS = 13, 100_000, 100_000
PAIR_DIM, LINEAR_SD, PAIR_SCALE, BIAS = 6, 0.38, 1.2, -1.6
SMALL = [field for field, size in enumerate(VOCABULARIES) if size <= 6000]
BIG = [field for field, size in enumerate(VOCABULARIES) if size > 6000]

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Some rows: what is seen, what is missing of it, and the truth."""

    ids: Ids
    """[n, 26]."""
    dense: Floats
    """[n, 13] counts."""
    no_id: NDArray[np.bool_]
    no_dense: NDArray[np.bool_]
    probability: Floats
    label: NDArray[np.int8]


class World:
    """The fixed truth: how often each id comes, what it weighs, which columns act together."""

    def __init__(self, seed: int, scale: int) -> None:
        random = np.random.default_rng(seed)
        self.seed = seed
        self.sizes = [size * scale if size > LARGE else size for size in VOCABULARIES]
        self.frequencies = [_zipf(random, size) for size in self.sizes]
        self.shapes = [(random.uniform(0.3, 3.0), random.uniform(0.6, 1.6)) for _ in range(NUM_DENSE)]
        self.shifts = random.normal(0, 0.4, (NUM_DENSE, VOCABULARIES[5]))
        self.weights = [random.normal(0, LINEAR_SD * (0.35 if size > LARGE else 1), size) for size in self.sizes]
        self.dense_weights = random.normal(0, 0.12, NUM_DENSE)
        self.waves = random.normal(0, 0.10, NUM_DENSE)
        small = [tuple(sorted(random.choice(SMALL, 2, replace=False).tolist())) for _ in range(30)]
        self.pairs = [*small, *((int(random.choice(SMALL)), int(random.choice(BIG))) for _ in range(6))]
        self.mixes = random.normal(0, 1, (len(self.pairs), PAIR_DIM))
        self.dense_pairs = [(int(random.integers(NUM_DENSE)), int(random.choice(SMALL))) for _ in range(8)]
        used = sorted({field for pair in self.pairs for field in pair} | {field for _, field in self.dense_pairs})
        self.vectors = {field: random.normal(0, 1, (self.sizes[field], PAIR_DIM)).astype(np.float32) for field in used}
        self._settle(*self._draw(np.random.default_rng((seed, 1 << 30)), CHUNK_ROWS))

    def _settle(self, ids: Ids, dense: Floats) -> None:
        """Fix the scales by some rows of their own."""
        logs = np.log1p(dense)
        self.mean, self.sd = logs.mean(0), logs.std(0)
        linear, paired = self._parts(ids, dense)
        self.linear_mean, self.paired_mean, self.paired_sd = linear.mean(), paired.mean(), paired.std()

    def _draw(self, random: np.random.Generator, num_rows: int) -> tuple[Ids, Floats]:
        ids = np.stack([np.searchsorted(one, random.random(num_rows)) for one in self.frequencies], 1)
        ids = np.minimum(ids, np.array(self.sizes) - 1)
        for child, parent, factor, share in ((13, 0, 7, 0.6), (21, 4, 5, 0.5)):  # columns that follow others
            follows = random.random(num_rows) < share
            ids[follows, child] = ids[follows, parent] * factor % self.sizes[child]
        columns = [
            mean + sd * random.normal(size=num_rows) + shift[ids[:, 5]]
            for (mean, sd), shift in zip(self.shapes, self.shifts, strict=True)
        ]
        return ids, np.floor(np.exp(np.stack(columns, 1)) - 1).clip(0, 60_000)

    def _parts(self, ids: Ids, dense: Floats) -> tuple[Floats, Floats]:
        """The first-order part and the pairs' of each row's logit, unscaled."""
        scaled = (np.log1p(dense) - self.mean) / self.sd
        linear = scaled @ self.dense_weights + np.sin(1.5 * scaled) @ self.waves
        linear += sum(weights[ids[:, field]] for field, weights in enumerate(self.weights))
        paired = np.zeros(len(ids))
        for (left, right), mix in zip(self.pairs, self.mixes, strict=True):
            paired += (self.vectors[left][ids[:, left]] * mix * self.vectors[right][ids[:, right]]).sum(1)
        paired /= np.sqrt(PAIR_DIM)
        for column, field in self.dense_pairs:
            paired += 0.8 * scaled[:, column] * self.vectors[field][ids[:, field], 0]
        return linear, paired

    def rows(self, chunk: int, num_rows: int) -> Rows:
        """The rows of one chunk, which depend on nothing but the seed and its number."""
        random = np.random.default_rng((self.seed, chunk))
        ids, dense = self._draw(random, num_rows)
        linear, paired = self._parts(ids, dense)
        paired = (paired - self.paired_mean) / self.paired_sd
        probability = 1 / (1 + np.exp(-(linear - self.linear_mean + PAIR_SCALE * paired + BIAS)))
        return Rows(
            ids=ids,
            dense=dense,
            no_id=random.random(ids.shape) < np.where(np.array(VOCABULARIES) > 1000, 0.03, 0.01),
            no_dense=random.random(dense.shape) < np.linspace(0, 0.3, NUM_DENSE),
            probability=probability,
            label=(random.random(num_rows) < probability).astype(np.int8),
        )


def _zipf(random: np.random.Generator, size: int) -> Floats:
    """Cumulated shares of ids whose frequency falls with a power of their rank."""
    low, high = (0.45, 0.75) if size > LARGE else (1.0, 1.25)
    shares: Floats = np.cumsum((np.arange(size) + 2.0) ** -random.uniform(low, high))
    return shares / shares[-1]


def frame_of(rows: Rows) -> pl.DataFrame:
    """The rows as text and numbers; an id's text tells nothing of its rank."""
    dense = {
        f"I{column + 1}": pl.Series(rows.dense[:, column].astype(np.int64)).set(
            pl.Series(rows.no_dense[:, column]), None
        )
        for column in range(NUM_DENSE)
    }
    ids = {f"C{field + 1}": _texts(rows, field) for field in range(len(VOCABULARIES))}
    return pl.DataFrame({"label": rows.label, **dense, **ids})


def _texts(rows: Rows, field: int) -> pl.Series:
    codes = (rows.ids[:, field].astype(np.uint64) * np.uint64(2_654_435_761) + np.uint64(field * 97 + 13)) % np.uint64(
        2**32
    )
    distinct, inverse = np.unique(codes, return_inverse=True)
    texts = pl.Series([f"{code:08x}" for code in distinct.tolist()]).gather(inverse)
    return texts.set(pl.Series(rows.no_id[:, field]), None)


def chunks(num_rows: int) -> Iterator[int]:
    """How many rows each chunk has."""
    for start in range(0, num_rows, CHUNK_ROWS):
        yield min(CHUNK_ROWS, num_rows - start)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=500_000)
    parser.add_argument("--valid", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--vocabulary-scale", type=int, default=1)
    parser.add_argument("--criteo", action="store_true", help="tab-separated, no header")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    world = World(given.seed, given.vocabulary_scale)
    chunk, labels, truth = 0, list[NDArray[np.int8]](), list[Floats]()
    for name, num_rows in (("train", given.train), ("valid", given.valid)):
        labels, truth = [], []
        with (given.out / f"{name}.csv").open("w") as file:
            for size in chunks(num_rows):
                rows = world.rows(chunk, size)
                _write(rows, file, criteo=given.criteo)
                labels.append(rows.label)
                truth.append(rows.probability)
                chunk += 1
    found, best = np.concatenate(labels).astype(np.float64), np.concatenate(truth)
    logits = np.log(best) - np.log1p(-best)
    about = {
        "table_rows": sum(world.sizes),
        "sizes": world.sizes,
        "click_rate": float(found.mean()),
        "best_auc": auc(found, logits),
    }
    (given.out / "info.json").write_text(json.dumps({**about, "best_log_loss": log_loss(found, logits)}) + "\n")


def _write(rows: Rows, file: TextIO, *, criteo: bool) -> None:
    with_header = file.tell() == 0 and not criteo
    file.write(frame_of(rows).write_csv(include_header=with_header, separator="\t" if criteo else ","))


if __name__ == "__main__":
    main()
