"""docs/errors.md: mistakes made on purpose, and what the program says to each."""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import polars as pl

from crossfield.cli import main
from crossfield.files import read_json, write_manifest
from crossfield.pages.render import markdown_table

HEAD = """# Errors

Drawn by `make docs`, which makes every mistake below and writes down what is said. A mistake is one line on standard
error and exit code 1, wrong usage is exit code 2, Ctrl-C 130 and SIGTERM 143; nothing that was there is lost, and no
half-written result is left. In Python the same text comes as an exception below `CrossfieldError`. `rows.parquet` is a
click log with the columns click, user, film, genres, age and time; `run` was fitted on it."""
WORDS = "--label click --user user --item film --model fm --set train.epochs=1 --set model.embedding_dim=2"
DISK = "--set train.tables=disk --set train.optimizer=adam"
LOG = pl.DataFrame(
    {
        "click": [0, 1, 1, 0] * 75,
        "user": [f"u{one % 7}" for one in range(300)],
        "film": [one % 11 for one in range(300)],
        "genres": ["Drama|War", "Comedy", "War"] * 100,
        "age": [20.0 + one % 40 for one in range(300)],
        "time": [1_700_000_000 + one for one in range(300)],
    }
)
Change = Callable[[Path], object]


def _column(name: str, *values: object) -> pl.DataFrame:
    """The log, where a column starts with these values."""
    kept = LOG[name].cast(pl.String).to_list()[len(values) :]
    return LOG.with_columns(pl.Series(name, [None if one is None else str(one) for one in values] + kept))


FILES: dict[str, Change] = {
    "rows.parquet": LOG.write_parquet,
    "empty.csv": lambda path: path.write_text(""),
    "header.csv": LOG.head(0).write_csv,
    "broken.parquet": lambda path: path.write_bytes(b"PAR1 and no more"),
    "latin.csv": lambda path: path.write_bytes(LOG.write_csv().replace("Drama", "Com\xe9die").encode("latin-1")),
    "ragged.csv": lambda path: path.write_text(LOG.write_csv() + "1,u1,3,War,30,1700000999,more,still more\n"),
    "rows.pkl": lambda path: path.write_bytes(b"\x80\x04N."),
    "two.csv": _column("click", 0, 1, 2).write_csv,
    "gap.csv": _column("click", 0, None).write_csv,
    "word.csv": _column("click", "yes").write_csv,
    "one.csv": LOG.with_columns(click=pl.lit(1)).write_csv,
    "old.csv": _column("age", 20, 21, "old").write_csv,
    "less.csv": LOG.drop("genres").write_csv,
    "score.csv": LOG.with_columns(score=pl.lit(0.5)).write_csv,
    "typo.toml": lambda path: path.write_text('[model]\nname = "fm"\nembedding_din = 4\n'),
    "broken.toml": lambda path: path.write_text("[model\n"),
    "file": lambda path: path.write_text(""),
}
MISTAKES: dict[str, Sequence[tuple[str, str]]] = {
    "Rows": (
        ("no such file", f"fit row.parquet {WORDS} --out new"),
        ("an empty file", f"fit empty.csv {WORDS} --out new"),
        ("a header and no rows", f"fit header.csv {WORDS} --out new"),
        ("no Parquet", f"fit broken.parquet {WORDS} --out new"),
        ("another encoding", f"fit latin.csv {WORDS} --out new"),
        ("a line with too many cells", f"fit ragged.csv {WORDS} --out new"),
        ("a kind of file that is not read", f"fit rows.pkl {WORDS} --out new"),
        ("no label column", f"fit rows.parquet {WORDS} --label clicked --out new"),
        ("a label that is not 0 or 1", f"fit two.csv {WORDS} --out new"),
        ("a missing label", f"fit gap.csv {WORDS} --out new"),
        ("text as a label", f"fit word.csv {WORDS} --out new"),
        ("one class only", f"fit one.csv {WORDS} --out new"),
        ("a column that is not there", f"fit rows.parquet {WORDS} --user usr --out new"),
        ("a column that cannot be of that kind", f"fit rows.parquet {WORDS} --kind genres=dense --out new"),
        ("an unknown kind", f"fit rows.parquet {WORDS} --kind age=number --out new"),
    ),
    "Settings": (
        ("an unknown model", f"fit rows.parquet {WORDS} --model deepfn --out new"),
        ("a key that is spelt wrong", f"fit rows.parquet {WORDS} --set train.epocs=1 --out new"),
        ("a value of another type", f"fit rows.parquet {WORDS} --set train.lr=fast --out new"),
        ("a value out of range", f"fit rows.parquet {WORDS} --set train.batch_size=0 --out new"),
        ("an unknown split", f"fit rows.parquet {WORDS} --split half --out new"),
        ("no such recipe", "fit rows.parquet --recipe none.toml --out new"),
        ("a wrong key in a recipe", "fit rows.parquet --recipe typo.toml --out new"),
        ("a recipe that is no TOML", "fit rows.parquet --recipe broken.toml --out new"),
        ("a device that does not exist", f"fit rows.parquet {WORDS} --device tpu --out new"),
        ("an unknown data set", "fit frape --model fm --out new"),
        ("an unknown table", "reproduce frape"),
        ("dense Adam on tables on disk", f"fit rows.parquet {WORDS} {DISK} --out new"),
        ("no model named", "fit rows.parquet --label click --out new"),
        ("an unknown command", "trian rows.parquet"),
    ),
    "Runs": (
        ("a run that is there", f"fit rows.parquet {WORDS} --out run"),
        ("other settings on resume", f"fit rows.parquet {WORDS} --set train.lr=0.5 --out run --resume"),
        ("a place where nothing can be made", f"fit rows.parquet {WORDS} --out file/run"),
        ("no run", "predict nowhere rows.parquet --out scores.csv"),
        ("a damaged run", "predict damaged rows.parquet --out scores.csv"),
        ("an encoder of another run", "predict mixed rows.parquet --out scores.csv"),
        ("a column gone at predict time", "predict run less.csv --out scores.csv"),
        ("text in a number at predict time", "predict run old.csv --out scores.csv"),
        ("rows that have a column named as ours", "predict run score.csv --out scores.csv"),
        ("scores over the rows", "predict run rows.parquet --out rows.parquet"),
        ("an evaluation without labels", "evaluate run unlabelled.parquet"),
        ("nothing to replay", "replay run"),
    ),
    "Prepared rows": (
        ("another setting of the encoder", "fit --prepared rows --model fm --set encoder.min_count=3 --out new"),
        ("another column", "fit --prepared rows --model fm --item genres --out new"),
        ("other rows than were prepared", "fit empty.csv --prepared rows --model fm --out new"),
        ("rows that were changed since", "fit later.parquet --prepared later --model fm --out new"),
        ("another seed than drew the split", "fit --prepared drawn --model fm --set data.split_seed=5 --out new"),
        ("a schema beside prepared rows", "fit --prepared rows --model fm --schema schema.json --out new"),
        ("no prepared rows", "fit --prepared run --model fm --out new"),
        ("damaged prepared rows", "fit --prepared torn --model fm --out new"),
        ("a place that holds prepared rows", "prepare rows.parquet --label click --out rows"),
        ("an unknown engine", "prepare rows.parquet --label click --engine dask --out new"),
    ),
}


