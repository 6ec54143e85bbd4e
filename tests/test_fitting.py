from pathlib import Path

import polars as pl
import pytest

from crossfield.data.dataset import Dataset, load
from crossfield.errors import ConfigError, DataError
from crossfield.fitting import Prepared, check_same, fingerprint, prepare
from crossfield.recipe import Recipe

ROWS = pl.DataFrame({"user": ["a", "b", "c", "a"] * 10, "age": [3, 1, 2, 5] * 10, "click": [0, 1, 1, 0] * 10})


def rows_of(path: Path, frame: pl.DataFrame = ROWS) -> Dataset:
    frame.write_csv(path)
    return load(path, label="click")


def recipe_of(**sections: dict[str, object]) -> Recipe:
    return Recipe.of({"model": {"name": "logistic_regression"}, **sections})


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSFIELD_CACHE", str(tmp_path / "cache"))
    return tmp_path


def prepared(rows: Dataset, work: Path, recipe: Recipe | None = None) -> Prepared:
    train, valid = rows.split("random", sizes=(0.5, 0.5))
    return prepare(recipe or recipe_of(), train, valid, work=work)


def test_unchanged_files_are_encoded_once(cached: Path) -> None:
    rows = rows_of(cached / "rows.csv")
    first, second = (prepared(rows, cached / work) for work in ("one", "two"))
    assert (first.reused, second.reused) == (False, True)
    assert second.encoder.fingerprint == first.encoder.fingerprint
    assert (second.train.encoded.rows == first.train.encoded.rows).all()
    assert second.valid is not None and second.valid.num_rows == 20


def test_other_rows_settings_or_parts_are_encoded_again(cached: Path) -> None:
    rows = rows_of(cached / "rows.csv")
    prepared(rows, cached)
    assert not prepared(rows, cached, recipe_of(encoder={"min_count": 5})).reused
    assert not prepared(rows_of(cached / "rows.csv", ROWS.with_columns(age=pl.col.age + 1)), cached).reused
    train, valid = rows_of(cached / "rows.csv").split("random", sizes=(0.5, 0.5), seed=1)
    assert not prepare(recipe_of(), train, valid, work=cached).reused, "the same files, other halves"


def test_a_damaged_cache_is_made_again(cached: Path) -> None:
    rows = rows_of(cached / "rows.csv")
    store = prepared(rows, cached).train
    ids = store.folder / "categorical"
    ids.write_bytes(bytes([ids.read_bytes()[0] ^ 1]) + ids.read_bytes()[1:])
    again = prepared(rows, cached)
    assert not again.reused
    assert again.train.fingerprint == store.fingerprint
    assert prepared(rows, cached).reused


def test_rows_of_frames_leave_nothing_in_the_cache(cached: Path) -> None:
    rows = load(ROWS, label="click")
    prepared(rows, cached / "work")
    assert not (cached / "cache").exists()
    assert (cached / "work" / "train").is_dir()


def test_the_fingerprint_minds_the_seed_only_where_rows_are_left_out(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "rows.csv")
    kept, thinned = {}, {}
    for seed in (0, 1):
        kept[seed] = fingerprint(recipe_of(train={"seed": seed}), rows, None)
        data = {"label": "click", "negative_rate": 0.5}
        thinned[seed] = fingerprint(recipe_of(train={"seed": seed}, data=data), rows, None)
    assert kept[0] == kept[1]
    assert thinned[0] != thinned[1]


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


def test_what_the_quick_checks_find_is_kept_with_the_rows(cached: Path) -> None:
    leaky = pl.concat([ROWS] * 5).with_columns(leak=pl.col.click * 2 + pl.col.age / 100)
    rows = rows_of(cached / "rows.csv", leaky)
    first, second = (prepared(rows, cached / work) for work in ("one", "two"))
    assert second.reused and ("error", "leak") in [(one.severity, one.where) for one in first.findings]
    assert first.findings == second.findings


def test_one_class_is_refused(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "rows.csv", ROWS.with_columns(click=pl.lit(1)))
    with pytest.raises(
        DataError, match=r"click is true in every row of rows\.csv \(train\), so there is nothing to learn"
    ):
        prepared(rows, tmp_path)
