"""Redraw the pages that come from code and result lines; with --check, fail where one is not up to date."""

import ast
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from errors_page import errors_page
from reliability_page import reliability_page
from scale_page import scale_page
from speed_page import speed_page

from crossfield.config import Config, settings_of
from crossfield.data.encoding import FeatureEncoding
from crossfield.models import CATALOGUE
from crossfield.pages.page import model_page
from crossfield.pages.render import as_markdown, as_svg, index_markdown, markdown_table
from crossfield.proof import Row, Spread, Table, current, table_names
from crossfield.proof_page import value_text
from crossfield.recipe import SECTIONS
from crossfield.verbs import draw_tables
from crossfield.verbs import lines_of as results_of

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "src" / "crossfield"
RESULTS = DOCS.parent / "benchmarks" / "results"
MODELS = DOCS / "models"
RELIABILITY = ("reliability", "reliability-daily")
SCALE = ("scale-torchrec", "scale-hosts", "scale-engines", "memory-tables", "scale-simulation")
SPEED = ("speed", "speed-house", "memory-encode")
MEASURED = PACKAGE / "pages" / "measured.json"


def main() -> None:
    """Write or check every page."""
    # The models' pages read this file, so it comes first.
    bring_up_to_date({MEASURED: measured_json()})
    pages = [model_page(name) for name in CATALOGUE]
    texts = {
        DOCS / "floor-plan.md": floor_plan(),
        DOCS / "settings.md": settings_page(),
        DOCS / "models.md": index_markdown(pages),
        DOCS / "benchmarks.md": draw_tables(RESULTS, None).json["page"],
        DOCS / "experiments.md": experiments_page(),
        DOCS / "errors.md": errors_page(),
        DOCS / "reliability.md": reliability_page(*(lines_of(RESULTS / f"{one}.jsonl") for one in RELIABILITY)),
        DOCS / "scale.md": scale_page(*(lines_of(RESULTS / f"{one}.jsonl") for one in SCALE)),
        DOCS / "speed.md": speed_page(*(lines_of(RESULTS / f"{one}.jsonl") for one in SPEED)),
        **{MODELS / f"{page.name}.md": as_markdown(page) for page in pages},
        **{MODELS / f"{page.name}.svg": as_svg(page) for page in pages},
    }
    bring_up_to_date(texts, gone=[path for path in MODELS.glob("*") if path not in texts])


def bring_up_to_date(texts: Mapping[Path, str], gone: Sequence[Path] = ()) -> None:
    """Write what is not there yet and remove what is no longer drawn, or fail on it."""
    stale = [path for path, text in texts.items() if not (path.is_file() and path.read_text() == text)]
    if "--check" in sys.argv and (stale or gone):
        sys.exit(f"not up to date: {', '.join(path.name for path in [*stale, *gone])}; run `make docs`")
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts[path])
    for path in gone:
        path.unlink()


def measured_json() -> str:
    """Means over seeds of every row of the tables that was run as it is now, for the models' pages; no experiments."""
    tables = [table for name in table_names() if not (table := Table.read(name)).spec.experiment]
    found = [one for table in tables for row in table.rows if (one := measured_row(table, row)) is not None]
    return "[\n" + ",\n".join(json.dumps(one) for one in found) + "\n]\n"


def measured_row(table: Table, row: Row) -> dict[str, Any] | None:
    """What the runs of one row came to, None where there are none."""
    some = current(row, results_of(RESULTS, table.name))
    if not some:
        return None
    metrics = {name: spread([one["metrics"][name] for one in some]) for name in table.spec.metrics}
    about = {"row": f"{table.name}/{row.name}", "data": table.spec.title, "model": some[0]["model"]}
    return {**about, "seeds": len(some), "metrics": metrics, "parameters": some[0]["parameters"]}


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation, 0 for one value, without digits that nobody can mean."""
    return round(mean(values), 7), round(stdev(values), 7) if len(values) > 1 else 0.0


FLOOR_PLAN = """# Floor plan

Drawn from the code by `make docs`: the phrases are the files' own first lines, the floors what `make check` enforces.
A file imports only from floors below its own; files on one floor don't know each other, and no model imports a model.
A folder is one floor here. Inside `data/`, `checks/`, `distributed/` and `pages/` there are floors of their own, which
`pyproject.toml` lists; bricks in `layers/` may be built of other bricks. On the lowest floor `files.py` and `mapped.py`
use `errors.py`.

## The way of a row

