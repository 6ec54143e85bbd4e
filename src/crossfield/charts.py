"""Charts as SVG text from plain numbers; colours come from the page's style sheet, so light and dark both work."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 880
"""Width of every chart in its own units; the page scales it."""
_LINE = 15
"""Least distance of two labels below each other."""


@dataclass(frozen=True)
class Mark:
    """A value worth a line across the chart: a limit, a perfect score."""

    value: float
    label: str


@dataclass(frozen=True)
class DotRow:
    """One model in a dot chart: a tick per seed, a dot at their mean, an interval, and a limit of its own if any."""

    label: str
    family: int
    points: tuple[float, ...]
    low: float
    high: float
    limit: float | None = None

    @property
    def mean(self) -> float:
        """Mean of the points."""
        return sum(self.points) / len(self.points)


@dataclass(frozen=True)
class DotGroup:
    """Rows on one ground; a heading begins a new block of groups."""

    rows: tuple[DotRow, ...]
    heading: str = ""


@dataclass(frozen=True)
class Curve:
    """One line of a line chart: values at x = 1, 2, ..."""

    label: str
    family: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class BarRow:
    """One model in a bar chart: one value per panel."""

    label: str
    family: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class Reliability:
    """Mean predicted probability and share of positives of a model's rows, in bins of rising prediction.

    low, high: ends of the share's interval; num_rows: rows of each bin. Drawn where they are there.
    """

    label: str
    family: int
    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    num_rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, -0.02), 1.02) * (self.end - self.start)


def dot_chart(
    groups: Sequence[DotGroup], marks: Sequence[Mark], *, title: str, description: str, legend: Sequence[str]
) -> str:
    """Models as rows of dots in shaded groups, best first, against vertical limit lines.

    legend: what each family is, by its number.
    """
    rows = [row for group in groups for row in group.rows]
    values = [value for row in rows for value in (*row.points, row.low, row.high, row.limit or row.mean)]
    scale = _Scale(*_range([*values, *(mark.value for mark in marks)]), _gutter(rows), WIDTH - 70.0)
    top, height, gap = 58.0, 25.0, 8.0
    y, ground, body = top, "", ""
    for position, group in enumerate(groups):
        if group.heading:
            y += 0 if position == 0 else 10
            body += _text(16, y + 14, group.heading, "heading")
            y += 24
        ground += _rect(8, y, WIDTH - 16, height * len(group.rows), "band")
        for row in group.rows:
            body += _dots(row, scale, y + height / 2)
            y += height
        y += gap
    bottom = y - gap
    lines = _vertical_marks(marks, scale, top, bottom)
    parts = [ground, _x_axis(scale, top, bottom), lines, body, _legend(legend, bottom + 44, scale.start)]
    return _svg(parts, bottom + 60, title, description)


def line_chart(
    curves: Sequence[Curve], marks: Sequence[Mark], *, title: str, description: str, labels: tuple[str, str]
) -> str:
    """Lines over x = 1, 2, ... with their names at the right end, against horizontal limit lines.

    labels: of the x and of the y axis.
    """
    left, right, top, bottom = 62.0, WIDTH - 190.0, 30.0, 400.0
    values = [value for curve in curves for value in curve.values]
    y = _Scale(*_range([*values, *(mark.value for mark in marks)]), bottom, top)
    x = _Scale(1, max(2, *(len(curve.values) for curve in curves)), left + 62, right)
    parts = [_y_axis(y, left, right), _epochs(x, bottom)]
    for mark in marks:
        parts.append(_line(left, y(mark.value), right, y(mark.value), "limit"))
        parts.append(_text(left + 4, y(mark.value) - 5, mark.label, "limit-label"))
    drawn: Counter[int] = Counter()
    for curve in curves:
        parts.append(_curve(curve, x, y, dash=drawn[curve.family]))
        drawn[curve.family] += 1
    ends = [y(curve.values[-1]) for curve in curves]
    for curve, end, at in zip(curves, ends, spread(ends, _LINE, top, bottom), strict=True):
        last = x(len(curve.values))
        parts.append(_path([(last + 6, end), (right + 14, at), (right + 20, at)], f"leader f{curve.family}"))
        parts.append(_text(right + 24, at + 4, f"{curve.label} {number(curve.values[-1])}", f"name t{curve.family}"))
    parts.append(_text((left + right) / 2, bottom + 40, labels[0], "axis-label middle"))
    parts.append(_text(left - 44, top - 14, labels[1], "axis-label"))
    return _svg(parts, bottom + 54, title, description)


def bar_chart(rows: Sequence[BarRow], panels: Sequence[str], *, title: str, description: str, mark: Mark) -> str:
    """Models as rows, one panel of horizontal bars per value, with one vertical line per panel."""
    left, top, height = _gutter(rows), 52.0, 23.0
    bottom = top + height * len(rows)
    width = (WIDTH - 16 - left) / len(panels)
    values = [value for row in rows for value in row.values]
    low, high = min(0.0, *values), max(mark.value, *values) * 1.02
    parts = [_text(left - 12, top + height * (i + 0.5) + 4, row.label, "name end") for i, row in enumerate(rows)]
    for number_, name in enumerate(panels):
        start = left + number_ * width
        scale = _Scale(low, high, start, start + width - 66)
        parts.append(_text(start, top - 28, name, "panel"))
        parts.append(_line(scale(mark.value), top - 4, scale(mark.value), bottom, "limit"))
        parts.append(_text(scale(mark.value), top - 10, mark.label, "limit-label middle"))
        parts.append(_line(scale(0), top - 4, scale(0), bottom, "axis"))
        for i, row in enumerate(rows):
            parts.append(_bar(row.values[number_], row.family, scale, top + height * i))
    return _svg(parts, bottom + 12, title, description)


def reliability_chart(models: Sequence[Reliability], *, title: str, description: str, limit: float = 1.0) -> str:
    """One small square per model: predicted probability to the right, share of positives up, truth on the diagonal.

    limit: where both axes end.
    """
    columns = 5
    cell, size = (WIDTH - 16) / columns, 122.0
    pitch = size + 52
    parts = []
    for number_, model in enumerate(models):
        left, top = 36 + (number_ % columns) * cell, 26 + (number_ // columns) * pitch
        x, y = _Scale(0, limit, left, left + size), _Scale(0, limit, top + size, top)
        for tick in (0.0, limit / 2, limit):
            parts.append(_text(x(tick), top + size + 14, _short(tick), "tick middle"))
            parts.append(_text(left - 5, y(tick) + 4, _short(tick), "tick end"))
        parts.append(_calibration(model, x, y, radius=2.6))
        parts.append(_text(left, top - 7, model.label, "name"))
    return _svg(parts, 26 + math.ceil(len(models) / columns) * pitch, title, description)


def calibration_chart(model: Reliability, *, title: str, description: str, limit: float = 1.0) -> str:
    """One large square as those of ``reliability_chart``, the rows of each bin below it, and what is what beside it."""
    left, top, size, strip = 76.0, 30.0, 430.0, 56.0
    x, y = _Scale(0, limit, left, left + size), _Scale(0, limit, top + size, top)
    ground = top + size + 12 + strip
    bars = _Scale(0, max(model.num_rows), ground, ground - strip)
    parts = []
    for tick in ticks(0, limit, 6):
        parts.append(_line(x(tick), top, x(tick), ground, "grid"))
        parts.append(_line(left, y(tick), left + size, y(tick), "grid"))
        parts.append(_text(x(tick), ground + 17, _short(tick), "tick middle"))
        parts.append(_text(left - 8, y(tick) + 4, _short(tick), "tick end"))
    parts.append(_calibration(model, x, y, radius=4.0))
    for at, num_rows in zip(model.predicted, model.num_rows, strict=True):
        parts.append(_rect(x(at) - 3, bars(num_rows), 6, ground - bars(num_rows), f"bar f{model.family}"))
    parts.append(_line(left, ground, left + size, ground, "axis"))
    parts.append(_text(left - 8, bars(max(model.num_rows)) + 8, f"{max(model.num_rows):,}", "tick end"))
    parts.append(_text(left + size / 2, ground + 38, "predicted probability", "axis-label middle"))
    parts.append(_text(left - 44, top - 14, "share of positives", "axis-label"))
    parts.append(_calibration_key(left + size + 44, top + 14, model.family))
    return _svg(parts, ground + 48, title, description)


def _calibration(model: Reliability, x: _Scale, y: _Scale, *, radius: float) -> str:
    """Frame, diagonal, and the bins with their intervals."""
    points = [(x(a), y(b)) for a, b in zip(model.predicted, model.observed, strict=True)]
    spans = zip(model.predicted, model.low, model.high, strict=False)  # none where there are no intervals
    parts = [_rect(x.start, y.end, x.end - x.start, y.start - y.end, "frame")]
    parts.append(_line(x.start, y.start, x.end, y.end, "limit"))
    parts += [_line(x(at), y(low), x(at), y(high), f"whisker f{model.family}") for at, low, high in spans]
    parts.append(_path(points, f"curve f{model.family}"))
    parts += [_circle(*point, radius, f"dot f{model.family}") for point in points]
    return "".join(parts)


def _calibration_key(left: float, top: float, family: int) -> str:
    middle = left + 12
    signs = {
        "as many positives as predicted": _line(left, top - 4, left + 24, top - 4, "limit"),
        "a bin: mean prediction, share of positives": _circle(middle, top + 20, 4.0, f"dot f{family}"),
        "95 % interval of the share": _line(middle, top + 36, middle, top + 52, f"whisker f{family}"),
        "rows of the bin": _rect(middle - 3, top + 60, 6, 16, f"bar f{family}"),
    }
    words = [_text(left + 34, top + 24 * line, name, "tick") for line, name in enumerate(signs)]
    return "".join([*signs.values(), *words])


def round_limit(value: float) -> float:
    """The least round number that is not below a share: .012 -> .015, .43 -> .5; at most 1."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-6)))
    steps = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
    return min(1.0, next(round(step * power, 9) for step in steps if step * power >= value * (1 - 1e-9)))


