"""Small tables with nothing wrong, for faults to be planted in."""

import numpy as np
import polars as pl

from crossfield.checks.finding import Finding
from crossfield.checks.sample import Sample
from crossfield.data.dataset import Dataset, load


def clean(num_rows: int = 2000, seed: int = 0) -> pl.DataFrame:
    """Clicks that depend a little on everything, by time, of 100 users and 50 items."""
    rng = np.random.default_rng(seed)
    user, item, age = rng.integers(0, 100, num_rows), rng.integers(0, 50, num_rows), rng.normal(40, 10, num_rows)
    odds = 0.5 * np.cos(user) + 0.5 * np.sin(item) + (age - 40) / 20 - 0.5
    return pl.DataFrame(
        {
            "click": (rng.random(num_rows) < 1 / (1 + np.exp(-odds))).astype(np.int64),
            "user": [f"u{one}" for one in user],
            "item": item,
            "age": age,
            "tags": [["a", "b"][: 1 + one % 2] for one in item],
            "ts": np.arange(num_rows) * 60 + 1_700_000_000,
        }
    )


def data_of(frame: pl.DataFrame, *, label: str | None = "click", **words: object) -> Dataset:
    """The frame with its roles; columns that are added are categorical where they are text and dense else."""
    known = {"label": label, "user": "user", "item": "item", "time": "ts"}
    roles = {role: column for role, column in known.items() if column in frame.columns}
    return load(frame, **{**roles, **words})  # type: ignore[arg-type]


def sample_of(frame: pl.DataFrame, name: str = "training", **words: object) -> Sample:
    return Sample.draw(name, data_of(frame, **words), 1.0)


def said(findings: list[Finding]) -> list[tuple[str, str]]:
    """Severity and place of each finding."""
    return [(one.severity, one.where) for one in findings]
