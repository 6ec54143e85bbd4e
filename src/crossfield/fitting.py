"""From prepared rows and a recipe to a bundle: train or solve, calibrate, and write down what happened."""

import platform
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from crossfield import metrics
from crossfield.bundle import RECIPE, Bundle
from crossfield.calibration import Calibration, Method, check_rows
from crossfield.data.dataset import Dataset
from crossfield.data.encode import Encoder
from crossfield.data.entities import Entities
from crossfield.data.negatives import NegativeSampler
from crossfield.data.resident import keep_on
from crossfield.data.store import Position, Reader, Store
from crossfield.data.vocabulary import FIRST, Evict, Growth
from crossfield.distributed.spread import place_on
from crossfield.distributed.team import ALONE, Team
from crossfield.errors import ConfigError, CorruptError, DataError, RunError
from crossfield.evaluate import Predictions, by_user, predict, rank_candidates, rank_catalogue
from crossfield.files import read_object, write_json
from crossfield.growth import grown_model, grown_state
from crossfield.losses import undo_downsampling
from crossfield.mapped import on_disk
from crossfield.models import CATALOGUE
from crossfield.models.base import Interactions, Model, Solved, num_numbers
from crossfield.optim import build_optimizers
from crossfield.preparation import (
    Origin,
    Prepared,
    check_trainable,
    find,
    first_difference,
    prepare,
    thinned,
    write,
)
from crossfield.progress import Report
from crossfield.recipe import Recipe
from crossfield.schema import FeatureSchema
from crossfield.scoring import device_of
from crossfield.train import FREE_ON_RESUME, Trainer, TrainResult, check_fused, check_teamwork, fused_tables
from crossfield.train_options import TrainConfig

Listener = Callable[[Report], None]
Say = Callable[[str], None]

NEGATIVES_PER_POSITIVE = 4
"""Drawn for implicit data when the recipe does not say; the NCF paper's number."""
MONITOR_NEGATIVES = 99
"""A held-out item is ranked among so many while training implicit data; the NCF paper's number."""
ROWS = "rows.json"
"""In the folder of a run's work: the checksums of the rows it was begun with."""
EVALUATION_ROWS = 8192
FREE = frozenset({*(f"train.{key}" for key in FREE_ON_RESUME), "calibration.method"})
"""Recipe keys that may change where a run is gone on with: they do not touch the steps already made."""
_CLICK_METRICS = {"auc": metrics.auc, "log_loss": metrics.log_loss}
_AMONG_DRAWN = ("hr@10", "ndcg@10")
_AMONG_ALL = (*_AMONG_DRAWN, "recall@20", "ndcg@20")

_DIVERGED = (
    "scores of the validation rows are not finite, though the weights are: these have grown too large, or those rows "
    "hold extreme values; set a lower train.lr or a train.clip_norm, or look at the rows"
)

Watch = Callable[[Prepared, Model], dict[str, float]]
"""Measures a model on rows that nothing is chosen by."""


