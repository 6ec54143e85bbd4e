import shutil
from pathlib import Path

import polars as pl
import pytest

from crossfield.data.dataset import Dataset, load
from crossfield.errors import ConfigError, CorruptError, DataError, RunError
from crossfield.fitting import fit_bundle
from crossfield.preparation import (
    Prepared,
    check_unchanged,
    check_words,
    data_sha256,
    fingerprint,
    prepare,
    write_prepared,
)
from crossfield.recipe import Recipe

TRAIN = {"epochs": 1, "compile": "off", "threads": 1}
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


def test_files_of_one_name_in_several_folders_are_told_apart(cached: Path) -> None:
    def load_days() -> Dataset:
        return load(cached / "days", label="click")

    for day in (1, 2):
        (cached / "days" / f"day={day}").mkdir(parents=True)
        ROWS.write_parquet(cached / "days" / f"day={day}" / "part-0.parquet")
    prepared(load_days(), cached)
    assert prepared(load_days(), cached).reused
    ROWS.with_columns(click=1 - pl.col.click).write_parquet(cached / "days" / "day=1" / "part-0.parquet")
    again = prepared(load_days(), cached)
    assert not again.reused
    assert list(again.origin.train_sha256) == ["day=1/part-0.parquet", "day=2/part-0.parquet"]
    check_unchanged(again, str(cached / "days"))


def test_a_damaged_cache_is_made_again(cached: Path) -> None:
    rows = rows_of(cached / "rows.csv")
    store = prepared(rows, cached).train
    ids = store.folder / "categorical"
    ids.write_bytes(bytes([ids.read_bytes()[0] ^ 1]) + ids.read_bytes()[1:])
    again = prepared(rows, cached)
    assert not again.reused
    assert again.train.fingerprint == store.fingerprint
    assert prepared(rows, cached).reused


def test_a_cache_that_cannot_be_is_done_without_and_spoken_of(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cached / "file").touch()
    (cached / "work").mkdir()
    monkeypatch.setenv("CROSSFIELD_CACHE", str(cached / "file" / "cache"))
    rows = rows_of(cached / "rows.csv")
    found = prepared(rows, cached / "work")
    assert found.place == cached / "work" and not found.reused
    assert "cannot be kept in" in found.cache_note and "CROSSFIELD_CACHE names another" in found.cache_note
    said: list[str] = []
    train, valid = rows.split("random", sizes=(0.5, 0.5))
    fit_bundle(recipe_of(train=TRAIN), train, valid, work=cached / "fit", listener=lambda _: None, say=said.append)
    assert said.count(found.cache_note) == 1
    monkeypatch.setenv("CROSSFIELD_CACHE", str(cached / "cache"))
    assert prepared(rows, cached / "work").cache_note == ""


def test_rows_of_frames_leave_nothing_in_the_cache(cached: Path) -> None:
    rows = load(ROWS, label="click")
    prepared(rows, cached / "work")
    assert not (cached / "cache").exists()
    assert (cached / "work" / "train").is_dir()


def test_rows_in_memory_have_a_checksum_of_their_values_alone() -> None:
    [expected] = data_sha256(load(ROWS, label="click")).values()
    for same in (
        ROWS.to_pandas(),
        ROWS.lazy(),
        ROWS.with_columns(pl.col("user").cast(pl.Categorical), pl.col("age").cast(pl.Int8), none=pl.lit(None)),
        pl.concat([ROWS[:7], ROWS[7:]], rechunk=False),
    ):
        assert data_sha256(load(same, label="click")) == {"rows in memory": expected}
    for other in (ROWS.reverse(), ROWS[1:], ROWS.with_columns(age=pl.col("age") + 1), ROWS.rename({"age": "years"})):
        assert data_sha256(load(other, label="click")) != {"rows in memory": expected}


def test_the_fingerprint_minds_the_seed_only_where_rows_are_left_out(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "rows.csv")
    kept, thinned = {}, {}
    for seed in (0, 1):
        kept[seed] = fingerprint(recipe_of(train={"seed": seed}), rows, None)
        data = {"label": "click", "negative_rate": 0.5}
        thinned[seed] = fingerprint(recipe_of(train={"seed": seed}, data=data), rows, None)
    assert kept[0] == kept[1]
    assert thinned[0] != thinned[1]


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


