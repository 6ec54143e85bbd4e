import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crossfield import verbs
from crossfield.data.options import DataConfig
from crossfield.data.public import PUBLIC, PublicData, PublicSet
from crossfield.data.public.record import load_with
from crossfield.errors import ConfigError
from crossfield.models import CATALOGUE

from .journeys.conftest import click_log

ROLES = {"data.label": "click", "data.user": "user_id", "data.item": "item_id", "data.time": "ts"}


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    path = tmp_path / "clicks.parquet"
    click_log(1000).write_parquet(path)
    return path


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('[data]\nlabel = "y"\n[model]\nname = "fm"\nembedding_dim = 4\n[train]\nlr = 0.5\nepochs = 7\n')
    recipe = verbs.resolve_recipe(path, None, {"train.lr": 0.25, "data.user": "u"})
    assert (recipe.train.lr, recipe.train.epochs, recipe.data.label, recipe.data.user) == (0.25, 7, "y", "u")
    assert verbs.resolve_recipe(path, "deepfm", {}).plain()["model"]["embedding_dim"] == 16


@pytest.mark.parametrize("line", ['model = "deepfm"', 'data = "a.csv"', "train = 3"])
def test_a_value_in_place_of_a_section_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f"{line}\n")
    with pytest.raises(ConfigError, match="not a section of keys and values"):
        verbs.resolve_recipe(path, "fm", {})


def test_a_public_name_brings_its_own_columns_which_flags_may_change() -> None:
    recipe = verbs.resolve_recipe(None, "fm", {"data.path": "adult", "data.ignore": ["fnlwgt", "race"]})
    assert (recipe.data.label, recipe.data.positive) == ("income", ">50K")
    assert recipe.data.ignore == ("fnlwgt", "race")


def test_committed_recipes_are_found_by_name_and_all_resolve() -> None:
    folder = Path(verbs.__file__).parent / "recipes"
    names = [path.relative_to(folder).with_suffix("") for path in sorted(folder.rglob("*.toml"))]
    assert Path("frappe/deepfm") in names
    for name in names:
        assert verbs.resolve_recipe(name, None, {}).data.path == name.parts[0]


def test_no_model_is_named() -> None:
    with pytest.raises(ConfigError, match="name a model with --model"):
        verbs.resolve_recipe(None, None, {})


def test_every_key_is_described() -> None:
    text = verbs.describe_keys(verbs.resolve_recipe(None, "deepfm", {}))
    for key in ("[data]", "[encoder]", "[train]", "[model (deepfm)]", "embedding_dim = 16", "lr = 0.001"):
        assert key in text
    for kind in CATALOGUE.values():
        assert all(one["doc"] for one in verbs.settings_of(kind.config_type)), kind


def test_models_have_a_paper_and_a_link() -> None:
    listed = verbs.models(None).json
    assert [one["name"] for one in listed] == list(CATALOGUE)
    assert all(one["link"].startswith("https://") for one in listed)
    one = verbs.models("deepfm")
    assert "y_FM" in one.text and json.dumps(one.json)
    with pytest.raises(ConfigError, match="did you mean 'deepfm'"):
        verbs.models("depfm")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv"])
def test_frames_are_written_one_after_the_other(tmp_path: Path, suffix: str) -> None:
    frames = [pl.DataFrame({"a": [1, 2], "score": [0.5, 0.25]}), pl.DataFrame({"a": [3], "score": [1.0]})]
    path = tmp_path / f"out{suffix}"
    assert verbs.write_frames(iter(frames), path, suffix) == 3
    read = (
        pl.read_parquet(path)
        if suffix == ".parquet"
        else pl.read_csv(path, separator="," if suffix == ".csv" else "\t")
    )
    assert read.equals(pl.concat(frames))


def test_rows_are_not_replaced_by_what_is_made_of_them(tmp_path: Path, clicks: Path) -> None:
    (tmp_path / "parts").mkdir()
    member = tmp_path / "parts" / "1.csv"
    click_log(10).write_csv(member)
    link, hard = tmp_path / "link.csv", tmp_path / "hard.csv"
    link.symlink_to(member)
    hard.hardlink_to(member)
    for data in (member, tmp_path / "parts", f"{tmp_path}/parts/*.csv", link):
        for out in (member, link, hard, tmp_path / "parts" / ".." / "parts" / "1.csv"):
            with pytest.raises(ConfigError, match="would be lost"):
                verbs.refuse_to_replace(str(data), out)
    verbs.refuse_to_replace(str(member), clicks)
    verbs.refuse_to_replace(str(member), tmp_path / "new.csv")


