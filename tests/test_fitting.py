from pathlib import Path

import pytest

from crossfield.bundle import RECIPE
from crossfield.data.dataset import load
from crossfield.errors import ConfigError
from crossfield.files import write_json
from crossfield.fitting import check_monitor, check_same, check_tables, fit_bundle, is_begun
from crossfield.recipe import Recipe

ROWS = [{"y": row % 2, "u": f"u{row % 3}", "i": f"i{row % 5}"} for row in range(30)]


def recipe_of(**sections: dict[str, object]) -> Recipe:
    return Recipe.of({"model": {"name": "logistic_regression"}, **sections})


def test_recipes_are_the_same_but_for_what_may_change() -> None:
    now = recipe_of(train={"epochs": 3, "threads": 1}).plain()
    check_same(recipe_of(train={"epochs": 9}).plain(), now)
    with pytest.raises(ConfigError, match=r"train\.epochs was 9 when this run began and is 3 now"):
        check_same(recipe_of(train={"epochs": 9}).plain(), now, free={"train.threads"})
    check_same(recipe_of(calibration={"method": "platt"}).plain(), now)
    check_same({name: some for name, some in now.items() if name != "calibration"}, now)  # of an older version
    with pytest.raises(ConfigError, match=r"calibration\.method was 'platt'"):
        check_same(recipe_of(calibration={"method": "platt"}).plain(), now, free={"train.threads"})
    with pytest.raises(ConfigError, match=r"train\.lr was 0\.5 .*--overwrite"):
        check_same(recipe_of(train={"lr": 0.5}).plain(), now)


def test_work_that_was_begun_before_there_was_a_setting_is_gone_on_with(tmp_path: Path) -> None:
    recipe, before = recipe_of(), recipe_of().plain()
    del before["data"]["split_seed"]
    write_json(tmp_path / RECIPE, before)
    assert is_begun(recipe, tmp_path)
    assert not is_begun(recipe.override({"data.split_seed": 1}), tmp_path)
    write_json(tmp_path / RECIPE, {**before, "model": {"name": "gone"}})
    assert not is_begun(recipe, tmp_path)


def test_a_monitor_that_is_not_measured_is_refused_with_those_that_are(tmp_path: Path) -> None:
    clicks, pairs = (load(ROWS, **roles) for roles in ({"label": "y"}, {"user": "u", "item": "i", "ignore": ["y"]}))
    for rows, monitor, known in (
        (clicks, "acu", "auc, log_loss"),
        (clicks, "hr@10", "auc, log_loss"),
        (pairs, "recall@20", "hr@10, ndcg@10"),
    ):
        recipe = recipe_of(train={"monitor": monitor})
        with pytest.raises(ConfigError, match=rf"train\.monitor = '{monitor}' is not measured .*; known: {known}$"):
            fit_bundle(recipe, rows, rows, work=tmp_path / "work", listener=print, say=print)
    assert not (tmp_path / "work").exists(), "it is said before anything is encoded"
    check_monitor(recipe_of(train={"monitor": "recall@20", "monitor_items": "all"}), pairs.schema)
    check_monitor(recipe_of(train={"monitor": "log_loss"}), clicks.schema)
    check_monitor(Recipe.of({"model": {"name": "popularity"}, "train": {"monitor": "auc"}}), pairs.schema)


def test_what_torchrec_cannot_do_is_refused_before_rows_are_read() -> None:
    with pytest.raises(ConfigError, match=r'train\.table_cache is for train\.tables = "torchrec"; set that too'):
        check_tables(recipe_of(train={"table_cache": 0.5}), "cpu")
    fused = {"tables": "torchrec", "optimizer": "sgd"}
    with pytest.raises(ConfigError, match=r"train\.table_cache keeps rows on a GPU, and this is a CPU"):
        check_tables(recipe_of(train={**fused, "table_cache": 0.5}), "cpu")
    with pytest.raises(ConfigError, match=r"train\.cuda_graph is not for"):
        check_tables(recipe_of(train={**fused, "cuda_graph": True}), "cuda")
