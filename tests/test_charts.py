from itertools import pairwise
from xml.etree import ElementTree

import pytest

from crossfield.charts import (
    BarRow,
    Curve,
    DotGroup,
    DotRow,
    Mark,
    Reliability,
    bar_chart,
    calibration_chart,
    dot_chart,
    line_chart,
    marker,
    number,
    reliability_chart,
    round_limit,
    spread,
    ticks,
)

MARKS = [Mark(0.6, "order 1"), Mark(0.8, "truth")]


def elements(svg: str, kind: str) -> list[ElementTree.Element]:
    """Elements of a chart whose class list holds ``kind``; fails where the chart is not well-formed XML."""
    return [one for one in ElementTree.fromstring(svg).iter() if kind in one.get("class", "").split()]


def texts(svg: str, kind: str) -> list[str]:
    return [one.text or "" for one in elements(svg, kind)]


def dots(*rows: DotRow, heading: str = "") -> str:
    return dot_chart([DotGroup(rows, heading)], MARKS, title="AUC", description="By model", legend=["linear", "deep"])


def test_numbers_lose_their_leading_zero_only() -> None:
    assert [number(one) for one in (0.7211, -0.05, 1.0, 0.0, -0.0001)] == [".721", "-.050", "1.000", ".000", ".000"]
    assert number(0.99996, 4) == "1.0000"
    assert number(10.0, 1) == "10.0"


@pytest.mark.parametrize(("low", "high"), [(0.58, 0.85), (0.0, 1.0), (1, 4), (-0.3, 1.2), (0.7201, 0.7219)])
def test_ticks_are_few_even_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 3 <= len(found) <= 9
    assert low <= found[0] <= found[-1] <= high
    assert len({round(after - before, 9) for before, after in pairwise(found)}) == 1


def test_spread_keeps_order_and_distance_and_moves_nothing_that_fits() -> None:
    assert spread([10, 50], 15, 0, 100) == [10, 50]
    assert spread([50, 10, 12], 15, 0, 100) == [50, 10, 25]
    assert spread([98, 99, 100], 15, 0, 100) == [70, 85, 100]


def test_a_dot_stands_where_its_value_is_between_the_limit_lines() -> None:
    svg = dots(DotRow("fm", 1, (0.7, 0.7), 0.69, 0.71))
    first, second = (float(one.get("x1", "")) for one in elements(svg, "limit"))
    polygon = next(one for one in elements(svg, "dot") if one.get("class") == "dot f1")
    corners = [float(point.split(",")[0]) for point in polygon.get("points", "").split()]
    assert (min(corners) + max(corners)) / 2 == pytest.approx((first + second) / 2, abs=0.2)
    assert texts(svg, "limit-label") == ["order 1", ".6000", "truth", ".8000"]
    assert ".7000" in texts(svg, "value")


def test_seeds_are_ticks_and_one_seed_needs_none() -> None:
    assert len(elements(dots(DotRow("fm", 1, (0.68, 0.7, 0.72), 0.6, 0.8)), "seed")) == 3
    assert not elements(dots(DotRow("fm", 1, (0.7,), 0.6, 0.8)), "seed")


def test_headings_and_own_limits_are_drawn() -> None:
    svg = dots(DotRow("mf", 0, (0.65,), 0.64, 0.66, limit=0.7), heading="Two columns")
    assert texts(svg, "heading") == ["Two columns"]
    assert len(elements(svg, "own-limit")) == 1


def test_a_chart_is_named_described_and_escaped_for_those_who_cannot_see_it() -> None:
    root = ElementTree.fromstring(dots(DotRow("a<b>", 0, (0.65,), 0.64, 0.66)))
    assert root.get("role") == "img"
    assert root.get("aria-label") == "AUC: By model"
    assert [one.text for one in root][:2] == ["AUC", "By model"]


