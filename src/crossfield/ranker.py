"""The two-line way in: raw rows go into ``fit``, probabilities for raw rows come out of ``predict``."""

from __future__ import annotations  # Tabular is a forward reference: pandas is optional

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crossfield.acceleration import check_device
from crossfield.bundle import RECIPE, RECORDS, WORK, Bundle, load_training, refuse_foreign
from crossfield.calibration import Calibration, Method
from crossfield.checkpoint import has_checkpoint
from crossfield.console import TrainingProgress, say, silence
from crossfield.data.dataset import Dataset
from crossfield.data.dataset import load as load_table
from crossfield.data.encode import CHUNK_ROWS, Encoded
from crossfield.data.entities import Entities
from crossfield.data.labels import check_labels
from crossfield.data.public import PUBLIC, RankingTest, load_public
from crossfield.data.source import Layout, Tabular
from crossfield.data.store import Store
from crossfield.data.strangers import Strangers
from crossfield.data.vocabulary import Evict
from crossfield.detective import INCIDENT
from crossfield.distributed.team import ALONE, Team, check_alone, join
from crossfield.errors import ConfigError, DataError, RunError, SchemaError
from crossfield.evaluate import Predictions, by_user, click_report, id_slices, rank_candidates, rank_catalogue
from crossfield.evaluate import predict as predict_batches
from crossfield.evaluate import recommend as recommend_ids
from crossfield.files import MANIFEST, RunLock
from crossfield.fitting import (
    EVALUATION_ROWS,
    FREE,
    Watch,
    check_same,
    fit_bundle,
    is_begun,
    update_bundle,
)
from crossfield.metrics import probability
from crossfield.models import CATALOGUE
from crossfield.models.base import Model, Solved
from crossfield.preparation import Origin, Prepared, check_words, data_sha256, with_words
from crossfield.recipe import Recipe
from crossfield.schema import FeatureSchema
from crossfield.train import TEST

SCORE = "score"
"""Name of the column a prediction adds."""
_FREE_WHEN_FINISHED = FREE - {"train.epochs", "train.patience", "calibration.method"}
"""Recipe keys that a finished run may be asked for again with: they don't decide what it became."""


def load(data: Tabular, *, quiet: bool = False, **options: Any) -> Dataset:
    """A data set from a file, folder, glob, frame, rows, or the training part of a public data set by its name.

    The schema is inferred from the columns and shown on standard error with the reason for each guess, unless
    ``quiet``. Options are those of ``crossfield.data.dataset.load``: label, positive, user, item, time, weight,
    ignore, kinds, separators, crosses, embed_crosses, schema, layout. Raises DataError or SchemaError naming what is
    wrong.
    """
    named = isinstance(data, str) and data in PUBLIC and not Path(data).exists()
    dataset = load_public(str(data)).train if named and not options else load_table(data, **options)
    if not quiet:
        say(dataset.describe())
    return dataset