```
raw file --Encoder.fit (training rows only)--> Encoder
raw rows --Encoder.encode--> Store --Reader(seed, position)--> Batch --Model--> logits --objective--> loss
raw row  --the same Encoder--> Batch --the same Model--> logits --correction--> --calibration--> logits
logits --logistic function, here only--> probability
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
| `Calibration` | corrected logits in, calibrated logits in the same order out | models, rows, files |
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
        parts += feature_section() if section == "encoder" else []
    parts += ["## [model]", "`name` is a name of the catalogue; the other keys depend on it."]
    for name, kind in CATALOGUE.items():
        keys = keys_table(kind.config_type) if kind.config_type.model_fields else "No settings."
        parts += [f"### {name}", keys]
    return "\n\n".join(parts) + "\n"


def feature_section() -> list[str]:
    """The keys of a single feature."""
    told = (
        "What `[encoder.features.NAME]` may say of the feature NAME, on the command line "
        "`--set encoder.features.NAME.KEY=VALUE`; what is `None` follows the settings above."
    )
    return ["### [encoder.features.NAME]", told, keys_table(FeatureEncoding)]


def keys_table(config: type[Config]) -> str:
    """The fields of one config."""
    rows = [(f"`{one['key']}`", f"`{one['default']}`", one["doc"]) for one in settings_of(config)]
    return markdown_table(("key", "default", "meaning"), rows)


def experiments_page() -> str:
    """What was measured of single layers and models, from the result lines alone."""
    parts = ["# Experiments", "Drawn from `benchmarks/results/*.jsonl` by `make docs`."]
    parts += polynomials_section(lines_of(RESULTS / "dcn-v2-polynomials.jsonl"))
    parts += depth_section(lines_of(RESULTS / "dhen-depth.jsonl"))
    parts += state_section(lines_of(RESULTS / "table-state.jsonl"))
    parts += calibration_section(lines_of(RESULTS / "calibration-curves.jsonl"))
    parts += equality_section(lines_of(RESULTS / "scale-equality.jsonl"))
    return "\n\n".join(parts) + "\n"


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The result lines of one file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def polynomials_section(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Error of cross layers on random polynomials, a row per network and a column per depth."""
    depths = sorted({line["depth"] for line in lines})
    kinds = list(dict.fromkeys((line["network"], line["fit"]) for line in lines))

    def cell(key: str, depth: int, kind: tuple[str, str] | None = None) -> str:
        values = [
            line[key] for line in lines if line["depth"] == depth and kind in (None, (line["network"], line["fit"]))
        ]
        average, sd = spread(values)
        return f"{average:.3f} ± {sd:.3f}"

    named = {"cross_v2": "DCN-V2's cross layers", "cross_v1": "DCN's cross layers", "mlp": "MLP of 64s"}
    rows = [(named[kind[0]], kind[1], *(cell("rmse", depth, kind) for depth in depths)) for kind in kinds]
    rows.append(("best polynomial of degree depth + 1", "least squares", *(cell("limit", depth) for depth in depths)))
    return [
        "## Cross layers on random polynomials",
        "`python benchmarks/dcn_v2_polynomials.py --record`: root mean square error on fresh rows, mean and standard "
        "deviation over seeds, by depth. The polynomials have terms of one to four of ten inputs and a standard "
        "deviation of 1; no network of cross layers can be under the last row.",
        markdown_table(("network", "fitted by", *(f"depth {depth}" for depth in depths)), rows),
    ]


def depth_section(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Cost of DHEN by depth, with and without activation checkpointing."""
    head = ("layers", "checkpointing", "parameters", "of the layers", "FLOPs forward", "FLOPs of a step")
    units = ("train s / 100 k", "predict s / 100 k", "peak MB")
    rows = [
        (
            str(line["num_layers"]),
            "yes" if line["activation_checkpointing"] else "no",
            *(f"{line[key]:,}" for key in ("parameters", "layer_parameters")),
            *(f"{line[key]:,}" for key in ("forward_flops_per_example", "step_flops_per_example")),
            *(f"{line[key]:.1f}" for key in ("train_seconds_per_100k", "predict_seconds_per_100k", "peak_mb")),
        )
        for line in lines
    ]
    return [
        "## DHEN: cost against depth",
        "`python benchmarks/dhen_depth.py --record`: layers of dot and linear on Criteo-shaped rows (13 dense, 26 id "
        "columns), FLOPs per example in products of matrices, CPU-seconds of one thread, memory of a training step "
        "above model and batch.",
        markdown_table((*head, *units), rows),
    ]


def state_section(lines: Sequence[dict[str, Any]]) -> list[str]:
    """What the optimisers' state in bf16 costs, paired by seed."""
    rows = []
    for optimizer in dict.fromkeys(line["optimizer"] for line in lines):
        by_state = {
            state: [line for line in lines if (line["optimizer"], line["table_state"]) == (optimizer, state)]
            for state in ("fp32", "bf16")
        }
        full, half = by_state["fp32"], by_state["bf16"]
        differences = Spread(tuple(b["auc"] - a["auc"] for a, b in zip(full, half, strict=True)))
        low, high = differences.of_mean or (differences.mean, differences.mean)
        aucs = (value_text(Spread(tuple(one["auc"] for one in some))) for some in (full, half))
        sizes = (f"{some[0]['state_mb']:.0f}" for some in (full, half))
        told = f"{differences.mean:+.5f} [{low:+.5f}, {high:+.5f}]"
        rows.append((optimizer, str(len(full)), *aucs, told, *sizes))
    head = ("optimiser", "seeds", "AUC, fp32", "AUC, bf16", "difference", "MB, fp32", "MB, bf16")
    return [
        "## The optimisers' state in bf16",
        "`python benchmarks/speed/table_state.py --data DIR --record`: DeepFM on the 500,000 rows of "
        "[speed.md](speed.md), one epoch, both formats with each seed; the difference paired by seed with the 95 % "
        "interval of its mean, and what the state of the tables takes.",
        markdown_table(head, rows),
    ]


def equality_section(lines: Sequence[dict[str, Any]]) -> list[str]:
    """How far several processes are from one, the worst of all seeds."""
    rows = []
    for model, optimizer, is_sharded in dict.fromkeys(
        (one["model"], one["optimizer"], "x" in one["mesh"]) for one in lines
    ):
        for size in sorted({one["processes"] for one in lines} - {1}):
            some = [
                one
                for one in lines
                if (one["model"], one["optimizer"], "x" in one["mesh"]) == (model, optimizer, is_sharded)
                and one["processes"] == size
            ]
            worst = (
                f"{max(one[key] for one in some if one['dtype'] == dtype):.0e}"
                for dtype in ("float64", "float32")
                for key in ("loss", "weights")
            )
            passed, exact = (f"{sum(one[key] for one in some)} of {len(some)}" for key in ("passed", "resharded"))
            rows.append(
                (model, optimizer, some[0]["mesh"] if is_sharded else "replicas", str(size), *worst, passed, exact)
            )
    head = (
        "model",
        "optimiser",
        "dense part",
        "processes",
        "loss, fp64",
        "weights, fp64",
        "loss, fp32",
        "weights, fp32",
    )
    return [
        "## Several processes against one",
        "`python benchmarks/scale/equality.py --record`: gloo on one machine, 18 steps, tables by rows, no dropout, L2 "
        "and a clip over all gradients, last batches of a single row. The largest relative difference of a step's loss "
        "and of all weights in norm, the worst of the seeds; within: 1e-9 in fp64, in fp32 1e-6 for losses and 1e-5 "
        "for weights. Loaded: what so many processes saved and one process loads, equal to the bit.",
        markdown_table((*head, "within", "loaded"), rows),
    ]


def calibration_section(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Log loss that each calibration leaves, by distortion and number of rows."""
    methods = list(lines[0]["excess"])
    rows = []
    for distortion, num_rows in dict.fromkeys((line["distortion"], line["rows"]) for line in lines):
        some = [line for line in lines if (line["distortion"], line["rows"]) == (distortion, num_rows)]
        found = (spread([10_000 * line["excess"][method] for line in some]) for method in methods)
        positives = mean(line["positives"] for line in some)
        cells = (f"{average:.1f} ± {sd:.1f}" for average, sd in found)
        rows.append((distortion, f"{num_rows:,}", f"{positives:,.0f}", *cells))
    return [
        "## Calibration by rows",
        "`python benchmarks/calibration_curves.py --record`: log loss on 200,000 fresh rows above that of the true "
        "logits, in 0.0001 nats, mean and standard deviation over seeds. The model's logits are right, stretched or "
        "bent; none leaves them so; steps are isotonic's knots without the lines between them, where most rows tie.",
        markdown_table(("logits", "rows fitted to", "positives", *methods), rows),
    ]


if __name__ == "__main__":
    main()
