import pytest

from crossfield.models import CATALOGUE
from crossfield.pages.published import PUBLISHED, SOURCES, Published
from crossfield.proof import Table

ROWS = [(name, row) for name, rows in PUBLISHED.items() for row in rows]


def test_the_table_is_about_models_of_the_catalogue() -> None:
    assert set(PUBLISHED) <= set(CATALOGUE)


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda one: one if isinstance(one, str) else one.data)
def test_a_row_has_numbers_and_a_source_and_its_row_runs_that_model(name: str, row: Published) -> None:
    assert row.metrics and row.source in SOURCES.values()
    for metric, text in row.metrics.items():
        value = float(text.replace(",", "").removesuffix(" %"))
        assert 0.1 < value < 1 if metric in ("AUC", "log loss", "HR@10", "NDCG@10") else value
    if row.ours:
        table, _, own = row.ours.partition("/")
        assert Table.read(table).row(own).values["model"]["name"] == name


def test_no_two_rows_claim_the_same_row() -> None:
    claimed = [row.ours for _, row in ROWS if row.ours]
    assert len(claimed) == len(set(claimed))
