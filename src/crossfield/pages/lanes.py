"""A flow as lines of text: the arrows as lanes at the left, as a version history draws its branches."""

from crossfield.pages.flow import Flow, Node

_NAME, _SHAPE = 60, 12


def lanes(flow: Flow) -> list[str]:
    """One line per node of a flat flow: its lane, what it is, what it gives and what it costs."""
    graph = _graph(flow)
    width = max(map(len, graph))
    head = f"{'':{width}}  {'':{_NAME}} {'gives':<{_SHAPE}} {'parameters':>10} {'FLOPs':>10}"
    return [head, *(f"{left:{width}}  {_row(node)}".rstrip() for left, node in zip(graph, flow.nodes, strict=True))]


def _row(node: Node) -> str:
    text = " ".join(part for part in (node.name, node.what, node.about) if part)
    text = text if len(text) <= _NAME else text[: _NAME - 1].rstrip() + "…"
    costs = "" if node.kind in ("input", "output") else f"{node.parameters:>10,} {node.flops:>10,}"
    return f"{text:{_NAME}} {' '.join(node.gives[:1]):<{_SHAPE}} {costs}"


def _graph(flow: Flow) -> list[str]:
    """The lanes beside every node."""
    waiting = {node: {edge.target for edge in flow.edges if edge.source is node} for node in flow.nodes}
    open_lanes: list[Node | None] = []
    lines = []
    for node in flow.nodes:
        sources = {edge.source for edge in flow.edges if edge.target is node}
        for source in sources:
            waiting[source].discard(node)
        taken = {lane: bool(waiting[one]) for lane, one in enumerate(open_lanes) if one in sources and one is not None}
        own = _own_lane(open_lanes, taken)
        lines.append(_line(open_lanes, taken, own))
        for lane, goes_on in taken.items():
            open_lanes[lane] = open_lanes[lane] if goes_on else None
        open_lanes += [None] * (own + 1 - len(open_lanes))
        open_lanes[own] = node if waiting[node] else None
        while open_lanes and open_lanes[-1] is None:
            open_lanes.pop()
    return lines


def _own_lane(open_lanes: list[Node | None], taken: dict[int, bool]) -> int:
    """The first lane that ends here, else the first one that is free to the right of where the data come from."""
    ended = [lane for lane, goes_on in taken.items() if not goes_on]
    free = [lane for lane, one in enumerate(open_lanes) if one is None and lane > max(taken, default=-1)]
    return min(ended) if ended else min(free, default=len(open_lanes))


def _line(open_lanes: list[Node | None], taken: dict[int, bool], own: int) -> str:
    ends = [*taken, own]
    first, last = min(ends), max(ends)
    text = ""
    for lane in range(max(len(open_lanes), own + 1)):
        is_open = lane < len(open_lanes) and open_lanes[lane] is not None
        if lane == own:
            text += "●"
        elif lane in taken:
            text += _joint(is_first=lane == first, is_last=lane == last, goes_on=taken[lane])
        else:
            text += "│" if is_open else "─" if first < lane < last else " "
        text += "─" if first <= lane < last else " "
    return text.rstrip()


def _joint(*, is_first: bool, is_last: bool, goes_on: bool) -> str:
    if is_first:
        return "├" if goes_on else "╰"
    if is_last:
        return "┤" if goes_on else "╯"
    return "┼" if goes_on else "┴"
