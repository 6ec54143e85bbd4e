"""A week of the cinema with new films every day: update daily, train from scratch daily, or never again.

    python benchmarks/reliability/daily.py [--model deepfm] [--seeds 3] [--rows 20000] [--record]

Two of five films are there from the start, the others are released over the week. Each day a model is measured on
that day's visits before it has seen them; then the day's visits are its newest data. "update" goes on with the day's
rows alone, one epoch; "scratch" trains anew on all days so far, 5 epochs, the last tenth of the rows to choose the
best; "none" stays what it was after day 0. With --record lines go to benchmarks/results/reliability-daily.jsonl.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from crossfield.data.cinema import make_cinema
from crossfield.files import append_line
from crossfield.ranker import Ranker

RESULTS = Path(__file__).parents[1] / "results" / "reliability-daily.jsonl"
DAYS = 8
OPTIONS = {"label": "click", "user": "user", "item": "film"}
TRAIN = {"epochs": 5, "batch_size": 512, "threads": 1, "precision": "fp32", "compile": "off"}
WAYS = {"none": 0, "update": 1, "update_3": 3, "scratch": 0}
"""And how many epochs of the day's rows each goes on for."""


def make_days(num_rows: int, seed: int) -> list[pl.DataFrame]:
    """Visits by day, of films that are released by then."""
    random = np.random.default_rng(seed)
    rows = pl.DataFrame(make_cinema(3 * DAYS * num_rows, seed=seed).columns)
    films = rows["film"].unique().sort()
    release = np.where(random.random(len(films)) < 0.4, 0, random.integers(1, DAYS, len(films)))
    rows = rows.join(pl.DataFrame({"film": films, "release": release}), on="film", maintain_order="left")
    rows = rows.with_columns(day=pl.Series(random.integers(0, DAYS, len(rows))))
    shown = rows.filter(pl.col("release") <= pl.col("day")).drop("release")
    return [shown.filter(pl.col("day") == day).drop("day").head(num_rows) for day in range(DAYS)]


def trained(model: str, rows: pl.DataFrame, seed: int) -> Ranker:
    """Trained on rows, the last tenth of which choose the best epoch."""
    settings = {"embedding_dim": 8, "deep": [64, 32]}
    ranker = Ranker(model, train={**TRAIN, "seed": seed}, encoder={"unseen_rate": 0.02}, data=OPTIONS, **settings)
    cut = len(rows) * 9 // 10
    return ranker.fit(rows.head(cut), rows.tail(len(rows) - cut), quiet=True)


def week(model: str, num_rows: int, seed: int) -> list[dict[str, Any]]:
    """AUC of every day by every way, measured before the day's rows are learned."""
    days, lines = make_days(num_rows, seed), []
    rankers = {way: trained(model, days[0], seed) for way in WAYS}
    for day in range(1, DAYS):
        known = pl.concat(days[:day])["film"].unique()
        new_film = float((~days[day]["film"].is_in(known.implode())).mean())
        for way, ranker in rankers.items():
            auc = ranker.evaluate(days[day], intervals=False, quiet=True)["auc"]
            started, fields = time.process_time(), {}
            if epochs := WAYS[way]:
                fields = ranker.update(days[day], epochs=epochs, quiet=True).about["update"]["fields"]["film"]
            elif way == "scratch" and day < DAYS - 1:
                rankers[way] = trained(model, pl.concat(days[: day + 1]), seed)
            seconds = round(time.process_time() - started, 2)
            line = {"model": model, "seed": seed, "way": way, "day": day, "rows": len(days[day]), "auc": auc}
            lines.append({**line, "of_new_films": new_film, "seconds": seconds, "films": fields})
    return lines


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="deepfm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000, help="visits per day")
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    for seed in range(given.seeds):
        for line in week(given.model, given.rows, seed):
            print(json.dumps(line), flush=True)
            if given.record:
                append_line(RESULTS, line)


if __name__ == "__main__":
    main()
