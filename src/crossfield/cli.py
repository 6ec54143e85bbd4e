"""The command line: the verbs of the Python API, one error line and an exit code for each mistake.

Nothing here imports torch at the top, so that ``--help`` answers at once.
"""

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

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


def _doc(field: str) -> str:
    return str(DataConfig.model_fields[field].description).replace("\n", " ")


DataArgument = Annotated[str | None, typer.Argument(help="File, folder, glob, or public data set (crossfield data).")]
RunArgument = Annotated[Path, typer.Argument(help="Folder of a finished run.")]
RowsArgument = Annotated[str, typer.Argument(help="File, folder, glob, or public data set.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
DeviceOption = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]


@app.command()
def fit(
    data: DataArgument = None,
    model: Annotated[str | None, typer.Option(help="Catalogue name: crossfield models.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run.")] = None,
    valid: Annotated[str | None, typer.Option(help=_doc("valid"))] = None,
    label: Annotated[str | None, typer.Option(help=_doc("label"))] = None,
    positive: Annotated[str | None, typer.Option(help=_doc("positive"))] = None,
    user: Annotated[str | None, typer.Option(help=_doc("user"))] = None,
    item: Annotated[str | None, typer.Option(help=_doc("item"))] = None,
    time: Annotated[str | None, typer.Option(help=_doc("time"))] = None,
    weight: Annotated[str | None, typer.Option(help=_doc("weight"))] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="A column to leave out; repeat for more.")] = None,
    kind: Annotated[list[str] | None, typer.Option(metavar="COL=KIND", help=_doc("kinds"))] = None,
    cross: Annotated[list[str] | None, typer.Option(metavar="A,B", help="Features to AND; repeat for more.")] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B,C", help=_doc("columns"))] = None,
    header: Annotated[bool | None, typer.Option(help=_doc("header"))] = None,
    separator: Annotated[str | None, typer.Option(help=_doc("separator"))] = None,
    missing: Annotated[list[str] | None, typer.Option(help='A text that means "no value"; repeat for more.')] = None,
    split: Annotated[str | None, typer.Option(help=_doc("split"))] = None,
    recipe: Annotated[Path | None, typer.Option(help="TOML recipe, or RECIPE/NAME of a committed one.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any recipe key: --set train.lr=3e-4.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="Schema file, as `crossfield schema` writes it.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue what is there; start where nothing is.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that is there.")] = False,
    keys: Annotated[bool, typer.Option("--keys", help="List every recipe key with its meaning, and stop.")] = False,
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model on raw rows and save the run."""
    flags = {
        "label": label,
        "positive": parse_value(positive) if positive is not None else None,
        "user": user,
        "item": item,
        "time": time,
        "weight": weight,
        "ignore": ignore,
        "kinds": _pairs("--kind", kind),
        "crosses": [one.split(",") for one in cross or []],
        "columns": columns.split(",") if columns else None,
        "header": header,
        "separator": separator,
        "missing": [*missing, ""] if missing else None,
        "split": split,
        "path": data,
        "valid": valid,
    }
    from crossfield import verbs

    settings = {f"data.{name}": value for name, value in flags.items() if value not in (None, [], {})}
    chosen = verbs.resolve_recipe(recipe, model, {**settings, **_settings(setting)})
    if keys:
        typer.echo(verbs.describe_keys(chosen))
        return
    if out is None:
        raise typer.BadParameter("name a folder for the run", param_hint="--out")
    result = verbs.fit(chosen, out, schema=schema, resume=resume, overwrite=overwrite, device=device, quiet=quiet)
    _print(result, as_json)


@app.command()
def evaluate(
    run: RunArgument,
    data: RowsArgument,
    device: DeviceOption = "cpu",
    intervals: Annotated[
        bool, typer.Option(help="95 % intervals by bootstrap, over users where there are users.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Measure a run on rows with labels (or, for implicit data, on held-out pairs)."""
    from crossfield import verbs

    _print(verbs.evaluate(run, data, device=device, intervals=intervals), as_json)


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
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any data.* recipe key.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what each column is taken for, and why."""
    from crossfield import verbs

    _print(verbs.schema(data, out, _settings(setting)), as_json)


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
    everything: Annotated[
        bool, typer.Option("--all", help="The whole catalogue, not only the primer's chain.")
    ] = False,
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
    except SystemExit:
        if _signals:
            sys.exit(128 + _signals[-1])
        raise