def test_no_command_writes_over_the_rows_it_reads(clicks: Path, tmp_path: Path) -> None:
    before = clicks.read_bytes()
    with pytest.raises(ConfigError, match="would be lost"):
        verbs.predict(tmp_path / "no run", str(clicks), clicks, device="cpu")
    with pytest.raises(ConfigError, match="would be lost"):
        verbs.schema(str(clicks), clicks, {})
    with pytest.raises(ConfigError, match="would be lost"):
        verbs.tour(clicks, str(clicks), {}, models=None, everything=False, seeds=1, quick=True, quiet=True)
    assert clicks.read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({}, (320, 40, 40)),
        ({"data.sizes": [0.5, 0.25, 0.25]}, (200, 100, 100)),
        ({"data.split": "user", "data.user": "user_id"}, None),
    ],
)
def test_a_tour_parts_own_rows_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], rows: tuple[int, ...] | None
) -> None:
    click_log(400).write_csv(tmp_path / "clicks.csv")
    given: list[PublicData] = []

    def stop(rows: PublicData, **_: object) -> None:
        given.append(rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(verbs, "run_tour", stop)
    with pytest.raises(KeyboardInterrupt):
        tour_of(tmp_path / "clicks.csv", {"data.label": "click", **settings})
    (found,) = given
    assert found.valid is not None and found.test is not None
    parts = [one.frame.collect() for one in (found.train, found.valid, found.test)]
    if rows is not None:
        assert tuple(map(len, parts)) == rows
    else:
        assert not {*parts[0]["user_id"]} & {*parts[2]["user_id"]}


def tour_of(data: Path | str | None, settings: dict[str, Any]) -> None:
    name = None if data is None else str(data)
    verbs.tour(Path("none.html"), name, settings, models=None, everything=False, seeds=1, quick=True, quiet=True)


def test_a_tour_refuses_settings_that_would_change_nothing(clicks: Path) -> None:
    for name in (None, "adult"):
        with pytest.raises(ConfigError, match=r"comes as it is, and --set data\.split would change nothing"):
            tour_of(name, {"data.split": "random"})
    for key, value in {"train.lr": 0.1, "encoder.min_count": 2, "data.negative_rate": 0.5}.items():
        with pytest.raises(ConfigError, match=f"--set {key} would change nothing"):
            tour_of(clicks, {key: value})
    with pytest.raises(ConfigError, match=r"those of --data .*clicks\.parquet"):
        tour_of(clicks, {"data.path": "other.csv"})
    for settings in ({"data.valid": str(clicks)}, {"data.sizes": [0.8, 0.2, 0]}):
        with pytest.raises(ConfigError, match="needs training, validation and test rows"):
            tour_of(clicks, {"data.label": "click", **settings})


def test_a_model_is_named_once() -> None:
    with pytest.raises(ConfigError, match="'fm' by --model and 'deepfm' by --set"):
        verbs.resolve_recipe(None, "fm", {"model.name": "deepfm"})
    assert verbs.resolve_recipe(None, "fm", {"model.name": "fm"}).name == "fm"


def test_an_ending_is_checked_before_the_run_is_read(tmp_path: Path) -> None:
    for ending in ("json", "CSV", ""):
        with pytest.raises(ConfigError, match=r"name a \.parquet, \.csv or \.tsv file"):
            verbs.recommend(tmp_path, None, 3, seen=False, out=tmp_path / f"top.{ending}", device="cpu")


def test_the_schema_of_a_public_set_follows_the_flags() -> None:
    if PUBLIC["movielens-100k"].missing():
        pytest.skip("movielens-100k is not under CROSSFIELD_DATA")
    plain = verbs.schema("movielens-100k", None, {}).json
    changed = verbs.schema("movielens-100k", None, {"data.label": "rating>=5"}).json
    assert (plain["label"]["value"], changed["label"]["value"]) == (4, 5)


@pytest.mark.parametrize("sizes", [[0.8, 0.1, 0.1], [0.9, 0.1, 0.0]])
def test_a_public_set_without_a_test_part_is_measured_by_the_part_that_the_run_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sizes: list[float]
) -> None:
    monkeypatch.setenv("CROSSFIELD_DATA", str(tmp_path))
    (tmp_path / "films").mkdir()
    click_log(1000).write_csv(tmp_path / "films" / "clicks.csv")
    options = DataConfig(label="click", user="user_id", item="item_id", time="ts")
    films = PublicSet(
        "films",
        about="films",
        terms="none",
        address="nowhere",
        files={"clicks.csv": ""},
        options=options,
        read=lambda folder: PublicData(load_with(options, folder / "clicks.csv")),
    )
    monkeypatch.setitem(PUBLIC, "films", films)
    said = {"data.path": "films", "data.sizes": sizes, "train.epochs": 9, "train.batch_size": 32}
    recipe, run = verbs.resolve_recipe(None, "fm", said), tmp_path / "run"
    fitted = verbs.fit(recipe, run, schema=None, resume=False, overwrite=False, device="cpu", quiet=True).json
    capsys.readouterr()
    measured = verbs.evaluate(run, "films", device="cpu", intervals=False, out=None).json
    calibrated = verbs.calibrate(run, "films", method="platt", device="cpu").json["calibration"]
    noted = capsys.readouterr().err.count("the model was trained on rows of clicks.csv")
    if sizes[2]:
        assert measured == fitted["test"] and calibrated["num_rows"] == measured["n"] and not noted
    else:
        assert measured["n"] == calibrated["num_rows"] == 1000 and noted == 2
