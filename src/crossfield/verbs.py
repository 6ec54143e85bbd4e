"""What each command does: names and files in, a result that reads as text or as JSON out."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from crossfield.acceleration import check_device, num_cores
from crossfield.advice import advise, plan_text
from crossfield.bundle import RECIPE, WORK, check_finished
from crossfield.calibration import Method
from crossfield.checks.finding import worst_first
from crossfield.config import settings_of
from crossfield.console import say, silence
from crossfield.data.dataset import Dataset
from crossfield.data.engines import Engine
from crossfield.data.engines.polars import PolarsEngine
from crossfield.data.public import PUBLIC, PublicData, RankingTest, download, load_public, public_set
from crossfield.data.source import find_files
from crossfield.data.vocabulary import Evict
from crossfield.distributed.team import check_alone, is_leader
from crossfield.doctor import Diagnosis, examine
from crossfield.environment import judge, look_at_machine, machine_text
from crossfield.errors import ConfigError, DataError, NotFiniteError, RunError, nearest
from crossfield.files import RunLock, atomic_path, read_json, read_lines, write_bytes, write_json
from crossfield.models import CATALOGUE
from crossfield.pages.page import model_page, paper_of
from crossfield.pages.render import as_text
from crossfield.parts import Parts, is_public, part, read_again, with_public_options
from crossfield.plan import make_plan
from crossfield.preparation import (
    Prepared,
    check_trainable,
    check_unchanged,
    check_words,
    data_sha256,
    write_prepared,
)
from crossfield.proof import Table, table_names
from crossfield.proof_page import proof_page
from crossfield.ranker import Ranker, load_as, split_off, splits_off
from crossfield.recipe import SECTIONS, Recipe, check_sections, read_toml, recipe_path
from crossfield.reliability_page import reliability_page
from crossfield.reproduce import reproduce as run_rows
from crossfield.schema import FeatureSchema
from crossfield.tour import format_leaderboard, run_tour


@dataclass(frozen=True)
class Result:
    """What a command says."""

    json: Any
    text: str


# Recipes


def resolve_recipe(
    path: Path | None, model: str | None, settings: Mapping[str, Any], prepared: Prepared | None = None
) -> Recipe:
    """The recipe a command asks for: a public data set's own options, then the file, then flags and settings.

    Rows that are prepared bring the words they were prepared with in place of a public data set's options. Raises
    ConfigError naming an unknown file, model or key.
    """
    values = read_toml(recipe_path(path)) if path is not None else {}
    check_sections(values)
    if model is not None and (other := settings.get("model.name", model)) != model:
        raise ConfigError(f"model.name is {model!r} by --model and {other!r} by --set; give it once")
    chosen: dict[str, Any] = {**settings, **({"model.name": model} if model is not None else {})}
    if prepared is None or prepared.words is None:
        values = with_public_options(values, chosen.get("data.path"))
    else:
        told = prepared.words.sections()
        values = {**values, **{name: {**some, **values.get(name, {})} for name, some in told.items()}}
    name = chosen.get("model.name", values.get("model", {}).get("name"))
    if name is None:
        raise ConfigError(f"name a model with --model{nearest('', CATALOGUE)}")
    if name != values.get("model", {}).get("name", name):
        values = {**values, "model": {}}
    return Recipe.of({**values, "model": {**values.get("model", {}), "name": name}}).override(chosen)


def resolve_rows(path: Path | None, settings: Mapping[str, Any]) -> Recipe:
    """The recipe of a command that asks for rows and for no model; raises ConfigError as ``resolve_recipe``."""
    return resolve_recipe(path, next(iter(CATALOGUE)) if path is None else None, settings)


def is_recipe(name: str) -> bool:
    """Whether this names a recipe rather than rows."""
    return recipe_path(Path(name)).suffix == ".toml"


def describe_keys(recipe: Recipe) -> str:
    """Every recipe key with its default and meaning, the model's own included."""
    sections = {**SECTIONS, f"model ({recipe.name})": CATALOGUE[recipe.name].config_type}
    blocks = []
    for section, config in sections.items():
        lines = [f"{one['key']} = {one['default']}\n    {one['doc']}" for one in settings_of(config)]
        blocks.append("\n".join([f"[{section}]", *lines]))
    return "\n\n".join(blocks)


