from importlib.resources import files
from pathlib import Path

import pytest

from crossfield.data.public import PUBLIC
from crossfield.models import CATALOGUE
from crossfield.recipe import Recipe

FOLDER = Path(str(files("crossfield") / "recipes"))
RECIPES = sorted(FOLDER.glob("*/*.toml"))


def test_the_published_click_models_are_there_for_frappe() -> None:
    names = {path.stem for path in FOLDER.glob("frappe/*.toml")}
    assert names >= {"logistic_regression", "fm", "dnn", "wide_deep", "dcn", "deepfm", "dlrm"}
    assert names >= {"finalmlp", "dualmlp", "finalnet", "finalnet_1b", "masknet", "fcn"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_is_whole_and_named_after_what_it_runs(path: Path) -> None:
    recipe = Recipe.read(path)
    assert f"{path.stem}_".startswith(f"{recipe.name}_") and recipe.name in CATALOGUE
    public = PUBLIC[path.parent.name]
    assert recipe.data == public.options.override({"path": public.name})


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_its_header_says_paper_expectation_cost_and_command(path: Path) -> None:
    header = path.read_text().split("\n[")[0]
    assert "# Expected: " in header or "# No published number applies" in header
    assert "# Cost: " in header and " cores" in header
    assert f"# Run: crossfield fit --recipe {path.parent.name}/{path.stem} --out runs/" in header


def test_the_benchmark_s_rule_is_kept() -> None:
    train = Recipe.read(FOLDER / "frappe" / "deepfm.toml").train
    rule = {"optimizer": "adam", "lr": 1e-3, "batch_size": 4096, "embedding_l2": 0.05, "net_l2": 0.0, "clip_norm": 10.0}
    assert {name: getattr(train, name) for name in rule} == rule
    assert (train.monitor, train.patience, train.plateau_factor, train.epochs) == ("auc", 2, 0.1, 100)