class Ranker:
    """A model with everything around it: schema, encoder, training, evaluation, files.

    ``Ranker("dcn", embedding_dim=16)`` takes the model's own settings; ``train``, ``encoder``, ``data`` and
    ``calibration`` take those of the recipe's sections. ``Ranker(recipe)`` takes a whole recipe. Raises ConfigError on
    an unknown name or value.
    """

    def __init__(
        self,
        model: str | Recipe,
        *,
        train: Mapping[str, Any] | None = None,
        encoder: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        calibration: Mapping[str, Any] | None = None,
        device: str = "cpu",
        **settings: Any,
    ) -> None:
        given = {"train": train, "encoder": encoder, "data": data, "calibration": calibration, "model": settings}
        sections = {section: some or {} for section, some in given.items()}
        if isinstance(model, Recipe):
            flat = {f"{section}.{key}": value for section, some in sections.items() for key, value in some.items()}
            self.recipe = model.override(flat)
        else:
            self.recipe = Recipe.of({**sections, "model": {"name": model, **settings}})
        self.device = check_device(device)
        self._bundle: Bundle | None = None
        self._folder: Path | None = None

    @property
    def bundle(self) -> Bundle:
        """The trained parts; raises RunError before ``fit``."""
        if self._bundle is None and self._folder is not None:
            self._bundle = Bundle.load(self._folder)
        if self._bundle is None:
            raise RunError("this ranker is not trained yet; call fit(train, valid) or Ranker.load(folder)")
        return self._bundle

    @property
    def schema(self) -> FeatureSchema:
        """The schema of the rows it was trained on."""
        return self.bundle.encoder.schema

    @property
    def about(self) -> dict[str, Any]:
        """What training recorded: metrics, history, versions, checksums."""
        return self.bundle.about

    def fit(
        self,
        train: Dataset | Tabular | Prepared,
        valid: Dataset | Tabular | None = None,
        *,
        test: Dataset | RankingTest | None = None,
        out: str | Path | None = None,
        resume: bool = False,
        overwrite: bool = False,
        quiet: bool = False,
    ) -> Self:
        """Train on raw rows; without ``valid``, a part of ``train`` is split off as ``data.split`` says.

        ``test`` rows are measured once, at the end, and the numbers recorded under ``about["test"]``. Rows that are
        ``Prepared`` bring their validation and test rows with them, and their words on data and encoder where the
        recipe has none of its own; raises ConfigError where it has others.

        ``out`` is the run's folder: checkpoints while training, the finished bundle after it. Raises RunError where
        a run is there already and neither ``resume`` nor ``overwrite`` is given, or something that no run wrote and
        this one would replace; ConfigError where the run to resume has other settings or rows. With both, work that
        an ``overwrite`` with these settings left is gone on with. A fit that fails before its first checkpoint leaves
        nothing there.

        ``quiet`` leaves out progress and notes; what is wrong with the rows is said all the same.

        Under torchrun all processes call this with the same arguments and train together; ``out`` is then a folder
        that all of them see. The first prepares the rows, prints and writes; all have the ranker afterwards.
        """
        if isinstance(train, Prepared) and train.words is not None:
            self.recipe = with_words(train.words, self.recipe)
            check_words(train.words, self.recipe)
        elif isinstance(train, Dataset):
            self.recipe = _with_layout(self.recipe, train.layout)
        team = join(self.device, lost_seconds=self.recipe.train.lost_seconds)
        if out is None:
            with shared_scratch(team) as scratch:
                if team.is_alone:
                    return self._fit(train, valid, work=scratch, resume=False, quiet=quiet, test=test)
                self.fit(train, valid, test=test, out=scratch / "run", quiet=quiet)
                self._bundle, self._folder = self.bundle, None
            return self
        folder, work = Path(out), Path(out) / WORK
        with team.guarded(), ExitStack() as stack:

            def is_finished() -> bool:
                if is_found := self._enter(stack, folder, resume=resume, overwrite=overwrite):
                    self._bundle, self._folder = self._same_run(folder, train, valid), folder
                return is_found

            if not team.hear(is_finished):
                with _kept_if_of_use(work) if team.is_first else nullcontext():
                    self._fit(train, valid, work=work, resume=resume, quiet=quiet, test=test, team=team)
                    team.lead(lambda: self._save(folder))
                team.lead(lambda: _tidy(folder, work))
            if not team.is_first:
                self._bundle, self._folder = None, folder
        return self

    def _enter(self, stack: ExitStack, folder: Path, *, resume: bool, overwrite: bool) -> bool:
        """Lock the folder of a run; whether it is finished already and not to be replaced."""
        stack.enter_context(_reserved(folder))
        work = folder / WORK
        if overwrite:
            if not (resume and is_begun(self.recipe, work)):
                _discard(work)
        elif not resume:
            _refuse_run(folder, "give --resume to continue it or --overwrite to replace it")
        else:  # work beside a finished run is on another, to replace it
            return _is_finished(folder) and not (work / RECIPE).exists()
        return False

    @property
    def _training(self) -> dict[str, Any] | None:
        """What an update goes on from, here or in the run's folder."""
        kept = self.bundle.training
        return load_training(self._folder) if kept is None and self._folder is not None else kept

    def _save(self, folder: Path) -> None:
        self.bundle.save(folder)
        # It is as large as the tables twice: an update reads it from there.
        self._bundle, self._folder = replace(self.bundle, training=None), folder

    def update(
        self,
        new_rows: Dataset | Tabular,
        valid: Dataset | Tabular | None = None,
        *,
        epochs: int = 1,
        evict: Evict = "last_use",
        out: str | Path | None = None,
        quiet: bool = False,
    ) -> Self:
        """Go on training with new rows: new ids get rows of their own, optimisers go on where they ended.

        A new id is admitted from ``encoder.min_count`` of its rows on; over ``encoder.max_size`` ids leave their field,
        those used longest ago or, with evict = "count", the rarest. Until training begins no score changes. All
        ``epochs`` are trained unless there are ``valid`` rows to choose the best by, and to fit a calibration to anew;
        without them it stays as it was. ``about["update"]`` says what became of the ids of each field. ``out`` is a
        folder for the new run; the old one stays as it is.

        Raises RunError where a run is there already or this ranker is not trained, DataError where there are no rows,
        ConfigError for a model that is solved, or under torchrun.
        """
        check_alone("an update")
        train = self._required(new_rows)
        held_out = None if valid is None else self._required(valid)
        with ExitStack() as stack:
            if out is not None:  # what cannot be written is said before anything is trained
                stack.enter_context(_reserved(Path(out)))
                _refuse_run(Path(out), "name another folder for the updated one")
            self._bundle = update_bundle(
                self.bundle,
                train,
                held_out,
                training=self._training,
                epochs=epochs,
                evict=evict,
                work=Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crossfield-"))),
                device=self.device,
                listener=silence if quiet else TrainingProgress(),
                say=silence if quiet else say,
            )
            self._folder = None
            if out is not None:
                self._save(Path(out))
        return self

    def _same_run(self, folder: Path, train: Dataset | Tabular | Prepared, valid: Dataset | Tabular | None) -> Bundle:
        """The finished run of a folder; raises ConfigError where it has other settings or is of other rows."""
        found = Bundle.load(folder)
        check_same(found.recipe.plain(), self.recipe.plain(), free=_FREE_WHEN_FINISHED)
        if isinstance(train, Prepared):
            schema, origin = train.schema, train.origin
        else:
            rows, held_out = self._parted(train, valid)
            schema, origin = rows.schema, Origin.of(rows, held_out)
        differs = {
            "with another schema": found.encoder.schema.fingerprint != schema.fingerprint,
            "on other rows": found.about["data_sha256"] != origin.train_sha256,
            # Runs of earlier versions did not note these.
            "on other validation rows": found.about.get("valid_sha256", origin.valid_sha256) != origin.valid_sha256,
        }
        if what := next((what for what, is_so in differs.items() if is_so), None):
            raise ConfigError(f"{folder} holds a finished run {what}; use the same, or --overwrite to begin anew")
        return found

    def _fit(
        self,
        train: Dataset | Tabular | Prepared,
        valid: Dataset | Tabular | None,
        *,
        work: Path,
        resume: bool,
        quiet: bool,
        test: Dataset | RankingTest | Store | None,
        team: Team = ALONE,
    ) -> Self:
        is_quiet = quiet or not team.is_first
        first: Dataset | Prepared
        second: Dataset | None
        if isinstance(train, Prepared):
            if valid is not None or test is not None:
                raise ConfigError("prepared rows bring their own rows to validate and test on; give no others")
            first, second, test = train, None, train.test
        else:
            first, second = self._parted(train, valid)
        team.lead(lambda: _check_test(test, first.schema))
        self._bundle = fit_bundle(
            self.recipe,
            first,
            second,
            work=work,
            resume=resume,
            device=team.device(self.device),
            watch=self._watch(test, team),
            listener=silence if is_quiet else TrainingProgress(),
            say=silence if is_quiet else say,
            warn=say if team.is_first else silence,
            team=team,
        )
        team.lead(lambda: self._measure(test, quiet=quiet))
        return self

    def _measure(self, test: Dataset | RankingTest | Store | None, *, quiet: bool) -> None:
        if test is not None:
            self.bundle.about["test"] = self.evaluate(test, intervals=False, quiet=quiet)

    def _parted(self, train: Dataset | Tabular, valid: Dataset | Tabular | None) -> tuple[Dataset, Dataset | None]:
        """Rows to train and to validate on."""
        rows = self._training_rows(train)
        if valid is not None:
            held_out = valid if isinstance(valid, Dataset) else load_as(self.recipe, valid, rows.schema)
            _check_same_label(held_out, rows.schema)
            return rows, held_out
        return split_off(self.recipe, rows) if splits_off(self.recipe) else (rows, None)

    def _watch(self, test: Dataset | RankingTest | Store | None, team: Team) -> Watch | None:
        if not self.recipe.train.watch_test:
            return None
        if test is None:
            raise ConfigError("train.watch_test wants a test part to watch, and there is none")
        if (monitor := self.recipe.train.monitor or "").startswith(TEST):
            better = monitor.removeprefix(TEST)
            raise ConfigError(f"train.monitor = {monitor!r} would choose by test rows; set it to {better!r}")

        def measure(prepared: Prepared, model: Model) -> dict[str, float]:
            other = Ranker(self.recipe, device=team.device(self.device))
            other._bundle = Bundle(self.recipe, prepared.encoder, model, prepared.entities, {})
            report = other.evaluate(test, intervals=False, quiet=True)
            return {name: value for name, value in report.items() if isinstance(value, float)}

        return measure

    def _training_rows(self, data: Dataset | Tabular) -> Dataset:
        return data if isinstance(data, Dataset) else load_as(self.recipe, data, None)

    def _rows(self, data: Dataset | Tabular) -> Dataset:
        return data if isinstance(data, Dataset) else load_as(self.recipe, data, self.schema)

    def predict(self, data: Dataset | Tabular, *, quiet: bool = False) -> NDArray[np.float64]:
        """Probabilities [n], one per row in its order; labels are not needed, new and missing ids are welcome.

        A column of which every value is new is noted on standard error, unless ``quiet``.
        Raises SchemaError naming a column that is gone, DataError naming a value that cannot be read.
        """
        if _is_empty(data):
            return np.empty(0)
        scores = [frame[SCORE].to_numpy() for frame in self._scored(self._rows(data), (), quiet=quiet)]
        return np.concatenate([np.empty(0), *scores])

    def _scored(self, dataset: Dataset, kept: Sequence[str], *, quiet: bool) -> Iterator[pl.DataFrame]:
        dataset, strangers = dataset.require(labelled=False), Strangers(self.bundle.encoder.model_schema)
        for rows, block in self.bundle.encoder.stream_beside(dataset, kept, labelled=False):
            strangers.add(block)
            scores = pl.Series(SCORE, probability(self.bundle.calibrated(self._predictions(block).logits)))
            yield rows.with_columns(scores) if kept else scores.to_frame()
        _tell(strangers, quiet)

    def _predictions(self, block: Encoded) -> Predictions:
        """The model's logits of encoded rows, on the ranker's device, neither corrected nor calibrated."""
        batches = block.batches(self.bundle.encoder.model_schema, EVALUATION_ROWS)
        return predict_batches(self.bundle.model.to(self.device), batches)

    def score_frames(self, data: Dataset | Tabular, *, quiet: bool = False) -> Iterator[pl.DataFrame]:
        """Predictions block by block: the role columns as they came, and the probability as ``score``, last.

        Raises SchemaError where the rows have a column of that name already.
        """
        dataset = self._rows(data)
        columns = dataset.frame.collect_schema().names()
        if SCORE in columns:
            raise SchemaError(f"the rows have a column {SCORE!r} already; rename it, predict would write another one")
        kept = [name for name in dict.fromkeys(self.schema.role_columns.values()) if name in columns]
        yield from self._scored(dataset, kept, quiet=quiet)

    def evaluate(
        self,
        data: Dataset | Tabular | RankingTest | Store,
        *,
        intervals: bool = True,
        ks: Sequence[int] = (5, 10, 20),
        quiet: bool = False,
    ) -> dict[str, Any]:
        """Metrics, JSON-ready: click metrics for labelled rows, ranking metrics for implicit pairs; slices of both.

        Implicit pairs are ranked against the whole catalogue, the user's training items left out; a RankingTest with
        its own negatives is ranked among these. A Store holds rows that this ranker's encoder has encoded. Notes as
        for ``predict``. Raises ConfigError where rows were loaded with another label than training had.
        """
        strangers = Strangers(self.bundle.encoder.model_schema)
        if isinstance(data, RankingTest):
            report = self._evaluate_ranking(self._pair_ids(data.pairs), data.negatives, ks, intervals, strangers)
        else:
            rows = self._stored(data) if isinstance(data, Store) else self._required(data)
            if self.schema.label is None:
                report = self._evaluate_ranking(self._pair_ids(rows), None, ks, intervals, strangers)
            else:
                report = self._evaluate_clicks(rows, intervals, strangers)
        _tell(strangers, quiet)
        return report

    def _required(self, data: Dataset | Tabular) -> Dataset:
        rows = self._rows(data)
        _check_same_label(rows, self.schema)
        return rows.require(labelled=self.schema.label is not None)

    def _stored(self, store: Store) -> Store:
        if store.fingerprint != self.bundle.encoder.fingerprint:
            raise ConfigError(f"the rows in {store.folder} were encoded by another encoder than this ranker's")
        return store

    def _pair_ids(self, pairs: pl.DataFrame | Dataset | Store) -> tuple[NDArray[Any], NDArray[Any]]:
        """The ids [n] of users and items, row by row."""
        user, item = self._pair_columns()
        encoder = self.bundle.encoder
        if isinstance(pairs, Store):
            places = (pairs.model_schema.position("user"), pairs.model_schema.position("item"))
            users, items = (pairs.categorical[:, place].astype(np.int64) for place in places)
        else:
            frame = pairs.frame.select(user, item).collect() if isinstance(pairs, Dataset) else pairs
            users, items = (encoder.id_of(name, frame[name]) for name in (user, item))
        return users, items

    def _evaluate_clicks(self, dataset: Dataset | Store, intervals: bool, strangers: Strangers) -> dict[str, Any]:
        encoder, roles = self.bundle.encoder, self._id_columns()
        found: list[Predictions] = []
        ids: dict[str, list[NDArray[Any]]] = {role: [] for role in roles}
        for block, predictions in self._labelled(dataset, strangers):
            found.append(predictions)
            for role, some in ids.items():
                some.append(block.categorical[:, encoder.model_schema.position(role)])
        joined = self._joined(dataset, found)
        calibrated = replace(joined, logits=self.bundle.calibrated(joined.logits))
        slices: dict[str, NDArray[np.bool_]] = {}
        for role, column in roles.items():
            slices |= id_slices(role, np.concatenate(ids[role]), encoder.counts(column))
        return click_report(calibrated, slices=slices, train_rate=self.about.get("train_rate"), intervals=intervals)

    def _labelled(self, rows: Dataset | Store, strangers: Strangers) -> Iterator[tuple[Encoded, Predictions]]:
        stored = rows.blocks(CHUNK_ROWS) if isinstance(rows, Store) else None
        for block in stored or self.bundle.encoder.stream(cast(Dataset, rows), labelled=True):
            strangers.add(block)
            yield block, self._predictions(block)

    def _joined(self, rows: Dataset | Store, found: Sequence[Predictions]) -> Predictions:
        _check_positives(self.schema, rows.name, found)
        names = [name for name, value in vars(found[0]).items() if value is not None]
        return Predictions(**{name: np.concatenate([getattr(one, name) for one in found]) for name in names})

    def calibrate(
        self, data: Dataset | Tabular | RankingTest, *, method: Method = "platt", quiet: bool = False
    ) -> Self:
        """Fit what scores mean to labelled rows that training has not seen, in place of any earlier calibration.

        ``platt`` fits two numbers, ``isotonic`` a curve; neither changes the order of scores. Notes as for
        ``predict``. Raises ConfigError where the ranker was trained without labels, DataError where the rows are too
        few.
        """
        if self.schema.label is None or isinstance(data, RankingTest):
            raise ConfigError("calibrating wants rows with labels: a model that was trained without them only ranks")
        dataset = self._required(data)
        strangers = Strangers(self.bundle.encoder.model_schema)
        joined = self._joined(dataset, [found for _, found in self._labelled(dataset, strangers)])
        _tell(strangers, quiet)
        calibration = Calibration.fit(
            method,
            np.asarray(joined.labels),
            self.bundle.corrected(joined.logits),
            joined.weights,
            files=data_sha256(dataset),
        )
        self._bundle = replace(self.bundle, calibration=calibration)
        return self

    def _id_columns(self) -> dict[str, str]:
        named = {"user": self.schema.user, "item": self.schema.item}
        return {role: column for role, column in named.items() if column is not None}

    def _pair_columns(self) -> tuple[str, str]:
        if self.schema.user is None or self.schema.item is None:
            raise SchemaError("this needs a user and an item column; train with --user COLUMN --item COLUMN")
        return self.schema.user, self.schema.item

    def _entities(self) -> Entities:
        self._pair_columns()
        if self.bundle.entities is None:
            raise RunError("this run holds no user and item tables; train it again with --user and --item")
        return self.bundle.entities

    def _evaluate_ranking(
        self,
        pairs: tuple[NDArray[Any], NDArray[Any]],
        negatives: NDArray[Any] | None,
        ks: Sequence[int],
        intervals: bool,
        strangers: Strangers,
    ) -> dict[str, Any]:
        user, item = self._pair_columns()
        counts = {"user": self.bundle.encoder.counts(user), "item": self.bundle.encoder.counts(item)}
        users, items = pairs
        strangers.add_ids(user, users)
        strangers.add_ids(item, items)
        model, entities = self.bundle.model.to(self.device), self._entities()
        if negatives is not None:
            drawn = self.bundle.encoder.id_of(item, pl.Series(negatives.reshape(-1))).reshape(negatives.shape)
            return rank_candidates(model, entities, users, items, drawn, ks=ks, counts=counts, intervals=intervals)
        return rank_catalogue(model, entities, by_user(users, items), ks=ks, counts=counts, intervals=intervals)

    def recommend(
        self, users: Iterable[Any] | str | float | None = None, k: int = 10, *, filter_seen: bool = True
    ) -> pl.DataFrame:
        """The best k items of each user (of one user, or of all that the encoder kept where none are named), as rows.

        Columns: the user, the item (raw ids), ``rank`` from 1, ``score`` (a probability), and ``known``, false for a
        user that training did not see, or in too few rows for ``encoder.min_count``: they get the most popular items in
        the order of their popularity, those they met not left out, and ``score`` is the model's for nobody in
        particular, which does not fall with ``rank``. Raises SchemaError where the items are hashed.
        """
        _check_number(k)
        user, item = self._pair_columns()
        encoder, entities = self.bundle.encoder, self._entities()
        encoder.vocabulary(item)  # hashed items have no names to recommend them by
        if isinstance(users, str) or not (users is None or isinstance(users, Iterable)):
            users = [users]
        names = encoder.vocabulary(user)["token"].to_list() if users is None else list(users)
        ids = encoder.id_of(user, names)
        model = self.bundle.model.to(self.device)
        items, logits = recommend_ids(model, entities, ids, k, filter_seen=filter_seen)
        known = ids > 1
        items[~known], logits[~known] = self._popular(entities, k)
        frame = pl.DataFrame(
            {
                user: [name for name in names for _ in range(k)],
                item: encoder.decode(item, items.reshape(-1)),
                "rank": np.tile(np.arange(1, k + 1), len(names)),
                SCORE: probability(self.bundle.calibrated(logits.reshape(-1).astype(np.float64))),
                "known": np.repeat(known, k),
            },
            strict=False,  # numbers among texts are texts
        )
        integers = set(self.about["integer_ids"]) & {item, *([user] if users is None else [])}
        found = frame.filter(pl.Series(items.reshape(-1) > 1))
        return found.with_columns(_as_integers(found[name]) for name in integers)

    def _popular(self, entities: Entities, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k most popular items as the model scores them for nobody in particular."""
        counts = np.asarray(entities.popularity)[2:]
        best = np.argsort(-counts, kind="stable")[:k] + 2
        batch = entities.pair_batch(np.ones(len(best), np.int64), best)
        logits = np.full(k, -np.inf, np.float32)
        logits[: len(best)] = predict_batches(self.bundle.model, [batch]).logits
        items = np.zeros(k, np.int64)
        items[: len(best)] = best
        return items, logits

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the trained ranker: safetensors, Arrow, JSON and TOML under one checksummed manifest, never pickle.

        Raises RunError where a run is there already, unless it is to be replaced, where another process writes one,
        or where something is there that no run wrote and this one would replace.
        """
        with _reserved(Path(folder)):
            if not overwrite:
                _refuse_run(Path(folder), "save to another folder, or with overwrite=True to replace it")
            self._bundle = replace(self.bundle, training=self._training)  # read before anything there is replaced
            self._save(Path(folder))

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> Self:
        """Read a ranker that ``save`` or ``fit --out`` wrote.

        Raises RunError where there is no finished run, CorruptError where a file was changed.
        """
        check_device(device)
        bundle = Bundle.load(Path(folder))
        ranker = cls(bundle.recipe, device=device)
        ranker._bundle, ranker._folder = bundle, Path(folder)
        return ranker


def splits_off(recipe: Recipe) -> bool:
    """Whether a fit validates on a part of its training rows where it is given no others."""
    # What is solved chooses nothing by validation rows.
    return bool(recipe.data.sizes[1]) and not issubclass(CATALOGUE[recipe.name], Solved)


def split_off(recipe: Recipe, data: Dataset) -> tuple[Dataset, Dataset]:
    """Training rows, and the part of them to validate on where no rows were given for that."""
    said = recipe.data
    train, valid = data.split(said.split, sizes=(1 - said.sizes[1], said.sizes[1]), seed=said.split_seed)
    return train, valid


def _check_same_label(rows: Dataset, schema: FeatureSchema) -> None:
    """Raise ConfigError where rows that train or measure what has this schema were loaded with another label."""
    said, trained = rows.schema.label, schema.label
    if said is None or (trained is not None and said.agrees_with(trained)):
        return
    theirs = "have none, all are positives; load these without it"
    if trained is not None:
        theirs = f"have {trained}; load these with label={str(trained)!r}"
    raise ConfigError(f"{rows.name}: loaded with the label {said}, but the training rows {theirs}")


def _check_test(test: Dataset | RankingTest | Store | None, schema: FeatureSchema) -> None:
    """Raise before training what measuring the test rows would raise after it."""
    if isinstance(test, Dataset):
        _check_same_label(test, schema)
        check_labels(test.require(labelled=schema.label is not None))


def _check_positives(schema: FeatureSchema, name: str, found: Sequence[Predictions]) -> None:
    """Raise DataError where no row has the label value that means yes: most likely it is written another way here."""
    label = schema.label
    if label is None or label.value is None or any(np.any(one.labels) for one in found):
        return
    raise DataError(f"no row of {name} has {label}: is the label written another way in these rows?")


def _tidy(folder: Path, work: Path) -> None:
    """Keep the records of a finished training and take its scratch folder away."""
    for record in RECORDS:
        _keep(work / "checkpoints" / record, folder / record)
    _discard(work)


def _discard(work: Path) -> None:
    """Take a scratch folder away: first its name, so that no kill leaves a part of it to be taken for a run's work."""
    gone = work.with_name(f".{work.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    if work.exists():
        work.rename(gone)
        shutil.rmtree(gone)


@contextmanager
def shared_scratch(team: Team) -> Iterator[Path]:
    """A scratch folder of the first process's machine, for all of a team; away when all have left it.

    Raises ConfigError where others are on other machines.
    """
    if not team.is_on_one_machine:
        raise ConfigError("processes on several machines need a folder that all of them see; name it as out")
    with tempfile.TemporaryDirectory(prefix="crossfield-") as own:
        yield Path(team.hear(lambda: own))
        team.agree(0)


def _is_finished(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


@contextmanager
def _reserved(folder: Path) -> Iterator[None]:
    """A folder locked for a run; raises RunError where it cannot be, or a run would replace what no run wrote."""
    with RunLock(folder):
        refuse_foreign(folder)
        yield


def _refuse_run(folder: Path, advice: str) -> None:
    """Raise RunError where the folder holds a run."""
    states = {"a finished run": _is_finished(folder), "an unfinished run": (folder / WORK).exists()}
    if found := [state for state, is_there in states.items() if is_there]:
        raise RunError(f"{folder} holds {' and '.join(found)}; {advice}")


@contextmanager
def _kept_if_of_use(work: Path) -> Iterator[None]:
    """Take a scratch folder that an error leaves away, unless it can be gone on from or was there before."""
    was_there = work.exists()
    try:
        yield
    except BaseException:
        kept = has_checkpoint(work / "checkpoints") or (work / "checkpoints" / INCIDENT).is_dir()
        if not was_there and not kept:
            with suppress(OSError):
                _discard(work)
        raise


def _check_number(k: Any) -> None:
    """Raise ConfigError where this is no number of items."""
    if not isinstance(k, int | np.integer) or k < 1:
        raise ConfigError(f"k is {k!r}; ask for a whole number of items, 1 or more")


def _as_integers(tokens: pl.Series) -> pl.Series:
    """Tokens as the integers they were written from, signed where these fit; as they are where one is no integer."""
    for dtype in (pl.Int64, pl.UInt64):
        found = tokens.cast(dtype, strict=False)
        if found.null_count() == tokens.null_count():
            return found
    return tokens


def _is_empty(data: Any) -> bool:
    """Whether this is a list or a frame without rows; a file without any is taken for a mistake."""
    if isinstance(data, pl.LazyFrame):
        return data.head(1).collect().is_empty()
    return hasattr(data, "__len__") and not isinstance(data, str | Mapping) and len(data) == 0


def _tell(strangers: Strangers, quiet: bool) -> None:
    for note in () if quiet else strangers.notes():
        say(f"note: {note}")


def _keep(source: Path, target: Path) -> None:
    """Move a training record out of the scratch folder, in place of an older one."""
    if target.is_dir():
        shutil.rmtree(target)
    if source.exists():
        source.replace(target)


def _with_layout(recipe: Recipe, layout: Layout) -> Recipe:
    """A recipe that says of its rows' files what ``load`` was told: those to predict are read as those to train on."""
    told = {name: getattr(layout, name) for name in ("columns", "header", "separator", "missing")}
    return recipe.with_data(**{name: value for name, value in told.items() if value != getattr(Layout(), name)})


def load_as(
    recipe: Recipe,
    data: Tabular,
    schema: FeatureSchema | Path | None,
    *,
    name: str | None = None,
    files: Sequence[Path] = (),
) -> Dataset:
    """Rows read as a recipe says, under a schema that is there already.

    Without one it is the recipe's or inferred with its words; one from a file is changed by them.
    """
    said = recipe.data
    layout = Layout(columns=said.columns, header=said.header, separator=said.separator, missing=said.missing)
    words = {} if isinstance(schema, FeatureSchema) else said.columns_of()
    found = load_table(data, **words, schema=schema or said.given_schema, layout=layout)
    return replace(found, name=name, files=tuple(files)) if name is not None else found