def fit_bundle(
    recipe: Recipe,
    train: Dataset | Prepared,
    valid: Dataset | None,
    *,
    work: Path,
    resume: bool = False,
    device: str = "cpu",
    watch: Watch | None = None,
    listener: Listener,
    say: Say,
    warn: Say | None = None,
    team: Team = ALONE,
) -> Bundle | None:
    """Train the recipe's model on raw rows, or on rows prepared before, which hold those to validate on.

    Scratch files and checkpoints go into ``work``; ``watch`` measures test rows; what is wrong with the rows goes to
    ``warn``, if it is another than ``say``.

    Of a team all processes call this; the first prepares the rows, and it alone gets the bundle, the others None.

    Raises DataError, SchemaError or ConfigError on what cannot be trained; with ``resume``, ConfigError where the
    work that lies there belongs to another recipe.
    """
    started = time.time()
    check_trainable(recipe, train.schema)
    check_team(recipe, team)
    check_tables(recipe, device)
    if valid is not None or (isinstance(train, Prepared) and train.valid is not None):
        check_monitor(recipe, train.schema)
    prepared = _prepare_together(recipe, train, valid, work=work, resume=resume, team=team)
    if prepared.reused:
        say("these rows are encoded already, by an earlier run on the same files; CROSSFIELD_CACHE=off forgets that")
    if prepared.cache_note:
        say(prepared.cache_note)
    for note in _notes(prepared):
        say(note)
    for one in prepared.findings:
        (warn or say)(f"{one.severity}: {one}")
    _check_calibration(recipe.calibration.method, prepared.valid)
    torch.manual_seed(recipe.train.seed)
    with on_disk(tables_folder(recipe, work)):
        model = CATALOGUE[recipe.name](prepared.encoder.model_schema, recipe.model)
    place_on(model, device, fused_tables(recipe.train))
    _start(model, recipe, prepared.encoder)
    history, training = _learn(
        recipe, model, prepared, watch=watch, work=work, resume=resume, listener=listener, team=team
    )

    def finish() -> Bundle:
        about = {**_about(recipe, model, prepared), **history, "seconds": time.time() - started}
        about |= {} if team.is_alone else {"processes": team.size}
        bundle = Bundle(recipe, prepared.encoder, model, prepared.entities, about, training)
        bundle = _calibrated(bundle, recipe.calibration.method, prepared)
        model.cpu().eval()
        return bundle

    return team.lead(finish)


def _prepare_together(
    recipe: Recipe, train: Dataset | Prepared, valid: Dataset | None, *, work: Path, resume: bool, team: Team
) -> Prepared:
    """What the first process prepares; the others open it when it is there."""
    if isinstance(train, Prepared):
        team.lead(lambda: _claim(recipe, train.origin, work, resume=resume))
        return train
    made: list[Prepared] = []

    def make() -> list[str]:
        origin = Origin.of(train, valid)
        _claim(recipe, origin, work, resume=resume)
        # The cache is on this machine's disk; in the run's folder those of other machines see the rows too.
        in_cache = team.is_on_one_machine
        made.append(prepare(recipe, train, valid, work=work, resume=resume, origin=origin, in_cache=in_cache))
        return [str(made[0].place), str(made[0].key)]

    place, key = team.hear(make)
    with team.together():
        return made[0] if made else _find_too(Path(place), key, team)


def _find_too(place: Path, key: str, team: Team) -> Prepared:
    """What the first process prepared, opened by another one; raises RunError where it does not see it."""
    if found := find(place, key, verify=False):
        return found
    said = f"process {team.rank} does not see the rows that the first process prepared in {place}"
    raise RunError(f"{said}; start all of them with an --out on a disk that they share")


