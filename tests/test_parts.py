"""Rows are parted as published, as given, or as the recipe says."""

from pathlib import Path
from typing import Any

import pytest

from crossfield.data.dataset import Dataset, load
from crossfield.data.public import public_set
from crossfield.errors import ConfigError, DataError
from crossfield.parts import is_public, part, with_public_options
from crossfield.recipe import Recipe

from .journeys.conftest import click_log


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    path = tmp_path / "clicks.parquet"
    click_log(1000).write_parquet(path)
    return path


def recipe_of(path: Path, **data: Any) -> Recipe:
    roles = {"label": "click", "user": "user_id", "item": "item_id", "time": "ts"}
    return Recipe.of({"model": {"name": "fm"}, "data": {"path": str(path), **roles, **data}})


def test_no_rows_are_an_error() -> None:
    with pytest.raises(ConfigError, match="name the rows to train on"):
        part(Recipe.of({"model": {"name": "fm"}}))


def test_a_public_name_that_is_spelt_wrong_gets_the_right_one() -> None:
    recipe = Recipe.of({"data": {"path": "frape", "label": "label"}, "model": {"name": "fm"}})
    with pytest.raises(DataError, match="folder frape; did you mean the public data set 'frappe'"):
        part(recipe)


def test_a_public_name_brings_its_options_behind_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = with_public_options({"data": {"path": "adult", "ignore": ["race"]}})["data"]
    assert values["label"] == "income" and values["ignore"] == ["race"] and values["path"] == "adult"
    assert with_public_options({"data": {"path": "adult"}}, "frappe")["data"]["label"] == "label"
    assert with_public_options({"data": {"path": "mine.csv"}}) == {"data": {"path": "mine.csv"}}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "adult").mkdir()
    assert not is_public("adult") and is_public("frappe")  # a file that is there wins


@pytest.mark.parametrize("split", ["random", "user"])
def test_runs_of_several_seeds_are_tested_on_the_same_rows(clicks: Path, split: str) -> None:
    def tested(**settings: object) -> list[object]:
        test = part(recipe_of(clicks, split=split).override(settings)).test
        assert isinstance(test, Dataset)
        return list(test.frame.collect().rows())

    plain = tested()
    assert tested(**{"train.seed": 1}) == plain
    assert tested(**{"data.split_seed": 1}) != plain
    whole = load(str(clicks), label="click", user="user_id", item="item_id", time="ts")
    assert plain == whole.split(split)[2].frame.collect().rows()


@pytest.mark.parametrize(
    ("settings", "split", "sizes"),
    [
        ({}, "time", (800, 100, 100)),
        ({"split": "random", "sizes": [0.5, 0.3, 0.2]}, "random", (500, 300, 200)),
    ],
)
def test_rows_are_parted_as_told(clicks: Path, settings: dict[str, object], split: str, sizes: tuple[int, ...]) -> None:
    parts = part(recipe_of(clicks, **settings))
    assert parts.split == split
    found = tuple(one.num_rows for one in (parts.train, parts.valid, parts.test))  # type: ignore[union-attr]
    assert sum(found) == 1000
    assert found == pytest.approx(sizes, abs=40)


@pytest.mark.parametrize(
    ("sizes", "split", "found"),
    [
        ([1.0, 0.0, 0.0], None, (1000, None, None)),
        ([0.9, 0.0, 0.1], "random", (900, None, 100)),
        ([0.9, 0.1, 0.0], "random", (900, 100, None)),
    ],
)
def test_a_part_of_size_0_is_left_out(
    clicks: Path, sizes: list[float], split: str | None, found: tuple[int | None, ...]
) -> None:
    parts = part(recipe_of(clicks, sizes=sizes, split=split))
    assert tuple(one and one.num_rows for one in (parts.train, parts.valid, parts.test)) == found
    assert parts.split == (split or "none")


def test_leave_one_out_leaves_one_out_where_one_part_is_wanted(clicks: Path) -> None:
    both, one = (
        part(recipe_of(clicks, sizes=sizes, split="leave_one_out")) for sizes in ([0.8, 0.1, 0.1], [0.9, 0, 0.1])
    )
    assert both.valid is not None and one.valid is None and both.test is not None and one.test is not None
    assert one.train.num_rows == both.train.num_rows + both.valid.num_rows
    assert one.test.num_rows == both.test.num_rows


def test_a_validation_file_is_used_as_given(clicks: Path) -> None:
    parts = part(recipe_of(clicks, valid=str(clicks)))
    assert parts.split == "given" and parts.test is None
    assert parts.valid is not None and parts.valid.num_rows == parts.train.num_rows == 1000


@pytest.mark.skipif(public_set("movielens-1m").missing() != (), reason="movielens-1m is not in CROSSFIELD_DATA")
def test_a_public_set_is_parted_by_the_files_that_are_there() -> None:
    values = with_public_options({"data": {"path": "movielens-1m"}, "model": {"name": "fm"}})
    parts = part(Recipe.of(values))
    assert parts.train.num_rows > 700_000 and parts.test is not None
