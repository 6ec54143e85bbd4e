"""The page of reproduced tables, drawn from result lines alone: values, intervals, verdicts, and what was not run."""

from collections.abc import Mapping, Sequence
from statistics import mean

from crossfield.data.public import public_set
from crossfield.pages.render import markdown_table
from crossfield.proof import Line, Row, Spread, Table, current, is_comparable, judge, rank_correlation, verdict

HEAD = """# Benchmarks

Drawn by `crossfield reproduce --table` from the result lines in `benchmarks/results/` alone: published tables, run
again. A row is one command, `crossfield reproduce TABLE ROW`; a run that is there already is skipped, one that was
stopped goes on. Epochs and settings are chosen on validation rows or not at all, never on test rows.

**Verdicts are by rule.** With several seeds a row *matches* where the published value lies inside the 95 % interval for
one more run of ours (mean ± t s √(1 + 1/n)), or differs from our mean by no more than the table's margin; else it is
*above* or *below* it. With one seed the margin alone decides. *Published value uncertain* and *different protocol* are
said of the row beforehand, with the reason below the table, and the rule's word stands behind them. A row is
*comparable* where a value is published that came about under the same protocol, uncertain ones included. The interval
is as wide as our own seeds scatter, and wide in any case with two or three of them (t is 12.7 and 4.3): such a row
matches more easily. Where seeds lie far apart the row is named below its table.

n is the number of seeds, of how many that the table plans where some are still to be run. s per run is seconds by the
clock on the threads that `crossfield reproduce --threads` gives it, one by default, while other runs shared the
machine: it compares no models. MB is the highest peak of memory, a dash where older runs did not record it."""
_WIDE = 3.0
"""Standard deviations of so many margins are wide: the interval decides there, and the margin hardly matters."""


def proof_page(tables: Sequence[Table], lines: Mapping[str, Sequence[Line]]) -> str:
    """The whole page; ``lines`` are the result lines by table name."""
    ran = [table for table in tables if any(current(row, lines.get(table.name, ())) for row in table.rows)]
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
    parts = [f"## {table.spec.title}", _flat(table.spec.about), head, rows_table(table, done, runs)]
    parts += [
        told for told in (_summary(table, done, runs), _scatter(table, done, runs), _failures(table, mine)) if told
    ]
    parts += picked_on_test(table, done, runs)
    if table.spec.compare:
        parts += paired_section(table, done, runs, lines.get(table.spec.compare, ()))
    notes = [f"- {row.name}: {note}" for row in done for note in _notes(row)]
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


def _summary(table: Table, rows: Sequence[Row], runs: Mapping[str, Sequence[Line]]) -> str:
    """How many rows reach the published value, and whether models come in the published order."""
    first = table.spec.metrics[0]
    counted = [row for row in rows if is_comparable(row, first)]
    if not counted:
        return ""
    spreads = [_spread(runs[row.name], first) for row in counted]
    published = [row.spec.expected[first] for row in counted]
    verdicts = [verdict(one, value, margin=table.spec.margin) for one, value in zip(spreads, published, strict=True)]
    reached = sum(one != "below" for one in verdicts)
    told = f"**{reached} of {len(counted)} comparable rows match or are above the published value.**"
    if len(counted) < 3:
        return told
    order = rank_correlation([one.mean for one in spreads], published)
    noise = sum(abs(one.mean - value) <= table.spec.margin for one, value in zip(spreads, published, strict=True))
    return (
        f"{told} Spearman's rank correlation of our means with the published values: {order:.2f}. "
        f"Differences inside the margin of {table.spec.margin}: {noise}."
    )


def _scatter(table: Table, rows: Sequence[Row], runs: Mapping[str, Sequence[Line]]) -> str:
    """Rows that match for the width of their own seeds' interval."""
    first, margin = table.spec.metrics[0], table.spec.margin
    spreads = {row.name: _spread(runs[row.name], first) for row in rows if first in row.spec.expected}
    wide = [
        f"{name} (standard deviation {one.sd:.5f})" for name, one in spreads.items() if (one.sd or 0) > _WIDE * margin
    ]
    return (
        f"Seeds that scatter by more than {_WIDE:g} margins, so that a match says little: {', '.join(wide)}."
        if wide
        else ""
    )


