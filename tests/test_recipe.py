from pathlib import Path

import pytest

from crossfield.errors import ConfigError
from crossfield.recipe import Recipe, recipe_path, set_dotted

VALUES = {
    "data": {"label": "click", "user": "u", "crosses": [["u", "i"]]},
    "encoder": {"min_count": 3},
    "model": {"name": "deepfm", "embedding_dim": 8, "deep": [64, 32]},
    "train": {"lr": 3e-4, "epochs": 2},
}


def test_toml_round_trip(tmp_path: Path) -> None:
    recipe = Recipe.of(VALUES)
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    again = Recipe.read(tmp_path / "r.toml")
    assert again == recipe == Recipe.read(str(tmp_path / "r.toml"))
    assert again.sha256 == recipe.sha256
    assert recipe.train.lr == 3e-4 and recipe.model.embedding_dim == 8


def test_overrides_are_dotted_and_change_the_checksum() -> None:
    recipe = Recipe.of(VALUES)
    other = recipe.override({"train.lr": 1e-2, "model.dropout": 0.5})
    assert (other.train.lr, other.train.epochs) == (1e-2, 2)
    assert other.sha256 != recipe.sha256
    assert other.plain()["model"]["dropout"] == 0.5


def test_another_model_starts_from_its_own_defaults() -> None:
    other = Recipe.of(VALUES).override({"model.name": "fm"})
    assert other.name == "fm"
    assert other.model.embedding_dim == 16


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train.epocs": 3}, "unknown key 'train.epocs'; did you mean 'epochs'?"),
        ({"trian.epochs": 3}, "unknown section [trian]; did you mean 'train'?"),
        ({"model.name": "deepfn"}, "unknown model 'deepfn'; did you mean 'deepfm'?"),
        ({"lr": 3}, "'lr' is no recipe key; did you mean 'train.lr'?"),
        ({"embedding_dim": 8}, "'embedding_dim' is no recipe key; did you mean 'model.embedding_dim'?"),
        ({"embeding_dim": 8}, "'embeding_dim' is no recipe key; did you mean 'model.embedding_dim'?"),
        ({"user": "u"}, "did you mean 'data.user'?"),
        ({"alpha0": 1, "model.name": "ials"}, "did you mean 'model.alpha0'?"),
        ({"model": "fm"}, "'model' is no recipe key but a section: write model.name"),
        ({"qqqq": 1}, "'qqqq' is no recipe key; write SECTION.KEY (crossfield fit --keys lists them)"),
        ({"data.negative_rate": 0}, "data.negative_rate = 0"),
        ({"data.positive": 1, "data.label": None}, "positive needs a label"),
        ({"calibration.method": "plat"}, 'calibration.method = "plat"'),
        ({"data.sizes": [0.5, 0.1, 0.1]}, "add up to 1"),
    ],
)
def test_mistakes_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Recipe.of(VALUES).override(values)
    assert message in str(caught.value)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        Recipe.read(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(ConfigError, match=r"bad\.toml is not TOML"):
        Recipe.read(tmp_path / "bad.toml")


def test_a_folder_does_not_hide_a_recipe_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "frappe" / "deepfm").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert recipe_path(Path("frappe/deepfm")).is_file()
    (tmp_path / "frappe" / "fm").write_text("")
    assert recipe_path(Path("frappe/fm")) == Path("frappe/fm")


def test_dotted_keys_do_not_go_through_values() -> None:
    with pytest.raises(ConfigError, match="a value, not a section"):
        set_dotted({"a": 1}, "a.b", 2)
