"""Counts of the published logs on Frappe_x1: ten fields, 5,389 table rows, embeddings of 10."""

import pytest

from crossfield.models import CATALOGUE
from crossfield.schema import Field, ModelSchema

# How the rows are spread over the fields changes no count.
FRAPPE = ModelSchema(categorical=tuple(Field(f"field_{i}", 539 if i else 538) for i in range(10)))
TABLES = 5_389 * 10
HIDDEN = sum(width * 400 + 400 + 2 * 400 for width in (100, 400, 400))  # 400-400-400 with batch norm, no output
TOWER = {"batch_norm": True, "deep": [400, 400, 400]}

ATTENTION = {"head_dim": 32, "num_heads": 4, "residual": "identity"}
# W_Query, W_Key, W_Value and W_Res of the first of five layers, their layer norms, both prediction layers.
AUTOINT = TABLES + 4 * 1_280 + 5 * 2 * 128 + 1_281 + HIDDEN + 401
SENET = {"reduction_ratio": 2, "bilinear_type": "all", **TOWER}
FIBINET = TABLES + 5_389 + 2 * 50 + HIDDEN + 800 * 400 + 401


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
        ("dcn_v2", {**TOWER, "num_cross_layers": 4}, TABLES + 4 * 100 * 101 + HIDDEN + 501, 458_391),
        ("dcn_v2", {"deep": [], "num_cross_layers": 4}, TABLES + 4 * 100 * 101 + 101, 94_391),
        # The paper's CIN has no bias; with the published row's 64 it is 429,809, the next.
        ("xdeepfm", {**TOWER, "cin": [64]}, TABLES + 5_389 + HIDDEN + 401 + 64 * 100 + 65, 429_745),
        ("xdeepfm", {**TOWER, "cin": [64], "cin_bias": True}, TABLES + 5_389 + HIDDEN + 401 + 64 * 101 + 65, 429_809),
        (
            "xdeepfm",
            {"deep": [], "cin": [64] * 3, "cin_bias": True},
            TABLES + 5_389 + 64 * (100 + 2 * 640) + 3 * 64 + 3 * 64 + 1,
            147_984,
        ),
        # Three blocks (mask 100-200-100, W without bias, LN), an MLP without batch norm; LN-EMB off in this row.
        (
            "masknet",
            {"blocks": [50] * 3, "embedding_norm": False},
            TABLES + 3 * (101 * 200 + 201 * 100 + 100 * 50 + 2 * 50) + (151 + 401 + 401) * 400 + 401,
            571_691,
        ),
        # The log has a W_Res in the first layer only (10 -> 128). One in every layer, as in the paper, is the next row:
        # 4 x 128 x 128 = 65,536 more, and 5 x 128 x 128 for six layers without the MLP.
        ("autoint", ATTENTION | {"num_layers": 5, "layer_norm": True, **TOWER}, AUTOINT + 4 * 3 * 128**2, 622_180),
        (
            "autoint",
            ATTENTION | {"num_layers": 5, "layer_norm": True, "residual": "linear", **TOWER},
            AUTOINT + 4 * 4 * 128**2,
            622_180 + 65_536,
        ),
        ("autoint", ATTENTION | {"num_layers": 6}, TABLES + 4 * 1_280 + 5 * 3 * 128**2 + 1_281, 306_051),
        # SENET with 5 of 10 units, a matrix of 10 x 10 for all pairs, 45 + 45 products of 10 numbers. FuxiCTR 1.1.0
        # logged one matrix for both sets of vectors; FuxiCTR 2 has two. Where only SENET's are bilinear there is one.
        ("fibinet", SENET | {"bilinear_on": "shared"}, FIBINET + 100, 743_480),
        ("fibinet", SENET | {"bilinear_on": "both"}, FIBINET + 200, 743_480 + 100),
        ("fibinet", SENET, FIBINET + 100, 743_480),
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


def fields_of(**num_rows: int) -> ModelSchema:
    return ModelSchema(categorical=tuple(Field(name, rows) for name, rows in num_rows.items()))


# FuxiCTR 2 has a missing and an unseen row per field, as we do: 5,379 ids in ten fields make 5,399 rows. FinalMLP's
# contexts have tables of their own, so that here the users' and items' rows count: 954 and 4,082 ids in training.
SMALL_FIELDS = dict(daytime=9, weekday=9, isweekend=4, homework=5, cost=4, weather=11, country=82, city=235)
FRAPPE_2 = fields_of(user=956, item=4_084, **SMALL_FIELDS)
MOVIELENS_1 = fields_of(user=1_000, item=1_000, tag=90_239 - 2_000)
MOVIELENS_2 = fields_of(user=1_000, item=1_000, tag=90_242 - 2_000)
TWO_STREAMS = {"embedding_dim": 10, "batch_norm": True}


