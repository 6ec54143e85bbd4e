import json
from pathlib import Path

import pytest

import crossfield as cf
from crossfield.bundle import Bundle
from crossfield.errors import CorruptError, RunError
from crossfield.files import write_json, write_manifest

from .journeys.conftest import click_log


@pytest.fixture(scope="module")
def ranker() -> cf.Ranker:
    log = click_log(600)
    roles = {"label": "click", "user": "user_id", "item": "item_id"}
    train = {"epochs": 1, "batch_size": 256, "compile": "off"}
    return cf.Ranker("fm", data=roles, train=train).fit(log, log, quiet=True)


def test_a_damaged_run_is_refused_whichever_file_it_is(ranker: cf.Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    for path in [one for one in tmp_path.rglob("*") if one.is_file()]:
        content = path.read_bytes()
        path.write_bytes(content[:-2])
        with pytest.raises(CorruptError):
            Bundle.load(tmp_path)
        path.write_bytes(content)
    Bundle.load(tmp_path)


def test_weights_of_another_shape_are_named(ranker: cf.Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    recipe = (tmp_path / "recipe.toml").read_text().replace("embedding_dim = 16", "embedding_dim = 8")
    (tmp_path / "recipe.toml").write_text(recipe)
    names = [
        str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file() and one.name != "manifest.json"
    ]
    write_manifest(tmp_path, "run", names=names, about={})
    with pytest.raises(CorruptError, match="do not fit its recipe"):
        Bundle.load(tmp_path)


def test_what_is_no_run_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run at"):
        Bundle.load(tmp_path / "nothing")
    with pytest.raises(RunError, match="not a Crossfield run"):
        Bundle.load(tmp_path)
    (tmp_path / "work").mkdir()
    with pytest.raises(RunError, match="unfinished run"):
        Bundle.load(tmp_path)
    write_json(tmp_path / "x.json", {})
    write_manifest(tmp_path, "store", names=["x.json"], about={})
    with pytest.raises(CorruptError, match="is a Crossfield store"):
        Bundle.load(tmp_path)


def test_a_run_says_what_it_was_made_of(ranker: cf.Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["model"] == "fm" and about["train_rows"] == 600
    assert about["recipe_sha256"] == ranker.recipe.sha256
    assert {"python", "torch", "crossfield"} <= about["versions"].keys()
