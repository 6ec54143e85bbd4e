"""Counts of the published logs on Frappe_x1: ten fields, 5,389 table rows, embeddings of 10."""

import pytest

from crossfield.models import CATALOGUE
from crossfield.schema import Field, ModelSchema

# How the rows are spread over the fields changes no count.
FRAPPE = ModelSchema(categorical=tuple(Field(f"field_{i}", 539 if i else 538) for i in range(10)))
TABLES = 5_389 * 10
HIDDEN = sum(width * 400 + 400 + 2 * 400 for width in (100, 400, 400))  # 400-400-400 with batch norm, no output
TOWER = {"batch_norm": True, "deep": [400, 400, 400]}


@pytest.mark.parametrize(
    ("name", "settings", "expected", "published"),
    [
        ("logistic_regression", {}, 5_389 + 1, 5_390),
        ("fm", {}, TABLES + 5_389 + 1, 59_280),
        # The published log of this row holds the MLP twice: 781,892. Once is 53,890 + 364,001.
        ("dnn", TOWER, TABLES + HIDDEN + 401, 417_891),
        ("wide_deep", TOWER, TABLES + 5_389 + HIDDEN + 401, 423_280),
        ("deepfm", TOWER, TABLES + 5_389 + HIDDEN + 401, 423_280),
        ("dcn", {**TOWER, "num_cross_layers": 3}, TABLES + 3 * 200 + HIDDEN + 501, 418_591),
        ("dcn", {"deep": [], "num_cross_layers": 6}, TABLES + 6 * 200 + 101, 55_191),
    ],
)
def test_counts_equal_the_published_ones(name: str, settings: dict[str, object], expected: int, published: int) -> None:
    model_type = CATALOGUE[name]
    if "embedding_dim" in model_type.config_type.model_fields:
        settings = {**settings, "embedding_dim": 10}
    model = model_type(FRAPPE, model_type.config_type.of(settings))
    assert sum(one.numel() for one in model.parameters()) == expected == published


def test_dlrm_has_45_dot_products_on_ten_fields() -> None:
    # The published DLRM row (417,891) concatenates instead of taking dot products: not comparable.
    model_type = CATALOGUE["dlrm"]
    config = model_type.config_type.of({"embedding_dim": 10, "top": [400, 400, 400], "batch_norm": True})
    top = sum(width * 400 + 400 + 2 * 400 for width in (45, 400, 400)) + 401
    assert sum(one.numel() for one in model_type(FRAPPE, config).parameters()) == TABLES + top == 395_891


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gmf", 9_746 * 8 + 9),
        ("mlp", 9_746 * 32 + (64 * 32 + 32) + (32 * 16 + 16) + (16 * 8 + 8) + 9),
        ("neumf", 9_746 * 40 + (64 * 32 + 32) + (32 * 16 + 16) + (16 * 8 + 8) + 17),
    ],
)
def test_ncf_models_have_the_shapes_of_the_authors_weights(name: str, expected: int) -> None:
    # 6,040 users and 3,706 items.
    schema = ModelSchema(categorical=(Field("user", 6_040), Field("item", 3_706)), user="user", item="item")
    model_type = CATALOGUE[name]
    model = model_type(schema, model_type.config_type())
    assert sum(one.numel() for one in model.parameters()) == expected
