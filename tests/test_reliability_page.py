import numpy as np

from crossfield.evaluate import Predictions, click_report
from crossfield.reliability_page import reliability_page

from .test_charts import elements
from .test_report import Page


def report_of(num_rows: int = 2000, *, weights: float = 1.0, rare: int = 40) -> dict[str, object]:
    random = np.random.default_rng(0)
    logits = random.normal(-2, 1, num_rows)
    labels = (random.random(num_rows) < 1 / (1 + np.exp(-logits))).astype(float)
    is_rare = np.arange(num_rows) < rare
    slices = {"user:seen": ~is_rare, "user:rare": is_rare, "user:new": np.zeros(num_rows, bool)}
    return click_report(Predictions(logits, labels, np.full(num_rows, weights)), slices=slices, train_rate=0.1)


def charts_of(page: str) -> list[str]:
    return [f"<svg{part.split('</svg>')[0]}</svg>" for part in page.split("<svg")[1:]]


def test_the_page_holds_bins_intervals_counts_the_diagonal_and_the_slices() -> None:
    page = reliability_page(report_of(), title="fm on <rows>", scores="Scores are not calibrated.")
    Page(page)
    assert "fm on &lt;rows&gt;" in page and "Scores are not calibrated." in page
    assert "http" not in page.replace("http-equiv", "") and "prefers-color-scheme: dark" in page
    whole, slices = charts_of(page)
    assert len(elements(whole, "dot")) == 15 + 1 and len(elements(whole, "bar")) == 15 + 1  # and one in the key
    assert len(elements(whole, "whisker")) == 15 + 1 and len(elements(whole, "limit")) == 1 + 1
    assert len(elements(slices, "frame")) == 1  # the others have too few rows to be drawn, or none
    assert "user:rare" in page and "user:new" not in page
    assert "<td>133</td>" in page or "<td>134</td>" in page


def test_intervals_of_slices_end_inside_their_frames() -> None:
    report = report_of(400, rare=350)
    slices = charts_of(reliability_page(report, title="t", scores="s"))[1]
    (frame,) = elements(slices, "frame")
    ends = [float(one.attrib[end]) for one in elements(slices, "whisker") for end in ("y1", "y2")]
    assert len(ends) == 2 * 15 and min(ends) >= float(frame.attrib["y"])


def test_a_page_without_slices_has_one_part() -> None:
    report = report_of()
    del report["slices"]
    page = reliability_page(report, title="t", scores="s")
    assert "All rows" in page and "By slice" not in page


def test_rows_that_cannot_be_drawn_are_said_to_be_so() -> None:
    page = reliability_page(report_of(weights=0.0), title="t", scores="s")
    assert "nothing to draw" in page and not charts_of(page)
    diverged = click_report(Predictions(np.full(400, np.nan), np.arange(400) % 2.0), slices={"a": np.ones(400, bool)})
    page = reliability_page(diverged, title="t", scores="s")
    assert "nothing to draw" in page and not charts_of(page)


def test_without_intervals_there_is_a_dash() -> None:
    predictions = Predictions(np.zeros(400), np.arange(400) % 2.0)
    report = click_report(predictions, slices={"a": np.ones(400, bool)}, intervals=False)
    page = reliability_page(report, title="t", scores="s")
    assert "<td>1.000</td><td>–</td><td>.0000</td>" in page
