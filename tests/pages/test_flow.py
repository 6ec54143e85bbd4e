import pytest

from crossfield.layers.cross import CrossNet
from crossfield.layers.fm import pairwise_sum
from crossfield.pages.flow import MOST_NODES, Flow, Node, flat_flow, nested_flow, summary
from crossfield.pages.trace import NUM_ROWS, trace_model

from ..contract.cases import ACCEPTED_CASES, SCHEMAS, build

PAIR = SCHEMAS["pair"]


def flat(name: str, case: str = "pair", **settings: object) -> Flow:
    return flat_flow(trace_model(build(name, SCHEMAS[case], **settings)), {"ids": "user, item"})


def arrows(flow: Flow) -> list[tuple[str, str, str, str]]:
    return [(edge.source.name, edge.target.name, edge.start, edge.end) for edge in flow.edges]


def test_the_flow_of_matrix_factorisation_is_its_formula() -> None:
    assert sorted(arrows(flat("mf"))) == sorted(
        [
            ("ids", "embedding", "[B, 2]", "[B, 2]"),
            ("ids", "biases", "[B, 2]", "[B, 2]"),
            ("embedding", "⊙", "[B, 2, 4]", "2 × [B, 4]"),
            ("⊙", "Σ", "[B, 4]", "[B, 4]"),
            ("biases", "+ bias", "[B, 2, 1]", "2 × [B, 1]"),
            ("Σ", "+ bias", "[B, 1]", "[B, 1]"),
            ("+ bias", "logits", "[B, 1]", "[B, 1]"),
        ]
    )


def test_shapes_change_on_the_way_and_sums_of_three_are_one_sign() -> None:
    found = arrows(flat("deepfm", "mixed"))
    assert ("vectors", "deep", "[B, 8, 4]", "[B, 32]") in found
    assert {source for source, target, *_ in found if target == "+"} == {"linear", "pairwise_sum", "prediction"}
    assert {source for source, target, *_ in found if target == "vectors"} >= {"ids", "dense", "genres", "tags"}


def test_boxes_say_what_they_hold_and_do() -> None:
    nodes = {node.name: node for node in flat("deepfm").nodes}
    assert nodes["deep"].about == "8 → 10 → 6" and nodes["deep"].parameters == 8 * 10 + 10 + 10 * 6 + 6
    assert nodes["vectors"].about == "2 tables, 16 rows of 4" and nodes["vectors"].kind == "tables"
    assert nodes["pairwise_sum"].about == "Σ_{i<j} <v_i, v_j> over the fields"
    assert nodes["ids"].what == "user, item"


def test_a_box_is_opened_and_what_is_built_the_same_is_not() -> None:
    flow = nested_flow(trace_model(build("masknet", PAIR, blocks=(6, 6))), {})
    first, second = (node for node in flow.nodes if node.what == "MaskBlock")
    assert second.inner is None and second.about == "built like blocks.0"
    assert first.inner is not None
    assert [node.kind for node in first.inner.nodes] == ["port", "map", "port", "sign", "map", "port"]
    ways_in = {edge.target_port for edge in flow.edges if edge.target is first}
    assert ways_in == {node for node in first.inner.nodes[:3] if node.kind == "port"}


@pytest.mark.parametrize(("name", "case"), ACCEPTED_CASES)
def test_every_flow_leads_from_the_inputs_to_the_logits(name: str, case: str) -> None:
    trace = trace_model(build(name, SCHEMAS[case]))
    assert tuple(trace.logits.shape) == (NUM_ROWS, 1)
    flat, nested = flat_flow(trace, {}), nested_flow(trace, {})
    check(flat, ["output"])
    check(nested, ["output"])
    assert sum(node.kind not in ("input", "output") for node in flat.nodes) <= 1.5 * MOST_NODES


def check(flow: Flow, ends: list[str]) -> None:
    """Every node but the last ones is used, every arrow starts above its end, open boxes hold the same inside."""
    assert [node.kind for node in flow.nodes if not leaves(flow, node)] == ends
    position = {node: index for index, node in enumerate(flow.nodes)}
    assert all(position[edge.source] < position[edge.target] for edge in flow.edges)
    for node in flow.nodes:
        if node.inner is not None:
            ways_out = {edge.source_port for edge in flow.edges if edge.source is node}
            check(node.inner, ["port"] * len(ways_out))


def leaves(flow: Flow, node: Node) -> bool:
    return any(edge.source is node for edge in flow.edges)


def test_what_a_flow_costs_is_what_the_model_costs() -> None:
    for name in ("deepfm", "dhen", "wukong", "finalnet", "eulernet", "autoint"):
        model = build(name, SCHEMAS["no dense"])
        trace = trace_model(model)
        nodes = flat_flow(trace, {}).nodes
        assert sum(node.flops for node in nodes) == sum(trace.flops.values()), name
        own = sum(one.numel() for one in trace.root.own_parameters)
        assert sum(node.parameters for node in nodes) <= sum(one.numel() for one in model.parameters()) - own, name


def test_a_summary_ends_where_shapes_and_sources_begin() -> None:
    assert summary(CrossNet(3, 2)) == "x_{l+1} = x_0 (x_lᵀ w_l) + b_l + x_l, L times"
    assert summary(pairwise_sum) == "Σ_{i<j} <v_i, v_j> over the fields"
