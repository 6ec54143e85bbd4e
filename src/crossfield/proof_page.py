"""The page of reproduced tables, drawn from result lines alone: values, intervals, verdicts, and what was not run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean

from crossfield.data.public import public_set
from crossfield.pages.render import markdown_table
from crossfield.proof import (
    Gap,
    Line,
    Row,
    Spread,
    Table,
    current,
    gap_of_means,
    is_comparable,
    is_of,
    judge,
    rank_correlation,
    verdict,
)

HEAD = """# Benchmarks

Published tables, run again: numbers, counts and verdicts are drawn by `crossfield reproduce --table` from the result
lines in `benchmarks/results/` alone, texts and notes are written by hand. A row is one command,
`crossfield reproduce TABLE ROW`; a run whose line is there already is skipped (`--results` and `--work` name another
place to run it all anew), one that was stopped goes on. Epochs and settings are chosen on validation rows or not at
all, never on test rows, but in experiments, which look for the causes of differences: their rows are not counted, and
stand on no model's page.

**Verdicts are by rule.** With several seeds a row *matches* where the published value lies inside the 95 % interval for
one more run of ours (mean ± t s √(1 + 1/n), s the standard deviation over the n seeds), or differs from our mean by no
more than the table's margin; else it is *above* or *below* it. With one seed the margin alone decides. *Published value
uncertain* and *different protocol* are said of the row beforehand, with the reason below the table, and the rule's word
stands behind them. A row is *comparable* where a value is published for the same model, data and metric and no
different protocol is said; where a source chose its epochs or settings on the test part, the table's text says so. The
interval is as wide as our own seeds scatter, and wide in any case with two or three of them (t is 12.7 and 4.3): such a
row matches more easily. Rows with a wide interval are named below their table.

