"""The page of an evaluation's calibration: what was predicted and what happened, overall and by slice."""

from collections.abc import Mapping
from typing import Any

from crossfield.charts import Reliability, calibration_chart, number, reliability_chart, round_limit
from crossfield.report import Section, figure, html_page, plain_table

LEAST_ROWS = 300
"""A slice of fewer rows, twenty a bin, is in the table only."""
_FAMILY = 1


def reliability_page(report: Mapping[str, Any], *, title: str, scores: str) -> str:
    """A self-contained page, light or dark, from a click report alone; ``scores`` says what was done to the scores."""
    slices = {name: one for name, one in report.get("slices", {}).items() if one["n"]}
    sections = [Section("All rows", _all_rows(report))]
    if slices:
        sections.append(Section("By slice", _by_slice(report, slices)))
    lead = (
        f"{report['n']:,} rows, {report['positives']:,} of them positive. Predicted over actual: "
        f"{_cell(report['calibration'])}{_span(report)}; ECE {_cell(report['ece'], 4)}. {scores}"
    )
    return html_page(title, lead, sections, footer="Drawn by crossfield evaluate; nothing is loaded from anywhere.")


def _all_rows(report: Mapping[str, Any]) -> str:
    bins = _bins("all rows", report)
    if not _can_be_drawn(bins):
        return "<p>There is nothing to draw: no row has a weight, or a score is not a number.</p>"
    chart = calibration_chart(
        bins,
        title="Calibration",
        description="Mean prediction and share of positives by bin. The numbers are in the table below.",
        limit=round_limit(max(*bins.predicted, *bins.high)),
    )
    caption = (
        f"Rows in {len(bins.predicted)} bins of equal mass by predicted probability; rows of one score stay together. "
        "Intervals are Wilson's, which take rows as independent. ECE is the mean distance of the bins from the dashed "
        "line; noise alone makes it positive, the more so the fewer rows there are."
    )
    head = ("Bin", "Rows", "Predicted", "Share of positives", "95 % interval")
    rows = [
        (
            str(place),
            f"{num_rows:,}",
            number(predicted, 4),
            number(observed, 4),
            f"{number(low, 4)} to {number(high, 4)}",
        )
        for place, (num_rows, predicted, observed, low, high) in enumerate(
            zip(bins.num_rows, bins.predicted, bins.observed, bins.low, bins.high, strict=True), start=1
        )
    ]
    return figure(chart, caption, plain_table(head, rows))


def _by_slice(report: Mapping[str, Any], slices: Mapping[str, Any]) -> str:
    head = ("Slice", "Rows", "Positives", "Predicted / actual", "95 % interval", "ECE")
    rows = [
        (
            name,
            f"{one['n']:,}",
            f"{one['positives']:,}",
            _cell(one["calibration"]),
            _span(one, "{} to {}") or "–",
            _cell(one["ece"], 4),
        )
        for name, one in {"all rows": report, **slices}.items()
    ]
    table = plain_table(head, rows)
    drawn = [_bins(name, one) for name, one in slices.items() if one["n"] >= LEAST_ROWS]
    if not drawn or not all(map(_can_be_drawn, drawn)):
        return table
    limit = round_limit(max(value for one in drawn for value in (*one.predicted, *one.high)))
    chart = reliability_chart(drawn, title="Calibration by slice", description="See the table above.", limit=limit)
    caption = f"Predicted probability to the right, share of positives up. Slices of at least {LEAST_ROWS} rows."
    return table + figure(chart, caption)


def _bins(label: str, report: Mapping[str, Any]) -> Reliability:
    bins = report["reliability"]
    names = ("predicted", "observed", "low", "high", "num_rows")
    return Reliability(label, _FAMILY, *(tuple(bins[name]) for name in names))


def _can_be_drawn(bins: Reliability) -> bool:
    return bool(bins.predicted) and None not in bins.predicted


def _cell(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else number(value, digits)


def _span(report: Mapping[str, Any], pattern: str = " (95 % interval {} to {})") -> str:
    bounds = report.get("intervals", {}).get("calibration", [None, None])
    return "" if None in bounds else pattern.format(*(number(one, 3) for one in bounds))