# Prepare, fit, plan, doctor


def prepare(
    recipe: Recipe, out: Path, *, engine: str = "polars", schema: Path | None, overwrite: bool, quiet: bool
) -> Result:
    """Encode the rows of fits to come, once: encoder and stores in one sealed folder; ``engine`` is polars or spark."""
    check_alone("a preparation")
    started = time.perf_counter()
    given = _described_parts(recipe, schema, quiet=quiet)
    recipe = _with_schema(recipe, schema, given)
    check_trainable(recipe, given.train.schema)
    parts = _with_validation(recipe, given) if recipe.data.sizes[1] else given
    if isinstance(parts.test, RankingTest):
        say(f"note: the ranking test stays raw: crossfield evaluate RUN {recipe.data.path}")
    found = write_prepared(
        recipe,
        parts.train,
        parts.valid,
        None if isinstance(parts.test, RankingTest) else parts.test,
        folder=out,
        split=parts.split,
        overwrite=overwrite,
        engine=_engine(engine, out),
    )
    for note in () if quiet else found.encoder.notes:
        say(note)
    for one in found.findings:
        say(f"{one.severity}: {one}")
    stores = {"training": found.train, "validation": found.valid, "test": found.test}
    about = {
        "out": str(out),
        "rows": {name: store.num_rows for name, store in stores.items() if store is not None},
        "split": parts.split,
        "engine": engine,
        "encoder": found.encoder.fingerprint,
        "findings": [one.to_json() for one in found.findings],
        "seconds": time.perf_counter() - started,
    }
    return Result(about, _prepared_text(about))


def _engine(name: str, scratch: Path) -> Engine:
    """An engine by its name; its scratch files go where the encoded rows will be."""
    if name == "polars":
        return PolarsEngine()
    from crossfield.data.engines.spark import SparkEngine

    return SparkEngine(scratch)


def _prepared_text(about: Mapping[str, Any]) -> str:
    rows = ", ".join(f"{count:,} {name} rows" for name, count in about["rows"].items())
    done = f"{rows} ({about['split']} split) encoded in {about['seconds']:.0f} s by {about['engine']}"
    return f"{done}; to train on them: crossfield fit --prepared {about['out']} --model NAME --out RUN"


def open_prepared(folder: Path) -> Prepared:
    """What ``prepare`` wrote; raises CorruptError where it is damaged or something else."""
    return Prepared.open(folder)


def fit(
    recipe: Recipe,
    out: Path,
    *,
    schema: Path | None,
    prepared: Prepared | None = None,
    rows: str | None = None,
    resume: bool,
    overwrite: bool,
    device: str,
    quiet: bool,
) -> Result:
    """Train, measure on the test part, save the run; of several processes the first says the result.

    On ``prepared`` rows, of the file ``rows`` where that is named.
    """
    check_device(device)
    first: Prepared | Dataset
    if prepared is not None:
        _check_prepared(prepared, recipe, schema, rows)
        first, valid, test, split = prepared, None, None, prepared.words.split if prepared.words else "unknown"
    else:
        parts = _described_parts(recipe, schema, quiet=quiet or not is_leader())
        first, valid, test, split = parts.train, parts.valid, parts.test, parts.split
        recipe = _with_schema(recipe, schema, parts)
    ranker = Ranker(recipe, device=device)
    try:
        ranker.fit(first, valid, test=test, out=out, resume=resume, overwrite=overwrite, quiet=quiet)
    except NotFiniteError as error:
        raise NotFiniteError(f"{error}; crossfield replay {out} runs into it again", error.incident) from None
    except KeyboardInterrupt:
        kept = f"{out} keeps what was done: the same command with --resume goes on from there"
        tell = say if is_leader() else silence
        tell(f"interrupted; {kept if (out / WORK).exists() else 'nothing was done yet that could be kept'}")
        raise
    if not is_leader():
        return Result(None, "")
    about = {**ranker.about, "run": str(out), "split": split, "calibration": _calibration_json(ranker)}
    return Result(about, _fitted(about, _calibrated(ranker)))