def update_bundle(
    bundle: Bundle,
    train: Dataset,
    valid: Dataset | None,
    *,
    training: Mapping[str, Any] | None,
    epochs: int,
    evict: Evict,
    work: Path,
    device: str = "cpu",
    listener: Listener,
    say: Say,
) -> Bundle:
    """Go on training a model with new rows: their ids get rows of their own, what was learned is kept.

    ``training`` is what the bundle's own training left. All epochs are trained without validation rows, else the best
    one is kept. Raises DataError where there are no rows, ConfigError for a model that is solved.
    """
    started = time.time()
    number = bundle.about.get("updates", 0) + 1
    recipe = bundle.recipe.override({"train.epochs": epochs, "train.start_from": [], "train.watch_test": False})
    encoder, growths = bundle.encoder.grown(train, update=number, evict=evict)
    with on_disk(tables_folder(recipe, work)):
        model = grown_model(bundle.model, encoder.model_schema, growths)
    place_on(model, device, fused_tables(recipe.train))
    store = write(thinned(encoder.stream(train, labelled=True), recipe), encoder, work / "train")
    held_out = None if valid is None else write(encoder.stream(valid, labelled=True), encoder, work / "valid")
    entities = bundle.entities and bundle.entities.grown(store, encoder, growths)
    method = "none" if bundle.calibration is None else bundle.calibration.method
    if held_out is not None:
        _check_calibration(method, held_out)
    elif bundle.calibration is not None:
        say("the calibration stays that of the model before the update; fit it to fresh rows: crossfield calibrate")
    prepared = Prepared(encoder, store, held_out, entities, train.num_rows - store.num_rows, Origin.of(train, valid))
    start = None if training is None else _start_state(training, model, recipe, growths)
    if training is None:
        say("the run kept no state of its optimisers (train.keep_state): they begin anew")
    trainer = _trainer(recipe, model, prepared, watch=None, work=work, listener=listener, start=start)
    result = trainer.fit()
    update = {"rows": store.num_rows, "epochs": epochs, "fields": _grown_fields(encoder, growths)}
    about = {**_about(recipe, model, prepared), **_describe(result)}
    # Ids are recommended as integers where they always were: with text among them they are text.
    kept_ids = [name for name in about["integer_ids"] if name in bundle.about["integer_ids"]]
    trained_on = _joined_sha256(bundle.about["data_sha256"], about["data_sha256"], number)
    about |= {"integer_ids": kept_ids, "data_sha256": trained_on}
    about |= {"updates": number, "update": update, "seconds": time.time() - started}
    kept = trainer.training if recipe.train.keep_state else None
    updated = Bundle(bundle.recipe, encoder, model, entities, about, kept, bundle.calibration)
    updated = _calibrated(updated, method, prepared)
    model.cpu().eval()
    return updated


def _joined_sha256(before: Mapping[str, str], new: Mapping[str, str], update: int) -> dict[str, str]:
    """Checksums of all rows a model was trained on; a new file with the name of an older one says of which update."""
    is_other = {name: before.get(name, sha256) != sha256 for name, sha256 in new.items()}
    named = {f"{name} (update {update})" if is_other[name] else name: sha256 for name, sha256 in new.items()}
    return {**before, **named}


def _start_state(
    training: Mapping[str, Any], model: Model, recipe: Recipe, growths: Mapping[str, Growth]
) -> dict[str, Any]:
    optimizers = build_optimizers(model, recipe.train)
    return {**training, "optimizers": grown_state(training["optimizers"], model, optimizers, growths)}


def _grown_fields(encoder: Encoder, growths: Mapping[str, Growth]) -> dict[str, dict[str, int]]:
    counted = ("new", "admitted", "evicted")
    sizes = {one.name: one.num_rows for one in encoder.model_schema.fields}
    return {
        name: {**{one: getattr(growth, one) for one in counted}, "rows": sizes[name]}
        for name, growth in growths.items()
    }


def _check_calibration(method: Method | Literal["none"], valid: Store | None) -> None:
    """Raise ConfigError or DataError where there will be nothing to calibrate with, before hours go into training."""
    if method == "none":
        return
    if valid is None:
        raise ConfigError(f'calibration.method = "{method}" is fitted to validation rows; give some, or "none"')
    check_rows(method, np.asarray(valid.labels), valid.weights)


def _calibrated(bundle: Bundle, method: Method | Literal["none"], prepared: Prepared) -> Bundle:
    """The bundle with a curve fitted to its validation rows: none of these was left out, whatever was in training."""
    if method == "none" or prepared.valid is None:
        return bundle
    found = predict(bundle.model, Reader(prepared.valid, batch_size=EVALUATION_ROWS, shuffle=False).epoch())
    labels, logits, files = np.asarray(found.labels), bundle.corrected(found.logits), prepared.origin.valid_sha256
    return replace(bundle, calibration=Calibration.fit(method, labels, logits, found.weights, files=files))


def tables_folder(recipe: Recipe, work: Path) -> Path | None:
    """Where tables lie that are not in memory; None where they are."""
    return work / "tables" if recipe.train.tables == "disk" else None


