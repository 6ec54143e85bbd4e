from xml.etree import ElementTree

import pytest

from crossfield.models import CATALOGUE
from crossfield.pages.diagram import diagram, text_width, with_indices
from crossfield.pages.flow import nested_flow
from crossfield.pages.trace import trace_model

from ..contract.cases import SCHEMAS, build


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_picture_is_one_valid_file_that_shows_every_box_and_loads_nothing(name: str) -> None:
    flow = nested_flow(trace_model(build(name, SCHEMAS["no dense"])), {"ids": "user, item & day"})
    text = diagram(flow, title="T & U")
    root = ElementTree.fromstring(text)
    words = " ".join("".join(one.itertext()) for one in root.iter())
    assert all(node.name in words for node in flow.nodes if node.kind != "port")
    assert "T & U" in words and "[B, 1]" in words and "prefers-color-scheme:dark" in text
    assert "href" not in text and "url(" not in text
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    boxes = [one for one in root.iter() if one.tag.endswith("rect")]
    assert all(float(box.attrib["width"]) <= width and float(box.attrib["height"]) <= height for box in boxes)


def test_indices_are_lowered_and_exponents_raised() -> None:
    assert with_indices("x_0 < W^{k,h}_ij") == (
        'x<tspan class="mark" dy="3">0</tspan><tspan dy="-3">\u200b</tspan> &lt; W'
        '<tspan class="mark" dy="-4">k,h</tspan><tspan dy="4">\u200b</tspan>'
        '<tspan class="mark" dy="3">ij</tspan><tspan dy="-3">\u200b</tspan>'
    )
    assert with_indices("pairwise_sum") == "pairwise_sum"
    assert "tspan" in with_indices("Σ_{i<j}") and "tspan" in with_indices("Interaction_i")


def test_wider_texts_are_taken_for_wider() -> None:
    assert text_width("WWW") > text_width("aaa") > text_width("iii")
    assert text_width("x_0") == text_width("x0")


def test_names_keep_their_underscores_and_both_marks_may_follow_each_other() -> None:
    assert with_indices("block_1") == "block_1"
    raised_and_lowered = with_indices("X^k_h")
    assert raised_and_lowered.count('dy="-4">k<') == raised_and_lowered.count('dy="3">h<') == 1
