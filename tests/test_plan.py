"""Plans of small fits against numbers worked out by hand."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

import crossfield.plan as planning
from crossfield.data.dataset import Dataset, load
from crossfield.errors import ConfigError, DataError, SchemaError
from crossfield.plan import OPTIMIZERS, Plan, make_plan
from crossfield.probe import Probe, Timed
from crossfield.recipe import Recipe

CPU = torch.device("cpu")
# 100 rows: 3 users, 6 items of which 2 are met once, one number.
FRAME = pl.DataFrame(
    {
        "click": [0, 1] * 50,
        "user": ["a", "b", "c", "a"] * 25,
        "item": ["once", "never again"] + ["p", "q", "r", "s", "p", "q", "r"] * 14,
        "price": [float(one) for one in range(100)],
    }
)


def recipe_of(name: str = "fm", *, encoder: dict[str, Any] | None = None, **train: Any) -> Recipe:
    model = {"name": name} if name == "popularity" else {"name": name, "embedding_dim": 4}
    train = {"batch_size": 40, "compile": "off", "precision": "fp32", **train}
    return Recipe.of({"model": model, "encoder": encoder or {}, "train": train})


def rows(frame: pl.DataFrame = FRAME) -> Dataset:
    return load(frame, label="click", user="user", item="item", kinds={"price": "dense"})


def plan_of(recipe: Recipe, *, steps: int = 0, valid: bool = True) -> Plan:
    return make_plan(recipe, rows(), rows(FRAME.head(20)) if valid else None, steps=steps, out=Path(), device=CPU)


@pytest.mark.parametrize(("steps", "ranks"), [(5, None), (0, 2)])
def test_of_tables_that_torchrec_holds_a_plan_only_counts(steps: int, ranks: int | None) -> None:
    recipe = recipe_of(tables="torchrec", optimizer="sgd")
    assert plan_of(recipe).probe is None
    with pytest.raises(ConfigError, match=r"a plan only counts: .*add --no-probe, and leave --ranks out"):
        make_plan(recipe, rows(), None, steps=steps, out=Path(), device=CPU, ranks=ranks)


def test_what_is_counted_without_a_step() -> None:
    found = plan_of(recipe_of())
    assert (found.train_rows, found.valid_rows, found.dense_features) == (100, 20, 1)
    assert [(one.name, one.rows, one.parameters, one.seen_once) for one in found.fields] == [
        ("item", 8, 40, 2),  # 6 items, missing, unseen; a weight and a vector of 4 each
        ("user", 5, 25, 0),
    ]
    # Beside the tables a bias, and a weight and a vector for the price.
    assert (found.table_rows, found.footprint.net_parameters, found.footprint.parameters) == (13, 6, 71)
    weights = 71 * 4
    assert found.optimizers["sgd"] == 0 and found.optimizers["adagrad"] == weights
    assert tuple(found.optimizers) == OPTIMIZERS
    assert found.optimizers["lazy_adam"] == found.footprint.optimizer
    assert found.checkpoint == 2 * weights + found.footprint.optimizer
    assert found.needed == found.checkpoint + found.footprint.gradients + found.footprint.activations
    assert found.fits and found.probe is None and found.no_probe == "not asked for"
    assert found.total_seconds is found.epoch_seconds is None


def test_the_probe_makes_steps_and_the_plan_is_json() -> None:
    found = plan_of(recipe_of(epochs=7), steps=3)
    assert found.probe is not None and found.probe.timed.steps == 3 and found.no_probe == ""
    assert found.probe.double is not None  # 80 of 100 rows
    read = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert read["recipe"]["train"]["epochs"] == 7
    assert read["footprint"]["parameters"] == 71 and read["probe"]["timed"]["steps"] == 3
    assert read["epoch_seconds"] == pytest.approx(100 / read["probe"]["timed"]["rows_per_second"])


def test_several_ranks_need_rows_and_no_step() -> None:
    found = make_plan(recipe_of(), rows(), None, steps=0, out=Path(), device=CPU, ranks=4)
    assert found.probe is None and found.no_probe == "not asked for"
    assert found.ranks is not None and found.ranks.ranks == 4 and plan_of(recipe_of()).ranks is None
    read = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert read["ranks"]["rank_bytes"] == found.ranks.rank_bytes
    assert sum(one["rows"] for one in read["ranks"]["tables"]) == 2 * found.table_rows
    with pytest.raises(ConfigError, match="1 rank or more, not 0"):
        make_plan(recipe_of(), rows(), None, steps=0, out=Path(), device=CPU, ranks=0)


def test_time_is_epochs_and_evaluations() -> None:
    probe = Probe(Timed(9, 1.0, 50.0), None, evaluation_seconds=3.0, threads=1, bf16=False, peak=1)
    found = replace(plan_of(recipe_of(epochs=7, evals_per_epoch=2)), probe=probe)
    assert found.epoch_seconds == 2.0
    assert found.total_seconds == 7 * (2.0 + 2 * 3.0)
    assert replace(found, probe=replace(probe, evaluation_seconds=None)).total_seconds == 14.0


def test_without_validation_no_best_weights() -> None:
    with_valid, without = plan_of(recipe_of()), plan_of(recipe_of(), valid=False)
    assert with_valid.needed - without.needed == with_valid.footprint.weights


def test_only_as_many_rows_as_there_are_count_for_a_step() -> None:
    small, large = plan_of(recipe_of(batch_size=100)), plan_of(recipe_of(batch_size=100_000))
    assert small.footprint.activations == large.footprint.activations > 0


@pytest.mark.parametrize(("available", "batch", "expected"), [(10**9, 50, True), (10**9, 51, False), (None, 50, True)])
def test_twice_the_batch_needs_rows(available: int | None, batch: int, expected: bool) -> None:
    assert replace(plan_of(recipe_of(batch_size=batch)), available=available).can_double is expected


def test_twice_the_batch_needs_room() -> None:
    found = plan_of(recipe_of(batch_size=50))
    assert not replace(found, available=found.needed + found.footprint.step - 1).can_double


def test_what_would_not_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "available_memory", lambda device: 4_000)
    found = plan_of(recipe_of(), steps=3)
    assert found.fits is False and found.probe is None and found.no_probe == "it would not fit in memory"
    narrow = next(one for one in found.savings if one.setting == "model.embedding_dim=2")
    again = plan_of(recipe_of().override({"model.embedding_dim": 2}))
    assert narrow.needed == again.needed < found.needed
    monkeypatch.setattr(planning, "available_memory", lambda device: None)
    found = plan_of(recipe_of(), steps=1)
    assert found.fits is None and found.savings == () and found.probe is not None


def test_hashed_ids_are_not_said_to_be_rare() -> None:
    found = plan_of(recipe_of(encoder={"hash_buckets": 50}))
    assert [(one.rows, one.seen_once) for one in found.fields] == [(52, 0), (52, 0)]


def test_a_solved_model_has_no_steps() -> None:
    found = plan_of(recipe_of("popularity"), steps=3)
    assert found.no_probe == "popularity is solved in one pass over the rows"
    assert (found.footprint.optimizer, found.footprint.weights) == (0, 8 * 4)
    assert (found.valid_rows, found.needed, found.checkpoint) == (20, 8 * 4, 0), "no best weights, no checkpoints"


def test_negatives_are_part_of_a_step() -> None:
    implicit = load(FRAME.select("user", "item"), user="user", item="item")
    found = [
        make_plan(recipe_of("gmf", negatives=one), implicit, None, steps=0, out=Path(), device=CPU) for one in (1, 3)
    ]
    assert found[1].footprint.activations == 2 * found[0].footprint.activations


def test_disk_is_that_of_the_folder_above_the_one_to_be(tmp_path: Path) -> None:
    out = tmp_path / "not" / "there" / "yet"
    found = make_plan(recipe_of(), rows(), None, steps=0, out=out, device=CPU)
    assert found.disk_free > 0 and not out.parent.exists()


@pytest.mark.parametrize(
    ("frame", "recipe", "error"),
    [
        (FRAME.with_columns(pl.lit(2).alias("click")), recipe_of(), DataError),
        (FRAME.clear(), recipe_of(), DataError),
        (FRAME, recipe_of(objective="bpr"), ConfigError),
        (FRAME.select("click", "user"), recipe_of(), SchemaError),
    ],
)
def test_mistakes_are_those_of_a_fit_and_leave_nothing(
    frame: pl.DataFrame, recipe: Recipe, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(error):
        data = load(frame, label="click", kinds={one: "categorical" for one in frame.columns if one != "click"})
        make_plan(recipe, data, None, steps=2, out=tmp_path, device=CPU)
    # A folder of torch's own, once a process.
    left = [one.name for one in tmp_path.iterdir() if not one.name.startswith("torchinductor")]
    assert left == []
