from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from crossfield.charts import Reliability
from crossfield.metrics import ScoreOrder, auc, bootstrap
from crossfield.report import (
    Board,
    Entry,
    Run,
    Section,
    auc_influence,
    better,
    board_table,
    bullets,
    figure,
    format_board,
    html_page,
    in_bands,
    order_sentence,
    plain_table,
    write_page,
)


def entry(name: str, *aucs: float, influence: np.ndarray | None = None, slopes: tuple[float, ...] = ()) -> Entry:
    runs = tuple(Run(seed, one, 0.5, 0.9, 2.0, (one - 0.1, one), slopes) for seed, one in enumerate(aucs))
    given = np.zeros(10) if influence is None else influence
    return Entry(name, f"What {name} adds.", 0, 1234, runs, given, Reliability(name, 0, (0.1,), (0.1,)))


def scored_rows(num_rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random(num_rows) < 0.4).astype(np.float64)
    logits = np.round(labels + rng.normal(size=num_rows), 1)
    return labels, logits, np.zeros(num_rows, np.int64)


def test_influence_of_a_case_worked_by_hand() -> None:
    # Scores 1, 2 | 2, 3 (negatives | positives): AUC 3.5 / 4. Each positive's share of negatives below: .75, 1;
    # each negative's share of positives above: 1, .75; minus .875, divided by 2.
    labels, logits = np.array([0.0, 0, 1, 1]), np.array([1.0, 2, 2, 3])
    found = auc_influence(labels, logits, np.zeros(4, np.int64))
    assert found.tolist() == [0.0625, -0.0625, -0.0625, 0.0625]


def test_influence_is_what_the_auc_does_when_a_row_counts_more() -> None:
    labels, logits, groups = scored_rows()
    found, step = auc_influence(labels, logits, groups), 1e-6
    for row in (0, 7, 100):
        weights = np.ones(len(labels))
        weights[row] += step
        slope = (auc(labels, logits, weights) - auc(labels, logits)) / step
        assert found[row] == pytest.approx(slope, abs=1e-7)


def test_the_interval_agrees_with_the_bootstrap() -> None:
    labels, logits, groups = scored_rows()
    one = entry("a", auc(labels, logits), influence=auc_influence(labels, logits, groups))
    drawn = bootstrap(ScoreOrder(labels, logits).auc, len(labels), samples=2000)
    assert np.allclose(one.interval(), drawn, atol=0.006)


def test_influence_under_weights_is_what_the_weighted_auc_does() -> None:
    labels, logits, groups = scored_rows(60)
    weights = np.random.default_rng(1).choice([0.0, 0.05, 1.0, 20.0], 60)
    found, step = auc_influence(labels, logits, groups, weights=weights), 1e-6
    for row in range(60):
        more = weights.copy()
        more[row] += step
        slope = weights[row] * (auc(labels, logits, more) - auc(labels, logits, weights)) / step
        assert found[row] == pytest.approx(slope, abs=1e-5)
    assert found.sum() == pytest.approx(0)
    doubled = np.concatenate([np.arange(60), np.flatnonzero(weights == 20)])
    twice = auc_influence(labels[doubled], logits[doubled], groups[doubled])
    assert np.allclose(
        auc_influence(labels, logits, groups, weights=1 + (weights == 20.0)),
        np.bincount(doubled, twice, minlength=60),
    )


def test_the_weighted_interval_agrees_with_the_weighted_bootstrap() -> None:
    labels, logits, groups = scored_rows(2000)
    weights = np.where(np.random.default_rng(1).random(2000) < 0.3, 4.0, 0.2)
    influence = auc_influence(labels, logits, groups, weights=weights)
    one = entry("a", auc(labels, logits, weights), influence=influence)
    drawn = bootstrap(ScoreOrder(labels, logits).auc, len(labels), weights=weights, samples=1000)
    assert np.allclose(one.interval(), drawn, atol=0.005)
    plain = entry("a", auc(labels, logits), influence=auc_influence(labels, logits, groups)).interval()
    assert drawn[1] - drawn[0] > 1.3 * (plain[1] - plain[0])


def test_rows_of_one_user_are_one_group_and_rows_without_a_user_are_their_own() -> None:
    labels, logits, groups = scored_rows(6)
    rows = auc_influence(labels, logits, groups)
    grouped = auc_influence(labels, logits, np.array([5, 5, 0, 0, -3, -3]))
    assert sorted(grouped) == pytest.approx(sorted([rows[0] + rows[1], rows[2], rows[3], rows[4] + rows[5]]))
    assert grouped.sum() == pytest.approx(0)


def test_better_needs_a_gap_above_the_noise_of_seeds() -> None:
    assert better(entry("a", 0.80, 0.81, 0.80), entry("b", 0.70, 0.71, 0.71))
    assert not better(entry("a", 0.80, 0.72, 0.76), entry("b", 0.70, 0.74, 0.71))
    assert not better(entry("b", 0.70, 0.71, 0.71), entry("a", 0.80, 0.81, 0.80))


def test_a_model_without_seeds_leaves_the_others_degrees_of_freedom() -> None:
    # Half a width of t(.995, 2) = 9.92 times .001 / sqrt(3) is .00573; with 4 degrees it would be .00266.
    fixed, seeded = entry("a", 0.7, 0.7, 0.7), (0.699, 0.7, 0.701)
    assert not better(entry("b", *(auc + 0.005 for auc in seeded)), fixed)
    assert better(entry("b", *(auc + 0.006 for auc in seeded)), fixed)
    # Two alike have the degrees of both: t(.995, 4) = 4.60 times .001 sqrt(2 / 3) is .00376.
    assert not better(entry("b", *(auc + 0.0037 for auc in seeded)), entry("a", *seeded))
    assert better(entry("b", *(auc + 0.0038 for auc in seeded)), entry("a", *seeded))