def _check_prepared(prepared: Prepared, recipe: Recipe, schema: Path | None, rows: str | None) -> None:
    """Raise ConfigError where a fit asks for other rows, columns or settings than were prepared."""
    if schema is not None:
        raise ConfigError(f"the rows are prepared with a schema of their own; leave out --schema {schema}")
    if prepared.words is not None:
        check_words(prepared.words, recipe)
    if rows is not None and not is_public(rows):
        check_unchanged(prepared, rows)


def plan(
    recipe: Recipe, out: Path, *, schema: Path | None, steps: int, ranks: int | None, device: str, quiet: bool
) -> Result:
    """What ``fit`` would take: reads the rows as it does, counts, times some steps (0: none) and keeps no result."""
    check_device(device)
    parts = _parts_of_fit(recipe, _described_parts(recipe, schema, quiet=quiet))
    found = make_plan(recipe, parts.train, parts.valid, steps=steps, out=out, device=torch.device(device), ranks=ranks)
    return Result({**found.to_json(), "advice": list(advise(found))}, plan_text(found))


def _parts_of_fit(recipe: Recipe, parts: Parts) -> Parts:
    """Parts as a fit of the recipe's model has them."""
    return _with_validation(recipe, parts) if splits_off(recipe) else parts


def _with_validation(recipe: Recipe, parts: Parts) -> Parts:
    """Parts of which validation rows are split off where none are given."""
    if parts.valid is not None:
        return parts
    train, valid = split_off(recipe, parts.train)
    return replace(parts, train=train, valid=valid)


def doctor(recipe: Recipe | None, *, schema: Path | None) -> Result:
    """What is amiss with this machine and, where a recipe names some, with the rows and how they are parted."""
    machine = look_at_machine()
    found = [*judge(machine)]
    answer: dict[str, Any] = {"environment": asdict(machine)}
    lines = [machine_text(machine)]
    if recipe is not None:
        parts = _parts_of_fit(recipe, part(recipe, schema))
        diagnosis = examine(parts.train, _other_parts(parts), split=parts.split)
        found += diagnosis.findings
        answer["data"] = {"path": recipe.data.path, "split": parts.split, **diagnosis.to_json()}
        lines.append(f"{recipe.data.path}: {_rows_text(parts, diagnosis)}")
    findings = worst_first(found)
    answer["findings"] = [one.to_json() for one in findings]
    lines += [f"{one.severity:<8} {one}" for one in findings] or ["nothing to complain of"]
    return Result(answer, "\n".join(lines))


def _other_parts(parts: Parts) -> dict[str, Dataset]:
    """Validation and test rows, where there are any; held-out pairs are rows with a user and an item."""
    test = parts.test
    if isinstance(test, RankingTest):
        roles = FeatureSchema((), user=parts.train.schema.user, item=parts.train.schema.item)
        test = Dataset(test.pairs.lazy(), roles, "held-out pairs")
    return {name: one for name, one in (("validation", parts.valid), ("test", test)) if one is not None}


def _rows_text(parts: Parts, diagnosis: Diagnosis) -> str:
    rows = ", ".join(f"{count:,} {name} rows" for name, count in diagnosis.rows.items())
    drawn = (
        "" if diagnosis.looked_at == diagnosis.rows["training"] else f"; {diagnosis.looked_at:,} training rows drawn"
    )
    return f"{rows} ({parts.split} split){drawn}"


def _described_parts(recipe: Recipe, schema: Path | None, *, quiet: bool) -> Parts:
    parts = part(recipe, schema)
    if not quiet:
        say(parts.train.describe())
        for note in parts.notes:
            say(f"note: {note}")
    return parts


def _with_schema(recipe: Recipe, path: Path | None, parts: Parts) -> Recipe:
    """The recipe with what a schema file and it say of the columns, so that it gives the same without the file."""
    return recipe if path is None else recipe.with_data(given_schema=asdict(parts.train.schema))