def written(rows: Dataset, folder: Path, recipe: Recipe | None = None, *, overwrite: bool = False) -> Prepared:
    train, valid, test = rows.split("random", sizes=(0.6, 0.2, 0.2))
    recipe = recipe or recipe_of(data={"label": "click"})
    return write_prepared(recipe, train, valid, test, folder=folder, split="random", overwrite=overwrite)


def test_a_preparation_is_read_as_it_was_written(tmp_path: Path) -> None:
    before = written(rows_of(tmp_path / "rows.csv"), tmp_path / "prepared")
    (tmp_path / "rows.csv").unlink()
    now = Prepared.open(tmp_path / "prepared")
    assert now.encoder.fingerprint == before.encoder.fingerprint
    assert [one.num_rows for one in (now.train, now.valid, now.test) if one] == [24, 8, 8]
    assert (now.train.categorical == before.train.categorical).all()
    assert now.origin == before.origin and list(now.origin.train_sha256) == ["rows.csv"]
    assert now.words == before.words and now.words is not None
    assert (now.words.split, now.words.seed, now.words.data["label"]) == ("random", None, "click")
    assert Prepared.open(str(tmp_path / "prepared")).origin == before.origin


def test_a_preparation_is_not_replaced_unasked(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "rows.csv")
    written(rows, tmp_path / "prepared")
    with pytest.raises(RunError, match=r"holds something already; .*--overwrite"):
        written(rows, tmp_path / "prepared")
    rarer = recipe_of(data={"label": "click"}, encoder={"min_count": 15})
    assert len(written(rows, tmp_path / "prepared", rarer, overwrite=True).encoder.vocabulary("user")) < 3


@pytest.mark.parametrize(
    "name", ["encoder/encoder.json", "encoder/vocabularies.arrow", "train/categorical", "test/labels"]
)
def test_a_damaged_preparation_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "prepared"
    written(rows_of(tmp_path / "rows.csv"), folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CorruptError, match=f"{Path(name).name} was changed"):
        Prepared.open(folder)


def test_a_store_of_another_preparation_is_refused(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "rows.csv")
    written(rows, tmp_path / "one")
    written(rows, tmp_path / "two", recipe_of(data={"label": "click"}, encoder={"dense": "log1p"}))
    shutil.rmtree(tmp_path / "one" / "train")
    shutil.copytree(tmp_path / "two" / "train", tmp_path / "one" / "train")
    with pytest.raises(CorruptError, match="manifest"):
        Prepared.open(tmp_path / "one")


def test_what_is_no_preparation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="is not a Crossfield preparation"):
        Prepared.open(tmp_path)
    train, valid = rows_of(tmp_path / "rows.csv").split("random", sizes=(0.5, 0.5))
    (tmp_path / "work").mkdir()
    prepare(recipe_of(), train, valid, work=tmp_path / "work")
    with pytest.raises(CorruptError, match="without the words of a preparation"):
        Prepared.open(tmp_path / "work")


def test_other_words_than_the_prepared_ones_are_refused(tmp_path: Path) -> None:
    words = written(rows_of(tmp_path / "rows.csv"), tmp_path / "prepared").words
    assert words is not None
    data = {"label": "click"}
    check_words(words, recipe_of(data=data, train={"lr": 0.5, "seed": 3}))
    thinned = recipe_of(data={**data, "negative_rate": 0.5})
    seeded = written(rows_of(tmp_path / "rows.csv"), tmp_path / "thinned", thinned).words
    assert seeded is not None
    with pytest.raises(ConfigError, match=r"train\.seed was 0"):
        check_words(seeded, recipe_of(data={**data, "negative_rate": 0.5}, train={"seed": 3}))
    for other, said in (
        (
            {"data": data, "encoder": {"min_count": 5}},
            r"encoder\.min_count was 1 when these rows were prepared and is 5",
        ),
        ({"data": {**data, "user": "user"}}, r"data\.user was None .* is 'user' now"),
        ({"data": {**data, "split_seed": 3}}, r"data\.split_seed was 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_words(words, recipe_of(**other))


def test_files_that_changed_since_are_refused(tmp_path: Path) -> None:
    prepared = written(rows_of(tmp_path / "rows.csv"), tmp_path / "prepared")
    check_unchanged(prepared, str(tmp_path / "rows.csv"))
    rows_of(tmp_path / "rows.csv", ROWS.head(8))
    with pytest.raises(ConfigError, match="was changed since its rows were prepared"):
        check_unchanged(prepared, str(tmp_path / "rows.csv"))
