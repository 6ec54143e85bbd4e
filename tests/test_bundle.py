import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import crossfield as cf
from crossfield.bundle import Bundle, load_training, refuse_foreign
from crossfield.calibration import Calibration, Platt
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
    for path in [one for one in tmp_path.rglob("*") if one.is_file() and one.name != ".lock"]:
        content = path.read_bytes()
        path.write_bytes(content[:-2])
        with pytest.raises(CorruptError):
            Bundle.load(tmp_path)
            load_training(tmp_path)  # what only an update reads is sealed by itself
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


def test_a_calibration_is_kept_with_the_run_and_runs_without_one_load(ranker: cf.Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    plain = Bundle.load(tmp_path)
    assert plain.calibration is None
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    curve = Calibration(method="platt", curve=Platt(slope=0.1 + 0.2, intercept=-1 / 3), num_rows=99, files={"a": "b"})
    replace(plain, calibration=curve).save_calibration(tmp_path)
    assert Bundle.load(tmp_path).calibration == curve
    changed = {path.name for path, content in files.items() if path.read_bytes() != content}
    assert changed == {"manifest.json"}
    Bundle.load(tmp_path).save(tmp_path / "copy")
    assert Bundle.load(tmp_path / "copy").calibration == curve
    plain.save_calibration(tmp_path)
    assert all(path.read_bytes() == content for path, content in files.items())


def test_a_run_from_before_there_was_calibration_loads(ranker: cf.Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    recipe = (tmp_path / "recipe.toml").read_text()
    (tmp_path / "recipe.toml").write_text(recipe.replace('[calibration]\nmethod = "none"\n', ""))
    assert (tmp_path / "recipe.toml").read_text() != recipe
    names = [
        str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file() and one.name != "manifest.json"
    ]
    write_manifest(tmp_path, "run", names=names, about={"model": "fm"})
    assert Bundle.load(tmp_path).recipe == ranker.recipe


def test_logits_are_corrected_then_calibrated(ranker: cf.Ranker) -> None:
    recipe = ranker.recipe.with_data(negative_rate=0.25)
    curve = Calibration(method="platt", curve=Platt(slope=2.0, intercept=1.0), num_rows=99, files={})
    bundle = replace(ranker.bundle, recipe=recipe, calibration=curve)
    logits = np.array([0.0, 3.0])
    np.testing.assert_allclose(bundle.corrected(logits), logits + np.log(0.25))
    np.testing.assert_allclose(bundle.calibrated(logits), 2 * (logits + np.log(0.25)) + 1)
    np.testing.assert_array_equal(ranker.bundle.calibrated(logits), logits)


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


@pytest.mark.parametrize("name", ["training", "encoder", "recipe.toml", "manifest.json", "tensorboard", "work"])
def test_what_no_run_wrote_is_never_in_the_way_of_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").touch()
    refuse_foreign(tmp_path)
    if "." in name:
        (tmp_path / name).write_text("{}")
    else:
        (tmp_path / name / "2024").mkdir(parents=True)
    with pytest.raises(RunError, match=rf"holds {name}, which no run wrote .*; name another folder"):
        refuse_foreign(tmp_path)


def test_a_run_whose_writing_was_cut_short_can_be_replaced(
    ranker: cf.Ranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut, pytest.raises(OSError, match="no space"):
        cut.setattr("crossfield.bundle.save_file", lambda *_: (_ for _ in ()).throw(OSError("no space")))
        ranker.bundle.save(tmp_path)
    assert (tmp_path / "encoder").is_dir() and not (tmp_path / "manifest.json").exists()
    refuse_foreign(tmp_path)
    ranker.bundle.save(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(RunError, match="encoder"):  # it was whole: whoever took its seal away may have put it there
        refuse_foreign(tmp_path)


def test_work_is_a_runs_by_the_recipe_in_it(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / ".recipe.json.77.part").touch()  # all that a kill left
    refuse_foreign(tmp_path)
    (work / "thesis.txt").touch()
    with pytest.raises(RunError, match="holds work"):
        refuse_foreign(tmp_path)
    (work / "recipe.json").touch()
    refuse_foreign(tmp_path)


def test_a_run_says_what_it_was_made_of(ranker: cf.Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["model"] == "fm" and about["train_rows"] == 600
    assert about["recipe_sha256"] == ranker.recipe.sha256
    assert {"python", "torch", "crossfield"} <= about["versions"].keys()