def _fitted(about: Mapping[str, Any], calibrated: str) -> str:
    rows = f"{about['train_rows']:,} training rows" + (
        f", {about['valid_rows']:,} validation rows" if about["valid_rows"] else ""
    )
    lines = [f"{about['model']} with {about['parameters']:,} parameters on {rows} ({about['split']} split)"]
    if about.get("valid"):
        lines.append(f"best epoch {about['best_epoch'] + 1}; validation: {numbers(about['valid'])}")
    if about["calibration"]:
        lines.append(calibrated)
    if about.get("test"):
        lines.append(f"test: {numbers(about['test'])}")
    return "\n".join([*lines, f"{about['seconds']:.0f} s; saved to {about['run']}"])


def numbers(values: Mapping[str, Any]) -> str:
    """The plain numbers of a report in one line."""
    shown = {name: value for name, value in values.items() if isinstance(value, int | float)}
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.5f}" for name, value in shown.items()
    )


def update(
    run: Path, data: str, out: Path, *, valid: str | None, epochs: int, evict: str, device: str, quiet: bool
) -> Result:
    """Go on training a run with new rows, into another folder."""
    ranker = Ranker.load(run, device=device)
    rows, held_out = (None if one is None else load_as(ranker.recipe, one, ranker.schema) for one in (data, valid))
    assert rows is not None  # data is given
    ranker.update(rows, held_out, epochs=epochs, evict=cast(Evict, evict), out=out, quiet=quiet)
    about = {**ranker.about["update"], "run": str(out), "seconds": ranker.about["seconds"]}
    return Result(about, _updated(about))