def _short(value: float) -> str:
    """A tick without a leading zero or trailing ones: 0, .05, .5, 1."""
    return f"{value:.3g}".removeprefix("0") or "0"


def marker(family: int) -> str:
    """A small stand-alone SVG of a family's marker, for tables and lists."""
    return f'<svg class="marker" viewBox="0 0 12 12" aria-hidden="true">{_symbol(6, 6, family)}</svg>'


def number(value: float, digits: int = 3) -> str:
    """A number between -1 and 1 without its leading zero, any other as usual: .721, -.05, 1.00."""
    text = f"{value:.{digits}f}"
    text = text.removeprefix("-") if float(text) == 0 else text
    return text.replace("0.", ".", 1) if text.removeprefix("-").startswith("0.") else text


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions moved as little as need be so that neighbours are ``gap`` apart, inside [low, high] if they fit."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    moved = [positions[i] for i in order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    if moved and moved[-1] > high:
        moved[-1] = high
        for i in range(len(moved) - 2, -1, -1):
            moved[i] = min(moved[i], moved[i + 1] - gap)
    result = [0.0] * len(moved)
    for i, value in zip(order, moved, strict=True):
        result[i] = value
    return result


def ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round values inside [low, high], at most ``most`` of them, 1, 2 or 5 times a power of ten apart."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin


def _gutter(rows: Iterable[DotRow | BarRow]) -> float:
    return 30.0 + 7.2 * max(len(row.label) for row in rows)


def _dots(row: DotRow, scale: _Scale, y: float) -> str:
    parts = [_text(scale.start - 14, y + 4, row.label, "name end")]
    parts.append(_line(scale.start, y, scale.end, y, "guide"))
    if row.limit is not None:
        parts.append(_line(scale(row.limit), y - 10, scale(row.limit), y + 10, "own-limit"))
    parts.append(_line(scale(row.low), y, scale(row.high), y, f"whisker f{row.family}"))
    if len(row.points) > 1:
        parts += [_line(scale(one), y - 5, scale(one), y + 5, f"seed f{row.family}") for one in row.points]
    parts.append(_symbol(scale(row.mean), y, row.family))
    parts.append(_text(scale.end + 54, y + 4, number(row.mean, 4), "value end"))
    return "".join(parts)


def _bar(value: float, family: int, scale: _Scale, y: float) -> str:
    start, end = sorted((scale(0), scale(value)))
    bar = _rect(start, y + 4, end - start, 15, f"bar f{family}") if abs(value) >= 0.005 else ""
    return bar + _text(max(end, scale(0)) + 6, y + 16, number(value, 2), "value")