def errors_page() -> str:
    """Make every mistake and draw what was said."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            _prepare()
            tables = [f"## {title}\n\n{_table(mistakes)}" for title, mistakes in MISTAKES.items()]
        finally:
            os.chdir(before)
    return "\n\n".join([HEAD, *tables]) + "\n"


def _prepare() -> None:
    for name, make in FILES.items():
        make(Path(name))
    LOG.drop("click").write_parquet("unlabelled.parquet")
    for run, words in {"run": WORDS, "mixed": f"{WORDS} --set encoder.min_count=2"}.items():
        code, said = _said(f"fit rows.parquet {words} --out {run} --quiet")
        assert code == 0, said
    os.system("cp -r run damaged")
    weights = bytearray(Path("damaged/model.safetensors").read_bytes())
    weights[-1] ^= 1
    Path("damaged/model.safetensors").write_bytes(weights)
    _mix("mixed", "run")
    _prepare_rows()


def _prepare_rows() -> None:
    """Prepared rows: as they should be, drawn at random, of a file that changed later, and damaged."""
    LOG.write_parquet("later.parquet")
    split = "--set data.split_seed=4 --split random"
    for name, words in {"rows": "rows.parquet", "drawn": f"rows.parquet {split}", "later": "later.parquet"}.items():
        code, said = _said(f"prepare {words} --label click --user user --item film --out {name} --quiet")
        assert code == 0, said
    LOG.head(200).write_parquet("later.parquet")
    os.system("cp -r rows torn")
    first = min(path for path in Path("torn/train").iterdir() if path.suffix != ".json")
    first.write_bytes(first.read_bytes()[:-1])


def _mix(run: str, other: str) -> None:
    """Give a run the encoder of another one, and a manifest that fits it."""
    for path in Path(other, "encoder").iterdir():
        Path(run, "encoder", path.name).write_bytes(path.read_bytes())
    manifest = read_json(Path(run, "manifest.json"))
    write_manifest(Path(run), manifest["kind"], names=list(manifest["files"]), about={})


def _table(mistakes: Sequence[tuple[str, str]]) -> str:
    rows = []
    for what, words in mistakes:
        code, said = _said(words)
        assert code, f"{words} is no mistake"
        rows.append((what, f"`crossfield {words.replace(WORDS, '…')}`", str(code), said))
    return markdown_table(("mistake", "command", "exit", "what is said"), rows)


def _said(words: str) -> tuple[int, str]:
    """Exit code of a command and the last line that it printed on standard error."""
    out, error, argv = io.StringIO(), io.StringIO(), ["crossfield", *words.split()]
    with patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            main()
        except SystemExit as stop:
            said = error.getvalue().replace(str(Path.cwd()), "/home/ada")
            return int(stop.code or 0), said.rstrip().split("\n")[-1]
    return 0, error.getvalue()
