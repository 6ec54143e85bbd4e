import json
from functools import cache

import pytest
import torch

from crossfield.landmarks import build, cinema_schema
from crossfield.models import CATALOGUE
from crossfield.models.base import num_numbers
from crossfield.models.deepfm import DeepFM
from crossfield.models.popularity import Popularity
from crossfield.pages.page import Page, idea_and_formula, landmark_of, measured, model_page, paper_of
from crossfield.pages.render import as_text

page_of = cache(model_page)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_model_has_a_whole_page(name: str) -> None:
    page: Page = page_of(name)
    assert page.paper and page.link.startswith("https://")
    assert page.idea.endswith(".") and page.idea.count(". ") >= 1
    landmark = landmark_of(name)
    model = build(landmark, cinema_schema(landmark.crosses))
    assert page.parameters == num_numbers(model)
    assert page.table_parameters <= page.parameters and page.matrix_flops <= page.flops
    assert {one["key"] for one in page.settings} == set(CATALOGUE[name].config_type.model_fields)
    assert json.dumps(page.to_json())
    assert max(map(len, as_text(page).splitlines())) <= 125


def test_a_docstring_is_parted_into_idea_and_formula() -> None:
    idea, formula = idea_and_formula(DeepFM)
    assert idea == "A factorisation machine and an MLP on the same vectors."
    assert formula.startswith("ŷ = y_FM + y_DNN (equation 1).\n\ny_FM = ")
    idea, formula = idea_and_formula(Popularity)
    assert idea == "The same score for every user: how often an item was chosen."
    assert formula.startswith("Where every row is a positive")


def test_where_dense_features_come_in_is_found() -> None:
    assert set(page_of("deepfm").dense_enter) == {"linear", "vectors"}
    assert page_of("mf").dense_enter == ()
    assert page_of("dlrm").dense_enter == ("bottom",)


def test_a_page_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    model_page("fm")
    assert torch.equal(torch.get_rng_state(), before)


def test_ours_are_read_and_belong_to_models() -> None:
    assert {one.model for one in measured()} <= set(CATALOGUE)
    assert all(0 < mean < 1 for one in measured() for mean, _ in one.metrics.values())
    assert all(one.seeds >= 1 and "/" in one.row for one in measured())
    assert any("hr@10" in one.metrics for one in page_of("neumf").measured)


def test_papers_come_from_the_file() -> None:
    assert paper_of(DeepFM)["link"] == "https://arxiv.org/abs/1703.04247"
