"""Redraw the pages that come from code and result lines; with --check, fail where one is not up to date."""

import ast
import json
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from crossfield.config import Config
from crossfield.models import CATALOGUE
from crossfield.recipe import SECTIONS
from crossfield.verbs import models, settings_of

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "src" / "crossfield"
RESULTS = DOCS.parent / "benchmarks" / "results"
PUBLISHED = {
    "frappe/logistic_regression": 0.935584,
    "frappe/fm": 0.967108,
    "frappe/dnn": 0.983323,
    "frappe/wide_deep": 0.984124,
    "frappe/dcn": 0.983907,
    "frappe/deepfm": 0.984243,
}
"""Test AUC of BARS's single selected runs on Frappe_x1."""


def main() -> None:
    """Write or check every page."""
    pages = {
        "floor-plan.md": floor_plan(),
        "settings.md": settings_page(),
        "models.md": models_page(),
        "benchmarks.md": benchmarks_page(),
    }
    stale = [name for name, text in pages.items() if not is_current(DOCS / name, text)]
    if "--check" in sys.argv and stale:
        sys.exit(f"not up to date: {', '.join(stale)}; run `make docs`")
    for name in stale:
        (DOCS / name).write_text(pages[name])


def is_current(path: Path, text: str) -> bool:
    """Whether the page says this already."""
    return path.is_file() and path.read_text() == text


FLOOR_PLAN = """# Floor plan

Drawn from the code by `make docs`: the phrases are the files' own first lines, the floors what `make check` enforces.
A file imports only from floors below its own; files on one floor don't know each other, and no model imports a model.

## The way of a row

```
raw file --Encoder.fit (training rows only)--> Encoder
raw rows --Encoder.encode--> Store --Reader(seed, position)--> Batch --Model--> logits --objective--> loss
raw row  --the same Encoder--> Batch --the same Model--> logits --logistic function, here only--> probability
```

Ids are range-checked once, where a batch is born. Probabilities exist in metrics and `Ranker.predict` only.

| type | is | must not know |
|---|---|---|
| `FeatureSchema` | the columns' kinds and roles, with a fingerprint | data, files, table sizes |
| `ModelSchema` | tensor order and rows per table, made by `Encoder.fit` | the columns' text, files |
| `Dataset` | lazy columns and their schema | encoding |
| `Encoder` | vocabularies and transforms: a raw row in, model input out | models, torch modules |
| `Batch` | the tensors of one step | how they were read |
| `Model` | `forward(batch) -> logits` | sigmoid, loss, optimiser, device, files |
| `Recipe` | *what* to run, whole and flat | code |
| `Trainer` | *how*: model, objective, optimisers, reader, position | model names, file formats |

## The floors, highest first
"""


def floor_plan() -> str:
    """Every file with its first line, by floors."""
    contracts = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    parts = [FLOOR_PLAN]
    for floor in contracts[0]["layers"]:
        names = [name.strip() for name in floor.replace(":", "|").split("|")]
        parts.append("\n".join(line for name in names for line in wing(PACKAGE / name)))
    return "\n\n".join(parts) + "\n"


def wing(path: Path) -> list[str]:
    """The lines of one module, or of a folder and its modules."""
    if path.with_suffix(".py").is_file():
        return [f"- `{path.relative_to(PACKAGE)}.py`: {first_line(path.with_suffix('.py'))}"]
    inside = sorted(one for one in path.rglob("*.py") if one.name != "__init__.py")
    rest = [f"  - `{one.relative_to(PACKAGE)}`: {first_line(one)}" for one in inside]
    return [f"- `{path.name}/`: {first_line(path / '__init__.py')}", *rest]


def first_line(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0]


def settings_page() -> str:
    """Every recipe key."""
    parts = ["# Settings", "Drawn from the code by `make docs`. Set any of them with `--set section.key=value`."]
    for section, config in SECTIONS.items():
        parts += [f"## [{section}]", keys_table(config)]
    parts += ["## [model]", "`name` is a name of the catalogue; the other keys depend on it."]
    for name, kind in CATALOGUE.items():
        keys = keys_table(kind.config_type) if kind.config_type.model_fields else "No settings."
        parts += [f"### {name}", keys]
    return "\n\n".join(parts) + "\n"


def keys_table(config: type[Config]) -> str:
    """The fields of one config."""
    return table(("key", "default", "meaning"), rows_of(settings_of(config)))


def rows_of(settings: Iterable[dict[str, str]]) -> list[tuple[str, str, str]]:
    """Keys with defaults and meanings, as table cells."""
    return [(f"`{one['key']}`", f"`{one['default']}`", one["doc"].replace("|", "\\|")) for one in settings]


def models_page() -> str:
    """The catalogue with each model's paper and formula."""
    parts = ["# Models", "Drawn from the code by `make docs`; `crossfield models NAME` prints one with its settings."]
    for name in CATALOGUE:
        one = models(name).json
        parts += [f"## {name}", f"{one['paper']}\n<{one['link']}>", one["about"]]
    return "\n\n".join(parts) + "\n"


def benchmarks_page() -> str:
    """Quality on public data, one row per recipe, from the result lines alone."""
    parts = [
        "# Benchmarks",
        "Drawn from `benchmarks/results/*.jsonl` by `make docs`. Each row: `python benchmarks/quality.py RECIPE "
        "--seeds ...`. Epochs are chosen on validation rows, never on test rows; published values are single "
        "selected runs. Frappe's training negatives are re-drawn (`crossfield data frappe`).",
    ]
    for path in sorted(RESULTS.glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        if lines and "recipe" in lines[0]:
            parts += [f"## {path.stem}", quality_table(lines)]
    return "\n\n".join(parts) + "\n"


def quality_table(lines: Sequence[dict[str, Any]]) -> str:
    """Means over seeds, best AUC first."""
    by_recipe: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_recipe.setdefault(line["recipe"], []).append(line)
    rows = sorted((quality_row(name, some) for name, some in by_recipe.items()), reverse=True)
    head = ("recipe", "seeds", "test AUC", "log loss", "NE", "published AUC", "parameters", "rows/s")
    return table(head, [row for _, row in rows])


def quality_row(name: str, lines: Sequence[dict[str, Any]]) -> tuple[float, tuple[str, ...]]:
    """Mean AUC, to sort by, and the cells."""

    def spread(metric: str) -> str:
        values = [line["metrics"][metric] for line in lines]
        return f"{mean(values):.5f}" + (f" ± {stdev(values):.5f}" if len(values) > 1 else "")

    published = f"{PUBLISHED[name]:.5f}" if name in PUBLISHED else "-"
    sizes = f"{lines[0]['parameters']:,}", f"{mean(line['train_sps'] for line in lines):,.0f}"
    cells = (f"`{name}`", str(len(lines)), spread("auc"), spread("log_loss"), spread("ne"), published, *sizes)
    return mean(line["metrics"]["auc"] for line in lines), cells


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