def check_tables(recipe: Recipe, device: str) -> None:
    """Raise ConfigError where tables are asked for in a place where what trains them cannot have them."""
    if issubclass(CATALOGUE[recipe.name], Solved):
        return
    if fused := fused_tables(recipe.train):
        check_fused(recipe.train, fused, device)
    elif recipe.train.table_cache is not None:
        raise ConfigError('train.table_cache is for train.tables = "torchrec"; set that too, or leave it out')
    if recipe.train.tables != "disk":
        return
    if device != "cpu":
        raise ConfigError(f'train.tables = "disk" is for a CPU, not {device}; set it to "memory"')
    if recipe.train.optimizer == "adam":
        raise ConfigError(
            'train.optimizer = "adam" changes whole tables at every step, which a disk cannot follow; take lazy_adam, '
            'or train.tables = "memory"'
        )


def check_monitor(recipe: Recipe, schema: FeatureSchema) -> None:
    """Raise ConfigError where training would be judged by what is not measured on validation rows."""
    ranked = _AMONG_ALL if recipe.train.monitor_items == "all" else _AMONG_DRAWN
    known, asked = tuple(_CLICK_METRICS) if schema.label else ranked, recipe.train.monitor
    if asked is not None and asked not in known and not issubclass(CATALOGUE[recipe.name], Solved):
        raise ConfigError(f"train.monitor = {asked!r} is not measured while training; known: {', '.join(known)}")


def check_team(recipe: Recipe, team: Team) -> None:
    """Raise ConfigError where several processes are asked for what only one does."""
    if team.is_alone:
        return
    if issubclass(CATALOGUE[recipe.name], Solved):
        raise ConfigError(f"{recipe.name} is solved, not trained, which one process does; start it without torchrun")
    check_teamwork(recipe.train)


def _claim(recipe: Recipe, origin: Origin, work: Path, *, resume: bool) -> None:
    """Note whose work this is and of which rows, or refuse to continue another's."""
    path, rows = work / RECIPE, {"training": origin.train_sha256, "validation": origin.valid_sha256}
    if resume and path.is_file():
        check_same(_begun_with(work), recipe.plain())
        before = read_object(work / ROWS) if (work / ROWS).is_file() else rows
        if other := [part for part, checksums in rows.items() if before.get(part) != checksums]:
            raise ConfigError(
                f"{work} was begun with other {other[0]} rows; use the same, or --overwrite alone to begin anew"
            )
    work.mkdir(parents=True, exist_ok=True)
    write_json(path, recipe.plain())
    write_json(work / ROWS, rows)


def is_begun(recipe: Recipe, work: Path) -> bool:
    """Whether there is work that a fit with these settings can go on with."""
    try:
        return first_difference(_begun_with(work), recipe.plain(), free=FREE) is None
    except (CorruptError, ConfigError):  # none, damaged, or of settings that there are no longer
        return False


def _begun_with(work: Path) -> dict[str, Any]:
    """The recipe of work that lies there, as plain values; a setting that there was not yet stands at its default."""
    return Recipe.of(read_object(work / RECIPE)).plain()


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], *, free: Collection[str] = FREE) -> None:
    """Raise ConfigError naming a setting in which two recipes (plain values) differ, ``free`` ones apart."""
    if (found := first_difference(before, now, free=free)) is not None:
        key, was, is_now = found
        said = f"{key} was {was!r:.80} when this run began and is {is_now!r:.80} now"
        raise ConfigError(f"{said}; use the same to go on, or --overwrite to begin anew")


def _notes(prepared: Prepared) -> Iterator[str]:
    yield from prepared.encoder.notes
    if prepared.rows_kept_out:
        yield f"left out {prepared.rows_kept_out:,} negative rows (data.negative_rate); scores are corrected for it"


def _start(model: Model, recipe: Recipe, encoder: Encoder) -> None:
    """Take over the weights of the runs that ``train.start_from`` names."""
    bundles = [Bundle.load(Path(run)) for run in recipe.train.start_from]
    for run, bundle in zip(recipe.train.start_from, bundles, strict=True):
        if bundle.encoder.fingerprint != encoder.fingerprint:
            raise ConfigError(
                f"{run} was trained on other rows or encoder settings, so its ids differ; train it on these"
            )
    if bundles:
        model.start_from([bundle.model for bundle in bundles])