@pytest.mark.parametrize(
    ("name", "schema", "settings", "published"),
    [
        (
            "finalmlp",
            FRAPPE_2,
            {"context_1": ["user"], "context_2": ["item"], "gate_hidden": [400], "deep_1": [400], "deep_2": [100]}
            | {"num_heads": 5, **TWO_STREAMS},
            253_392,
        ),
        (
            "finalmlp",
            MOVIELENS_2,
            {"gate_hidden": [800], "deep_1": [400], "deep_2": [800], "num_heads": 10, **TWO_STREAMS},
            1_040_902,
        ),
        ("finalnet", FRAPPE_2, {"structure": "1B", "deep_1": [400, 400], **TWO_STREAMS}, 256_791),
        ("finalnet", FRAPPE_2, {"field_gate": True, "deep_1": [400, 400], "deep_2": [400], **TWO_STREAMS}, 338_502),
        ("finalnet", MOVIELENS_2, {"structure": "1B", "deep_1": [400], **TWO_STREAMS}, 916_021),
        ("finalnet", MOVIELENS_2, {"field_gate": True, "deep_1": [400] * 2, "deep_2": [500], **TWO_STREAMS}, 1_106_234),
        (
            "masknet",
            MOVIELENS_1,
            {"structure": "serial", "blocks": [400] * 3, "reduction_ratio": 4, "embedding_dim": 10}
            | {"embedding_norm": False},
            2_624_541,
        ),
    ],
)
def test_counts_of_two_streams_and_masks_equal_the_published_ones(
    name: str, schema: ModelSchema, settings: dict[str, object], published: int
) -> None:
    model = CATALOGUE[name](schema, CATALOGUE[name].config_type.of(settings))
    assert sum(one.numel() for one in model.parameters()) == published


def test_fcn_has_the_weights_of_the_authors_log_on_avazu() -> None:
    # 240,511,730 in their log of 2025, 64 for each of 3,750,999 table rows (4 heads of 16, 24 fields). γ and β there,
    # gain and shift of the layer norm here, batch norm with two numbers per head.
    schema = fields_of(**{f"field_{i}": 3 for i in range(24)})
    config = CATALOGUE["fcn"].config_type.of({"embedding_dim": 64, "num_heads": 4, "batch_norm": True})
    layer = 384 * 192 + 2 * 192 + 384 + 2 * 4
    tables = 24 * 3 * 64
    found = sum(one.numel() for one in CATALOGUE["fcn"](schema, config).parameters()) - tables
    assert found == 6 * layer + 2 * 385 == 240_511_730 - 3_750_999 * 64


def test_eulernet_has_the_weights_of_the_authors_log_that_are_used() -> None:
    # Their log says 108,889 weights: 248 belong to four batch norms that are made and never called, two over the 10
    # fields and two over the 52 order vectors.
    config = CATALOGUE["eulernet"].config_type.of({"embedding_dim": 10, "orders": [52], "layer_norm": True})
    model = CATALOGUE["eulernet"](FRAPPE_2, config)
    orders = 10 * 52 + 2 * 52 * 10
    implicit = (100 + 1) * 520
    expected = 5_399 * 10 + 10 + orders + implicit + 2 * 2 * 10 + 521
    assert sum(one.numel() for one in model.parameters()) == expected == 108_641 == 108_889 - 2 * 2 * (10 + 52)


def test_gated_cross_layers_have_twice_the_matrices_of_dcn_v2() -> None:
    settings = {"embedding_dim": 10, "num_cross_layers": 3, **TOWER}
    model = CATALOGUE["gdcn"](FRAPPE, CATALOGUE["gdcn"].config_type.of(settings))
    cross = 3 * (2 * 100 * 100 + 100)
    assert sum(one.numel() for one in model.parameters()) == TABLES + cross + HIDDEN + 501 == 478_291


def test_rankmixer_s_feed_forwards_have_the_papers_2_k_l_t_d_squared_weights() -> None:
    T, D, L, k = 10, 40, 2, 4
    settings = {"embedding_dim": 10, "num_tokens": T, "token_dim": D, "num_layers": L, "expansion": k}
    model = CATALOGUE["rankmixer"](FRAPPE, CATALOGUE["rankmixer"].config_type.of(settings))
    biases, norms = L * T * (k * D + D), L * 2 * 2 * D
    tokens = T * (10 * D + D)
    assert sum(one.numel() for one in model.parameters()) == (
        TABLES + tokens + 2 * k * L * T * D**2 + biases + norms + D + 1
    )


def test_wukong_s_layers_one_by_one() -> None:
    # n = 10 -> 4 + 3 vectors of 10, k = 5, one hidden layer of 20; then 7 -> 7, where the residual needs no map.
    settings = {"embedding_dim": 10, "num_layers": 2, "num_fm_vectors": 4, "num_linear_vectors": 3, "fm_rank": 5}
    config = CATALOGUE["wukong"].config_type.of({**settings, "fm_hidden": [20], "deep": [6]})

    def layer(n: int) -> int:
        fm = n * 5 + 2 * n * 5 + (n * 5 + 1) * 20 + 21 * 4 * 10
        return fm + 3 * n + 2 * 10

    expected = TABLES + layer(10) + 7 * 10 + layer(7) + 71 * 6 + 7
    assert sum(one.numel() for one in CATALOGUE["wukong"](FRAPPE, config).parameters()) == expected
