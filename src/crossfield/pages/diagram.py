"""A flow as an SVG picture that is good to read on a light and on a dark page."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from crossfield.pages.flow import Flow, Kind, Node
from crossfield.pages.layout import HEAD, PADDING, Layout, Place, Point, Wire, lay_out, says_end, says_start

LEGEND: dict[Kind, str] = {"tables": "tables", "interaction": "interactions", "map": "linear maps and MLPs"}
MARGIN = 24.0
_WRAP = 44
_LINE = 17.0
_STYLE = """
.page{fill:#fff;stroke:#dde2ea}text{fill:#17202c;font:13px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}
.soft{fill:#556070;font-size:12px}.name{font-weight:600}.shape{fill:#556070;font-size:11.5px;
font-variant-numeric:tabular-nums}.shape,.over{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}
.wire{fill:none;stroke:#7b8796;stroke-width:1.4}.tip{fill:#7b8796}.box{stroke-width:1.3}
.tables{fill:#fdf1e5;stroke:#c9782b}.map{fill:#e6f4f1;stroke:#2d8c80}.interaction{fill:#e8eefc;stroke:#4169c9}
.frame{fill:#8a94a31a;stroke:#9aa5b4;stroke-dasharray:5 4}.sign{fill:#fff;stroke:#7b8796}
.input,.output{fill:#f1f4f8;stroke:#9aa5b4}.mark{font-size:75%}
@media (prefers-color-scheme:dark){.page{fill:#161d27;stroke:#2d3846}text{fill:#e7ecf3}.soft{fill:#a3aebd}
.shape{fill:#a3aebd}.shape,.over{stroke:#161d27}.wire{stroke:#8390a1}.tip{fill:#8390a1}
.tables{fill:#3a2a17;stroke:#e0a05c}.map{fill:#12332f;stroke:#4fb8a8}.interaction{fill:#1b2b4d;stroke:#7fa3f5}
.frame{stroke:#5c6979}.sign{fill:#161d27;stroke:#8390a1}.input,.output{fill:#1f2935;stroke:#5c6979}}
""".replace("\n", "")
_WIDE, _NARROW = set("mwMW→⊙Σ@%"), set("iljtfrI.,:;()[]|'! ")
_MARK = re.compile(
    r"(?<=[\wΣ'})])(?P<sign>[_^])(?P<braces>\{[^}]*\}|[A-Za-z](?![A-Za-z0-9]))"
    r"|(?:(?<=\b\w)|(?<=\}))(?P<other>[_^])(?P<word>[A-Za-z0-9]+)"
)
"""An index or an exponent: x_0, V_mask, Σ_{i<j}, Interaction_i, W^{k,h}; but not in the name pairwise_sum."""


def diagram(flow: Flow, *, title: str) -> str:
    """The whole picture as SVG text."""
    nodes = list(_all_nodes(flow))
    layout = lay_out(flow, {node: _size(node) for node in nodes})
    kinds = [kind for kind in LEGEND if any(node.kind == kind and node.inner is None for node in nodes)]
    layout.widen(sum(text_width(LEGEND[kind]) + 36 for kind in kinds))
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN + 34
    body = "".join([*_draw(layout, MARGIN, MARGIN), *_legend(kinds, height - MARGIN)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f'<rect class="page" x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="10"/>{body}</svg>\n'
    )


def _legend(kinds: Sequence[Kind], y: float) -> Iterator[str]:
    x = MARGIN
    for kind in kinds:
        yield f'<rect class="box {kind}" x="{x:.1f}" y="{y - 11:.1f}" width="13" height="13" rx="3"/>'
        yield _text(x + 20, y, LEGEND[kind], "soft")
        x += text_width(LEGEND[kind]) + 36


def _all_nodes(flow: Flow) -> Iterator[Node]:
    for node in flow.nodes:
        yield node
        if node.inner is not None:
            yield from _all_nodes(node.inner)


def _size(node: Node) -> Point:
    if node.kind == "port":
        return 8.0, 0.0
    if node.kind == "sign":
        return max(26.0, text_width(node.name) + 18), 26.0
    heading = text_width(f"{node.name} {_class(node)}", bold=True)
    if node.inner is not None:
        return max(heading, text_width(node.about)) + 2 * PADDING, HEAD
    lines = _lines(node)
    return max(heading, 68.0, *map(text_width, lines)) + 28, _LINE * (len(lines) + 1) + 16


def _class(node: Node) -> str:
    return "" if node.kind == "input" else node.what


def _lines(node: Node) -> list[str]:
    """What it does, and what it costs."""
    more = textwrap.wrap(node.what if node.kind == "input" else node.about, _WRAP, max_lines=3, placeholder=" …")
    return [*more, f"{node.parameters:,} parameters"] if node.parameters else more


def text_width(text: str, *, bold: bool = False) -> float:
    """About as wide as a text is at 13 pixels, in any of the fonts it may be shown in."""
    plain = _MARK.sub(_marked, text)
    width = sum(11.0 if one in _WIDE else 4.8 if one in _NARROW else 7.3 for one in plain)
    return width * (1.05 if bold else 0.97)


def _marked(found: re.Match[str]) -> str:
    return (found["word"] or found["braces"]).strip("{}")


def _draw(layout: Layout, x: float, y: float) -> Iterator[str]:
    yield f'<g transform="translate({x:.1f} {y:.1f})">'
    yield from (_frame(place) for place in layout.places.values() if place.inside)
    yield from (_curve(wire) for wire in layout.wires)
    for place in layout.places.values():
        if place.inside is not None:
            yield from _draw(place.inside, place.x - place.width / 2 + PADDING, place.top + HEAD)
            yield _frame_heading(place)
        elif place.node.kind != "port":
            yield _box(place)
    yield from _labels(layout)
    yield "</g>"


def _frame(place: Place) -> str:
    """The ground of an open box, and the lines through its heading to the ways in."""
    left = place.x - place.width / 2 + PADDING
    lines = [f'<path class="wire" d="M{left + x:.1f} {place.top:.1f}v{HEAD:g}"/>' for x in _ways_in(place)]
    return _rect(place, "box frame", 10) + "".join(lines)


def _frame_heading(place: Place) -> str:
    """Name and class, and what it does where no line runs through that."""
    left, node = place.x - place.width / 2 + 14, place.node
    heading = _text(left, place.top + 20, _heading(node), "over")
    is_crossed = any(PADDING + x < text_width(node.about) + 20 for x in _ways_in(place))
    return heading if is_crossed else heading + _text(left, place.top + 37, with_indices(node.about), "soft over")


def _ways_in(place: Place) -> list[float]:
    """Where data comes into an open box, from the left end of its inside."""
    inside = place.inside.places.values() if place.inside is not None else ()
    return [one.x for one in inside if one.node.kind == "port" and one.y == 0]


def _box(place: Place) -> str:
    node = place.node
    if node.kind == "sign":
        return _rect(place, "box sign", 13) + _text(place.x, place.y + 4.5, escape(node.name), "", "middle")
    lines = _lines(node)
    first = place.y - len(lines) * _LINE / 2 + 4.5
    heading = _text(place.x, first, _heading(node), "", "middle")
    parts = [
        _text(place.x, first + row * _LINE, with_indices(text), "soft", "middle")
        for row, text in enumerate(lines, start=1)
    ]
    return _rect(place, f"box {node.kind}", 7) + heading + "".join(parts)


def _heading(node: Node) -> str:
    what = f' <tspan class="soft">{escape(_class(node))}</tspan>' if _class(node) else ""
    return f'<tspan class="name">{escape(node.name)}</tspan>{what}'


def _curve(wire: Wire) -> str:
    """Straight down beside boxes, bent between rows, with a tip at the end unless it goes on behind a border."""
    *points, (end_x, end_y) = wire.points
    goes_on = wire.edge.target.kind == "port" or wire.edge.target_port is not None
    points.append((end_x, end_y if goes_on else end_y - 6))
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x1, y1), (x2, y2) in pairwise(points):
        if abs(x1 - x2) < 0.5:
            path += f"L{x2:.1f} {y2:.1f}"
        else:
            half = (y1 + y2) / 2
            path += f"C{x1:.1f} {half:.1f} {x2:.1f} {half:.1f} {x2:.1f} {y2:.1f}"
    tip = "" if goes_on else f'<path class="tip" d="M{end_x:.1f} {end_y:.1f}l-4-7.5h8z"/>'
    return f'<path class="wire" d="{path}"/>{tip}'


def _labels(layout: Layout) -> Iterator[str]:
    """The shape below where it leaves, and above where it is taken in if it is another one there."""
    found: dict[tuple[float, float, str, str], None] = {}
    for wire in layout.wires:
        (x, y), (end_x, end_y) = wire.points[0], wire.points[-1]
        if says_start(wire.edge):
            found[x + 6, y + 14, wire.edge.start, "start"] = None
        if says_end(wire.edge):
            is_left = end_x < layout.places[wire.edge.target].x - 1
            found[end_x + (-6 if is_left else 6), end_y - 12, wire.edge.end, "end" if is_left else "start"] = None
    yield from (_text(x, y, escape(shape), "shape", anchor) for x, y, shape, anchor in found)


def _rect(place: Place, kind: str, radius: float) -> str:
    return (
        f'<rect class="{kind}" x="{place.x - place.width / 2:.1f}" y="{place.top:.1f}" '
        f'width="{place.width:.1f}" height="{place.height:.1f}" rx="{radius:g}"/>'
    )


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def with_indices(text: str) -> str:
    """``x_0`` and ``W^{i,j}`` as SVG with their indices lowered and exponents raised."""
    parts, at = [], 0
    for found in _MARK.finditer(text):
        shift = -4 if "^" in (found["sign"], found["other"]) else 3
        mark = f'<tspan class="mark" dy="{shift}">{escape(_marked(found))}</tspan><tspan dy="{-shift}">\u200b</tspan>'
        parts += [escape(text[at : found.start()]), mark]
        at = found.end()
    return "".join([*parts, escape(text[at:])])