def picked_on_test(table: Table, rows: Sequence[Row], runs: Mapping[str, Sequence[Line]]) -> list[str]:
    """The same runs by the papers' other rule, the epoch that was best on the test part."""
    first, *_ = metrics = table.spec.metrics
    cells = []
    for row in rows:
        picked = [one for line in runs[row.name] if (one := line.get("best_on_test"))]
        if picked:
            spreads = [Spread(tuple(one[name] for one in picked)) for name in metrics]
            expected = row.spec.expected.get(first)
            said = "-" if expected is None else verdict(spreads[0], expected, margin=table.spec.margin)
            published = "-" if expected is None else f"{expected:.5f}"
            cells.append((row.name, str(len(picked)), *map(value_text, spreads), published, said))
    if not cells:
        return []
    return [
        "The same runs as the papers report theirs, at the epoch that was best **on the test part**:",
        markdown_table(("row", "n", *metrics, f"published {first}", "verdict"), cells),
    ]


def paired_section(
    table: Table, rows: Sequence[Row], runs: Mapping[str, Sequence[Line]], others: Sequence[Line]
) -> list[str]:
    """The difference to another table's rows of the same names, seed by seed."""
    assert table.spec.compare is not None  # the caller asks only tables that compare
    against, metrics = Table.read(table.spec.compare), table.spec.metrics
    cells = []
    for row in rows:
        theirs = {line["seed"]: line for line in current(against.row(row.name), others)}
        pairs = [(line, theirs[line["seed"]]) for line in runs[row.name] if line["seed"] in theirs]
        if pairs:
            cells.append((row.name, str(len(pairs)), *(_difference(pairs, name) for name in metrics), _ratio(pairs)))
    head = ("row", "n", *(f"difference of {name}" for name in metrics), "time")
    told = (
        f"Differences to the table {table.spec.compare}, paired by seed: mean and its 95 % interval; time as a share."
    )
    return [told, markdown_table(head, cells)] if cells else []


def _difference(pairs: Sequence[tuple[Line, Line]], metric: str) -> str:
    spread = Spread(tuple(ours["metrics"][metric] - theirs["metrics"][metric] for ours, theirs in pairs))
    interval = spread.of_mean
    return f"{spread.mean:+.5f}" + (f" [{interval[0]:+.5f}, {interval[1]:+.5f}]" if interval else "")


def _ratio(pairs: Sequence[tuple[Line, Line]]) -> str:
    return f"{mean(ours['seconds'] for ours, _ in pairs) / mean(theirs['seconds'] for _, theirs in pairs):.2f}"


def _failures(table: Table, lines: Sequence[Line]) -> str:
    failed = [line for line in lines if line.get("table") == table.name and line["status"] != "ok"]
    names = sorted({f"{line['row']} (seed {line['seed']})" for line in failed})
    return f"Failed runs, kept in the results: {', '.join(names)}." if names else ""


def _notes(row: Row) -> list[str]:
    spec = row.spec
    mean_of = f"published mean of {spec.mean.n} seeds {spec.mean.value:.5f} ± {spec.mean.sd:.5f}" if spec.mean else None
    source = f"published: {spec.source}" if spec.source else None
    uncertain = f"published value uncertain: {spec.uncertain}" if spec.uncertain else None
    protocol = f"different protocol: {spec.protocol}" if spec.protocol else None
    return [_flat(one) for one in (source, mean_of, uncertain, protocol, spec.note) if one]


def not_run_section(tables: Sequence[Table]) -> list[str]:
    """Tables without any run here, with what they would need and what is published."""
    parts = [
        "## Not run here",
        "Ready to run where the full files are: `crossfield data NAME` says which and where from.",
    ]
    for table in tables:
        metrics = table.spec.metrics
        rows = [
            (row.name, *(f"{row.spec.expected[one]:.5f}" if one in row.spec.expected else "-" for one in metrics))
            for row in table.rows
        ]
        needs = f"`crossfield reproduce {table.name}` needs {public_set(table.spec.data).about}."
        parts += [f"### {table.spec.title}", f"{_flat(table.spec.about)} {needs} Published: {table.spec.published}."]
        parts += [markdown_table(("row", *(f"published {one}" for one in metrics)), rows)]
    return parts


def _flat(text: str) -> str:
    return " ".join(text.split())
