"""The page says what the lines say: values, verdicts, pairs, failures, and what was not run."""

from typing import Any

import pytest

from crossfield.proof import Table
from crossfield.proof_page import paired_section, proof_page


def table(**changes: Any) -> Table:
    rows = [{"name": "fm", "expected": {"auc": 0.8}}, {"name": "dnn", "expected": {"auc": 0.9}}, {"name": "new"}]
    values = {
        "title": "Clicks",
        "about": "Made\nup.",
        "data": "frappe",
        "metrics": ["auc", "log_loss"],
        "margin": 0.01,
        "published": "nobody",
        "seeds": 2,
        "base": {"model": {"name": "fm", "embedding_dim": 2}, "train": {"epochs": 2}},
        "row": rows,
        **changes,
    }
    return Table.of("clicks", values)


def line(found: Table, name: str, seed: int, auc: float, **more: Any) -> dict[str, Any]:
    row = found.row(name)
    head = {"table": row.table, "row": name, "row_sha256": row.sha256, "seed": seed, "status": "ok"}
    rest = {"metrics": {"auc": auc, "log_loss": 0.1}, "seconds": 10.0, "parameters": 1234, "peak_mb": 567}
    return {**head, **rest, **more}


def test_rows_stand_by_value_with_their_verdicts() -> None:
    found = table()
    page = proof_page(
        [found], {"clicks": [line(found, "fm", 0, 0.81), line(found, "fm", 1, 0.79), line(found, "new", 0, 0.7)]}
    )
    assert (
        "| fm | 2 | 0.80000 ± 0.01414 | 0.10000 ± 0.00000 | 0.80000 | +0.00000 | matches | 1,234 | 10 | 567 |" in page
    )
    assert page.index("| fm |") < page.index("| new |") and "| new | 1 of 2 | 0.70000 | 0.10000 | - | - | - |" in page
    assert "**1 of 1 comparable rows match or are above the published value**: 1 within the margin of 0.01" in page
    assert "1 more is still to be run." in page and "Made up." in page
    assert "Not run here: dnn." in page


@pytest.mark.parametrize("is_experiment", [True, False])
def test_rows_of_an_experiment_have_verdicts_and_are_not_counted(is_experiment: bool) -> None:
    found = table(experiment=is_experiment)
    best = {"best_on_test": {"epoch": 0, "auc": 0.8, "log_loss": 0.1}}
    page = proof_page([found], {"clicks": [line(found, "fm", 0, 0.8, **best)]})
    assert "| 0.80000 | +0.00000 | matches |" in page and "best **on the test part**" in page
    assert ("1 of 1 comparable rows" in page, "1 of 1 match" in page) == (not is_experiment, not is_experiment)


def test_a_row_says_how_many_of_its_seeds_are_still_to_be_run() -> None:
    found = table(seeds=3)
    lines = [line(found, "fm", seed, 0.8) for seed in range(2)] + [line(found, "dnn", seed, 0.9) for seed in range(4)]
    page = proof_page([found], {"clicks": lines})
    assert "| fm | 2 of 3 | 0.8" in page and "| dnn | 4 | 0.9" in page


def test_rows_with_a_wide_interval_are_named_and_what_matches_by_it_alone_is_counted() -> None:
    found = table()
    lines = [line(found, "fm", 0, 0.75), line(found, "fm", 1, 0.89), line(found, "dnn", 0, 0.899)]
    lines += [line(found, "dnn", 1, 0.901), line(found, "new", 0, 0.2), line(found, "new", 1, 0.9)]
    page = proof_page([found], {"clicks": lines})
    assert "so that a match says little: fm (± 1.54" in page  # t(1) = 12.706, s = .09899, √1.5
    assert "1 within the margin of 0.01, 1 by the scatter of their own seeds alone, 0 above." in page


def test_our_means_stand_beside_published_means() -> None:
    published = {"value": 0.8, "sd": 0.01, "n": 4}
    found = table(row=[{"name": "fm", "expected": {"auc": 0.81}, "mean": published}])
    lines = [line(found, "fm", seed, value) for seed, value in enumerate((0.84, 0.85, 0.86))]
    page = proof_page([found], {"clicks": lines})
    assert "- fm: published mean of 4 seeds 0.80000 ± 0.01000; ours differs by +0.05000 [+0.02" in page
    assert "above it in 1 and below in 0; beyond the 95 % interval of the difference: fm (+0.05000)." in page
    assert "differs by" not in proof_page([found], {"clicks": lines[:1]})


