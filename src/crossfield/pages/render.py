"""Pages as text for the terminal, as Markdown and SVG for the docs."""

import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from crossfield.pages.diagram import diagram
from crossfield.pages.lanes import lanes
from crossfield.pages.page import Measured, Page

METRICS = {
    "AUC": "auc",
    "log loss": "log_loss",
    "NE": "ne",
    "HR@10": "hr@10",
    "NDCG@10": "ndcg@10",
    "Recall@20": "recall@20",
    "NDCG@20": "ndcg@20",
}
"""Columns of the table of published numbers, as far as a model has them, and their names in our results."""
_DIGITS = {"auc": 5, "log_loss": 5}
"""Decimals that are shown; four of all others."""
_WIDTH, _DATA_WIDTH = 100, 25


def number_rows(page: Page) -> tuple[list[str], list[list[str]]]:
    """Published numbers and ours beside them: the columns, and a row each."""
    named = {name for row in page.published for name in row.metrics}
    ours = {name for one in page.measured for name in one.metrics}
    columns = [name for name, key in METRICS.items() if name in named or key in ours]
    columns += ["parameters"] if "parameters" in named or (ours and not page.published) else []
    rows = []
    for row in page.published:
        source = f"{row.source}; {row.setting}" if row.setting else row.source
        rows.append([row.data, *(row.metrics.get(name, "") for name in columns), source])
        rows += [_ours(one, row.data, columns) for one in page.measured if one.row == row.ours]
    told = {row.ours for row in page.published}
    rows += [_ours(one, one.data, columns) for one in page.measured if one.row not in told]
    return ["data", *columns, "from"], rows


def _ours(one: Measured, data: str, columns: Sequence[str]) -> list[str]:
    cells = {name: _spread(one, key) for name, key in METRICS.items()} | {"parameters": f"{one.parameters:,}"}
    return [data, *(cells[name] for name in columns), f"ours, {one.row}, {_seeds(one)}"]


def _seeds(one: Measured) -> str:
    return f"{one.seeds} seeds" if one.seeds > 1 else "1 seed"


def _spread(one: Measured, key: str) -> str:
    """Mean and standard deviation of a metric, empty where it was not measured."""
    if key not in one.metrics:
        return ""
    mean, sd = (f"{value:.{_DIGITS.get(key, 4)}f}" for value in one.metrics[key])
    return f"{mean} ± {sd}" if one.seeds > 1 else mean


def cost_sentence(page: Page) -> str:
    """Parameters and FLOPs in words."""
    tables = f", {page.table_parameters:,} of them in tables" if page.table_parameters else ""
    return (
        f"{page.parameters:,} parameters{tables}. {page.flops:,} FLOPs for one example, {page.matrix_flops:,} in "
        "products of matrices (two for each multiply-add); any other operation counts one for each number that it "
        "reads or gives, whichever are more, and looking up counts none."
    )


def dense_sentence(page: Page) -> str:
    """Where dense features would come in."""
    if not page.dense_enter:
        return "The tour has no dense features, and this model would not look at them."
    return f"Dense features, which the tour has none of, come in at {', '.join(dict.fromkeys(page.dense_enter))}."


def as_text(page: Page) -> str:
    """The page for the terminal."""
    head, rows = number_rows(page)
    settings = [f"  {one['key']} = {one['default']}\n{_indented(one['doc'])}" for one in page.settings]
    notes = [
        textwrap.fill(f"{where}: {what}", _WIDTH, initial_indent="  * ", subsequent_indent="    ")
        for where, what in page.differences
    ]
    parts = [
        f"{page.paper}\n{page.link}",
        textwrap.fill(page.idea, _WIDTH),
        page.formula,
        "\n".join(["Data flow on the tour's columns, B examples:", *(f"  {line}" for line in lanes(page.flat))]),
        textwrap.fill(f"{cost_sentence(page)} {dense_sentence(page)}", _WIDTH),
        "\n".join(["Settings (--set model.KEY=VALUE):", *settings]) if settings else "No settings.",
        "\n".join(["Published numbers, and ours:", *_aligned(head, rows)]) if rows else "No published numbers.",
        "\n".join(["Where it differs from the paper, and why:", *notes]) if notes else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _indented(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="      ", subsequent_indent="      ")


def _aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Columns one under another; the first, the data, and the last, a source, are folded where they are long."""
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)][:-1]
    widths[0] = min(widths[0], _DATA_WIDTH)
    last_width = max(_WIDTH - sum(widths) - 2 * len(table[0]), 28)
    lines = []
    for data, *cells, source in table:
        columns = [textwrap.wrap(data, widths[0]), *([cell] for cell in cells), textwrap.wrap(source, last_width)]
        for parts in zip_longest(*columns, fillvalue=""):
            padded = [part.ljust(width) for part, width in zip(parts, [*widths, 0], strict=True)]
            lines.append("".join(f"  {part}" for part in padded).rstrip())
    return lines


def as_markdown(page: Page) -> str:
    """The page for the docs; its picture lies beside it as NAME.svg."""
    head, rows = number_rows(page)
    settings = [(f"`{one['key']}`", f"`{one['default']}`", one["doc"]) for one in page.settings]
    parts = [
        f"# {page.name}",
        "Drawn from the code by `make docs`; `crossfield models " + page.name + "` prints it.",
        f"{page.paper}\n<{page.link}>",
        page.idea,
        f"```text\n{page.formula}\n```" if page.formula else "",
        "## Data flow",
        f"On the columns of the tour's cinema, in the tour's sizes, for B examples. {dense_sentence(page)}",
        f"![Data flow of {page.name}: the table below says the same in words]({page.name}.svg)",
        "```text\n" + "\n".join(lanes(page.flat)) + "\n```",
        cost_sentence(page),
        "## Settings",
        markdown_table(("key", "default", "meaning"), settings) if settings else "None.",
        "## Published numbers, and ours",
        markdown_table(head, rows) if rows else "None are published.",
        "## Where it differs from the paper",
        "\n".join(f"- `{where}`: {what}" for where, what in page.differences) or "Nowhere that we know of.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_svg(page: Page) -> str:
    """The picture of the data flow."""
    return diagram(page.nested, title=f"Data flow of {page.name}")


def index_markdown(pages: Sequence[Page]) -> str:
    """The catalogue as one page that leads to the others."""
    rows = [
        (
            f"[{page.name}](models/{page.name}.md)",
            page.idea,
            f"{page.parameters:,}",
            f"{page.flops:,}",
            *_on_frappe(page),
        )
        for page in pages
    ]
    head = ("model", "idea", "parameters", "FLOPs", "AUC on Frappe", "seeds")
    parts = [
        "# Models",
        "Drawn from the code by `make docs`; `crossfield models` lists the catalogue, `crossfield models NAME` prints "
        "a page. Parameters and FLOPs per example are those on the columns of the tour's cinema, in the tour's sizes. "
        "The AUC is that of the row of the model's own name in [benchmarks.md](benchmarks.md); variants are on the "
        "model's page, and so are the HR@10 and Recall@20 of models that rank a user's items.",
        markdown_table(head, rows),
    ]
    return "\n\n".join(parts) + "\n"


def _on_frappe(page: Page) -> tuple[str, str]:
    """The AUC of the model itself, not of its best variant, and its seeds."""
    own = next((one for one in page.measured if one.row == f"frappe/{page.name}"), None)
    return ("", "") if own is None else (_spread(own, "auc"), str(own.seeds))
