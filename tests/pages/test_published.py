from pathlib import Path

import pytest

from crossfield import pages
from crossfield.models import CATALOGUE
from crossfield.pages.published import PUBLISHED, SOURCES, Published

ROWS = [(name, row) for name, rows in PUBLISHED.items() for row in rows]
RECIPES = Path(pages.__file__).parents[1] / "recipes"


def test_the_table_is_about_models_of_the_catalogue() -> None:
    assert set(PUBLISHED) <= set(CATALOGUE)


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda one: one if isinstance(one, str) else one.data)
def test_a_row_has_numbers_and_a_source_and_its_recipe_runs_that_model(name: str, row: Published) -> None:
    assert row.metrics and row.source in SOURCES.values()
    for metric, text in row.metrics.items():
        value = float(text.replace(",", "").removesuffix(" %"))
        assert 0.1 < value < 1 if metric in ("AUC", "log loss", "HR@10", "NDCG@10") else value
    if row.recipe:
        assert f'name = "{name}"' in (RECIPES / f"{row.recipe}.toml").read_text()


def test_no_two_rows_claim_the_same_recipe() -> None:
    claimed = [row.recipe for _, row in ROWS if row.recipe]
    assert len(claimed) == len(set(claimed))
