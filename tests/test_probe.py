"""Steps that are timed are real ones, and nothing stays of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

import crossfield.probe as probe
from crossfield.data.dataset import Dataset, load
from crossfield.errors import RunError
from crossfield.fitting import num_negatives
from crossfield.models import CATALOGUE
from crossfield.models.base import Model
from crossfield.preparation import Prepared, prepare
from crossfield.probe import run_probe, time_steps
from crossfield.recipe import Recipe
from crossfield.schema import FeatureSchema, Label

from .journeys.conftest import click_log

CPU = torch.device("cpu")


def recipe_of(name: str = "fm", **train: Any) -> Recipe:
    return Recipe.of({"model": {"name": name, "embedding_dim": 4}, "train": {"batch_size": 100, **train}})


def rows(num_rows: int = 1000, *, label: bool = True) -> Dataset:
    frame = click_log(num_rows)
    chosen = frame if label else frame.select("user_id", "item_id", "ts")
    return load(chosen, label="click" if label else None, user="user_id", item="item_id", time="ts")


def prepared(recipe: Recipe, folder: Path, *, label: bool = True, has_valid: bool = True) -> Prepared:
    train, valid = rows(label=label).split("time", sizes=(0.8, 0.2))
    return prepare(recipe, train, valid if has_valid else None, work=folder)


def model_of(recipe: Recipe, data: Prepared) -> Model:
    return CATALOGUE[recipe.name](data.encoder.model_schema, recipe.model)


@pytest.mark.parametrize("steps", [1, 7, 20])
def test_so_many_steps_are_made_whatever_the_epochs(tmp_path: Path, steps: int) -> None:
    recipe = recipe_of(epochs=1)
    data = prepared(recipe, tmp_path)
    model = model_of(recipe, data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    timed = time_steps(recipe, model, data, steps=steps)
    assert timed.steps == steps and timed.seconds > 0
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_rows_are_those_of_the_timed_steps(tmp_path: Path) -> None:
    # 800 rows in batches of 300: 300, 300, 200. The first step is not timed: 300 + 200 are.
    recipe = recipe_of(batch_size=300)
    data = prepared(recipe, tmp_path)
    assert data.train.num_rows == pytest.approx(800, abs=20)
    timed = time_steps(recipe, model_of(recipe, data), data, steps=2)
    assert timed.rows_per_second * timed.seconds == pytest.approx(data.train.num_rows - 300)


def test_drawn_negatives_cost_time_and_are_no_rows(tmp_path: Path) -> None:
    recipe = recipe_of("gmf", negatives=3)
    data = prepared(recipe, tmp_path, label=False)
    timed = time_steps(recipe, model_of(recipe, data), data, steps=4)
    assert timed.rows_per_second * timed.seconds == pytest.approx(400)


@pytest.mark.parametrize(
    ("train", "expected"),
    [({}, 4), ({"objective": "bpr"}, 1), ({"negatives": 7}, 7), ({"objective": "bpr", "negatives": 2}, 2)],
)
def test_negatives_are_drawn_where_there_is_no_label(train: dict[str, Any], expected: int) -> None:
    implicit = FeatureSchema((), user="u", item="i")
    assert num_negatives(recipe_of(**train), implicit) == expected
    assert num_negatives(recipe_of(**train), FeatureSchema((), Label("click"))) == 0


def test_a_slow_probe_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.0)
    recipe = recipe_of()
    data = prepared(recipe, tmp_path)
    assert time_steps(recipe, model_of(recipe, data), data, steps=50).steps == 1


@pytest.mark.parametrize("label", [True, False])
def test_a_probe_measures_the_evaluation_and_twice_the_batch(tmp_path: Path, label: bool) -> None:
    recipe = recipe_of("gmf")
    data = prepared(recipe, tmp_path, label=label)
    found = run_probe(recipe, data, steps=8, work=tmp_path, device=CPU, try_double=True)
    assert (found.timed.steps, found.double and found.double.steps) == (8, 2)
    assert found.evaluation_seconds is not None and found.evaluation_seconds > 0
    assert (found.threads, found.peak > 10_000_000) == (torch.get_num_threads(), True)


def test_evaluation_is_scaled_up_from_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, seen = recipe_of(), []

    def monitor(store: Any) -> Any:
        seen.append(store.num_rows)
        return lambda model: {}

    monkeypatch.setattr(probe, "_EVALUATED", 50)
    monkeypatch.setattr(probe, "click_monitor", monitor)
    run_probe(recipe, prepared(recipe, tmp_path), steps=1, work=tmp_path, device=CPU)
    assert seen == [50]


@pytest.mark.parametrize(("items", "expected"), [("drawn", 10), ("all", 25)])
def test_a_part_of_pairs_is_as_large_as_their_lists_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: str, expected: int
) -> None:
    recipe, seen = recipe_of("gmf", monitor_items=items), []

    def monitor(fewer: Prepared, _: Any) -> Any:
        assert fewer.valid is not None
        seen.append(fewer.valid.num_rows)
        return lambda model: {}

    monkeypatch.setattr(probe, "_EVALUATED", 1000)
    monkeypatch.setattr(probe, "ranking_monitor", monitor)
    data = prepared(recipe, tmp_path, label=False)
    assert data.entities is not None and len(data.entities.items) == 40
    run_probe(recipe, data, steps=1, work=tmp_path, device=CPU)
    assert seen == [expected]


def test_without_validation_rows_and_double(tmp_path: Path) -> None:
    recipe = recipe_of(threads=1, precision="fp32")
    found = run_probe(recipe, prepared(recipe, tmp_path, has_valid=False), steps=2, work=tmp_path, device=CPU)
    assert found.evaluation_seconds is None and found.double is None
    assert (found.threads, found.bf16) == (1, False)


def test_a_loss_that_is_not_finite_is_said_as_in_a_fit(tmp_path: Path) -> None:
    recipe = recipe_of(lr=1e30, optimizer="sgd")
    with pytest.raises(RunError, match=r"train\.lr"):
        run_probe(recipe, prepared(recipe, tmp_path), steps=100, work=tmp_path, device=CPU)