def _updated(about: Mapping[str, Any]) -> str:
    head = ("field", "new", "admitted", "evicted", "ids now")
    rows = [
        (name, *(f"{one[key]:,}" for key in ("new", "admitted", "evicted", "rows")))
        for name, one in about["fields"].items()
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    told = f"{about['rows']:,} new rows, {about['epochs']} epochs in {about['seconds']:.0f} s; saved to {about['run']}"
    return "\n".join([*(line.rstrip() for line in lines), told])


def replay(run: Path, *, device: str) -> Result:
    """Train a run that stopped at numbers that are not finite again, from its last checkpoint to that step."""
    work = run / WORK
    if not (work / RECIPE).is_file():
        raise RunError(f"{run} holds no unfinished run; replay is for one that stopped with an error")
    recipe = Recipe.of(read_json(work / RECIPE))
    if recipe.data.path is None:
        raise RunError(f"{run} was trained on rows in memory, which are gone; call fit with them again")
    parts = part(recipe)
    with TemporaryDirectory(prefix="crossfield-") as scratch:
        again = Path(scratch) / "run"
        shutil.copytree(work, again / WORK)
        try:
            Ranker(recipe, device=device).fit(
                parts.train, parts.valid, test=parts.test, out=again, resume=True, quiet=True
            )
        except NotFiniteError as error:
            return Result({"again": True, **error.incident}, f"it happened again: {error}")
    text = "it did not happen again: training came to its end; was it another machine, another number of threads?"
    return Result({"again": False}, text)


# Evaluate, calibrate, predict, recommend


def rows_of(ranker: Ranker, data: str) -> tuple[Dataset | RankingTest, bool]:
    """Rows under a ranker's schema, and whether they are a test part, which training has not seen.

    Of a public data set that is the published one, else the one that the ranker's own recipe left.
    """
    if not is_public(data):
        return load_as(ranker.recipe, data, ranker.schema), False
    found = load_public(data)
    if found.test is None and found.ranking is not None:
        return found.ranking, True
    if found.test is not None:
        return read_again(ranker.recipe, found.test, ranker.schema, name=data), True
    if ranker.recipe.data.path == data and (test := part(ranker.recipe).test) is not None:
        return test, True
    return read_again(ranker.recipe, found.train, ranker.schema, name=data), False


def evaluate(run: Path, data: str, *, device: str, intervals: bool, out: Path | None) -> Result:
    """Measure a run on rows; draw their calibration as a page where one is named."""
    if out is not None:
        _check_page(data, out)
    ranker = Ranker.load(run, device=device)
    if out is not None and ranker.schema.label is None:
        raise ConfigError("the page draws calibration, which wants labels: this run was trained without and only ranks")
    rows, is_test = rows_of(ranker, data)
    if isinstance(rows, Dataset) and not is_test:
        _note_training_files(ranker, data_sha256(rows))
    report = ranker.evaluate(rows, intervals=intervals)
    if out is None:
        return Result(report, _report_text(report))
    title = f"Calibration of {ranker.recipe.name} on {data}"
    write_bytes(out, reliability_page(report, title=title, scores=_calibrated(ranker)).encode())
    return Result(report, f"{_report_text(report)}\ncalibration drawn into {out}")


def _check_page(data: str, out: Path) -> None:
    """Raise ConfigError where the page to write is named as something else or would replace rows."""
    if out.suffix != ".html":
        raise ConfigError(f"cannot write {out}: name an .html file")
    refuse_to_replace(data, out)


def _calibrated(ranker: Ranker) -> str:
    """What is done to the model's scores, in a sentence."""
    calibration = ranker.bundle.calibration
    return "Scores are not calibrated." if calibration is None else f"Scores are calibrated: {calibration}."


def _calibration_json(ranker: Ranker) -> dict[str, Any] | None:
    calibration = ranker.bundle.calibration
    return None if calibration is None else calibration.model_dump(mode="json")


def calibrate(run: Path, data: str, *, method: Method, device: str) -> Result:
    """Fit what a run's scores mean to rows with labels, and keep that with the run; its weights stay."""
    check_finished(run)
    with RunLock(run):
        ranker = Ranker.load(run, device=device)
        rows, is_test = rows_of(ranker, data)
        ranker.calibrate(rows, method=method)
        ranker.bundle.save_calibration(run)
    if not is_test and ranker.bundle.calibration is not None:
        _note_training_files(ranker, ranker.bundle.calibration.files)
    text = f"{_calibrated(ranker)} How good that is, other rows tell: crossfield evaluate {run} OTHER_ROWS"
    return Result({"run": str(run), "calibration": _calibration_json(ranker)}, text)


def _note_training_files(ranker: Ranker, files: Mapping[str, str]) -> None:
    """Say which of these files (name -> SHA-256) the model was trained on."""
    trained = set(ranker.about["data_sha256"].values())
    for name in (name for name, sha256 in files.items() if sha256 in trained):
        say(f"note: the model was trained on rows of {name}, so it knows them better than others; use fresh rows")


def _report_text(report: Mapping[str, Any]) -> str:
    slices = {name: one for name, one in report.get("slices", {}).items() if one["n"]}
    columns = {"all": report, **slices}
    names = [name for name, value in report.items() if isinstance(value, int | float | None) and name != "train_rate"]
    width = max(len(name) for name in [*columns, "metric"]) + 2
    lines = ["metric".ljust(14) + "".join(name.rjust(max(width, 12)) for name in columns)]
    for name in names:
        cells = "".join(_cell(one.get(name)).rjust(max(width, 12)) for one in columns.values())
        lines.append(name.ljust(14) + cells)
    for name, bounds in report.get("intervals", {}).items():
        if bounds is not None:
            lines.append(f"95 % interval of {name}: {_cell(bounds[0])} to {_cell(bounds[1])}")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.5f}"


def predict(run: Path, data: str, out: Path, *, device: str) -> Result:
    """Score rows into a file, block by block; the file appears whole or not at all."""
    check_ending(out)
    refuse_to_replace(data, out)
    ranker = Ranker.load(run, device=device)
    rows, _ = rows_of(ranker, data)
    if isinstance(rows, RankingTest):
        raise DataError(f"{data} is a ranking test, not rows to score; use evaluate or recommend")
    with atomic_path(out) as path:
        num_rows = write_frames(ranker.score_frames(rows), path, out.suffix)
    return Result({"rows": num_rows, "out": str(out)}, f"{num_rows:,} rows scored into {out}")