def test_lines_of_one_family_have_different_dashes_and_labels_that_do_not_touch() -> None:
    curves = [Curve(name, 1, (0.6, 0.7 + 0.0001 * i)) for i, name in enumerate("abc")]
    svg = line_chart(curves, MARKS, title="t", description="d", labels=("epoch", "AUC"))
    assert {one.get("class") for one in elements(svg, "curve")} == {"curve f1 d0", "curve f1 d1", "curve f1 d2"}
    heights = sorted(float(one.get("y", "")) for one in elements(svg, "name"))
    assert all(after - before >= 14.9 for before, after in pairwise(heights))
    assert texts(svg, "name") == ["a .700", "b .700", "c .700"]


def test_a_curve_of_one_epoch_can_be_drawn() -> None:
    assert line_chart([Curve("a", 0, (0.6,))], [], title="t", description="d", labels=("epoch", "AUC"))


def test_bars_start_at_zero_and_end_at_their_value() -> None:
    rows = [BarRow("fm", 1, (0.5, 0.001)), BarRow("dnn", 2, (1.0, -0.5))]
    svg = bar_chart(rows, ("b1", "b2"), title="t", description="d", mark=Mark(1.0, "learnt"))
    half, whole, negative = (float(one.get("width", "")) for one in elements(svg, "bar"))
    assert half == pytest.approx(whole / 2, abs=0.1)
    assert negative == pytest.approx(half, abs=0.1)
    assert sorted(texts(svg, "value")) == ["-.50", ".00", ".50", "1.00"]


def test_a_calibrated_model_lies_on_the_diagonal() -> None:
    model = Reliability("fm", 1, (0.1, 0.5, 0.9), (0.1, 0.5, 0.9))
    svg = reliability_chart([model] * 6, title="t", description="d")
    assert len(elements(svg, "frame")) == 6
    frame, dot = elements(svg, "frame")[0], elements(svg, "dot")[1]
    middle = float(frame.get("x", "")) + float(frame.get("width", "")) / 2
    assert float(dot.get("cx", "")) == pytest.approx(middle, abs=0.2)
    assert float(dot.get("cy", "")) == pytest.approx(float(frame.get("y", "")) + 61, abs=0.2)


def test_axes_of_rare_positives_end_at_a_round_share() -> None:
    assert [round_limit(one) for one in (0.012, 0.43, 0.9, 0.5, 0.0003, 1.0)] == [0.015, 0.5, 1.0, 0.5, 0.0003, 1.0]
    assert 0 < round_limit(0.0) <= 1e-6
    svg = reliability_chart([Reliability("fm", 1, (0.01,), (0.01,))], title="t", description="d", limit=0.02)
    assert sorted(texts(svg, "tick")) == [".01", ".01", ".02", ".02", "0", "0"]
    frame, dot = elements(svg, "frame")[0], elements(svg, "dot")[0]
    assert float(dot.get("cx", "")) == pytest.approx(float(frame.get("x", "")) + 61, abs=0.2)


def test_a_calibration_chart_shows_intervals_and_rows() -> None:
    model = Reliability("fm", 1, (0.1, 0.4), (0.2, 0.4), (0.1, 0.3), (0.3, 0.5), (50, 100))
    svg = calibration_chart(model, title="t", description="d", limit=0.5)
    frame, whiskers, bars = elements(svg, "frame")[0], elements(svg, "whisker"), elements(svg, "bar")
    top, size = float(frame.get("y", "")), float(frame.get("height", ""))
    ends = [float(whiskers[0].get(name, "")) for name in ("y1", "y2")]
    assert ends == pytest.approx([top + size * (1 - share / 0.5) for share in (0.1, 0.3)], abs=0.1)
    low, high = (float(one.get("height", "")) for one in bars[:2])
    assert high == pytest.approx(2 * low, abs=0.2)
    assert "100" in texts(svg, "tick") and "95 % interval of the share" in texts(svg, "tick")
    assert {"share of positives", "predicted probability"} <= set(texts(svg, "axis-label"))


def test_every_family_has_a_marker_of_its_own() -> None:
    assert len({marker(family).replace(f"f{family}", "") for family in range(5)}) == 5
