from dataclasses import replace
from functools import cache

from crossfield.pages.page import Measured, Page, model_page
from crossfield.pages.published import Published
from crossfield.pages.render import as_markdown, as_svg, as_text, index_markdown, markdown_table, number_rows


def _measured(row: str, seeds: int, metrics: dict[str, tuple[float, float]]) -> Measured:
    return Measured(row, "Frappe_x1 as BARS runs it", "deepfm", seeds, metrics, 423_390)


@cache
def page() -> Page:
    published = (
        Published("Frappe_x1", {"AUC": "0.9842", "parameters": "423,280"}, "BARS", "no crosses", "frappe/deepfm"),
        Published("Criteo", {"AUC": "0.81"}, "the paper"),
    )
    ours = (
        _measured("frappe/deepfm", 3, {"auc": (0.98412, 0.0002), "log_loss": (0.15, 0.001)}),
        _measured("frappe/deepfm_wide", 1, {"auc": (0.99, 0.0), "log_loss": (0.16, 0.0)}),
    )
    return replace(model_page("deepfm"), published=published, measured=ours)


def test_ours_stand_below_the_published_ones_on_the_same_data() -> None:
    head, rows = number_rows(page())
    assert head == ["data", "AUC", "log loss", "parameters", "from"]
    assert rows == [
        ["Frappe_x1", "0.9842", "", "423,280", "BARS; no crosses"],
        ["Frappe_x1", "0.98412 ± 0.00020", "0.15000 ± 0.00100", "423,390", "ours, frappe/deepfm, 3 seeds"],
        ["Criteo", "0.81", "", "", "the paper"],
        ["Frappe_x1 as BARS runs it", "0.99000", "0.16000", "423,390", "ours, frappe/deepfm_wide, 1 seed"],
    ]


def test_models_that_rank_show_what_they_reach_in_ranking() -> None:
    found = {"hr@10": (0.68, 0.003), "ndcg@10": (0.4, 0.002)}
    head, rows = number_rows(replace(page(), published=(), measured=(_measured("ncf/neumf-8", 2, found),)))
    assert head == ["data", "HR@10", "NDCG@10", "parameters", "from"]
    assert rows[0][1:] == ["0.6800 ± 0.0030", "0.4000 ± 0.0020", "423,390", "ours, ncf/neumf-8, 2 seeds"]
    ranked = {**found, "recall@20": (0.1, 0.02), "ndcg@20": (0.1, 0.02)}
    told = (Published("MovieLens-1M, 99 negatives", {"HR@10": "0.7"}, "a paper of some length; its only setting"),)
    wide = replace(page(), published=told, measured=(_measured("gowalla/neumf", 3, ranked),))
    assert max(map(len, as_text(wide).splitlines())) <= 125


def test_the_index_shows_the_model_itself_and_not_its_best_variant() -> None:
    assert "| 0.98412 ± 0.00020 | 3 |" in index_markdown([page()])
    assert index_markdown([replace(page(), measured=page().measured[1:])]).endswith("|  |  |\n")


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
    for part in (
        "## Data flow",
        "## Settings",
        "| `deep` | `(400, 400, 400)` |",
        "| Criteo | 0.81 |  |  | the paper |",
    ):
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
