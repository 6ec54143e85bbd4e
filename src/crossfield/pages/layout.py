"""Where the nodes of a flow stand in a picture: rows in the order of the data, as few crossings as can be had."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from crossfield.pages.flow import Edge, Flow, Node

Point = tuple[float, float]

GAP, LANE = 28.0, 12.0
"""Least space between two boxes side by side, and between an arrow that passes and its neighbours."""
ROW_GAP, LABEL = 28.0, 17.0
"""Space between two rows, and what every label on the arrows between them adds."""
HEAD = 48.0
"""Height of the heading of an open box."""
PADDING = 16.0
_SWEEPS = 60


@dataclass
class Place:
    """A node with its middle and its size; ``inside`` is the layout of an open box."""

    node: Node
    width: float
    height: float
    inside: "Layout | None" = None
    x: float = 0.0
    y: float = 0.0

    @property
    def top(self) -> float:
        """Upper edge."""
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.y + self.height / 2

    def port_offset(self, port: Node | None) -> float:
        """How far from the middle a port of an open box lies."""
        if port is None or self.inside is None:
            return 0.0
        return self.inside.places[port].x - self.inside.width / 2


@dataclass(frozen=True)
class Wire:
    """An arrow as the points it goes through."""

    edge: Edge
    points: tuple[Point, ...]


@dataclass
class Layout:
    """Places and wires of one level, and the room they take."""

    places: dict[Node, Place] = field(default_factory=dict)
    wires: list[Wire] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0

    def widen(self, width: float) -> None:
        """Take at least so much room, everything in its middle."""
        shift = max(width - self.width, 0.0) / 2
        self.width += 2 * shift
        for place in self.places.values():
            place.x += shift
        self.wires = [Wire(one.edge, tuple((x + shift, y) for x, y in one.points)) for one in self.wires]


@dataclass(eq=False, repr=False)
class _Slot:
    """A node in its row, or a bend of an arrow that passes the row."""

    row: int
    width: float
    place: Place | None = None
    x: float = 0.0
    above: list[tuple["_Slot", float]] = field(default_factory=list)
    """Slots it is tied to in the row above, and how far to the right it wants to be of each."""
    below: list[tuple["_Slot", float]] = field(default_factory=list)


def lay_out(flow: Flow, sizes: Mapping[Node, Point]) -> Layout:
    """Places for all nodes. sizes: width and height of closed boxes, signs and ends; open ones grow around theirs."""
    layout = Layout({node: _place(node, sizes) for node in flow.nodes})
    rows = _rows(flow)
    slots = {node: _Slot(rows[node], place.width, place) for node, place in layout.places.items()}
    bends = {edge: _tie(edge, slots, layout.places) for edge in flow.edges}
    table: list[list[_Slot]] = [[] for _ in range(max(rows.values()) + 1)]
    for slot in (*slots.values(), *(one for some in bends.values() for one in some)):
        table[slot.row].append(slot)
    _order(table)
    _spread(table)
    ends = _stack(table, flow, layout)
    layout.wires = [_wire(edge, slots, bends[edge], layout, ends) for edge in flow.edges]
    return layout


def _place(node: Node, sizes: Mapping[Node, Point]) -> Place:
    if node.inner is None:
        return Place(node, *sizes[node])
    inside = lay_out(node.inner, sizes)
    inside.widen(sizes[node][0] - 2 * PADDING)
    return Place(node, inside.width + 2 * PADDING, inside.height + HEAD, inside)


def says_start(edge: Edge) -> bool:
    """Whether the shape stands below the source: at the ways into and out of open boxes it stands on the other side."""
    return edge.source.kind != "port" and edge.source_port is None


def says_end(edge: Edge) -> bool:
    """Whether the shape stands above the target: where it is not what left the source."""
    return edge.start != edge.end


def _rows(flow: Flow) -> dict[Node, int]:
    """Each node below all that it takes from; a node without anything before it stands right above its use."""
    rows: dict[Node, int] = {}
    for node in _sorted(flow):
        before = [rows[edge.source] + 1 for edge in flow.edges if edge.target is node]
        rows[node] = max(before, default=0)
    for node in flow.nodes:
        after = [rows[edge.target] - 1 for edge in flow.edges if edge.source is node]
        if after and node.kind not in ("input", "port") and not any(edge.target is node for edge in flow.edges):
            rows[node] = min(after)
    last = max(rows.values())
    for node in flow.nodes:
        if node.kind == "port" and not any(edge.source is node for edge in flow.edges):
            rows[node] = last
    return rows


def _sorted(flow: Flow) -> list[Node]:
    """Nodes with every one after all that it takes from, else in their own order."""
    found: dict[Node, None] = {}

    def add(node: Node) -> None:
        if node not in found:
            for edge in flow.edges:
                if edge.target is node:
                    add(edge.source)
            found[node] = None

    for node in flow.nodes:
        add(node)
    return list(found)


def _tie(edge: Edge, slots: Mapping[Node, _Slot], places: Mapping[Node, Place]) -> list[_Slot]:
    """Bends for the rows that an arrow passes, tied to each other and to both its ends."""
    source, target = slots[edge.source], slots[edge.target]
    bends = [_Slot(row, LANE) for row in range(source.row + 1, target.row)]
    out = places[edge.source].port_offset(edge.source_port)
    into = places[edge.target].port_offset(edge.target_port)
    chain = [source, *bends, target]
    for upper, lower in pairwise(chain):
        shift = (out if upper is source else 0.0) - (into if lower is target else 0.0)
        upper.below.append((lower, -shift))
        lower.above.append((upper, shift))
    return bends


def _order(table: list[list[_Slot]]) -> None:
    """Sort every row by where its neighbours stand, down and up, and keep the order with the fewest crossings."""
    best, fewest = [list(row) for row in table], _num_crossings(table)
    for sweep in range(_SWEEPS):
        rows = table[1:] if sweep % 2 == 0 else table[-2::-1]
        for row in rows:
            _sort_row(row, table, by_above=sweep % 2 == 0)
        crossings = _num_crossings(table)
        if crossings < fewest:
            best, fewest = [list(row) for row in table], crossings
    for row, kept in zip(table, best, strict=True):
        row[:] = kept


def _sort_row(row: list[_Slot], table: list[list[_Slot]], *, by_above: bool) -> None:
    positions = {slot: index / max(len(other) - 1, 1) for other in table for index, slot in enumerate(other)}
    middle = {}
    for index, slot in enumerate(row):
        ties = slot.above if by_above else slot.below
        near = [positions[one] for one, _ in ties]
        middle[slot] = sum(near) / len(near) if near else index / max(len(row) - 1, 1)
    row.sort(key=lambda slot: middle[slot])


def _num_crossings(table: Sequence[Sequence[_Slot]]) -> int:
    total = 0
    for upper, lower in pairwise(table):
        left, right = ({slot: index for index, slot in enumerate(row)} for row in (upper, lower))
        ties = [(left[slot], right[one]) for slot in upper for one, _ in slot.below]
        total += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(ties) for c, d in ties[:i])
    return total


def _spread(table: list[list[_Slot]]) -> None:
    """Give every slot an x near those it is tied to, without overlaps; the straightest lines go to the arrows."""
    for row in table:
        _set_apart(row, [0.0] * len(row))
    for sweep in range(_SWEEPS):
        for row in table if sweep % 2 == 0 else reversed(table):
            _set_apart(row, [_wanted(slot, sweep) for slot in row])
    for row in table:
        _set_apart(row, [_straight_below(slot) for slot in row])


def _straight_below(slot: _Slot) -> float:
    """Exactly below the one slot it is tied to, where that is tied to it alone; else where it is."""
    if len(slot.above) == 1 and len(slot.above[0][0].below) == 1:
        other, shift = slot.above[0]
        return other.x + shift
    return slot.x


def _wanted(slot: _Slot, sweep: int) -> float:
    both = [*slot.above, *slot.below]
    ties = (both if sweep > _SWEEPS // 3 else slot.above if sweep % 2 == 0 else slot.below) or both
    weights = [_weight(slot, one) for one, _ in ties]
    wanted = [weight * (one.x + shift) for weight, (one, shift) in zip(weights, ties, strict=True)]
    return sum(wanted) / sum(weights) if ties else slot.x


def _weight(slot: _Slot, other: _Slot) -> float:
    """How much a straight line matters: most along one arrow, then where nothing else leaves or arrives."""
    if slot.place is None and other.place is None:
        return 9.0
    upper, lower = (slot, other) if slot.row < other.row else (other, slot)
    return 5.0 if len(upper.below) == len(lower.above) == 1 else 1.0


def _set_apart(row: Sequence[_Slot], wanted: Sequence[float]) -> None:
    """The x nearest to those wanted, in least squares, that keep the order and the gaps: pooled where they collide."""
    starts = [0.0]
    for one, other in pairwise(row):
        gap = GAP if one.place and other.place else LANE
        starts.append(starts[-1] + (one.width + other.width) / 2 + gap)
    blocks: list[tuple[float, int]] = []
    for want, start in zip(wanted, starts, strict=True):
        mean, size = want - start, 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    moved = [mean for mean, size in blocks for _ in range(size)]
    for slot, start, move in zip(row, starts, moved, strict=True):
        slot.x = start + move


def _stack(table: Sequence[Sequence[_Slot]], flow: Flow, layout: Layout) -> list[Point]:
    """Rows below each other, with room for the labels between them, all moved into the corner; gives their ends."""
    left = min(slot.x - slot.width / 2 for row in table for slot in row)
    y, ends = 0.0, []
    for row in table:
        places = [slot.place for slot in row if slot.place]
        height = max((place.height for place in places), default=0.0)
        is_tall = any(place.inside for place in places)
        for slot in row:
            slot.x -= left
            if slot.place:
                slot.place.x = slot.x
                slot.place.y = y + (slot.place.height if is_tall else height) / 2
        ends.append((y, y + height))
        y += height + ROW_GAP + LABEL * _num_labels(row, table, flow)
    layout.width = max(slot.x + slot.width / 2 for row in table for slot in row)
    layout.height = max(place.bottom for place in layout.places.values())
    return ends


def _num_labels(row: Sequence[_Slot], table: Sequence[Sequence[_Slot]], flow: Flow) -> int:
    """One where arrows leave the row, another one where one arrives below in a shape of its own."""
    here = {slot.place.node for slot in row if slot.place}
    number = row[0].row
    below = {slot.place.node for slot in table[number + 1] if slot.place} if number + 1 < len(table) else set()
    leaves = any(edge.source in here and says_start(edge) for edge in flow.edges)
    return leaves + any(edge.target in below and says_end(edge) for edge in flow.edges)


def _wire(
    edge: Edge, slots: Mapping[Node, _Slot], bends: Sequence[_Slot], layout: Layout, ends: Sequence[Point]
) -> Wire:
    """The points of an arrow: straight beside its labels and beside the rows that it passes."""
    source, target = layout.places[edge.source], layout.places[edge.target]
    x = source.x + source.port_offset(edge.source_port)
    left_row = ends[slots[edge.source].row][1]
    points = [(x, source.bottom), (x, left_row + (LABEL if says_start(edge) else 0.0))]
    points += [(bend.x, y) for bend in bends for y in ends[bend.row]]
    end = target.x + target.port_offset(edge.target_port) + _arrival(edge, slots, bends, target)
    points += [(end, target.top - LABEL - 6)] if says_end(edge) else []
    return Wire(edge, (*points, (end, target.top)))


def _arrival(edge: Edge, slots: Mapping[Node, _Slot], bends: Sequence[_Slot], target: Place) -> float:
    """Several arrows into a box that is closed arrive side by side, in the order they come from."""
    if target.inside is not None:
        return 0.0
    ties = sorted(slots[edge.target].above, key=lambda tie: tie[0].x)
    last = bends[-1] if bends else slots[edge.source]
    step = min(34.0, 0.8 * target.width / max(len(ties), 1))
    index = next(index for index, (slot, _) in enumerate(ties) if slot is last)
    return (index - (len(ties) - 1) / 2) * step
