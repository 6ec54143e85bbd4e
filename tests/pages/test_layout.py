from itertools import combinations

import pytest

from crossfield.models import CATALOGUE
from crossfield.pages.flow import Edge, Flow, Node, nested_flow
from crossfield.pages.layout import GAP, Layout, lay_out
from crossfield.pages.trace import trace_model

from ..contract.cases import SCHEMAS, build


def node(name: str) -> Node:
    return Node("interaction", name)


def flow_of(*pairs: tuple[Node, Node]) -> Flow:
    nodes = list(dict.fromkeys(one for pair in pairs for one in pair))
    return Flow(nodes, [Edge(*pair, "[B]", "[B]") for pair in pairs])


def sized(flow: Flow, width: float = 50.0, height: float = 20.0) -> Layout:
    return lay_out(flow, dict.fromkeys(flow.nodes, (width, height)))


def test_a_chain_stands_straight_from_top_to_bottom() -> None:
    a, b, c = map(node, "abc")
    found = sized(flow_of((a, b), (b, c)))
    assert {place.x for place in found.places.values()} == {25.0}
    assert found.places[a].y < found.places[b].y < found.places[c].y
    assert (found.width, found.places[a].top) == (50.0, 0.0)


def test_two_branches_stand_side_by_side_below_their_common_source() -> None:
    a, b, c, d = map(node, "abcd")
    places = sized(flow_of((a, b), (a, c), (b, d), (c, d))).places
    assert places[b].y == places[c].y
    assert places[c].x - places[b].x >= 50 + GAP
    assert places[a].x == pytest.approx((places[b].x + places[c].x) / 2, abs=1)


def test_crossings_are_untangled() -> None:
    a, b, c, d = map(node, "abcd")
    places = sized(Flow([a, b, c, d], flow_of((a, d), (b, c)).edges)).places
    assert (places[a].x < places[b].x) == (places[d].x < places[c].x)


def test_a_long_arrow_goes_round_the_boxes_between() -> None:
    a, b, c = map(node, "abc")
    found = sized(flow_of((a, b), (b, c), (a, c)))
    long = next(wire for wire in found.wires if wire.edge.source is a and wire.edge.target is c)
    beside = [x for x, y in long.points if found.places[b].top <= y <= found.places[b].bottom]
    assert beside and all(abs(x - found.places[b].x) > 25 for x in beside)


def test_a_box_without_inputs_stands_right_above_its_use() -> None:
    a, b, c, gate = map(node, ("a", "b", "c", "gate"))
    found = sized(flow_of((a, b), (b, c), (gate, c)))
    assert found.places[gate].y == found.places[b].y


@pytest.mark.parametrize("name", CATALOGUE)
def test_no_two_boxes_overlap(name: str) -> None:
    flow = nested_flow(trace_model(build(name, SCHEMAS["no dense"])), {})
    check(lay_out(flow, _Sizes()))


class _Sizes(dict[Node, tuple[float, float]]):
    def __missing__(self, key: Node) -> tuple[float, float]:
        return {"port": (8.0, 0.0), "sign": (26.0, 26.0)}.get(key.kind, (150.0, 50.0))


def check(layout: Layout) -> None:
    for one, other in combinations(layout.places.values(), 2):
        apart = abs(one.x - other.x) >= (one.width + other.width) / 2 - 1e-6
        assert apart or abs(one.y - other.y) >= (one.height + other.height) / 2, (one.node, other.node)
    for place in layout.places.values():
        assert place.x - place.width / 2 >= -1e-6 and place.x + place.width / 2 <= layout.width + 1e-6
        if place.inside is not None:
            check(place.inside)