def check_ending(out: Path) -> None:
    """Raise ConfigError where the file to write is of no kind that ``write_frames`` knows."""
    if out.suffix not in (".parquet", ".csv", ".tsv"):
        raise ConfigError(f"cannot write {out}: name a .parquet, .csv or .tsv file")


def refuse_to_replace(data: str, out: Path) -> None:
    """Raise ConfigError where the file to write is one of those to read, by whatever name."""
    if not out.exists():
        return
    files = public_set(data).folder().iterdir() if is_public(data) else find_files(data)
    if any(out.samefile(one) for one in files):
        raise ConfigError(f"{out} holds rows of {data} itself, which would be lost; name another file to write")


def write_frames(frames: Iterator[pl.DataFrame], path: Path, suffix: str) -> int:
    """Write frames one after the other as Parquet or text; gives the number of rows."""
    num_rows = 0
    if suffix == ".parquet":
        writer: pq.ParquetWriter | None = None
        for frame in frames:
            table: pa.Table = frame.to_arrow()
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table.cast(writer.schema))
            num_rows += len(frame)
        if writer is not None:
            writer.close()
        return num_rows
    with path.open("wb") as file:
        for frame in frames:
            frame.write_csv(file, separator="\t" if suffix == ".tsv" else ",", include_header=num_rows == 0)
            num_rows += len(frame)
    return num_rows


def recommend(run: Path, users: Sequence[str] | None, k: int, *, seen: bool, out: Path | None, device: str) -> Result:
    """The best items of users, printed or written to a file."""
    if out is not None:
        check_ending(out)
    ranker = Ranker.load(run, device=device)
    frame = ranker.recommend(users, k, filter_seen=not seen)
    if out is None:
        return Result(frame.to_dicts(), frame.write_csv(separator="\t", float_precision=6).rstrip("\n"))
    with atomic_path(out) as path:
        write_frames(iter([frame]), path, out.suffix)
    return Result({"rows": len(frame), "out": str(out)}, f"{len(frame):,} recommendations in {out}")


# Models, schema, data, tour


def models(name: str | None) -> Result:
    """The catalogue, or one model's page."""
    if name is None:
        listed = [{"name": one, **paper_of(kind)} for one, kind in CATALOGUE.items()]
        return Result(listed, "\n".join(f"{one['name']:<20} {one['paper']}" for one in listed))
    if name not in CATALOGUE:
        raise ConfigError(f"unknown model {name!r}{nearest(name, CATALOGUE)}")
    page = model_page(name)
    return Result(page.to_json(), as_text(page))


def schema(data: str, out: Path | None, settings: Mapping[str, Any]) -> Result:
    """What each column is taken for."""
    if out is not None:
        refuse_to_replace(data, out)
    recipe = resolve_rows(None, {**settings, "data.path": data})
    if is_public(data):
        found = read_again(recipe, load_public(data).train, None, name=data)
    else:
        found = load_as(recipe, data, None)
    told = found.schema.to_json()
    if out is not None:  # to be edited, and then a fingerprint would be that of another schema
        write_json(out, {key: value for key, value in told.items() if key != "fingerprint"})
    return Result(told, found.describe())


def data(name: str | None, *, download_it: bool, accept_terms: bool) -> Result:
    """The public data sets, or one with its terms."""
    if name is None and download_it:
        raise ConfigError("name the data set to download: crossfield data NAME --download")
    if name is None:
        listed = [{"name": one.name, "about": one.about, "at_hand": not one.missing()} for one in PUBLIC.values()]
        lines = [f"{one['name']:<16} {'at hand' if one['at_hand'] else 'absent ':<8} {one['about']}" for one in listed]
        return Result(listed, "\n".join(lines))
    chosen = public_set(name)
    if download_it:
        paths = [str(path) for path in download(name, accept_terms=accept_terms)]
        return Result({"name": name, "files": paths}, "\n".join(paths))
    missing = chosen.missing()
    described = {
        "name": name,
        "about": chosen.about,
        "terms": chosen.terms,
        "address": chosen.address,
        "folder": str(chosen.folder()),
        "missing": list(missing),
    }
    state = f"missing in {chosen.folder()}: {', '.join(missing)}" if missing else f"at hand in {chosen.folder()}"
    return Result(described, f"{chosen.about}\nTerms: {chosen.terms}\n{chosen.address}\n{state}")