def _curve(curve: Curve, x: _Scale, y: _Scale, *, dash: int) -> str:
    points = [(x(at), y(value)) for at, value in enumerate(curve.values, start=1)]
    return _path(points, f"curve f{curve.family} d{dash % 5}") + "".join(
        _symbol(*point, curve.family) for point in points
    )


def _x_axis(scale: _Scale, top: float, bottom: float) -> str:
    parts = []
    for tick in ticks(scale.low, scale.high):
        parts.append(_line(scale(tick), top, scale(tick), bottom, "grid"))
        parts.append(_text(scale(tick), bottom + 17, number(tick, 2), "tick middle"))
    return "".join(parts)


def _y_axis(scale: _Scale, left: float, right: float) -> str:
    parts = []
    for tick in ticks(scale.low, scale.high):
        parts.append(_line(left, scale(tick), right, scale(tick), "grid"))
        parts.append(_text(left - 8, scale(tick) + 4, number(tick, 2), "tick end"))
    return "".join(parts)


def _epochs(scale: _Scale, bottom: float) -> str:
    whole = [tick for tick in ticks(scale.low, scale.high, 10) if tick == round(tick)]
    return "".join(_text(scale(tick), bottom + 20, f"{tick:.0f}", "tick middle") for tick in whole)


def _vertical_marks(marks: Sequence[Mark], scale: _Scale, top: float, bottom: float) -> str:
    parts = []
    for mark in marks:
        x = scale(mark.value)
        parts.append(_line(x, top - 6, x, bottom, "limit"))
        parts.append(_text(x, top - 26, mark.label, "limit-label middle"))
        parts.append(_text(x, top - 12, number(mark.value, 4), "limit-label middle"))
    return "".join(parts)


def _legend(names: Sequence[str], y: float, left: float) -> str:
    parts, x = [], left
    for family, name in enumerate(names):
        parts.append(_symbol(x, y - 4, family) + _text(x + 10, y, name, "tick"))
        x += 34 + 6.3 * len(name)
    return "".join(parts)


def _symbol(x: float, y: float, family: int) -> str:
    shapes: tuple[list[tuple[float, float]], ...] = (
        [(-4, -4), (4, -4), (4, 4), (-4, 4)],
        [(0, -5.6), (5.6, 0), (0, 5.6), (-5.6, 0)],
        [],
        [(0, -5.4), (5, 3.8), (-5, 3.8)],
        [(0, 5.4), (5, -3.8), (-5, -3.8)],
    )
    corners = shapes[family % len(shapes)]
    if not corners:
        return _circle(x, y, 4.6, f"dot f{family}")
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon class="dot f{family}" points="{points}"/>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"/>'


def _circle(x: float, y: float, radius: float, kind: str) -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def _path(points: Sequence[tuple[float, float]], kind: str) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _svg(parts: Iterable[str], height: float, title: str, description: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}: {escape(description)}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{''.join(parts)}</svg>"
    )
