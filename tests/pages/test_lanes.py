from crossfield.pages.flow import Edge, Flow, Node
from crossfield.pages.lanes import lanes


def graph(*pairs: str) -> list[str]:
    """The lanes of a flow given as pairs of one-letter names."""
    names = list(dict.fromkeys("".join(pairs)))
    nodes = {name: Node("interaction", name) for name in sorted(names)}
    flow = Flow(list(nodes.values()), [Edge(nodes[a], nodes[b], "[B]", "[B]") for a, b in pairs])
    return [line.split("  ")[0].rstrip() for line in lanes(flow)[1:]]


def test_a_chain_is_one_lane() -> None:
    assert graph("ab", "bc") == ["● a", "● b", "● c"] or graph("ab", "bc") == ["●", "●", "●"]


def test_a_branch_opens_a_lane_and_a_join_closes_it() -> None:
    assert graph("ab", "ac", "bd", "cd") == ["●", "├─●", "● │", "●─╯"]


def test_a_shortcut_stays_open_beside_the_boxes_it_passes() -> None:
    assert graph("ab", "bc", "ad", "cd") == ["●", "├─●", "│ ●", "●─╯"]


def test_lanes_that_only_pass_are_crossed_not_joined() -> None:
    assert graph("ab", "ac", "be", "ce", "ad", "de") == ["●", "├─●", "├─│─●", "● │ │", "●─┴─╯"]


def test_every_line_says_what_it_gives_and_costs() -> None:
    last = Node("output", "logits", gives=("[B, 1]",))
    box = Node("map", "deep", "MLP", "8 → 4", gives=("[B, 4]",), parameters=1234, flops=99)
    head, first, second = lanes(Flow([box, last], [Edge(box, last, "[B, 4]", "[B, 1]")]))
    assert head.split() == ["gives", "parameters", "FLOPs"]
    assert first.split() == ["●", "deep", "MLP", "8", "→", "4", "[B,", "4]", "1,234", "99"]
    assert second.split() == ["●", "logits", "[B,", "1]"]