def test_better_needs_a_gap_above_the_noise_of_rows_and_pairs_them() -> None:
    noise = np.array([0.03, -0.03] * 5)
    loud, quiet = entry("a", 0.80, 0.80, influence=noise), entry("b", 0.70, 0.70)
    assert not better(loud, quiet)
    assert better(loud, entry("b", 0.70, 0.70, influence=noise))


def test_one_seed_is_never_enough_to_rank() -> None:
    assert not better(entry("a", 0.9), entry("b", 0.5))
    board = Board("Board", in_bands([entry("a", 0.9), entry("b", 0.5)]))
    assert len(board.bands) == 1
    assert "one seed cannot tell" in format_board(board)


def test_bands_are_cut_only_where_every_pair_across_is_certain() -> None:
    names = {"a": 0.8, "b": 0.79, "c": 0.7, "d": 0.6}
    models = [entry(name, value, value) for name, value in names.items()]
    tied = {("a", "b"), ("a", "c")}
    bands = in_bands(reversed(models), lambda one, other: (one.name, other.name) not in tied)
    assert [[one.name for one in band] for band in bands] == [["a", "b", "c"], ["d"]]
    assert order_sentence(Board("x", bands)) == "d < {a, b, c}"


def test_share_is_the_part_of_the_way_from_floor_to_ceiling() -> None:
    one = entry("a", 0.7)
    assert Board("x", ((one,),), floor=0.6, ceiling=0.8).share(one) == pytest.approx(0.5)
    assert Board("x", ((one,),)).share(one) is None


def test_the_text_shows_every_column_of_a_planted_board() -> None:
    board = Board("All columns", in_bands([entry("fm", 0.70, 0.72, slopes=(0.8, 0.7, -0.001))]), 0.6, 0.82)
    text = format_board(board)
    assert "fm" in text and "What fm adds." in text
    row = "fm .7100 ±.0141 .5000 .900 50 % .80 / .70 / .00 2.0 1,234"
    assert " ".join(text.splitlines()[3].split()) == row
    assert max(map(len, text.splitlines())) < 120


def test_a_board_without_planted_parts_has_no_columns_for_them() -> None:
    board = Board("Plain", in_bands([entry("fm", 0.70, 0.72)]))
    assert "b1" not in format_board(board) and "share" not in format_board(board)
    assert '<th scope="col">b1</th>' not in board_table(board)


def test_json_holds_the_mean_the_sd_and_every_run() -> None:
    row = Board("x", in_bands([entry("fm", 0.70, 0.72)]), 0.6, 0.8).to_json()["rows"][0]
    assert row["band"] == 1 and row["share"] == pytest.approx(0.55)
    assert row["auc"] == {"mean": pytest.approx(0.71), "sd": pytest.approx(0.01 * 2**0.5)}
    assert [run["auc"] for run in row["runs"]] == [0.70, 0.72]


class Page(HTMLParser):
    """Checks that tags nest, and collects them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_self_contained_and_accessible() -> None:
    board = Board("All <columns>", in_bands([entry("fm", 0.70, 0.72), entry("dnn", 0.71, 0.73)]))
    sections = [
        Section(
            "Table & co", board_table(board) + figure("<svg></svg>", "caption", plain_table(["a", "b"], [["1", "2"]]))
        ),
        Section("Words", bullets(["x < y"])),
    ]
    text = html_page("Tour", "Lead", sections, footer="Made here")
    page = Page(text)
    assert not [attrs for _, attrs in page.tags if attrs.keys() & {"src", "srcset"}]
    assert {attrs["href"] for tag, attrs in page.tags if tag == "a"} == {"#part-1", "#part-2"}
    assert {attrs.get("id") for tag, attrs in page.tags if tag == "section"} == {"part-1", "part-2"}
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text and "@import" not in text
    headings = [attrs.get("scope") for tag, attrs in page.tags if tag == "th"]
    assert None not in headings and "rowgroup" in headings
    assert ("html", {"lang": "en"}) in page.tags
    assert "prefers-color-scheme: dark" in text
    assert "x &lt; y" in text and "All &lt;columns&gt;" in text


def test_every_colour_is_readable_on_its_ground_in_light_and_dark() -> None:
    for scheme in palettes():
        for ground in ("card", "band", "page"):
            for ink in ("ink", "soft", "accent", "limit", "own", "f0", "f1", "f2", "f3", "f4"):
                assert contrast(scheme[ink], scheme[ground]) >= 4.5, (ink, ground)


def palettes() -> list[dict[str, str]]:
    page = html_page("t", "l", [], footer="f")
    blocks = [part.split("}")[0] for part in page.split(":root {")[1:]]
    assert len(blocks) == 2
    declarations = [[one.split(":") for one in block.split(";") if ":" in one] for block in blocks]
    return [{name.strip().removeprefix("--"): value.strip() for name, value in block} for block in declarations]


def contrast(one: str, other: str) -> float:
    """WCAG 2.1 contrast ratio of two #rrggbb colours."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    write_page(tmp_path / "deep" / "report.html", "<p>ö</p>")
    assert (tmp_path / "deep" / "report.html").read_text(encoding="utf-8") == "<p>ö</p>"