def tour(
    out: Path,
    data: str | None,
    settings: Mapping[str, Any],
    *,
    models: Sequence[str] | None,
    everything: bool,
    seeds: int,
    quick: bool,
    quiet: bool,
) -> Result:
    """Every landmark on the same rows, and one page about it; a trial per core, up to four at once."""
    if data is not None:
        refuse_to_replace(data, out)
    found = run_tour(
        _tour_rows(data, settings),
        models=models,
        everything=everything,
        seeds=seeds,
        out=out,
        quick=quick,
        processes=min(num_cores(), 4),
        on_progress=silence if quiet else say,
    )
    return Result(found.to_json(), format_leaderboard(found))


def _tour_rows(data: str | None, settings: Mapping[str, Any]) -> PublicData | None:
    """The rows of a tour, own ones parted as told; raises ConfigError on a setting that would change nothing."""
    if (data is None or is_public(data)) and settings:
        rows = "the cinema" if data is None else data
        raise ConfigError(f"{rows} comes as it is, and --set {next(iter(settings))} would change nothing; leave it out")
    if data is None or is_public(data):
        return None if data is None else load_public(data)
    for key in settings:
        if not key.startswith("data.") or key == "data.negative_rate":
            raise ConfigError(f"a tour trains every model alike, and --set {key} would change nothing; leave it out")
        if key == "data.path":
            raise ConfigError(f"the rows are those of --data {data}; leave out --set data.path")
    parts = part(resolve_rows(None, {"data.path": data, **settings}))
    if parts.valid is None or not isinstance(parts.test, Dataset):
        raise ConfigError(
            "a tour needs training, validation and test rows: give data.sizes three shares, and all rows with --data, "
            "without data.valid"
        )
    return PublicData(parts.train, parts.valid, parts.test, notes=parts.notes)


# Reproduce


def reproduce(
    name: str | None,
    rows: Sequence[str],
    *,
    seeds: int | None,
    results: Path,
    work: Path,
    jobs: int,
    threads: int,
    device: str,
    quiet: bool,
) -> Result:
    """Run a table's missing rows; without a name, list the tables. Raises RunError where runs failed."""
    if name is None:
        tables = [Table.read(one) for one in table_names()]
        listed = [{"name": one.name, "title": one.spec.title, "rows": [row.name for row in one.rows]} for one in tables]
        return Result(listed, "\n".join(f"{one.name:<20} {len(one.rows):>2} rows  {one.spec.title}" for one in tables))
    check_device(device)
    table = Table.read(name)
    failed = run_rows(
        table,
        rows,
        seeds=seeds,
        results=results,
        work=work,
        jobs=jobs,
        threads=threads,
        device=device,
        say=silence if quiet else say,
    )
    if failed:
        raise RunError(f"{failed} runs failed; {results / f'{name}.jsonl'} says why, and the same command tries again")
    text = proof_page([table], {name: lines_of(results, name) for name in (name, table.spec.compare) if name})
    return Result({"table": name, "failed": failed}, text)


def draw_tables(results: Path, out: Path | None) -> Result:
    """The page of all tables from their result lines alone."""
    names = table_names()
    page = proof_page([Table.read(one) for one in names], {one: lines_of(results, one) for one in names})
    if out is None:
        return Result({"page": page}, page.rstrip("\n"))
    write_bytes(out, page.encode())
    return Result({"out": str(out)}, f"drawn into {out}")


def lines_of(results: Path, table: str) -> list[dict[str, Any]]:
    """The result lines of a table, none where there is no file."""
    path = results / f"{table}.jsonl"
    return read_lines(path) if path.is_file() else []