def _learn(
    recipe: Recipe,
    model: Model,
    prepared: Prepared,
    *,
    watch: Watch | None,
    work: Path,
    resume: bool,
    listener: Listener,
    team: Team,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What training recorded, and what an update would go on from."""
    if isinstance(model, Solved):
        model.solve(interactions(prepared.train))
        return {"history": []}, None
    trainer = _trainer(recipe, model, prepared, watch=watch, work=work, listener=listener, team=team)
    result = trainer.fit(resume=resume)
    return _describe(result), trainer.training if recipe.train.keep_state else None


def interactions(store: Store) -> Interactions:
    """All (user, item) pairs of a store at once."""
    schema = store.model_schema
    ids = torch.from_numpy(np.array(store.categorical[:, [schema.position("user"), schema.position("item")]]))
    ones = torch.ones(store.num_rows)
    labels = ones if store.labels is None else torch.from_numpy(np.array(store.labels))
    weights = ones if store.weights is None else torch.from_numpy(np.array(store.weights))
    return Interactions(ids[:, 0].long(), ids[:, 1].long(), labels, weights)


def _trainer(
    recipe: Recipe,
    model: Model,
    prepared: Prepared,
    *,
    watch: Watch | None,
    work: Path,
    listener: Listener,
    start: Mapping[str, Any] | None = None,
    team: Team = ALONE,
) -> Trainer:
    config, implicit = recipe.train, prepared.encoder.schema.label is None
    rate = recipe.data.negative_rate
    evaluate = ranking_monitor(prepared, config) if implicit else click_monitor(prepared.valid, team, rate=rate)
    return Trainer(
        model,
        Reader(prepared.train, batch_size=config.batch_size, seed=config.seed, rank=team.rank, world=team.size),
        config,
        evaluate=evaluate,
        watch=None if watch is None else partial(watch, prepared),
        negatives=sampler_of(recipe, prepared),
        folder=work / "checkpoints",
        on_report=listener,
        unseen_rate=recipe.encoder.unseen_rate,
        start=start,
        team=team,
    )


def num_negatives(recipe: Recipe, schema: FeatureSchema) -> int:
    """Negatives that training draws for each row: none where the rows have labels."""
    if schema.label is not None:
        return 0
    return recipe.train.negatives or (1 if recipe.train.objective == "bpr" else NEGATIVES_PER_POSITIVE)


def sampler_of(recipe: Recipe, prepared: Prepared) -> NegativeSampler | None:
    """Who draws these negatives; None where none are drawn."""
    per_positive, config = num_negatives(recipe, prepared.encoder.schema), recipe.train
    if not per_positive or prepared.entities is None:
        return None
    return NegativeSampler(
        prepared.entities, per_positive=per_positive, kind=config.negative_sampling, seed=config.seed
    )


def click_monitor(
    valid: Store | None, team: Team = ALONE, *, rate: float = 1.0
) -> Callable[[Model], dict[str, float]] | None:
    """What is measured on validation rows while training on labels: AUC and log loss.

    Logits are first corrected for the share ``rate`` of the negatives that training keeps. Every process of a team
    scores its part of the rows, and measures all of them. To measure raises RunError where a score is not finite.
    """
    if valid is None:
        return None

    reader = Reader(valid, batch_size=EVALUATION_ROWS, shuffle=False, rank=team.rank, world=team.size)

    def measure(model: Model) -> dict[str, float]:
        keep_on(reader, device_of(model))
        reader.position = Position()
        found = _joined(predict(model, reader.epoch()), reader, team)
        if not np.isfinite(found.logits).all():
            raise RunError(_DIVERGED)
        labels, logits = np.asarray(found.labels), undo_downsampling(found.logits, rate)
        return {name: metric(labels, logits, found.weights) for name, metric in _CLICK_METRICS.items()}

    return measure


def _joined(found: Predictions, reader: Reader, team: Team) -> Predictions:
    """Predictions for all rows of an unshuffled store, from everybody's for their part of them."""
    if team.is_alone:
        return found
    logits = torch.zeros(reader.store.num_rows, dtype=torch.float64)
    logits[torch.from_numpy(reader.places)] = torch.from_numpy(found.logits)
    known = (reader.store.labels, reader.store.weights)
    labels, weights = (None if one is None else np.asarray(one, np.float64) for one in known)
    return Predictions(team.add_up(logits).numpy(), labels, weights)


def ranking_monitor(prepared: Prepared, config: TrainConfig) -> Callable[[Model], dict[str, float]] | None:
    """What is measured on held-out pairs while training implicit data, as ``config.monitor_items`` has it.

    HR@10 and NDCG@10 among 99 drawn items; or these, Recall@20 and NDCG@20 among all that the user did not meet.
    Raises DataError where there is nothing to rank; to measure raises RunError where a score is not finite.
    """
    valid, entities = prepared.valid, prepared.entities
    if valid is None or entities is None:
        return None
    pairs = interactions(valid)
    known = (pairs.users >= FIRST) & (pairs.items >= FIRST)
    if not known.any():
        raise DataError(
            "no validation row holds a user and an item that training has, so none can be ranked; "
            "split by time or leave_one_out, or give other validation rows"
        )
    users, items = pairs.users[known].numpy(), pairs.items[known].numpy()
    if config.monitor_items == "all":
        return partial(_among_all, entities, by_user(users, items))
    drawn = NegativeSampler(entities, per_positive=MONITOR_NEGATIVES, kind="uniform", seed=config.seed).draw(users)
    return partial(_among_drawn, entities, (users, items, drawn))


def candidates(prepared: Prepared, config: TrainConfig) -> int:
    """Items that ``ranking_monitor`` ranks a held-out pair among, its own included."""
    if config.monitor_items == "all" and prepared.entities is not None:
        return len(prepared.entities.items)
    return 1 + MONITOR_NEGATIVES


def _among_drawn(entities: Entities, lists: tuple[Any, Any, Any], model: Model) -> dict[str, float]:
    found = rank_candidates(model, entities, *lists, ks=(10,), intervals=False)
    return _ranked(found, _AMONG_DRAWN)


def _among_all(entities: Entities, targets: Mapping[int, Any], model: Model) -> dict[str, float]:
    found = rank_catalogue(model, entities, targets, ks=(10, 20), intervals=False)
    return _ranked(found, _AMONG_ALL)


def _ranked(found: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    if not found["n"]:
        raise DataError("training has every pair of the validation rows, so none can be ranked; give others")
    if any(found[name] is None for name in names):
        raise RunError(_DIVERGED)
    return {name: found[name] for name in names}


def _describe(result: TrainResult) -> dict[str, Any]:
    return {
        "history": list(result.history),
        "best_epoch": result.best_epoch,
        "valid": result.best_metrics,
        "train_seconds": result.seconds,
        "train_sps": result.rows_per_second,
    }


def _about(recipe: Recipe, model: Model, prepared: Prepared) -> dict[str, Any]:
    store, origin = prepared.train, prepared.origin
    num_rows = store.num_rows + prepared.rows_kept_out
    rate = None if prepared.encoder.schema.label is None else store.positives / num_rows
    return {
        "lib": "crossfield",
        "model": recipe.name,
        "dataset": origin.name,
        "seed": recipe.train.seed,
        "parameters": num_numbers(model),
        "train_rows": store.num_rows,
        "valid_rows": prepared.valid.num_rows if prepared.valid is not None else 0,
        "train_rate": rate,
        "integer_ids": origin.integer_ids,
        "notes": list(_notes(prepared)),
        "findings": [one.to_json() for one in prepared.findings],
        "data_sha256": origin.train_sha256,
        "valid_sha256": origin.valid_sha256,
        "recipe_sha256": recipe.sha256,
        "versions": versions(),
        "threads": torch.get_num_threads(),
    }


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    names = ("crossfield", "torch", "numpy", "polars")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
