"""The tour: every landmark under one budget on the same rows, one leaderboard, one page."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from crossfield import metrics
from crossfield.charts import Reliability
from crossfield.data.cinema import LABEL, PAIRS, TRIPLES, Cinema, Floats, make_cinema
from crossfield.data.dataset import Dataset
from crossfield.data.encode import Encoder
from crossfield.data.public.record import PublicData
from crossfield.data.store import Store, write_store
from crossfield.errors import ConfigError, DataError, SchemaError, nearest
from crossfield.fitting import versions
from crossfield.landmarks import LADDER, LANDMARKS, LATER, NO_MLP, PAIR, SIZES, Crosses, Landmark, build
from crossfield.report import Board, Entry, auc_influence, format_board, in_bands, write_page
from crossfield.schema import Feature, FeatureSchema, Kind, Label
from crossfield.story import Findings, Limits, caveats, listed, page, verdict
from crossfield.trials import Budget, Say, Stores, Trial, config_of, train_all

NUM_TRAIN, NUM_VALID, NUM_TEST = 200_000, 20_000, 50_000
"""Rows of the cinema."""
BINS = 12


@dataclass(frozen=True)
class TourResult:
    """What a tour found, and where its page is."""

    findings: Findings
    page_path: Path
    skipped: tuple[str, ...] = ()
    """Why models are missing, in sentences."""

    def to_json(self) -> dict[str, Any]:
        """Plain values: boards, limits, verdict."""
        found = self.findings
        return {
            "data": found.name,
            "boards": [board.to_json() for board in found.all_boards],
            "limits": vars(found.limits) if found.limits else None,
            "verdict": verdict(found),
            "caveats": caveats(found),
            "skipped": list(self.skipped),
            "seconds": found.seconds,
            "page": str(self.page_path),
        }


@dataclass(frozen=True)
class Ground:
    """What all models of a tour are trained and judged on: raw parts, and the truth about the test rows if known."""

    name: str
    parts: tuple[Dataset, Dataset, Dataset]
    truth: Cinema | None
    budget: Budget
    notes: tuple[str, ...] = ()
    """What to say beside every number made from these rows."""


def run_tour(
    data: Dataset | PublicData | None = None,
    *,
    models: Sequence[str] | None = None,
    everything: bool = False,
    seeds: int = 3,
    out: Path = Path("report.html"),
    quick: bool = False,
    processes: int = 1,
    on_progress: Say = lambda text: None,
) -> TourResult:
    """Train the landmarks with ``seeds`` seeds each, compare them, and write the page.

    Without ``data`` on the cinema, whose truth is known. ``models`` are catalogue names; by default the landmarks,
    with ``everything`` the whole catalogue. A model that the data has no columns for is skipped and said so.
    ``quick`` takes a tenth of the rows. ``processes`` trials run at once; more than one need a main program that can be
    imported.

    Raises ConfigError where a model does not exist or ``out`` is a folder, SchemaError where the data has no label or
    no model fits, DataError where a part has rows of one class only.
    """
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; name the page itself, such as {out / 'report.html'}")
    started = time.perf_counter()
    landmarks = _choose(models, everything=everything, is_planted=data is None)
    ground = _cinema(quick) if data is None else _own(data, quick)
    effects = ground.truth.effects if ground.truth is not None else None
    with TemporaryDirectory() as scratch:
        stores = _encode(ground, {one.crosses for one in landmarks}, Path(scratch))
        _check_classes(next(iter(stores.values())))
        able, skipped = _able(landmarks, stores)
        trials = train_all(
            able, stores, ground.budget, seeds=seeds, effects=effects, processes=processes, say=on_progress
        )
        entries = [_entry(one, trials[one.name], stores[one.crosses].test) for one in able]
    boards, ladder = _boards(entries, limits := _limits(ground.truth))
    told = tuple(_describe_data(ground, stores) + _describe_training(ground, stores))
    seconds = time.perf_counter() - started
    findings = Findings(ground.name, boards, ladder, limits=limits, method=told, num_seeds=seeds, seconds=seconds)
    write_page(out, page(findings, footer=_footer(findings, processes)))
    return TourResult(findings, out, skipped)


def format_leaderboard(result: TourResult) -> str:
    """The tour as plain text: boards, verdict, where the page is."""
    found = result.findings
    lines = [format_board(board) + "\n" for board in found.all_boards]
    lines += [f"* {sentence}" for sentence in (*verdict(found), *caveats(found), *result.skipped)]
    return "\n".join([*lines, "", f"{_minutes(found.seconds)}; the page with all charts: {result.page_path}"])


def _choose(models: Sequence[str] | None, *, everything: bool, is_planted: bool) -> list[Landmark]:
    whole = (*LANDMARKS, *LATER)
    known = [one.model for one in whole]
    for name in models or ():
        if name not in known:
            raise ConfigError(f"the tour has no model {name!r}{nearest(name, known)}")
    chosen = [one for one in (whole if models or everything else LANDMARKS) if not models or one.model in models]
    if not is_planted:
        return [replace(one, crosses=()) for one in chosen]
    return chosen + [one for one in LADDER if not models or one.model in models]


def _cinema(quick: bool) -> Ground:
    share = 10 if quick else 1
    sizes = [size // share for size in (NUM_TRAIN, NUM_VALID, NUM_TEST)]
    cinema = make_cinema(sum(sizes))
    names = [name for name in cinema.columns if name != LABEL]
    schema = FeatureSchema(
        tuple(Feature(name, Kind.CATEGORICAL) for name in names), label=Label(LABEL), user="user", item="film"
    )
    ends = np.cumsum([0, *sizes])
    parts = [cinema.rows(int(start), int(stop)) for start, stop in pairwise(ends)]
    train, valid, test = (Dataset(pl.LazyFrame(part.columns), schema, "cinema") for part in parts)
    return Ground("the cinema", (train, valid, test), parts[2], Budget.of(NUM_TRAIN))


def _own(data: Dataset | PublicData, quick: bool) -> Ground:
    known = data if isinstance(data, PublicData) else PublicData(data)
    if known.train.schema.label is None:
        raise SchemaError("the tour compares click models and needs labels; name the label column with --label")
    train, valid, test = (part.require(labelled=True) for part in _parts(known))
    budget = Budget.of(train.num_rows)
    if quick:
        train = replace(train, frame=train.frame.gather_every(10), cut=None)
    name = known.train.name.removesuffix(" (train)")  # parted already: the rows are named, not their first part
    return Ground(name, (train, valid, test), None, budget, known.notes)


def _parts(data: PublicData) -> tuple[Dataset, ...]:
    """Training, validation and test rows: the official ones where there are any."""
    if data.test is None:
        return data.train.split()
    if data.valid is not None:
        return data.train, data.valid, data.test
    return *data.train.split(sizes=(0.9, 0.1)), data.test


def _encode(ground: Ground, needed: set[Crosses], scratch: Path) -> dict[Crosses, Stores]:
    """The same rows once for every set of named crosses."""
    stores = {}
    for number_, crosses in enumerate(sorted(needed, key=len)):
        parts = [_crossed(part, crosses) for part in ground.parts]
        encoder = Encoder.fit(parts[0])
        written = (
            write_store(
                encoder.stream(part, labelled=True),
                scratch / f"{number_}-{name}",
                model_schema=encoder.model_schema,
                fingerprint=encoder.fingerprint,
            )
            for name, part in zip(("train", "valid", "test"), parts, strict=True)
        )
        stores[crosses] = Stores(*written)
    return stores


def _check_classes(stores: Stores) -> None:
    """Raise DataError where rows of one class only would give no AUC to compare."""
    for name, part in (("training", stores.train), ("validation", stores.valid), ("test", stores.test)):
        weights = _weights(part)
        labels = _labels(part) if weights is None else _labels(part)[weights > 0]
        if not 0 < labels.sum() < len(labels):
            what = f"every label is {labels[0]:.0f} in the {len(labels):,} {name} rows" if len(labels) else ""
            what = what or f"there are no {name} rows (with a weight)"
            raise DataError(f"{what}, so that no AUC can be told there; part the rows in another way or take more rows")


def _crossed(part: Dataset, crosses: Crosses) -> Dataset:
    named = tuple(Feature(" x ".join(of), Kind.CROSS, of=of) for of in crosses)
    return replace(part, schema=part.schema.with_features((*part.schema.features, *named)))


def _able(landmarks: Sequence[Landmark], stores: Mapping[Crosses, Stores]) -> tuple[list[Landmark], tuple[str, ...]]:
    """The landmarks that these columns are enough for, and why the others are left out."""
    able, skipped = [], []
    for one in landmarks:
        try:
            build(one, stores[one.crosses].train.model_schema)
            able.append(one)
        except SchemaError as error:
            skipped.append(f"{one.name} is left out: {error}")
    if not able:
        raise SchemaError(f"no model of the tour fits these columns: {'; '.join(skipped)}")
    return able, tuple(skipped)


def _entry(landmark: Landmark, trials: Sequence[Trial], test: Store) -> Entry:
    labels, groups, weights = _labels(test), np.asarray(test.groups), _weights(test)
    influences = [auc_influence(labels, trial.logits, groups, weights=weights) for trial in trials]
    bins = metrics.reliability(labels, trials[0].logits, weights, bins=BINS)
    return Entry(
        landmark.name,
        landmark.adds,
        landmark.family,
        trials[0].num_parameters,
        tuple(trial.run for trial in trials),
        np.mean(influences, 0),
        Reliability(landmark.name, landmark.family, tuple(bins.predicted.tolist()), tuple(bins.observed.tolist())),
    )


def _labels(store: Store) -> Floats:
    return np.asarray(store.labels, dtype=np.float64)


def _weights(store: Store) -> Floats | None:
    return None if store.weights is None else np.asarray(store.weights, dtype=np.float64)


def _boards(entries: Sequence[Entry], limits: Limits | None) -> tuple[tuple[Board, ...], Board | None]:
    """Boards of the landmarks by what they see, and the ladder of models without an MLP where effects are planted."""
    extra = {one.name for one in LADDER}
    floor = next((one.mean("auc") for one in entries if one.name == "logistic_regression"), None)
    ceiling = limits.orders[2] if limits is not None else None

    def board(title: str, belongs: Callable[[Entry], bool]) -> Board:
        return Board(title, in_bands(filter(belongs, entries)), floor, ceiling)

    boards = [
        board("Models that see every column", lambda one: one.family < PAIR and one.name not in extra),
        board("Models that see user and item only", lambda one: one.family >= PAIR),
    ]
    ladder = board("Models without an MLP", lambda one: one.name in NO_MLP)
    return tuple(one for one in boards if one.bands), ladder if limits is not None and len(ladder.entries) > 1 else None


def _limits(truth: Cinema | None) -> Limits | None:
    if truth is None:
        return None
    first, second, third = (metrics.auc(truth.labels, truth.order_logits(order)) for order in (1, 2, 3))
    pair = metrics.auc(truth.labels, truth.pair_probabilities())
    return Limits((first, second, third), pair, metrics.log_loss(truth.labels, truth.order_logits(3)))


def _describe_data(ground: Ground, stores: Mapping[Crosses, Stores]) -> list[str]:
    one = next(iter(stores.values()))
    rows = f"{one.train.num_rows:,} training, {one.valid.num_rows:,} validation and {one.test.num_rows:,} test rows"
    if ground.truth is None:
        return [f"Data: {ground.name}, {rows}.", *ground.notes]
    pairs, triples = (listed(" x ".join(names) for names in crosses) for crosses in (PAIRS, TRIPLES))
    return [
        f"Data: {rows}, drawn independently. 1,000 users and 400 films by a power law; age belongs to the user, "
        "director, actor and genre to the film; daytime, company and device are uniform.",
        "The log odds of a click are -.6 + f1 + f2 + f3. f1 adds up effects of single columns; f2 of pairs: users' "
        f"tastes (three quarters of them their age group's) in genres and directors, and daytime x device; f3 of the "
        f"triples {triples}. No column explains f2 or f3, no pair of columns f3.",
        f"The crosses named for wide_deep and logistic_regression are {pairs}, where triples are named those of f3 "
        "too. Naming them uses the truth.",
    ]


def _describe_training(ground: Ground, stores: Mapping[Crosses, Stores]) -> list[str]:
    one = config_of(next(iter(stores.values())).train.model_schema, ground.budget, 0)
    moved = "Adam over whole tables" if one.optimizer == "adam" else "Adam, of tables the rows of the batch"
    return [
        f"Training, the same for all: embeddings of width {SIZES['embedding_dim']}, MLPs of 128 and 64; {moved}, rate "
        f"{one.lr}, batches of {one.batch_size:,}, at most {one.epochs} epochs, the best one by validation AUC kept; "
        f"L2 {one.embedding_l2:g} on embeddings; the linear part of wide_deep by FTRL; fp32, not compiled. "
        "Popularity is counted, not trained; ials and ease are solved from who clicked on what alone, and as their "
        "scores are no log odds, only their AUC says something.",
    ]


def _footer(findings: Findings, processes: int) -> str:
    used = ", ".join(f"{name} {number}" for name, number in versions().items())
    at_once = "one trial at a time" if processes < 2 else f"{processes} trials at a time"
    return f"Made in {_minutes(findings.seconds)}, {at_once} on one thread each, by {used}."


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60} s" if seconds >= 90 else f"{seconds:.0f} s"
