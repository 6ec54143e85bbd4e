from dataclasses import replace
from functools import cache

from crossfield.pages.page import Measured, Page, model_page
from crossfield.pages.published import Published
from crossfield.pages.render import as_markdown, as_svg, as_text, index_markdown, markdown_table, number_rows


@cache
def page() -> Page:
    published = (
        Published("Frappe_x1", {"AUC": "0.9842", "parameters": "423,280"}, "BARS", "no crosses", "frappe/deepfm"),
        Published("Criteo", {"AUC": "0.81"}, "the paper"),
    )
    ours = (
        Measured("frappe/deepfm", "deepfm", 3, (0.98412, 0.0002), (0.15, 0.001), 423_390),
        Measured("frappe/deepfm_wide", "deepfm", 1, (0.98, 0.0), (0.16, 0.0), 9),
    )
    return replace(model_page("deepfm"), published=published, measured=ours)


def test_ours_stand_below_the_published_ones_on_the_same_data() -> None:
    head, rows = number_rows(page())
    assert head == ["data", "AUC", "parameters", "from"]
    assert rows == [
        ["Frappe_x1", "0.9842", "423,280", "BARS; no crosses"],
        ["Frappe_x1", "0.98412 ± 0.00020", "423,390", "ours, frappe/deepfm, 3 seeds"],
        ["Criteo", "0.81", "", "the paper"],
        ["frappe", "0.98000", "9", "ours, frappe/deepfm_wide, 1 seed"],
    ]


def test_the_text_says_everything_within_the_width_of_a_terminal() -> None:
    text = as_text(page())
    for part in (
        "Guo, Tang",
        "y_FM",
        "├─●",
        "deep FieldMLP 72 → 128 → 64",
        "31,966 parameters",
        "34,944",
        "  deep = (400",
    ):
        assert part in text
    for part in ("come in at vectors, linear", "ours, frappe/deepfm, 3 seeds", "* models/deepfm.py: "):
        assert part in text
    assert max(map(len, text.splitlines())) <= 125


def test_the_markdown_shows_the_picture_and_the_same_numbers() -> None:
    text = as_markdown(page())
    assert text.startswith("# deepfm\n") and "(deepfm.svg)" in text
    for part in ("## Data flow", "## Settings", "| `deep` | `(400, 400, 400)` |", "| Criteo | 0.81 |  | the paper |"):
        assert part in text
    assert as_svg(page()).startswith("<svg ")


def test_what_there_is_nothing_of_is_said() -> None:
    bare = replace(page(), published=(), measured=(), differences=(), settings=(), dense_enter=())
    assert "No published numbers." in as_text(bare) and "No settings." in as_text(bare)
    assert "None are published." in as_markdown(bare) and "Nowhere that we know of." in as_markdown(bare)
    assert "would not look at them" in as_text(bare)


def test_the_index_leads_to_every_page() -> None:
    text = index_markdown([page()])
    assert "[deepfm](models/deepfm.md)" in text and "0.98412 ± 0.00020" in text


def test_bars_in_cells_do_not_end_them() -> None:
    assert markdown_table(("a", "b"), [("x|y", "z")]).splitlines()[-1] == "| x\\|y | z |"
