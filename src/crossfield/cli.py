"""The command line: the verbs of the Python API, one error line and an exit code for each mistake.

Nothing here imports torch at the top, so that ``--help`` answers at once.
"""

import json
import math
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from crossfield.config import parse_value
from crossfield.data.options import DataConfig
from crossfield.errors import ConfigError, CrossfieldError

if TYPE_CHECKING:
    pass

app = typer.Typer(
    name="crossfield",
    help="Deep recommender models, from a raw file to a trained, honest, reusable ranker.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"crossfield {version('crossfield')}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
]


@app.callback()
def _program(context: typer.Context, version: VersionOption = False) -> None:
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ
    if several and context.invoked_subcommand != "fit":
        raise ConfigError(f"crossfield {context.invoked_subcommand} is one process; start it without torchrun")


class EvictBy(StrEnum):
    """Which ids leave a field that has no room for new ones."""

    LAST_USE = "last_use"
    COUNT = "count"


class EngineName(StrEnum):
    """Who counts and encodes rows."""

    POLARS = "polars"
    SPARK = "spark"


def _doc(field: str) -> str:
    return str(DataConfig.model_fields[field].description).replace("\n", " ")


DataArgument = Annotated[str | None, typer.Argument(help="File, folder, glob, or public data set (crossfield data).")]
PlannedArgument = Annotated[str | None, typer.Argument(help="As for fit, or a recipe: RECIPE.toml, RECIPE/NAME.")]
RunArgument = Annotated[Path, typer.Argument(help="Folder of a finished run.")]
RowsArgument = Annotated[str, typer.Argument(help="File, folder, glob, or public data set.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
DeviceOption = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes; what is wrong is said.")]


ModelOption = Annotated[str | None, typer.Option(help="Catalogue name: crossfield models.")]
ValidOption = Annotated[str | None, typer.Option(help=_doc("valid"))]
LabelOption = Annotated[str | None, typer.Option(help=_doc("label"))]
PositiveOption = Annotated[str | None, typer.Option(help=_doc("positive"))]
UserOption = Annotated[str | None, typer.Option(help=_doc("user"))]
ItemOption = Annotated[str | None, typer.Option(help=_doc("item"))]
TimeOption = Annotated[str | None, typer.Option(help=_doc("time"))]
WeightOption = Annotated[str | None, typer.Option(help=_doc("weight"))]
IgnoreOption = Annotated[list[str] | None, typer.Option(help="A column to leave out; repeat for more.")]
KindOption = Annotated[list[str] | None, typer.Option(metavar="COL=KIND", help=_doc("kinds"))]
CrossOption = Annotated[list[str] | None, typer.Option(metavar="A,B", help="Features to AND; repeat for more.")]
ColumnsOption = Annotated[str | None, typer.Option(metavar="A,B,C", help=_doc("columns"))]
HeaderOption = Annotated[bool | None, typer.Option(help=_doc("header"))]
SeparatorOption = Annotated[str | None, typer.Option(help=_doc("separator"))]
MissingOption = Annotated[
    list[str] | None, typer.Option(help='A text or number that means "no value"; repeat for more.')
]
SplitOption = Annotated[str | None, typer.Option(help=_doc("split"))]
RecipeOption = Annotated[Path | None, typer.Option(help="TOML recipe, or RECIPE/NAME of a committed one.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any recipe key: --set train.lr=3e-4.")
]
SchemaOption = Annotated[Path | None, typer.Option(help="Schema file, as `crossfield schema` writes it.")]


@app.command()
def prepare(
    data: DataArgument = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the encoded rows.")] = None,
    valid: ValidOption = None,
    label: LabelOption = None,
    positive: PositiveOption = None,
    user: UserOption = None,
    item: ItemOption = None,
    time: TimeOption = None,
    weight: WeightOption = None,
    ignore: IgnoreOption = None,
    kind: KindOption = None,
    cross: CrossOption = None,
    columns: ColumnsOption = None,
    header: HeaderOption = None,
    separator: SeparatorOption = None,
    missing: MissingOption = None,
    split: SplitOption = None,
    recipe: RecipeOption = None,
    setting: SetOption = None,
    schema: SchemaOption = None,
    engine: Annotated[
        EngineName, typer.Option(help="Who counts and encodes: this machine, or Spark (crossfield[spark]).")
    ] = EngineName.POLARS,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Encode rows once, for many fits: crossfield fit --prepared FOLDER trains on them without the raw rows."""
    flags = locals()
    from crossfield import verbs

    if out is None:
        raise typer.BadParameter("name a folder for the encoded rows", param_hint="--out")
    chosen = verbs.resolve_rows(recipe, _recipe_settings(flags))
    result = verbs.prepare(chosen, out, engine=engine.value, schema=schema, overwrite=overwrite, quiet=quiet)
    _print(result, as_json)


@app.command()
def fit(
    data: DataArgument = None,
    model: ModelOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run.")] = None,
    prepared: Annotated[
        Path | None, typer.Option(help="Rows that crossfield prepare encoded, instead of raw ones.")
    ] = None,
    valid: ValidOption = None,
    label: LabelOption = None,
    positive: PositiveOption = None,
    user: UserOption = None,
    item: ItemOption = None,
    time: TimeOption = None,
    weight: WeightOption = None,
    ignore: IgnoreOption = None,
    kind: KindOption = None,
    cross: CrossOption = None,
    columns: ColumnsOption = None,
    header: HeaderOption = None,
    separator: SeparatorOption = None,
    missing: MissingOption = None,
    split: SplitOption = None,
    recipe: RecipeOption = None,
    setting: SetOption = None,
    schema: SchemaOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue what is there; start where nothing is.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that is there.")] = False,
    keys: Annotated[bool, typer.Option("--keys", help="List every recipe key with its meaning, and stop.")] = False,
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model on raw rows and save the run."""
    flags = locals()
    from crossfield import verbs

    rows = verbs.open_prepared(prepared) if prepared is not None else None
    chosen = verbs.resolve_recipe(recipe, model, _recipe_settings(flags), rows)
    if keys:
        typer.echo(verbs.describe_keys(chosen))
        return
    if out is None:
        raise typer.BadParameter("name a folder for the run", param_hint="--out")
    result = verbs.fit(
        chosen,
        out,
        schema=schema,
        prepared=rows,
        rows=data,
        resume=resume,
        overwrite=overwrite,
        device=device,
        quiet=quiet,
    )
    _print(result, as_json)


@app.command()
def update(
    run: RunArgument,
    data: Annotated[str, typer.Argument(help="New rows: file, folder or glob.")],
    out: Annotated[Path, typer.Option(help="Folder for the updated run; the old one stays as it is.")],
    valid: Annotated[
        str | None, typer.Option(help="Rows that choose the best epoch; without them all epochs are trained.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the new rows.")] = 1,
    evict: Annotated[
        EvictBy, typer.Option(help="Which ids leave a field over encoder.max_size: used longest ago, or rarest.")
    ] = EvictBy.LAST_USE,
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on training a run with new rows; new ids get rows of their own."""
    from crossfield import verbs

    result = verbs.update(run, data, out, valid=valid, epochs=epochs, evict=evict.value, device=device, quiet=quiet)
    _print(result, as_json)


@app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="Folder of a run that stopped at numbers that are not finite.")],
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Train an unfinished run again up to the step at which it stopped; nothing of it is changed."""
    from crossfield import verbs

    _print(verbs.replay(run, device=device), as_json)


@app.command()
def plan(
    data: PlannedArgument = None,
    model: ModelOption = None,
    out: Annotated[Path, typer.Option(help="Where the run would go; nothing is written.")] = Path(),
    valid: ValidOption = None,
    label: LabelOption = None,
    positive: PositiveOption = None,
    user: UserOption = None,
    item: ItemOption = None,
    time: TimeOption = None,
    weight: WeightOption = None,
    ignore: IgnoreOption = None,
    kind: KindOption = None,
    cross: CrossOption = None,
    columns: ColumnsOption = None,
    header: HeaderOption = None,
    separator: SeparatorOption = None,
    missing: MissingOption = None,
    split: SplitOption = None,
    recipe: RecipeOption = None,
    setting: SetOption = None,
    schema: SchemaOption = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps to time; about a minute at most.")] = 200,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Count only; train no step.")] = False,
    ranks: Annotated[int | None, typer.Option(min=1, help="Lay it on so many processes too; none is started.")] = None,
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a fit would take: parameters, memory, FLOPs, time, and what to change where that is much."""
    flags = locals()
    from crossfield import verbs

    if data is not None and recipe is None and verbs.is_recipe(data):
        recipe, flags = Path(data), {**flags, "data": None}
    chosen = verbs.resolve_recipe(recipe, model, _recipe_settings(flags))
    result = verbs.plan(
        chosen, out, schema=schema, steps=0 if no_probe else steps, ranks=ranks, device=device, quiet=quiet
    )
    _print(result, as_json)


@app.command()
def doctor(
    data: PlannedArgument = None,
    valid: ValidOption = None,
    label: LabelOption = None,
    positive: PositiveOption = None,
    user: UserOption = None,
    item: ItemOption = None,
    time: TimeOption = None,
    weight: WeightOption = None,
    ignore: IgnoreOption = None,
    kind: KindOption = None,
    cross: CrossOption = None,
    columns: ColumnsOption = None,
    header: HeaderOption = None,
    separator: SeparatorOption = None,
    missing: MissingOption = None,
    split: SplitOption = None,
    recipe: RecipeOption = None,
    setting: SetOption = None,
    schema: SchemaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with rows, their split and the machine before anything is trained; alone, the machine only."""
    flags = locals()
    from crossfield import verbs

    if data is not None and recipe is None and verbs.is_recipe(data):
        recipe, flags = Path(data), {**flags, "data": None}
    settings = _recipe_settings(flags)
    chosen = verbs.resolve_rows(recipe, settings) if recipe is not None or settings else None
    _print(verbs.doctor(chosen, schema=schema), as_json)


@app.command()
def evaluate(
    run: RunArgument,
    data: RowsArgument,
    device: DeviceOption = "cpu",
    intervals: Annotated[
        bool, typer.Option(help="95 % intervals by bootstrap, over users where there are users.")
    ] = True,
    report: Annotated[Path | None, typer.Option(help="Page to draw the calibration on: an .html file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a run on rows with labels (or, for implicit data, on held-out pairs)."""
    from crossfield import verbs

    _print(verbs.evaluate(run, data, device=device, intervals=intervals, out=report), as_json)


@app.command()
def calibrate(
    run: RunArgument,
    data: RowsArgument,
    method: Annotated[
        Literal["platt", "isotonic"],
        typer.Option(help="Two numbers for all scores, or a curve (thousands of rows)."),
    ] = "platt",
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Fit a run's probabilities to rows with labels that training has not seen; weights and ranking stay."""
    from crossfield import verbs

    _print(verbs.calibrate(run, data, method=method, device=device), as_json)


@app.command()
def predict(
    run: RunArgument,
    data: RowsArgument,
    out: Annotated[Path, typer.Option(help="File to write: .parquet, .csv or .tsv.")],
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Score rows: one line per row in its order, role columns kept, the probability last (score)."""
    from crossfield import verbs

    _print(verbs.predict(run, data, out, device=device), as_json)


@app.command()
def recommend(
    run: RunArgument,
    user: Annotated[list[str] | None, typer.Option(help="A user; repeat for more; without it, all users.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Items per user.")] = 10,
    seen: Annotated[bool, typer.Option(help="Also recommend what the user has met before.")] = False,
    out: Annotated[Path | None, typer.Option(help="File to write instead of standard output.")] = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """The k best items for users, those they have met before left out."""
    from crossfield import verbs

    _print(verbs.recommend(run, user, k, seen=seen, out=out, device=device), as_json)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="A model to describe.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the catalogue, or describe one model and its settings."""
    from crossfield import verbs

    _print(verbs.models(name), as_json)


@app.command()
def schema(
    data: RowsArgument,
    out: Annotated[
        Path | None, typer.Option(help="Write the schema as JSON, to edit and give to fit --schema.")
    ] = None,
    label: LabelOption = None,
    positive: PositiveOption = None,
    user: UserOption = None,
    item: ItemOption = None,
    time: TimeOption = None,
    weight: WeightOption = None,
    ignore: IgnoreOption = None,
    kind: KindOption = None,
    cross: CrossOption = None,
    columns: ColumnsOption = None,
    header: HeaderOption = None,
    separator: SeparatorOption = None,
    missing: MissingOption = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any data.* recipe key.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what each column is taken for, and why."""
    flags = locals()
    from crossfield import verbs

    _print(verbs.schema(data, out, _recipe_settings(flags)), as_json)


@app.command()
def data(
    name: Annotated[str | None, typer.Argument(help="A public data set.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch it from its official address.")] = False,
    accept_terms: Annotated[bool, typer.Option("--accept-terms", help="You have read and accept its terms.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the public data sets Crossfield knows, their terms, and whether they are at hand."""
    from crossfield import verbs

    _print(verbs.data(name, download_it=download, accept_terms=accept_terms), as_json)


@app.command()
def tour(
    out: Annotated[Path, typer.Option(help="The report page.")] = Path("report.html"),
    data: Annotated[str | None, typer.Option(help="Your own file or a public data set instead of the cinema.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any data.* recipe key.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model; repeat for more.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole catalogue, not only the landmarks.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Model seeds per landmark; one ranks nothing.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the rows: seconds instead of minutes.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train every landmark on the same data and write one report."""
    from crossfield import verbs

    result = verbs.tour(
        out,
        data,
        _settings(setting),
        models=model,
        everything=everything,
        seeds=seeds,
        quick=quick,
        quiet=quiet,
    )
    _print(result, as_json)


@app.command()
def reproduce(
    table: Annotated[str | None, typer.Argument(help="A table of published results; without it, list them.")] = None,
    rows: Annotated[list[str] | None, typer.Argument(help="Only these rows.")] = None,
    draw: Annotated[
        bool, typer.Option("--table", help="Draw the page of all tables from the results; run none.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="With --table, the Markdown file to write.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs per row instead of the table's own number.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of the result lines.")] = Path("benchmarks/results"),
    work: Annotated[Path, typer.Option(help="Folder of the runs, which go on where they stopped.")] = Path(
        "runs/reproduce"
    ),
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each.")] = 1,
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run published tables again, row by row and seed by seed, and judge them by rule."""
    from crossfield import verbs

    if draw:
        _print(verbs.draw_tables(results, out), as_json)
        return
    if out is not None:
        raise ConfigError(f"--out {out} is the page that --table draws; result lines go to --results")
    found = verbs.reproduce(
        table,
        rows or (),
        seeds=seeds,
        results=results,
        work=work,
        jobs=jobs,
        threads=threads,
        device=device,
        quiet=quiet,
    )
    _print(found, as_json)


def _recipe_settings(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe key -> value of the flags that were given, of all flags of a command about rows by name."""
    same = ("valid", "label", "user", "item", "time", "weight", "ignore", "header", "separator", "split")
    data = {name: flags.get(name) for name in same} | {
        "path": flags["data"],
        "positive": _positive(flags["positive"]) if flags["positive"] is not None else None,
        "kinds": _pairs("--kind", flags["kind"]),
        "crosses": [one.split(",") for one in flags["cross"] or []],
        "columns": flags["columns"].split(",") if flags["columns"] else None,
        "missing": [*flags["missing"], ""] if flags["missing"] else None,
    }
    given = {f"data.{name}": value for name, value in data.items() if value not in (None, [], {})}
    settings = _settings(flags["setting"])
    _check_agreement(given, settings)
    return {**given, **settings}


def _check_agreement(given: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise ConfigError where a flag and --set give one key different values."""
    for key, value in settings.items():
        section, _, last = key.rpartition(".")
        several = given.get(section)  # --kind a=dense beside --set data.kinds.a=multi
        told = given.get(key, several.get(last, value) if isinstance(several, Mapping) else value)
        if told != value:
            raise ConfigError(f"{key} is {told!r} by a flag and {value!r} by --set; give it once")


def _positive(text: str) -> str | float:
    """A label's value: a number or a truth where it spells one, else the text itself, dates and nan included."""
    value = parse_value(text)
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return value if is_number or isinstance(value, str) else text


def _settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    return {key: parse_value(value) for key, value in _pairs("--set", pairs).items()}


def _pairs(flag: str, pairs: Sequence[str] | None) -> dict[str, str]:
    found = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"{flag} {pair!r}: write KEY=VALUE")
        found[key.strip()] = value
    return found


def _print(result: Any, as_json: bool) -> None:
    if result.json is None:  # another process says it
        return
    typer.echo(json.dumps(result.json, ensure_ascii=False, allow_nan=False) if as_json else result.text)


_signals: list[int] = []
"""What interrupted the program, if anything."""


def _interrupt(number: int, _: object) -> NoReturn:
    _signals.append(number)
    raise KeyboardInterrupt


def main() -> None:
    """Run the program: exit code 0 done, 1 a user's mistake, 2 wrong usage, 130 / 143 interrupted."""
    # SIGTERM is Ctrl-C by another name: work is saved the same way, only the exit code differs.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except CrossfieldError as error:
        print(f"crossfield: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a full disk, or a place where nothing may be written
        print(f"crossfield: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except SystemExit:
        if _signals:
            sys.exit(128 + _signals[-1])
        raise
