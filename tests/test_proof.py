"""Tables as data, their recipes, and verdicts by rule against hand-checked values."""

import math
from statistics import fmean, stdev
from typing import Any

import pytest
from scipy import stats

from crossfield.errors import ConfigError
from crossfield.proof import (
    Line,
    Mean,
    Row,
    Spread,
    Table,
    current,
    gap_of_means,
    judge,
    rank_correlation,
    table_names,
    verdict,
)

TABLE: dict[str, Any] = {
    "title": "A table",
    "about": "About it.",
    "data": "frappe",
    "metrics": ["auc", "log_loss"],
    "margin": 0.001,
    "published": "nobody",
    "seeds": 3,
    "base": {"model": {"name": "fm", "embedding_dim": 4}, "train": {"lr": 0.01, "seed": 7}},
    "row": [
        {"name": "plain", "expected": {"auc": 0.9}},
        {"name": "wider", "model": {"embedding_dim": 8}, "expected": {"auc": 0.8}, "seeds": 1},
        {"name": "deep", "recipe": "frappe/deepfm", "train": {"lr": 0.5}, "start_from": ["plain"]},
    ],
}


def table(**changes: Any) -> Table:
    return Table.of("mine", {**TABLE, **changes})


def line(row: Row, seed: int, auc: float = 0.9, status: str = "ok", **more: Any) -> Line:
    head = {"table": row.table, "row": row.name, "row_sha256": row.sha256, "seed": seed, "status": status}
    return {**head, "metrics": {"auc": auc, "log_loss": 0.1}, **more}


def test_a_row_changes_single_keys_of_the_base() -> None:
    plain, wider, deep = table().rows
    assert plain.recipe(2).train.seed == 2 and plain.recipe(0).train.lr == 0.01
    assert wider.recipe(0).model.model_dump()["embedding_dim"] == 8 and wider.recipe(0).train.lr == 0.01
    assert deep.recipe(0).name == "deepfm" and deep.recipe(0).train.lr == 0.5
    assert deep.recipe(0).train.optimizer == "adam"  # the recipe's own
    assert plain.recipe(0).data.path == "frappe" and plain.recipe(0).data.label == "label"


def test_a_row_is_known_by_what_it_says_not_by_defaults_or_seeds() -> None:
    first, second = table(), table(base={**TABLE["base"], "train": {"lr": 0.01, "seed": 8}})
    assert first.row("plain").sha256 == second.row("plain").sha256
    assert first.row("plain").sha256 != first.row("wider").sha256
    assert len(first.row("plain").sha256) == 64


def test_a_recipe_is_named_where_it_runs_unchanged() -> None:
    assert Table.read("frappe").row("deepfm").recipe_name == "frappe/deepfm"
    assert Table.read("frappe").row("crossnet").recipe_name is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row": [{"name": "a"}, {"name": "a"}]}, "two rows are named 'a'"),
        ({"row": [{"name": "a", "start_from": ["b"]}]}, "a starts from 'b', which is no row above it"),
        ({"row": [{"name": "a", "start_from": ["b"]}, {"name": "b"}]}, "a starts from 'b', which is no row above it"),
        (
            {"row": [{"name": "a"}, {"name": "b", "start_from": ["a"]}, {"name": "c", "start_from": ["b"]}]},
            "c starts from 'b', which starts from others itself",
        ),
        ({"row": [{"name": "a", "modle": {}}]}, "modle"),
        ({"margin": -1.0}, "margin"),
    ],
)
def test_a_wrong_table_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        table(**changes)


def test_unknown_tables_and_rows_get_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="frappe"):
        Table.read("frape")
    with pytest.raises(ConfigError, match="wider"):
        table().pick(["wide"])
    assert [one.name for one in table().pick(["wider", "plain"])] == ["plain", "wider"]
    assert len(table().pick([])) == 3


@pytest.mark.parametrize(
    "values",
    [(0.9, 0.91), (0.5, 0.7, 0.9, 0.6, 0.65), *(tuple(0.1 * n for n in range(count)) for count in (9, 12, 30))],
)
def test_intervals_are_students(values: tuple[float, ...]) -> None:
    spread = Spread(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=spread.mean, scale=stats.sem(values))
    assert spread.of_mean == pytest.approx((low, high), rel=1e-3)
    single = stats.t.ppf(0.975, len(values) - 1) * spread.sd * math.sqrt(1 + 1 / len(values))
    assert spread.single_run == pytest.approx((spread.mean - single, spread.mean + single), rel=1e-3)