A value is the mean over seeds ± their standard deviation. n is the number of seeds, of how many that the table plans
where some are still to be run. s per run is seconds of training (of solved models, of everything) by the clock on the
threads that `crossfield reproduce --threads` gives it, one by default, while other runs shared the machine: it compares
no models. MB is the highest peak of memory of the runs that recorded it. Lines of a row that has changed since, or that
ran on other training rows, stay in the results and do not count. [BARS](https://openbenchmark.github.io/BARS/) is an
open benchmark of recommenders, run with the library FuxiCTR; its value is that of one run, selected among settings."""
_WIDE = 3.0
"""Intervals of more than so many margins on either side are wide: the margin hardly matters there."""
_ENOUGH_TO_RANK = 6
"""Rows from which on a rank correlation is told."""


def proof_page(tables: Sequence[Table], lines: Mapping[str, Sequence[Line]]) -> str:
    """The whole page; ``lines`` are the result lines by table name."""
    ran = [
        table for table in tables if any(is_of(row, line) for row in table.rows for line in lines.get(table.name, ()))
    ]
    rest = [table for table in tables if table not in ran]
    parts = [HEAD, *(part for table in ran for part in table_section(table, lines))]
    return "\n\n".join([*parts, *(not_run_section(rest) if rest else [])]) + "\n"


def table_section(table: Table, lines: Mapping[str, Sequence[Line]]) -> list[str]:
    """Title, what to know, the rows, what they say together, notes on rows, rows without a run."""
    mine = lines.get(table.name, ())
    runs = {row.name: current(row, mine) for row in table.rows}
    done = [row for row in table.rows if runs[row.name]]
    done.sort(key=lambda row: -_spread(runs[row.name], table.spec.metrics[0]).mean)
    head = f"`crossfield reproduce {table.name}`, on {table.spec.data}. Published: {table.spec.published}."
    head += _run_with(runs)
    parts = [f"## {table.spec.title}", _flat(table.spec.about), head, rows_table(table, done, runs)]
    told = (_summary(table, runs), _beside_means(done, runs, table.spec.metrics[0]), _scatter(table, done, runs))
    parts += [one for one in (*told, _failures(table, mine, runs)) if one]
    parts += picked_on_test(table, done, runs)
    if table.spec.compare:
        parts += paired_section(table, done, runs, lines.get(table.spec.compare, ()))
    first = table.spec.metrics[0]
    notes = [f"- {row.name}: {note}" for row in done for note in _notes(row, _gap(row, runs[row.name], first))]
    absent = [row.name for row in table.rows if not runs[row.name]]
    parts += ["\n".join(notes)] if notes else []
    return [*parts, *([f"Not run here: {', '.join(absent)}."] if absent else [])]


def rows_table(table: Table, rows: Sequence[Row], runs: Mapping[str, Sequence[Line]]) -> str:
    """A line per row, best first."""
    metrics = table.spec.metrics
    shown = [*metrics, *(f"full {name}" for name in metrics if table.spec.full_ranking)]
    head = ("row", "n", *shown, f"published {metrics[0]}", "difference", "verdict", "parameters", "s per run", "MB")
    return markdown_table(head, [_cells(table, row, runs[row.name], shown) for row in rows])


def _cells(table: Table, row: Row, some: Sequence[Line], shown: Sequence[str]) -> tuple[str, ...]:
    first = table.spec.metrics[0]
    spread, expected = _spread(some, first), row.spec.expected.get(first)
    published = ("-", "-") if expected is None else (f"{expected:.5f}", f"{spread.mean - expected:+.5f}")
    said = judge(row, spread, metric=first, margin=table.spec.margin)
    peaks = [line["peak_mb"] for line in some if line.get("peak_mb") is not None]
    costs = f"{mean(line['seconds'] for line in some):,.0f}", f"{max(peaks):,.0f}" if peaks else "-"
    values = [value_text(_spread(some, name)) if name in some[0]["metrics"] else "-" for name in shown]
    return row.name, _count(table, row, some), *values, *published, said, f"{some[0]['parameters']:,}", *costs


def _count(table: Table, row: Row, some: Sequence[Line]) -> str:
    """Seeds that ran, and of how many where that is not all."""
    planned = table.seeds(row)
    return str(len(some)) if len(some) >= planned else f"{len(some)} of {planned}"


def value_text(spread: Spread) -> str:
    """Mean and standard deviation."""
    return f"{spread.mean:.5f}" if spread.sd is None else f"{spread.mean:.5f} ± {spread.sd:.5f}"


def _spread(lines: Sequence[Line], metric: str) -> Spread:
    return Spread(tuple(line["metrics"][metric] for line in lines))


def _run_with(runs: Mapping[str, Sequence[Line]]) -> str:
    """Devices and versions of all lines that count."""
    some = [line for lines in runs.values() for line in lines if "versions" in line]
    devices = sorted({line["device"] for line in some})
    packages = sorted({f"{name} {line['versions'][name]}" for line in some for name in ("torch", "numpy", "polars")})
    return f" Run on {', '.join(devices)} with {', '.join(packages)}." if some else ""


def _summary(table: Table, runs: Mapping[str, Sequence[Line]]) -> str:
    """How many rows reach the published value and by what, and whether models come in the published order."""
    first, margin = table.spec.metrics[0], table.spec.margin
    counted = [row for row in table.rows if is_comparable(row, first) and not table.spec.experiment]
    pairs = [(_spread(runs[row.name], first), row.spec.expected[first]) for row in counted if runs[row.name]]
    if not pairs:
        return ""
    said = Counter(
        "near" if abs(spread.mean - value) <= margin else verdict(spread, value, margin=margin)
        for spread, value in pairs
    )
    told = (
        f"**{len(pairs) - said['below']} of {len(pairs)} comparable rows match or are above the published value**: "
        f"{said['near']} within the margin of {margin}, {said['matches']} by the scatter of their own seeds alone, "
        f"{said['above']} above."
    )
    if left := len(counted) - len(pairs):
        told += f" {left} more {'is' if left == 1 else 'are'} still to be run."
    if len(pairs) >= _ENOUGH_TO_RANK:
        order = rank_correlation([spread.mean for spread, _ in pairs], [value for _, value in pairs])
        told += f" Spearman's rank correlation of our means with the published values: {order:.2f}."
    return told


def _beside_means(rows: Sequence[Row], runs: Mapping[str, Sequence[Line]], metric: str) -> str:
    """Our means beside published means over seeds, which are no selected runs."""
    gaps = {row.name: gap for row in rows if (gap := _gap(row, runs[row.name], metric))}
    if not gaps:
        return ""
    clear = [f"{name} ({gap.mean:+.5f})" for name, gap in gaps.items() if not gap.low <= 0 <= gap.high]
    above = sum(gap.mean > 0 for gap in gaps.values())
    return (
        f"Of the {len(gaps)} rows with a published mean over seeds our mean is above it in {above} and below in "
        f"{len(gaps) - above}; beyond the 95 % interval of the difference: {', '.join(clear) or 'none'}."
    )


def _gap(row: Row, some: Sequence[Line], metric: str) -> Gap | None:
    published, spread = row.spec.mean, _spread(some, metric) if some else None
    if published is None or spread is None or spread.sd is None:
        return None
    return gap_of_means(spread, published)


def _scatter(table: Table, rows: Sequence[Row], runs: Mapping[str, Sequence[Line]]) -> str:
    """Rows that match for the width of their own seeds' interval."""
    first, margin = table.spec.metrics[0], table.spec.margin
    intervals = {row.name: _spread(runs[row.name], first).single_run for row in rows if first in row.spec.expected}
    halves = {name: (one[1] - one[0]) / 2 for name, one in intervals.items() if one is not None}
    wide = [f"{name} (± {half:.5f})" for name, half in halves.items() if half > _WIDE * margin]
    if not wide:
        return ""
    return f"Intervals of more than {_WIDE:g} margins on either side, so that a match says little: {', '.join(wide)}."


def picked_on_test(table: Table, rows: Sequence[Row], runs: Mapping[str, Sequence[Line]]) -> list[str]:
    """The same runs by the papers' other rule, the epoch that was best on the test part."""
    first, *_ = metrics = table.spec.metrics
    cells = []
    for row in rows:
        picked = [one for line in runs[row.name] if (one := line.get("best_on_test"))]
        if picked:
            spreads = [Spread(tuple(one[name] for one in picked)) for name in metrics]
            expected = row.spec.expected.get(first)
            if expected is None or row.spec.source:  # a source of its own has a rule of its own
                said, published = "-", "-"
            else:
                said, published = judge(row, spreads[0], metric=first, margin=table.spec.margin), f"{expected:.5f}"
            cells.append((row.name, _count(table, row, picked), *map(value_text, spreads), published, said))
    if not cells:
        return []
    said_of = [one for *_, one in cells if one != "-"]
    reached = sum("below" not in one for one in said_of)
    count = "" if table.spec.experiment else f" ({reached} of {len(said_of)} match or are above)"
    return [
        f"The same runs as the papers report theirs, at the epoch that was best **on the test part**{count}:",
        markdown_table(("row", "n", *metrics, f"published {first}", "verdict"), cells),
    ]


def paired_section(
    table: Table, rows: Sequence[Row], runs: Mapping[str, Sequence[Line]], others: Sequence[Line]
) -> list[str]:
    """The difference to another table's rows of the same names, seed by seed."""
    assert table.spec.compare is not None  # the caller asks only tables that compare
    against, metrics = Table.read(table.spec.compare), table.spec.metrics
    cells, means = [], []
    for row in rows:
        theirs = {line["seed"]: line for line in current(against.row(row.name), others)}
        pairs = [(line, theirs[line["seed"]]) for line in runs[row.name] if line["seed"] in theirs]
        if pairs:
            gaps = [_differences(pairs, name) for name in metrics]
            means.append([one.mean for one in gaps])
            cells.append((row.name, str(len(pairs)), *map(_mean_text, gaps)))
    head = ("row", "n", *(f"difference of {name}" for name in metrics))
    told = f"Differences to the table {table.spec.compare}, paired by seed: mean and its 95 % interval."
    if len(means) > 1:
        whole = (
            f"{name} {_mean_text(Spread(some))}" for name, some in zip(metrics, zip(*means, strict=True), strict=True)
        )
        told += f" Over all {len(means)} rows, each counted once: {', '.join(whole)}."
    return [told, markdown_table(head, cells)] if cells else []


def _differences(pairs: Sequence[tuple[Line, Line]], metric: str) -> Spread:
    return Spread(tuple(ours["metrics"][metric] - theirs["metrics"][metric] for ours, theirs in pairs))


def _mean_text(spread: Spread) -> str:
    interval = spread.of_mean
    return f"{spread.mean:+.5f}" + (f" [{interval[0]:+.5f}, {interval[1]:+.5f}]" if interval else "")


def _failures(table: Table, lines: Sequence[Line], runs: Mapping[str, Sequence[Line]]) -> str:
    done = {(name, line["seed"]) for name, some in runs.items() for line in some}
    failed = {
        (line["row"], line["seed"]): _flat(line.get("error", ""))
        for line in lines
        if line["table"] == table.name and line["status"] != "ok"
    }
    told = [
        f"{name} (seed {seed}: {error}{'; run again since' if (name, seed) in done else ''})"
        for (name, seed), error in sorted(failed.items())
    ]
    return f"Failed runs, kept in the results: {', '.join(told)}." if told else ""


def _notes(row: Row, gap: Gap | None = None) -> list[str]:
    spec = row.spec
    mean_of = f"published mean of {spec.mean.n} seeds {spec.mean.value:.5f} ± {spec.mean.sd:.5f}" if spec.mean else None
    if gap is not None:
        mean_of = f"{mean_of}; ours differs by {gap.mean:+.5f} [{gap.low:+.5f}, {gap.high:+.5f}]"
    source = f"published: {spec.source}" if spec.source else None
    uncertain = f"published value uncertain: {spec.uncertain}" if spec.uncertain else None
    protocol = f"different protocol: {spec.protocol}" if spec.protocol else None
    return [_flat(one) for one in (source, mean_of, uncertain, protocol, spec.note) if one]


def not_run_section(tables: Sequence[Table]) -> list[str]:
    """Tables without any run here, with what they would need and what is published."""
    parts = [
        "## Not run here",
        "Ready to run where the files are: `crossfield data NAME` says which and where from.",
    ]
    for table in tables:
        needs = f"`crossfield reproduce {table.name}` needs {public_set(table.spec.data).about}."
        parts += [f"### {table.spec.title}", f"{_flat(table.spec.about)} {needs} Published: {table.spec.published}."]
        parts += _published_rows(table)
    return parts


def _published_rows(table: Table) -> list[str]:
    metrics = table.spec.metrics
    if not any(row.spec.expected for row in table.rows):
        return [f"Rows: {', '.join(row.name for row in table.rows)}."]
    rows = [
        (row.name, *(f"{row.spec.expected[one]:.5f}" if one in row.spec.expected else "-" for one in metrics))
        for row in table.rows
    ]
    notes = [f"- {row.name}: {note}" for row in table.rows for note in _notes(row)]
    drawn = markdown_table(("row", *(f"published {one}" for one in metrics)), rows)
    return [drawn, "\n".join(notes)] if notes else [drawn]


def _flat(text: str) -> str:
    return " ".join(text.split())