def test_the_order_of_the_models_is_compared_from_six_on() -> None:
    found = table(row=[{"name": f"m{n}", "expected": {"auc": 0.8 + 0.01 * n}} for n in range(6)])
    lines = [line(found, f"m{n}", 0, value) for n, value in enumerate((0.8, 0.82, 0.81, 0.83, 0.84, 0.85))]
    page = proof_page([found], {"clicks": lines})
    assert "Spearman's rank correlation of our means with the published values: 0.94." in page
    assert "Spearman" not in proof_page([found], {"clicks": lines[:5]})


def test_failed_runs_are_named_and_tables_without_runs_stand_at_the_end() -> None:
    found = table()
    failed = {**line(found, "dnn", 1, 0.0), "status": "failed", "error": "no"}
    page = proof_page([found], {"clicks": [line(found, "fm", 0, 0.8), failed]})
    assert "Failed runs, kept in the results: dnn (seed 1: no)." in page
    again = proof_page([found], {"clicks": [failed, line(found, "dnn", 1, 0.9)]})
    assert "dnn (seed 1: no; run again since)." in again
    only_failed = proof_page([found], {"clicks": [failed]})
    assert "Failed runs, kept in the results: dnn (seed 1: no)." in only_failed and "## Not run" not in only_failed
    empty = proof_page([found], {})
    assert "## Not run here" in empty and "### Clicks" in empty and "| dnn | 0.90000 | - |" in empty


def test_rows_that_were_not_run_say_where_their_values_come_from() -> None:
    rows = [{"name": "fm", "expected": {"auc": 0.8}, "source": "a paper"}, {"name": "dnn"}]
    page = proof_page([table(row=rows)], {})
    assert "- fm: published: a paper" in page
    assert "Rows: fm, dnn." in proof_page([table(row=[{"name": "fm"}, {"name": "dnn"}])], {})


def test_both_rules_of_choosing_an_epoch_are_shown() -> None:
    found = table()
    picked = {"epoch": 3, "auc": 0.85, "log_loss": 0.2}
    page = proof_page([found], {"clicks": [line(found, "fm", 0, 0.8, best_on_test=picked)]})
    assert (
        "best **on the test part** (1 of 1 match or are above):" in page
        and "| fm | 1 of 2 | 0.85000 | 0.20000 | 0.80000 | above |" in page
    )
    elsewhere = table(row=[{"name": "fm", "expected": {"auc": 0.8}, "source": "a paper that does not choose so"}])
    page = proof_page([elsewhere], {"clicks": [line(elsewhere, "fm", 0, 0.8, best_on_test=picked)]})
    assert "| fm | 1 of 2 | 0.85000 | 0.20000 | - | - |" in page


def test_differences_to_another_table_are_paired_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = table()
    monkeypatch.setattr(Table, "read", lambda name: exact)
    fast = table(compare="clicks", change={"train": {"lr": 0.5}})
    assert fast.row("fm").recipe(0).train.lr == 0.5 and fast.row("fm").recipe(0).train.epochs == 2
    theirs = [line(exact, "fm", seed, 0.8 + 0.01 * seed) for seed in range(3)]
    ours = [line(fast, "fm", seed, 0.81 + 0.01 * seed) for seed in range(3)]
    deep = [line(exact, "dnn", 0, 0.9)], [line(fast, "dnn", 0, 0.93)]
    both = paired_section(fast, [fast.row("fm"), fast.row("dnn")], {"fm": ours, "dnn": deep[1]}, theirs + deep[0])
    # The mean of .01 and .03, and its interval: t(1) = 12.706, s = .01414.
    assert "Over all 2 rows, each counted once: auc +0.02000 [-0.10706, +0.14706]" in both[0]
    text = "\n".join(paired_section(fast, [fast.row("fm")], {"fm": ours}, theirs))
    assert "Over all" not in text
    assert "| fm | 3 | +0.01000 [+0.01000, +0.01000] | +0.00000 [+0.00000, +0.00000] |" in text