def test_the_interval_of_a_difference_of_means_is_welchs() -> None:
    ours, theirs = (0.84, 0.85, 0.86, 0.87), (0.80, 0.82, 0.84)
    gap = gap_of_means(Spread(ours), Mean(value=fmean(theirs), sd=stdev(theirs), n=3))
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert (gap.low, gap.high) == pytest.approx((expected.low, expected.high), rel=1e-6)
    assert gap.mean == pytest.approx(0.035)


def test_verdicts_follow_the_rule() -> None:
    tight, wide, one = Spread((0.9, 0.9001, 0.9002)), Spread((0.88, 0.9, 0.92)), Spread((0.9,))
    assert verdict(tight, 0.905, margin=0.001) == "below" and verdict(tight, 0.895, margin=0.001) == "above"
    assert verdict(tight, 0.901, margin=0.001) == "matches"  # by the margin
    assert verdict(wide, 0.95, margin=0.001) == "matches"  # by the interval
    assert verdict(one, 0.9009, margin=0.001) == "matches" and verdict(one, 0.902, margin=0.001) == "below"
    assert one.single_run is None and one.sd is None


def test_what_speaks_against_comparing_stands_before_the_rules_word() -> None:
    rows = table(
        row=[
            {"name": "a", "expected": {"auc": 0.8}, "protocol": "another split"},
            {"name": "b", "expected": {"auc": 0.8}, "uncertain": "two logs differ"},
            {"name": "c"},
        ]
    ).rows
    said = [judge(one, Spread((0.9,)), metric="auc", margin=0.001) for one in rows]
    assert said == ["different protocol (above)", "published value uncertain (above)", "-"]


def test_rank_correlation_is_spearmans() -> None:
    first, second = [0.3, 0.1, 0.2, 0.5, 0.5], [30.0, 10.0, 40.0, 20.0, 60.0]
    assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert math.isnan(rank_correlation([1.0, 1.0], [1.0, 2.0]))


def test_current_runs_are_finished_ones_of_the_row_as_it_is() -> None:
    plain, wider, _ = table().rows
    old = {**line(plain, 1), "row_sha256": "another"}
    lines = [
        line(plain, 2, 0.7),
        line(plain, 0),
        old,
        line(plain, 3, status="failed"),
        line(plain, 2, 0.8),
        line(wider, 4),
    ]
    assert [one["seed"] for one in current(plain, lines)] == [0, 2]
    assert current(plain, lines)[1]["metrics"]["auc"] == 0.7  # the first of two


@pytest.mark.parametrize("name", table_names())
def test_every_table_gives_whole_recipes(name: str) -> None:
    found = Table.read(name)
    for row in found.rows:
        assert row.recipe(0).data.path == found.spec.data
        assert set(row.spec.expected) <= set(found.spec.metrics)
        assert all(0 < value < 1 for value in row.spec.expected.values())


def test_runs_of_an_earlier_revision_do_not_count() -> None:
    first, again = (table(row=[{"name": "lr", **more}]).row("lr") for more in ({"revision": 1}, {"revision": 2}))
    assert first.sha256 == table(row=[{"name": "lr"}]).row("lr").sha256
    assert current(first, [line(first, 0)]) and not current(again, [line(first, 0)])


def test_runs_that_start_from_a_row_count_as_long_as_it_stays() -> None:
    revised = table(row=[{**TABLE["row"][0], "revision": 2}, *TABLE["row"][1:]])
    changed = table(row=[plain_of(0.02), *TABLE["row"][1:]])
    assert len({one.row("deep").sha256 for one in (table(), revised, changed)}) == 3
    assert revised.row("wider").sha256 == table().row("wider").sha256
    assert table().row("deep").starts == (table().rows[0],)


def plain_of(lr: float) -> dict[str, Any]:
    return {**TABLE["row"][0], "train": {"lr": lr}}


def test_what_is_compared_with_a_revised_row_is_revised_too() -> None:
    below = Table.read("frappe").row("finalmlp")
    same, own, other = (
        table(compare="frappe", row=[{"name": "finalmlp", **more}]).rows[0]
        for more in ({}, {"revision": 2}, {"recipe": "frappe/deepfm"})
    )
    assert (below.revision, same.revision, own.revision, other.revision) == (2, 2, 3, 1)
    assert same.sha256 != own.sha256 != below.sha256
